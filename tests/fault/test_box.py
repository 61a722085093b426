"""What is wrong with the box itself: a full disk, a file system that can't be written, no file descriptors."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_agi import Channel, Result
from parts import strace
from parts.disk import as_root, fill, mounted
from parts.numbers import as_shown
from parts.pbx import SCRIPT, Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from screenpop.call import Call
from screenpop.spool import state

__all__ = ["mounted"]

WAITING = {"SCREEN_POP_WAIT": "30"}


def arrives(pbx: Pbx, alice: Recipient, number: str, result: Result) -> None:
    assert (result.status, result.variables["SCREEN_POP_STATUS"]) == (0, "QUEUED")
    assert as_shown(number) in alice.wait_for_message().body


@as_root
@pytest.mark.usefixtures("mounted")
@pytest.mark.parametrize("sender_is_up", [False, True])
def test_on_a_full_disk_calls_wait_in_memory(pbx: Pbx, alice: Recipient, sender_is_up: bool) -> None:
    if sender_is_up:
        pbx.call(variables=WAITING)
        alice.wait_for_message()
    filler = fill(pbx)
    for number in ("+15550000001", "+15550000002"):
        result = pbx.call(number)
        arrives(pbx, alice, number, result)
        assert any("No space left" in told and "waits in memory" in told for told in result.verbose)
    assert pbx.sender(pbx.spare)
    filler.unlink()
    arrives(pbx, alice, "+15550000003", pbx.call("+15550000003"))
    alice.sync()
    assert len(alice.messages) == 3 + sender_is_up


@as_root
@pytest.mark.usefixtures("mounted")
def test_a_disk_that_is_full_while_calls_wait_repeats_none(pbx: Pbx, prosody: Prosody, alice: Recipient) -> None:
    good, pbx.server = pbx.server, "127.0.0.1:1"
    pbx.configure()
    for number in range(5):
        pbx.call(f"+1555000000{number}")
    filler = fill(pbx)
    pbx.server = good
    pbx.configure()
    messages = [alice.wait_for_message().body for _ in range(5)]
    assert all(f"+1 555-000-000{number}" in message for number, message in enumerate(messages))
    pbx.wait_until_sent()
    alice.sync()
    assert len(alice.messages) == 5
    filler.unlink()


@as_root
def test_an_outbox_that_becomes_read_only(pbx: Pbx, alice: Recipient, mounted: Callable[[str], None]) -> None:
    pbx.call(variables=WAITING)
    alice.wait_for_message()
    pbx.kill_sender()  # what it has open for writing would keep the file system from that
    pbx.outbox.put(Call(number="+15550000000"))
    mounted("ro")
    result = pbx.call("+15550000001")
    arrives(pbx, alice, "+15550000001", result)
    assert any("Read-only file system" in told for told in result.verbose)
    mounted("rw")
    assert pbx.screen_pop("flush").startswith("1 sent")
    assert "+1 555-000-0000" in alice.wait_for_message().body
    alice.sync()
    assert len(alice.messages) == 3


@pytest.mark.parametrize("descriptors", range(3, 16))
def test_a_script_without_file_descriptors_harms_no_call_and_loses_none(
    pbx: Pbx, alice: Recipient, descriptors: int
) -> None:
    limited = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors), str(SCRIPT)]
    result = Channel(callerid="+15550000001", extension="1").run(limited, env=pbx.env)
    told = result.variables.get("SCREEN_POP_STATUS")
    if told == "QUEUED":
        pbx.screen_pop("flush")
        assert "+1 555-000-0001" in alice.wait_for_message().body
    else:  # None: Python could not start
        assert told in (None, "FAILED")
        assert pbx.waiting() == []


def test_a_sender_without_file_descriptors_goes_on_when_it_has_some(pbx: Pbx, prosody: Prosody, tmp_path: Path) -> None:
    try:
        strace.check()
    except strace.CantTrace as reason:
        pytest.skip(f"a sender without file descriptors: {reason}")
    with Recipient.at(prosody) as alice:
        pbx.call(variables=WAITING)
        alice.wait_for_message()
        sender = pbx.sender()
        assert sender
        pbx.wait_until(lambda: state.read(pbx.outbox.path).get("last"))
        before = resource.prlimit(sender, resource.RLIMIT_NOFILE)
        lowest = min({*range(1000)} - {int(name) for name in os.listdir(f"/proc/{sender}/fd")})  # that is free
        resource.prlimit(sender, resource.RLIMIT_NOFILE, (lowest, before[1]))
        pbx.configure(late_after=31)  # so that it needs another session
        with strace.attached(sender, tmp_path / "trace") as trace:
            assert pbx.call("+15550000001").variables["SCREEN_POP_STATUS"] == "QUEUED"
            pbx.wait_until(lambda: "EMFILE" in trace.read_text())
        resource.prlimit(sender, resource.RLIMIT_NOFILE, before)
        assert "+1 555-000-0001" in alice.wait_for_message().body
        assert pbx.sender() == sender
        alice.sync()
        assert len(alice.messages) == 2
