"""What becomes of a call, in a real Asterisk, with SIP calls: the message about it is corrected once, at its end."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parts.asterisk import Asterisk
from parts.box import PREFIX, Box, BoxUnavailable
from parts.certificates import Certificate
from parts.numbers import as_shown
from parts.pbx import CHECKOUT, in_real_asterisk
from parts.prosody import Prosody
from parts.recipient import Received, Recipient
from parts.sipp import Caller, Sipp
from parts.waiting import eventually

OUTBOX = "/var/spool/asterisk/screen_pop"
PHONES = {
    "desk": "answers",
    "quick": "hangs up",
    "hall": "rings",
    "kitchen": "is busy",
    "reception": "transfers to 202",
}
POP = "AGI(screen_pop.py,${CALLERID(num)})"
LINES = {
    "201": [POP, "Dial(PJSIP/desk,30)"],
    "202": [POP, "Dial(PJSIP/hall,1)"],
    "203": [POP, "Dial(PJSIP/kitchen,30)"],
    "204": [POP, "Dial(PJSIP/hall&PJSIP/desk,30)"],
    "205": [POP, "Dial(PJSIP/hall,1)", "VoiceMail(205,s)"],
    "206": [POP, "Answer()", "Wait(1)"],
    "207": [POP, "Dial(PJSIP/desk,30,U(screen_pop^answered^1))"],
    "208": [POP, "Dial(PJSIP/reception,30)"],
    "209": [POP, "Dial(Local/201@incoming&Local/203@incoming,30)"],
    "210": [POP, POP, "Dial(PJSIP/desk,30)"],
    "211": [POP, "NoOp(dialplan: ${AGISTATUS} ${SCREEN_POP_STATUS} ${SCREEN_POP_ID})"],
    "212": [POP, "Dial(PJSIP/hall,1)", "Dial(PJSIP/desk,30)"],
    "213": [POP, "Dial(PJSIP/hall,30)"],
    "214": [POP, "Dial(PJSIP/quick,30)"],
    "300": [POP, "Queue(sales,r,,,30)"],
    "301": [POP, "Queue(tired,r,,,1)"],
    "302": [POP, "Queue(tired,r,,,30)"],
    "303": [POP, "Answer()", "Playback(beep)", "Queue(tired,r,,,1)"],
    "304": [POP, "Dial(PJSIP/hall,1)", "Queue(sales,r,,,30)"],
    "305": [POP, "Queue(named,r,,,30)"],
}
QUEUES = """
[general]
[sales]
member = PJSIP/desk
[tired]
member = PJSIP/hall
[named]
setinterfacevar = yes
member = PJSIP/desk,0,Bob Example
"""
VOICEMAIL = """
[general]
format = wav
minsecs = 1
maxsilence = 0
[default]
205 = 1234,Alice
"""
CUSTOMERS = "/srv/customers.csv"
PHONE_BOOK = f"""
[customers]
type = csv
file = {CUSTOMERS}
number = phone
name = full_name
company = company
url = https://crm.example.org/c/{{id}}
"""
ENTRIES = 'id,full_name,company,phone\n42,Ann Miller,"Miller, Sons & Co.",(555) 123-4567\n'
REPLACE = "{urn:xmpp:message-correct:0}replace"


def dialplan() -> str:
    """One line for screen_pop in each extension, and the sample's context."""
    sample = (CHECKOUT / "extensions.conf.sample").read_text()
    context = sample[sample.index("[screen_pop]") : sample.index("[incoming]")]
    lines = [f"exten => {number},1," + "\n same => n,".join([*apps, "Hangup()"]) for number, apps in LINES.items()]
    return "\n".join([context, "[incoming]", *lines, ""])


@dataclass
class Running:
    asterisk: Asterisk
    server: Prosody
    alice: Recipient
    sipp: Sipp
    read: int = 0
    calls: int = 0

    def call(self, does: str, extension: str, number: str = "", name: str = "", seconds: float = 1) -> Caller:
        self.calls += 1
        return self.sipp.call(does, extension, number or f"+1555000{self.calls:04}", name, seconds)

    def message(self) -> Received:
        self.read += 1
        return self.alice.wait_for_message()

    def settled(self) -> None:
        """There is no call any more, and alice has got no other messages."""
        eventually(lambda: "0 active channels" in self.asterisk.rx("core show channels count"))
        folders = [f"{OUTBOX}/{folder}" for folder in ("new", "queue", "failed")]
        eventually(lambda: self.asterisk.box.run(["find", *folders, "-type", "f"]).stdout == b"")
        self.alice.sync()
        assert [message.body for message in self.alice.messages[self.read :]] == []

    def outcome(self, does: str, extension: str, number: str = "", name: str = "", seconds: float = 1) -> str:
        """The text of a call's message after its correction."""
        call = self.call(does, extension, number, name, seconds)
        first = self.message()
        call.end()
        last = self.message()
        assert_corrects(last, first)
        self.settled()
        return last.body

    def end_sender(self) -> None:
        box = self.asterisk.box
        (sender,) = box.processes("screenpop.sender")
        box.run(["sh", "-c", f"kill -KILL {sender}"])
        box.run(["flock", f"{OUTBOX}/lock", "true"])  # free when it has ended

    def __post_init__(self) -> None:
        self.asterisk.box.path("/srv").joinpath("customers.csv").write_text(ENTRIES)
        command = [f"{PREFIX}/bin/screen-pop", "index"]
        self.asterisk.box.run(command, user="asterisk", env={"AST_CONFIG_DIR": "/etc/asterisk-test"})


def replaced(message: Received) -> str:
    """The id of the message that this one corrects."""
    element = ET.fromstring(message.xml).find(REPLACE)
    return "" if element is None else element.get("id", "")


def assert_corrects(last: Received, first: Received) -> None:
    assert replaced(first) == ""
    assert (replaced(last), last.from_jid, last.type) == (first.id, first.from_jid, "chat"), last.xml


@pytest.fixture
def running(started: Running) -> Running:
    """What an earlier test has left over is read."""
    while started.read < len(started.alice.messages):
        started.message()
    return started


@pytest.fixture(scope="module")
def started(server_folder: Path, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    try:
        box = Box()
    except BoxUnavailable as why:
        pytest.skip(f"no real Asterisk: {why}")
    server = Prosody(server_folder / "restarted", certificate, offline=True)
    with box, server, Sipp(tmp_path_factory.mktemp("sipp"), PHONES) as sipp:
        files = {**sipp.configuration("incoming"), "queues.conf": QUEUES, "voicemail.conf": VOICEMAIL}
        with in_real_asterisk(box, server, dialplan(), PHONE_BOOK, files, linger=60) as (asterisk, alice):
            yield Running(asterisk, server, alice, sipp)


def test_a_customers_call_that_is_answered(running: Running) -> None:
    call = running.call("talks", "201", "+15551234567", "MILLER A", seconds=2)
    first = running.message()
    known = "\nMiller, Sons & Co.\nhttps://crm.example.org/c/42"
    assert first.body == f"Call from Ann Miller, +1 555-123-4567 to 201{known}"
    call.end()
    last = running.message()
    assert last.body == f"Call from Ann Miller, +1 555-123-4567 to 201: answered by desk, 2 s{known}"
    assert_corrects(last, first)
    running.settled()


@pytest.mark.parametrize(
    ("does", "extension", "outcome"),
    [
        pytest.param("is refused", "202", r"Missed call, \d\d:\d\d, rang [12] s", id="nobody answers"),
        pytest.param("cancels", "213", r"Missed call, \d\d:\d\d, rang [12] s", id="the caller gives up"),
        pytest.param("is refused", "203", r"Call, \d\d:\d\d, busy", id="busy"),
        pytest.param("talks", "204", "Call: answered by desk, 1 s", id="two phones, one answers"),
        pytest.param("is hung up on", "214", "Call: answered by quick, 1 s", id="the phone hangs up"),
        pytest.param("talks", "212", "Call: answered by desk, 1 s", id="the second phone answers"),
        pytest.param("is hung up on", "206", r"Missed call, \d\d:\d\d, rang [12] s", id="only an announcement"),
        pytest.param("talks", "300", "Call: answered by desk, 1 s", id="a queue answers"),
        pytest.param("is refused", "301", r"Missed call, \d\d:\d\d, rang [12] s", id="a queue doesn't answer"),
        pytest.param("cancels", "302", r"Missed call, \d\d:\d\d, rang [12] s", id="the caller leaves the queue"),
        pytest.param("is hung up on", "303", r"Missed call, \d\d:\d\d, rang [12] s", id="a queue after a greeting"),
        pytest.param("talks", "304", "Call: answered by desk, 1 s", id="a queue after a phone"),
        pytest.param("talks", "305", "Call: answered by Bob Example, 1 s", id="a queue with names"),
        pytest.param("speaks", "205", r"Missed call, \d\d:\d\d, rang \d s, voicemail", id="voicemail"),
        pytest.param("talks", "205", r"Missed call, \d\d:\d\d, rang \d s", id="silence on voicemail"),
    ],
)
def test_what_becomes_of_a_call(running: Running, does: str, extension: str, outcome: str) -> None:
    body = running.outcome(does, extension, "+15550001111", seconds=2 if extension == "205" else 1)
    what, mark, rest = re.fullmatch(r"(\w+(?: \w+)?)([:,])(.*)", outcome).groups()  # type: ignore[union-attr]
    assert re.fullmatch(rf"{what} from \+1 555-000-1111 to {extension}{mark}{rest}", body), body
