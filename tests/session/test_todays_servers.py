"""The servers in the README's table, as Debian packages them: `check`, `test`, and a pop by the script."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parts.box import CHECKOUT, Box, BoxUnavailable
from parts.certificates import Certificate
from parts.ejabberd import Ejabberd
from parts.jabberd2 import Jabberd2
from parts.pbx import Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.server import Server

PROGRAMS: dict[str, Any] = {"Prosody": Prosody, "ejabberd": Ejabberd, "jabberd2": Jabberd2}
SETTINGS: dict[str, dict[str, Any]] = {  # the columns of the table
    "hashed": {},
    "in the clear": {"hashed": False},
    "-PLUS switched off": {"mechanisms": ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")},
    "end point": {"extra": 'tls_server_end_point_hash = "auto"'},
}
NAMES = "|".join(PROGRAMS)
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(rf"^\| ({NAMES}) (\S+) \((\w+)\) \| (.+) \| works \|$", README, re.MULTILINE)
assert len(ROWS) == len(re.findall(rf"^\| ({NAMES}) ", README, re.MULTILINE)) > 0
CASES = [
    pytest.param(program, version, suite, setting, mechanism, id=f"{program} {version} {setting}")
    for program, version, suite, mechanisms in ROWS
    for setting, mechanism in zip(SETTINGS, mechanisms.split(" | "))
    if mechanism != "-"
]


@pytest.fixture(scope="module")
def boxes() -> Iterator[Callable[[str], Box]]:
    """By the name of the Debian suite."""
    with contextlib.ExitStack() as stack:
        yield functools.lru_cache(None)(lambda suite: stack.enter_context(Box(f"{suite}-servers")))


@pytest.mark.parametrize(("program", "version", "suite", "setting", "mechanism"), CASES)
def test_signs_in_and_pops(
    program: str,
    version: str,
    suite: str,
    setting: str,
    mechanism: str,
    boxes: Callable[[str], Box],
    certificate: Certificate,
    new_server_folder: Path,
    tmp_path: Path,
) -> None:
    try:
        box = boxes(suite)
    except BoxUnavailable as why:
        pytest.skip(f"{program} of {suite}: {why}")
    if suite != "sid":  # in sid the version changes all the time
        assert box.run(["dpkg-query", "--show", program.lower()]).stdout.decode().split()[1].startswith(version)
    mechanisms = mechanism.split(", then ")  # in the first session over STARTTLS, and later
    with PROGRAMS[program](new_server_folder, certificate, box=box, direct_tls=True, **SETTINGS[setting]) as server:
        try_all(server, server.port, "STARTTLS", tmp_path, mechanisms[0], mechanisms[-1])
        try_all(server, server.direct_tls_port, "direct TLS", tmp_path, mechanisms[-1], mechanisms[-1])


def try_all(server: Server, port: int, tls: str, tmp_path: Path, in_first_session: str, later: str) -> None:
    folder = tmp_path / tls
    folder.mkdir()
    with Pbx(folder, server, server.ca_file) as pbx:
        pbx.outbox.make()
        pbx.server = f"{server.host}:{port}"
        pbx.configure()
        checked = pbx.screen_pop("check")
        assert f"{pbx.server} ({tls})" in checked
        assert mechanism_in(checked) == in_first_session
        with Recipient.at(server, receipts=True) as alice:  # `test` waits for the receipt
            tested = pbx.screen_pop("test", "+15550000001", "Ann Example")
            assert "DELIVERED" in tested
            assert mechanism_in(tested) == later
            assert alice.wait_for_message().body == "Call from Ann Example, +1 555-000-0001 to test"
            popped = pbx.call(variables={"SCREEN_POP_WAIT": "20"})
            assert popped.variables["SCREEN_POP_STATUS"] == "DELIVERED"
            assert alice.wait_for_message().body == "Call from Bob Example, +1 555-123-4567 to 123"
        pbx.configure(password="wrong")
        assert "check [xmpp] jid and password" in pbx.screen_pop("check", status=1)


def mechanism_in(output: str) -> str:
    (found,) = re.findall(r"sign-in .* by (\S+)$", output, re.MULTILINE)
    return str(found)
