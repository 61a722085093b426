"""The whole way in a real Asterisk, as the ordinary user `asterisk`: dialplan, script, sender, Prosody, slixmpp."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from parts.asterisk import Asterisk
from parts.box import box_or_skip
from parts.certificates import Certificate
from parts.numbers import as_shown
from parts.pbx import CHECKOUT, in_real_asterisk
from parts.prosody import Prosody
from parts.recipient import Received, Recipient
from parts.waiting import eventually
from screenpop.spool.records import call_id

MISSED = re.compile(r"Missed call from Bob Example, \+1 555-123-4567 to 123, \d\d:\d\d, rang 0 s")
OUTBOX = "/var/spool/asterisk/screen_pop"
DIALPLAN = """
[test]
exten => 123,1,AGI(screen_pop.py,${CALLERID(num)})
 same => n,NoOp(dialplan of ${CALL}: ${AGISTATUS} ${SCREEN_POP_STATUS})
 same => n,Hangup()

exten => channel,1,AGI(screen_pop.py)
 same => n,Hangup()

[ending]
exten => 123,1,Set(SCREEN_POP_WAIT=5)
 same => n,AGI(screen_pop.py,${CALLERID(num)})
 same => n,Hangup()

exten => h,1,AGI(screen_pop.py,${CALLERID(num)},,ended)
 same => n,NoOp(dialplan of ${CALL}: ended ${SCREEN_POP_STATUS})

[burst]
exten => 123,1,AGI(screen_pop.py,${CALLERID(num)})
 same => n,NoOp(in a burst: ${AGISTATUS} ${SCREEN_POP_STATUS})
 same => n,Hangup()
"""


@dataclass
class Running:
    asterisk: Asterisk
    prosody: Prosody
    alice: Recipient
    calls: int = 0

    def call(
        self, exten: str = "123", context: str = "test", variables: dict[str, str] | None = None, **caller: str | bytes
    ) -> str:
        """Returns what the dialplan's lines about this call begin with."""
        self.calls += 1
        self.asterisk.originate(
            exten,
            context,
            callerid_num=caller.get("number", "+15551234567"),
            callerid_name=caller.get("name", "Bob Example"),
            callerid_pres=str(caller.get("presentation", "allowed")),
            variables={"CALL": str(self.calls), **(variables or {})},
        )
        return f"dialplan of {self.calls}:"

    def next_message(self) -> Received:
        return self.alice.wait_for_message()


@pytest.fixture(scope="module")
def running(prosody: Prosody) -> Iterator[Running]:
    box = box_or_skip()
    sample = (CHECKOUT / "extensions.conf.sample").read_text()
    with box, in_real_asterisk(box, prosody, DIALPLAN + sample, linger=60) as (asterisk, alice):
        yield Running(asterisk, prosody, alice)


def test_a_call_pops_and_the_dialplan_goes_on(running: Running) -> None:
    about = running.call()
    running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    assert running.next_message().body == "Call from Bob Example, +1 555-123-4567 to 123"


def test_a_dead_channel(running: Running) -> None:
    about = running.call(context="ending")
    assert running.next_message().body == "Call from Bob Example, +1 555-123-4567 to 123"
    running.asterisk.wait_for(f"{about} ended DELIVERED")
    assert MISSED.fullmatch(running.next_message().body)


def test_waiting_for_the_confirmation(running: Running) -> None:
    about = running.call(variables={"SCREEN_POP_WAIT": "5"})
    running.asterisk.wait_for(f"{about} SUCCESS DELIVERED")
    running.next_message()


def test_twenty_calls_use_one_sign_in(running: Running) -> None:
    before = running.prosody.sign_ins("pbx")
    for number in range(20):
        about = running.call(number=f"+1555000{number:04}")
        running.asterisk.wait_for(f"{about} SUCCESS QUEUED")
    said = [running.next_message().body for _ in range(20)]
    for number in range(20):
        assert f"Call from Bob Example, +1 555-000-{number:04} to 123" in said
    assert running.prosody.sign_ins("pbx") - before <= 1


@pytest.mark.parametrize("presentation", ["prohib", "unavailable"])
def test_a_number_that_may_not_be_shown(running: Running, presentation: str) -> None:
    running.call(context="ending", presentation=presentation)
    assert running.next_message().body == "Call from number withheld to 123"
    assert re.fullmatch(r"Missed call from number withheld to 123, \d\d:\d\d, rang 0 s", running.next_message().body)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zoë".encode("latin-1"), "Zoë, "),
        ("Zoë".encode(), "Zoë, "),
        ("Müll".encode() + "ë".encode()[:1], "Müll, "),
        ('"; say \\ <&> {number}', '"; say \\ <&> {number}, '),
        ("", ""),
    ],
    ids=["Latin-1", "UTF-8", "cut", "quotes", "none"],
)
def test_names(running: Running, name: str | bytes, shown: str) -> None:
    running.call("channel", name=name)
    assert running.next_message().body == f"Call from {shown}+1 555-123-4567 to channel"


def test_the_sample_dialplan(running: Running) -> None:
    running.call("123", "incoming")
    assert running.next_message().body == "Call from Bob Example, +1 555-123-4567 to 123"


def test_the_outbox_is_asterisks_alone(running: Running) -> None:
    box = running.asterisk.box
    owner = box.run(["stat", "--format=%U %a", OUTBOX]).stdout.decode().strip()
    assert owner == "asterisk 700"
    (pid,) = box.processes("screenpop.sender")
    sender = box.path(f"/proc/{pid}")
    # its own session and process group, and none of Asterisk's descriptors
    state = (sender / "stat").read_text().rpartition(")")[2].split()
    assert state[2] == state[3] == pid
    assert all(os.readlink(sender / "fd" / name).endswith("/dev/null") for name in ("0", "1", "2"))
    folders = [f"{OUTBOX}/{folder}" for folder in ("new", "queue", "failed")]
    eventually(lambda: box.run(["find", *folders, "-type", "f"]).stdout == b"")


def burst(asterisk: Asterisk, count: int) -> list[str]:
    """So many calls at once, each from a number of its own. Returns the numbers when all dialplans have gone on."""
    before = asterisk.log.count("in a burst: SUCCESS QUEUED")
    numbers = [f"+1555{number:07}" for number in range(count)]
    asterisk.come_in(*[asterisk.call_file("123", "burst", callerid_num=number) for number in numbers])
    asterisk.wait_for("in a burst: SUCCESS QUEUED", count=before + count, timeout=120)
    return numbers


def test_two_hundred_calls_at_once_use_one_sign_in(running: Running) -> None:
    box, before = running.asterisk.box, running.prosody.sign_ins("pbx")
    for pid in box.processes("screenpop.sender"):
        box.run(["sh", "-c", f"kill {pid}"])
        box.run(["flock", f"{OUTBOX}/lock", "true"])
    numbers = burst(running.asterisk, 200)
    said = [running.next_message().body for _ in numbers]
    running.alice.sync()
    assert len({message.id for message in running.alice.messages}) == len(running.alice.messages)
    assert sorted(text.split("from ")[1].split(" to ")[0] for text in said) == [*map(as_shown, numbers)]
    assert running.prosody.sign_ins("pbx") - before == 1
    assert len(box.processes("screenpop.sender")) == 1


def test_an_outbox_that_belongs_to_somebody_else(running: Running) -> None:
    box = running.asterisk.box
    box.run(["chown", "--recursive", "root:root", OUTBOX])
    try:
        running.call(context="burst")
        assert running.next_message().body == "Call from Bob Example, +1 555-123-4567 to 123"
        running.asterisk.wait_for("the spool can't be written .*Permission denied.*: the call waits in memory")
    finally:
        box.run(["chown", "--recursive", "asterisk:asterisk", OUTBOX])


def test_twenty_calls_while_the_server_is_down_arrive_by_themselves(
    certificate: Certificate, new_server_folder: Path
) -> None:
    box = box_or_skip()
    server = Prosody(new_server_folder, certificate, offline=True)
    with box, server, in_real_asterisk(box, server, DIALPLAN, late_after=0) as (asterisk, _):
        server.stop()
        numbers = burst(asterisk, 20)
        spool = box.path(OUTBOX)  # what can't be sent yet needn't be in queue/
        waiting = [spool / "new", spool / "queue"]
        eventually(lambda: len({call_id(file.name) for folder in waiting for file in folder.iterdir()}) == 20)
        server.start()
        with Recipient.at(server) as alice:
            messages = [alice.wait_for_message(timeout=60) for _ in numbers]
            alice.sync()
            assert len(alice.messages) == 20
    assert sorted(message.body.split("from ")[1].split(" to ")[0] for message in messages) == [*map(as_shown, numbers)]
    assert all(" ago)" in message.body for message in messages)
