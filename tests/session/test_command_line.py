"""`screen-pop check` and `screen-pop test`, against a real server."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from parts.certificates import Authority
from parts.pbx import DOMAIN, Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.server import give_to_ordinary_user


def lines(output: str) -> dict[str, str]:
    """What `check` says of each step, with its first word."""
    found = {}
    for line in output.splitlines():
        verdict, step, detail = line.split(maxsplit=2)
        found[step] = f"{verdict} {detail}"
    return found


def test_check_of_what_is_well(pbx: Pbx, prosody: Prosody) -> None:
    before = prosody.sign_ins("pbx")
    said = lines(pbx.screen_pop("check"))
    assert list(said) == [
        "configuration",
        "permissions",
        "spool",
        "log",
        "service",
        "DNS",
        "connection",
        "certificate",
        "sign-in",
        "bind",
        "contacts",
    ]
    assert f"alice@{DOMAIN} has " in said.pop("contacts")  # test_introduce.py
    assert said.pop("service").startswith("note ")  # test_after_restart.py
    assert all(detail.startswith("ok ") for detail in said.values())
    assert re.search(r"issued by trustme.*, \d+ days left, TLSv1.3", said["certificate"])
    assert said["sign-in"].endswith("by SCRAM-SHA-1")
    assert re.fullmatch(rf"ok pbx@{DOMAIN}/screen-pop-check-\w+", said["bind"])
    assert prosody.sign_ins("pbx") - before == 1


def test_check_does_not_throw_the_sender_out(pbx: Pbx, prosody: Prosody) -> None:
    pbx.call(variables={"SCREEN_POP_WAIT": "20"}, callerid="1")
    sender, before = pbx.sender(), prosody.sign_ins("pbx")
    pbx.screen_pop("check")
    pbx.call(variables={"SCREEN_POP_WAIT": "20"}, callerid="1")
    assert pbx.sender() == sender
    assert prosody.sign_ins("pbx") - before == 1  # that of check


@pytest.mark.parametrize(
    ("change", "step", "reason"),
    [
        ({"password": "wrong"}, "sign-in", "does not accept this name and password (not-authorized"),
        ({"jid": "pbx@other.test"}, "stream", "the server says host-unknown"),
        ({"linger": "soon"}, "configuration", ":8: linger: 'soon' should be a number of seconds, such as 30"),
        ({"message": "{url}!"}, "configuration", ":8: message: {url} needs a line of its own"),
    ],
)
def test_check_names_what_is_wrong_and_what_to_do(pbx: Pbx, change: dict[str, str], step: str, reason: str) -> None:
    pbx.configure(**change)  # type: ignore[arg-type]
    said = lines(pbx.screen_pop("check", status=1))
    assert said[step].startswith("PROBLEM") and reason in said[step]


def test_check_of_a_server_with_an_expired_certificate(
    authority: Authority, tmp_path: Path, new_server_folder: Path
) -> None:
    certificate = authority.issue(tmp_path, DOMAIN, expired=True)
    with Prosody(new_server_folder, certificate) as server:
        pbx = Pbx(tmp_path, server, authority.ca_file)
        pbx.outbox.make()
        said = lines(pbx.screen_pop("check", status=1))
    assert said["certificate"].startswith("PROBLEM") and "has expired; renew it" in said["certificate"]


def test_check_of_a_server_that_is_down(pbx: Pbx) -> None:
    pbx.server = "127.0.0.1:1"
    pbx.configure()
    said = lines(pbx.screen_pop("check", status=1))
    assert "refused; is the server up, and the port open?" in said["connection"]


def test_check_names_a_password_that_others_can_read(pbx: Pbx) -> None:
    pbx.conf.chmod(0o644)
    said = lines(pbx.screen_pop("check", status=1))
    assert said["permissions"].startswith("PROBLEM") and f"chmod 0640 {pbx.conf}" in said["permissions"]


@pytest.mark.parametrize("command", [["check"], ["test", "1"], ["status"], ["flush"]])
def test_an_outbox_that_is_missing_is_named_and_not_made(pbx: Pbx, tmp_path: Path, command: list[str]) -> None:
    """Made by root, it would be closed to Asterisk's user."""
    pbx.env["SCREEN_POP_SPOOL"] = f"{tmp_path}/other"
    output = pbx.screen_pop(*command, status=1)
    assert f"{tmp_path}/other" in output
    assert "install -d -o " in output or "for details run: screen-pop check" in output
    assert not Path(tmp_path, "other").exists()


def test_test_sends_a_pop_and_reports_each_step_and_the_receipt(pbx: Pbx, prosody: Prosody) -> None:
    with Recipient.at(prosody, receipts=True) as alice:
        output = pbx.screen_pop("test", "+1 555", "Bob")
        assert alice.wait_for_message().body == "Call from Bob, +1 555 to test"
    steps = re.findall(r"^(.+?) +\d+\.\d ms ", output, re.MULTILINE)
    assert steps[:7] == ["spool", "sender", "DNS", "connection", "certificate", "sign-in", "bind"]
    assert sorted(steps[7:]) == ["message", "receipt", "total"]  # either comes first
    assert f"{prosody.jid('alice')}/" in output and "DELIVERED" in output


def test_test_says_when_the_client_does_not_confirm(pbx: Pbx, prosody: Prosody) -> None:
    with Recipient.at(prosody):
        assert "no receipt" in pbx.screen_pop("test", "1")


def test_test_names_what_keeps_the_pop(pbx: Pbx) -> None:
    pbx.configure(password="wrong")
    output = pbx.screen_pop("test", "1", status=1)
    assert "PROBLEM  not sent yet; it stays in the spool and is tried again: sign-in: pbx@" in output
    assert len(pbx.waiting()) == 1


def test_test_to_nobody(pbx: Pbx) -> None:
    pbx.configure(to=f"nobody@{DOMAIN}")
    assert "PROBLEM  not delivered: nobody@" in pbx.screen_pop("test", "1", status=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as the outbox's owner: not root")
def test_as_root_nothing_is_left_that_the_owner_cant_remove(pbx: Pbx, prosody: Prosody, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's are for their owner alone
        folder.chmod(0o755)
    pbx.library = shutil.copytree(pbx.library, tmp_path / "lib")
    shutil.copy(pbx.ca_file, tmp_path / "ca.pem")
    pbx.ca_file = tmp_path / "ca.pem"
    pbx.configure()
    give_to_ordinary_user(tmp_path)
    owner = Path(pbx.outbox.path).stat().st_uid
    assert owner != 0
    with Recipient.at(prosody):
        pbx.screen_pop("test", "1")
    assert {path.stat().st_uid for path in Path(pbx.outbox.path).rglob("*")} == {owner}
    assert pbx.log_file.stat().st_uid == owner
