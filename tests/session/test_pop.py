"""The whole way: the script in the harness, outbox, sender, a real server, a real client."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from parts import scripted
from parts.certificates import Authority, Certificate
from parts.ejabberd import Ejabberd
from parts.pbx import DOMAIN, Pbx
from parts.prosody import ACCOUNTS, Prosody
from parts.recipient import Recipient
from parts.scripted import ScriptedServer
from parts.spool import messages
from screenpop.spool import state

WAITING = {"SCREEN_POP_WAIT": "20"}
# On a busy machine, the import of SQLAlchemy alone takes longer than the default of lookup_wait.
ROUTES = """
[pop]
lookup_wait = 30
[support]
type = route
extension = _3XX
to = {bob}
message = Support: {{name}}
[crm]
type = sql
database = sqlite:///{folder}/crm.db
query = SELECT name, manager FROM contacts WHERE phone = :number
name = name
notify = manager
"""


@pytest.fixture
def pbx(prosody: Prosody, tmp_path: Path) -> Iterator[Pbx]:
    with Pbx(tmp_path, prosody, prosody.ca_file) as made:
        yield made


@pytest.mark.parametrize("name", ["prosody", "ejabberd"])
def test_a_call_pops(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue(name)
    with Recipient.at(server) as alice, Pbx(tmp_path, server, server.ca_file) as pbx:
        result = pbx.call("+15551234567")
        message = alice.wait_for_message()
    assert (result.status, result.agistatus, result.stderr) == (0, "SUCCESS", b"")
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
    assert message.body == "Call from Bob Example, +1 555-123-4567 to 123"
    assert message.type == "chat" and message.id


@pytest.mark.parametrize("name", ["prosody", "ejabberd"])
def test_a_call_pops_in_another_language(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue(name)
    with Recipient.at(server) as alice, Pbx(tmp_path, server, server.ca_file) as pbx:
        pbx.configure(language="fr")
        pbx.call("anonymous", calleridname="unknown")
        assert alice.wait_for_message().body == "Appel de numéro masqué vers 123"
        pbx.call("+4930123456")
        assert alice.wait_for_message().body == "Appel de Bob Example, +49 30 123456 vers 123\nAllemagne"


def test_waiting_for_the_confirmation(pbx: Pbx, prosody: Prosody) -> None:
    with Recipient.at(prosody) as alice:
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        alice.sync()
        assert len(alice.messages) == 1
    assert pbx.waiting() == []


def test_twenty_calls_use_one_sign_in_and_one_address(pbx: Pbx, prosody: Prosody) -> None:
    before = prosody.sign_ins("pbx")
    with Recipient.at(prosody) as alice:
        for number in range(20):
            pbx.call(f"+1555000{number:04}")
        messages = [alice.wait_for_message() for _ in range(20)]
    assert [f"+1 555-000-{number:04}" in message.body for number, message in enumerate(messages)] == [True] * 20
    assert len({message.id for message in messages}) == 20
    assert {message.from_jid for message in messages} == {f"pbx@{DOMAIN}/{state.resource(pbx.outbox.path)}"}
    assert prosody.sign_ins("pbx") - before == 1


def test_the_address_stays_the_same_from_sender_to_sender(pbx: Pbx, prosody: Prosody, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Recipient.at(prosody) as alice, Pbx(tmp_path / "other", prosody, prosody.ca_file) as other:
        pbx.call(variables=WAITING)  # confirmed: or it would be sent again
        first = alice.wait_for_message().from_jid
        pbx.kill_sender()
        pbx.call()
        assert alice.wait_for_message().from_jid == first
        other.call()
        assert alice.wait_for_message().from_jid != first


def test_the_sender_leaves_and_the_next_call_starts_another(pbx: Pbx, prosody: Prosody) -> None:
    pbx.configure(linger=0)
    with Recipient.at(prosody) as alice:
        for _ in range(2):
            pbx.call()
            alice.wait_for_message()
            pbx.wait_for_sender_to_leave()
            assert pbx.sender() is None


def test_recipients_from_the_dialplan(pbx: Pbx, prosody: Prosody) -> None:
    with Recipient.at(prosody) as alice, Recipient.at(prosody, "pbx") as other:
        pbx.call("+1555", f"pbx@{DOMAIN}&alice@{DOMAIN}")
        assert alice.wait_for_message().body == other.wait_for_message().body


def test_a_recipient_that_does_not_exist(pbx: Pbx, prosody: Prosody) -> None:
    with Recipient.at(prosody) as alice:
        result = pbx.call("+1555", f"nobody@{DOMAIN}&alice@{DOMAIN}&not a jid@", variables=WAITING)
        alice.wait_for_message()
    assert result.variables["SCREEN_POP_STATUS"] == "DELIVERED"  # to alice
    assert [message.to for message in messages(pbx.outbox, "sent")] == [f"alice@{DOMAIN}"]
    reasons = {message.to: message.reason for message in messages(pbx.outbox, "failed")}
    assert len(reasons) == 2
    assert reasons[f"nobody@{DOMAIN}"].startswith("service-unavailable")
    assert "is not a JID" in reasons["not a jid@"]
    assert f"nobody@{DOMAIN} failed: service-unavailable" in pbx.log
    assert any("service-unavailable" in text for text in result.verbose)


def test_nobody_gets_it(pbx: Pbx) -> None:
    result = pbx.call("+1555", f"nobody@{DOMAIN}", variables=WAITING)
    assert result.variables["SCREEN_POP_STATUS"] == "FAILED"
    assert pbx.waiting() == []


def test_a_wrong_password_is_said_once_and_mended_without_a_restart(pbx: Pbx, prosody: Prosody) -> None:
    pbx.configure(password="wrong")
    with Recipient.at(prosody) as alice:
        first = pbx.call(variables={"SCREEN_POP_WAIT": "3"})
        assert first.variables["SCREEN_POP_STATUS"] == "QUEUED"
        assert any("does not accept this name and password" in text for text in first.verbose)
        assert len(pbx.waiting()) == 1
        assert len(pbx.log.splitlines()) == 1 and "not sent yet, 1 waiting: sign-in:" in pbx.log
        pbx.configure()
        pbx.call()
        assert {alice.wait_for_message().body, alice.wait_for_message().body}
    assert "wrong" not in pbx.log and "secret" not in pbx.log


def test_a_mistyped_configuration_is_named_and_mended_without_a_restart(pbx: Pbx, prosody: Prosody) -> None:
    pbx.configure(lingr=3)
    with Recipient.at(prosody) as alice:
        result = pbx.call(variables={"SCREEN_POP_WAIT": "1"})
        assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
        assert "screen_pop.conf:8: [pop] has no option 'lingr'" in pbx.log
        pbx.configure()
        pbx.call()
        alice.wait_for_message()
        alice.wait_for_message()


def test_an_unreadable_configuration(pbx: Pbx, prosody: Prosody) -> None:
    pbx.conf.unlink()
    assert pbx.call(variables={"SCREEN_POP_WAIT": "1"}).variables["SCREEN_POP_STATUS"] == "QUEUED"
    assert f"{pbx.conf}: No such file or directory; copy screen_pop.conf.sample there" in pbx.log
    assert len(pbx.waiting()) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"connection": scripted.close}, "closed the connection|reset by peer"),
        ({"message": scripted.close}, "closed the connection|reset by peer"),
        ({"ping": scripted.stream_error("system-shutdown")}, "system-shutdown"),
    ],
)
def test_what_a_server_did_not_confirm_is_sent_again_with_the_same_id(
    fault: dict[str, scripted.Fault], reason: str, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, faults=fault, faulty_connections=1) as server:
        with Pbx(tmp_path, server, certificate.ca_file) as pbx:
            result = pbx.call(variables=WAITING)
            assert result.variables["SCREEN_POP_STATUS"] == "DELIVERED"
            assert re.search(reason, pbx.log)
        assert server.connections == 2
        assert len({message.get("id") for message in server.messages}) == 1


def test_a_server_that_is_down_gets_the_pop_when_it_is_up(
    authority: Authority, certificate: Certificate, tmp_path: Path, new_server_folder: Path
) -> None:
    server = Prosody(new_server_folder, certificate, offline=True)  # it may be delivered before alice is there
    with Pbx(tmp_path, server, authority.ca_file, late_after=0) as pbx:
        result = pbx.call(variables={"SCREEN_POP_WAIT": "1"})
        assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
        assert any("is the server up, and the port open?" in text for text in result.verbose)
        with server, Recipient.at(server) as alice:
            message = alice.wait_for_message(timeout=30)
    assert " ago)" in message.body


def test_an_outbox_that_cant_be_written(pbx: Pbx, prosody: Prosody, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    pbx.env["SCREEN_POP_SPOOL"] = f"{tmp_path}/file/outbox"
    with Recipient.at(prosody) as alice:
        result = pbx.call()
        assert alice.wait_for_message().body == "Call from Bob Example, +1 555-123-4567 to 123"
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
    assert any("Not a directory" in text and "waits in memory" in text for text in result.verbose)


def test_a_caller_cant_write_stanzas_templates_or_log_lines(pbx: Pbx, prosody: Prosody) -> None:
    name = "</body></message><message to='eve@evil.test'><body>{number}\n2026-01-01 forged \u202e"
    with Recipient.at(prosody) as alice:
        pbx.call("+1&eve@evil.test", calleridname=name)
        message = alice.wait_for_message()
        alice.sync()
        assert len(alice.messages) == 1
    assert message.body.startswith(
        "Call from </body></message><message to='eve@evil.test'><body>{number}, +1&eve@evil.test"
    )
    assert "\u202e" not in message.body
    assert "forged" not in pbx.log


@pytest.mark.parametrize("kind", [Prosody, Ejabberd])
def test_who_is_told_depends_on_the_extension_and_on_the_phone_book(
    kind: type[Prosody] | type[Ejabberd], new_server_folder: Path, certificate: Certificate, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "crm.db")) as crm, crm:
        crm.execute("CREATE TABLE contacts (phone TEXT, name TEXT, manager TEXT)")
        row = ("+15551234567", "Ann Miller", f"nobody at all & carol@{DOMAIN}")
        crm.execute("INSERT INTO contacts VALUES (?, ?, ?)", row)
    accounts = {**ACCOUNTS, "bob": "bob's secret", "carol": "carol's secret"}
    with ExitStack() as stack:
        server = stack.enter_context(kind(new_server_folder / "server", certificate, accounts=accounts))
        alice, bob, carol = (stack.enter_context(Recipient.at(server, user)) for user in ("alice", "bob", "carol"))
        pbx = stack.enter_context(Pbx(tmp_path, server, server.ca_file))
        with pbx.conf.open("a") as conf:
            conf.write(ROUTES.format(bob=bob.jid, folder=tmp_path))
        pbx.call("+15551234567", extension="300")
        assert bob.wait_for_message().body == "Support: Ann Miller"
        assert carol.wait_for_message().body == "Support: Ann Miller"
        pbx.call("+15551234567", extension="400")
        said = "Call from Ann Miller, +1 555-123-4567 to 400"
        assert alice.wait_for_message().body == carol.wait_for_message().body == said
        pbx.call("+12025550123", alice.jid, extension="300")
        assert alice.wait_for_message().body == 'Support: "Bob Example"'
        pbx.wait_until_sent()
        bob.sync()
        assert len(bob.messages) == 1
        failed = messages(pbx.outbox, "failed")
    assert [(message.to, "is not a JID" in message.reason) for message in failed] == [("nobody at all", True)] * 2


def test_a_pop_to_a_person_needs_no_presence(certificate: Certificate, tmp_path: Path) -> None:
    """It would show the account as online, and bring the sender everybody else's."""
    with ScriptedServer(certificate) as server, Pbx(tmp_path, server, certificate.ca_file) as pbx:
        pbx.call()
        pbx.wait_until_sent()
        assert len(server.messages) == 1 and b"<message" in server.received_tls
        assert b"<presence" not in server.received_tls
