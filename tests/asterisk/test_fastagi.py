"""The whole way over FastAGI in a real Asterisk: dialplan, door and sender in one process, Prosody, slixmpp."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from parts.asterisk import Asterisk
from parts.box import box_or_skip
from parts.fastagi import FastAgiServer
from parts.numbers import as_shown
from parts.pbx import CHECKOUT, in_real_asterisk
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.waiting import eventually

SCRIPT = "screen_pop.py"
DIALPLAN = """
[test]
exten => 123,1,Set(CALLERID(num)=${URIDECODE(${NUMBER})})
 same => n,AGI(${DOOR},${CALLERID(num)}${MORE})
 same => n,NoOp(dialplan of ${CALL}: ${AGISTATUS} ${SCREEN_POP_STATUS})
 same => n,Hangup()
exten => h,1,NoOp(dialplan of ${CALL}: over ${SCREEN_POP_STATUS})

; one pop, or a second one of the same channel, by a door at SECOND
exten => both,1,Set(CALLERID(num)=${URIDECODE(${NUMBER})})
 same => n,Goto(127,1)
%s
 same => n,NoOp(dialplan of ${CALL}: ${AGISTATUS} ${SCREEN_POP_STATUS})
 same => n,Set(DOOR=${SECOND})
 same => n,Set(SECOND=)
 same => n,GotoIf($["${DOOR}" != ""]?127,1)

[screen_pop]
exten => ended,1,ExecIf($["${ENDS}" != ""]?AGI(${DOOR},,,ended))
 same => n,Return()
"""
NOBODY = "agi://127.0.0.1:9/screen_pop"  # where nothing listens
MODULES = {"modules.conf": "load = func_dialplan.so\nload = func_uri.so\nload = func_cdr.so\n"}


def with_sample(dialplan: str) -> str:
    """The dialplan with the lines before Dial() of extension 127 in extensions.conf.sample."""
    sample = (CHECKOUT / "extensions.conf.sample").read_text()
    lines = sample[sample.index("exten => 127,1,") :].partition("\n same => n,Dial(")[0]
    assert lines.count("agi://127.0.0.1/screen_pop") == 1
    return dialplan.replace("%s", lines.replace("agi://127.0.0.1/screen_pop", "${DOOR}"))


@dataclass
class Running:
    asterisk: Asterisk
    prosody: Prosody
    alice: Recipient
    url: str
    calls: int = 0

    def call(
        self, number: str = "+15551234567", door: str = "", pres: str = "allowed", exten: str = "123", **variables: str
    ) -> str:
        """Returns what the dialplan's lines about this call begin with. `number` may have any bytes."""
        self.calls += 1
        given = {"CALL": str(self.calls), "DOOR": door or self.url, "NUMBER": quote(number, safe=""), **variables}
        self.asterisk.originate(exten, "test", callerid_name="Bob Example", callerid_pres=pres, variables=given)
        return f"dialplan of {self.calls}:"

    def next_body(self) -> str:
        return self.alice.wait_for_message().body


@pytest.fixture(scope="module")
def running(prosody: Prosody) -> Iterator[Running]:
    box = box_or_skip()
    with (
        box,
        in_real_asterisk(box, prosody, with_sample(DIALPLAN), configuration_of_asterisk=MODULES) as (asterisk, alice),
    ):
        with FastAgiServer(box) as server:
            yield Running(asterisk, prosody, alice, server.url)


def test_a_call_pops_and_the_dialplan_goes_on(running: Running) -> None:
    about = running.call()
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_body() == "Call from Bob Example, +1 555-123-4567 to 123"


def test_while_the_service_is_down_the_script_takes_the_call(running: Running) -> None:
    about = running.call("+15550000001", NOBODY, exten="both")
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_body() == "Call from Bob Example, +1 555-000-0001 to 127"


def test_while_the_service_is_up_the_script_does_not_repeat_the_call(running: Running) -> None:
    about = running.call("+15550000002", exten="both")
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_body() == "Call from Bob Example, +1 555-000-0002 to 127"
    running.call("+15550000003")
    assert running.next_body() == "Call from Bob Example, +1 555-000-0003 to 123"


def test_the_script_takes_the_second_pop_of_a_channel_if_the_service_is_down_by_then(running: Running) -> None:
    about = running.call("+15550000004", exten="both", SECOND=NOBODY)
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED", count=2)
    assert [running.next_body() for _ in range(2)] == ["Call from Bob Example, +1 555-000-0004 to 127"] * 2


def test_the_script_takes_the_call_that_the_door_refuses(running: Running) -> None:
    with FastAgiServer(running.asterisk.box, "/var/spool/asterisk/refusing", allow="192.0.2.0/24") as refusing:
        about = running.call("+15550000005", refusing.url)
        running.asterisk.wait_for(f"{about} SUCCESS FAILED")
        about = running.call("+15550000006", refusing.url, exten="both")
        running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_body() == "Call from Bob Example, +1 555-000-0006 to 127"


def test_waiting_for_the_confirmation(running: Running) -> None:
    about = running.call(SCREEN_POP_WAIT="10")
    running.asterisk.wait_for(f"{about} SUCCESS DELIVERED")
    running.next_body()


def test_the_end_of_the_call_corrects_its_message(running: Running) -> None:
    running.call(__ENDS="yes", SCREEN_POP_WAIT="10")  # else it may be over before its first message goes out
    assert running.next_body() == "Call from Bob Example, +1 555-123-4567 to 123"
    body = running.next_body()
    assert re.fullmatch(r"Missed call from Bob Example, \+1 555-123-4567 to 123, \d\d:\d\d, rang 0 s", body)


def test_the_name_in_asterisks_database(running: Running) -> None:
    running.asterisk.rx('database put cidname +15557654321 "Zoë ) ${EXTEN} | , \\"Z\\""')
    running.call("+15557654321")
    assert running.next_body() == 'Call from Zoë ) ${EXTEN} | , "Z", +1 555-765-4321 to 123'


@pytest.mark.parametrize("presentation", ["prohib", "unavailable"])
def test_a_number_that_may_not_be_shown(running: Running, presentation: str) -> None:
    about = running.call(pres=presentation)
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_body() == "Call from number withheld to 123"


@pytest.mark.parametrize("door", ["", SCRIPT], ids=["FastAGI", "script"])
@pytest.mark.parametrize(
    "number",
    [
        "1,eve@evil.test",
        "1\n,eve@evil.test",
        "1\nagi_arg_2: eve@evil.test",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test\n\nx",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test\n\n200 result=1 (x",
    ],
    ids=["comma", "newline and comma", "line", "empty line", "empty line and reply"],
)
def test_a_caller_doesnt_choose_the_recipients(running: Running, number: str, door: str) -> None:
    about = running.call(number, door)
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_body().endswith(" to 123") or "number withheld" in running.alice.messages[-1].body


def test_a_hang_up_ends_the_wait(running: Running) -> None:
    """While the server says nothing."""
    waiting = running.asterisk.box.path("/var/spool/asterisk/screen_pop/tmp")
    os.kill(running.prosody.pid, signal.SIGSTOP)
    try:
        about = running.call(SCREEN_POP_WAIT="60")
        eventually(lambda: list(waiting.glob("*.replies")))
        running.asterisk.rx("channel request hangup all")
        running.asterisk.wait_for(f"{about} over QUEUED", timeout=20)
    finally:
        os.kill(running.prosody.pid, signal.SIGCONT)
    assert running.next_body() == "Call from Bob Example, +1 555-123-4567 to 123"


@pytest.mark.parametrize("count", [60, 200])
def test_many_calls_at_once(running: Running, count: int) -> None:
    numbers = [f"+1555{number:07}" for number in range(count)]
    first = running.calls + 1
    running.calls += count
    files = []
    for call, number in enumerate(numbers, first):
        given = {"CALL": str(call), "DOOR": running.url, "NUMBER": quote(number)}
        files.append(running.asterisk.call_file("123", "test", callerid_name="Bob Example", variables=given))
    before = running.asterisk.log.count("SUCCESS QUEUED")
    running.asterisk.come_in(*files)
    running.asterisk.wait_for("dialplan of .* SUCCESS QUEUED", count=before + count, timeout=60)
    bodies = sorted(running.next_body() for _ in numbers)
    assert bodies == sorted(f"Call from Bob Example, {as_shown(number)} to 123" for number in numbers)
    assert "returned error" not in running.asterisk.log
