"""What becomes of a call, in a real Asterisk, with SIP calls: the message about it is corrected once, at its end."""

from __future__ import annotations

import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from parts.asterisk import Asterisk
from parts.box import PREFIX, box_or_skip
from parts.certificates import Certificate
from parts.numbers import as_shown
from parts.pbx import CHECKOUT, DOMAIN, in_real_asterisk
from parts.prosody import Prosody
from parts.recipient import Received, Recipient
from parts.room import Room
from parts.sipp import Caller, Sipp
from parts.waiting import eventually

OUTBOX = "/var/spool/asterisk/screen_pop"
PHONES = {
    "alice": "answers",  # of the sample
    "bob": "rings",
    "desk": "answers",
    "porch": "answers late",
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
    "215": [POP, "Answer()", "Playback(beep)", "Dial(PJSIP/hall,1)"],
    "207": [POP, "Dial(PJSIP/desk,30,U(screen_pop))"],
    "208": [POP, "Dial(PJSIP/reception,30)"],
    "209": [POP, "Dial(Local/216@lines&Local/213@lines,30)"],
    "210": [POP, POP, "Dial(PJSIP/desk,30)"],
    "211": [POP, "NoOp(dialplan: ${AGISTATUS} ${SCREEN_POP_STATUS} ${SCREEN_POP_ID})"],
    "212": [POP, "Dial(PJSIP/hall,1)", "Dial(PJSIP/desk,30)"],
    "213": [POP, "Dial(PJSIP/hall,30)"],
    "214": [POP, "Dial(PJSIP/quick,30)"],
    "216": [POP, "Dial(PJSIP/porch,30)"],
    "301": [POP, "Queue(tired,r,,,1)"],
    "302": [POP, "Queue(tired,r,,,30)"],
    "303": [POP, "Answer()", "Playback(beep)", "Queue(tired,r,,,1)"],
    "304": [POP, "Dial(PJSIP/hall,1)", "Queue(sales,r,,,30)"],
    "306": [POP, "Queue(tired,r,,,1)", "Queue(sales,r,,,30)"],
    "305": [POP, "Queue(named,r,,,30)"],
    "400": [POP, "Dial(PJSIP/desk,30)"],
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
ACCOUNTS = {"pbx": "pbx's secret", "alice": "alice's secret", "bob": "bob's secret"}
ROOM_SERVICE = f"conference.{DOMAIN}"
ROOM = f"sales@{ROOM_SERVICE}"
CUSTOMERS = "/srv/customers.csv"
PHONE_BOOK = f"""
[customers]
type = csv
file = {CUSTOMERS}
number = phone
name = full_name
company = company
url = https://crm.example.org/c/{{id}}
[routes]
_4XX = {ROOM}
"""
ENTRIES = 'id,full_name,company,phone\n42,Ann Miller,"Miller, Sons & Co.",(555) 123-4567\n'
POP_OPTIONS = {"linger": 60, "flood_limit": "no"}  # one number calls many times a minute
REPLACE = "{urn:xmpp:message-correct:0}replace"


def dialplan() -> str:
    """One line for screen_pop in each extension, and the sample."""
    sample = (CHECKOUT / "extensions.conf.sample").read_text()
    lines = [f"exten => {number},1," + "\n same => n,".join([*apps, "Hangup()"]) for number, apps in LINES.items()]
    return "\n".join([sample, "[lines]", "include => incoming", *lines, ""])


@dataclass
class Running:
    asterisk: Asterisk
    server: Prosody
    alice: Recipient
    sipp: Sipp
    end: ExitStack
    read: int = 0
    calls: int = 0

    def call(self, does: str, extension: str, number: str = "", name: str = "", seconds: float = 1) -> Caller:
        self.calls += 1
        return self.sipp.call(does, extension, number or f"+1555000{self.calls:04}", name, seconds)

    def message(self) -> Received:
        self.read += 1
        return self.alice.wait_for_message()

    def settle(self) -> list[Received]:
        """Wait until there is no call any more, and nothing to send. Returns the messages that have not been read."""
        eventually(lambda: "0 active channels" in self.asterisk.rx("core show channels count"))
        folders = [f"{OUTBOX}/{folder}" for folder in ("new", "queue", "failed")]
        eventually(lambda: self.asterisk.box.run(["find", *folders, "-type", "f"]).stdout == b"")
        self.alice.sync()
        return [self.message() for _ in self.alice.messages[self.read :]]

    def settled(self) -> None:
        """There is no call any more, and alice has got no other messages."""
        assert [message.body for message in self.settle()] == []

    def confirmed(self, message: Received) -> None:
        """The sender knows that the server has got it."""
        call, _, recipient = message.id.rpartition("-")
        sent = self.asterisk.box.path(f"{OUTBOX}/sent") / f"{call}~{recipient}.json"
        eventually(sent.exists)

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
    started.settle()  # what a test before has left over
    return started


@pytest.fixture(scope="module")
def started(
    server_folder: Path, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    box = box_or_skip()
    rooms = f'Component "{ROOM_SERVICE}" "muc"\n'
    server = Prosody(server_folder / "restarted", certificate, accounts=ACCOUNTS, offline=True, extra=rooms)
    # Asterisk looks its machine's name up for each call; a name server's timeout would hold the calls up
    box.path("/etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    with box, server, Sipp(tmp_path_factory.mktemp("sipp"), PHONES) as sipp:
        files = {**sipp.configuration("lines"), "queues.conf": QUEUES, "voicemail.conf": VOICEMAIL}
        with in_real_asterisk(box, server, dialplan(), PHONE_BOOK, files, **POP_OPTIONS) as (asterisk, alice):
            with ExitStack() as end:
                yield Running(asterisk, server, alice, sipp, end)


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
        pytest.param("talks", "123", "Call: answered by alice, 1 s", id="the sample's phone"),
        pytest.param("talks", "125", "Call: answered by alice, 1 s", id="the sample's phone, DELIVERED"),
        pytest.param("talks", "126", "Call: answered by alice", id="the sample's phones, told at once"),
        pytest.param("is refused", "202", r"Missed call, \d\d:\d\d, rang [12] s", id="nobody answers"),
        pytest.param("cancels", "213", r"Missed call, \d\d:\d\d, rang [12] s", id="the caller gives up"),
        pytest.param("is refused", "203", r"Call, \d\d:\d\d, busy", id="busy"),
        pytest.param("talks", "204", "Call: answered by desk, 1 s", id="two phones, one answers"),
        pytest.param("is hung up on", "214", "Call: answered by quick, 1 s", id="the phone hangs up"),
        pytest.param("talks", "212", "Call: answered by desk, 1 s", id="the second phone answers"),
        pytest.param("is hung up on", "206", "Call: answered, 1 s", id="only an announcement"),
        pytest.param("is hung up on", "215", r"Missed call, \d\d:\d\d, rang [12] s", id="a phone after a greeting"),
        pytest.param("talks", "300", "Call: answered by desk, 1 s", id="the sample's queue"),
        pytest.param("is refused", "301", r"Missed call, \d\d:\d\d, rang [12] s", id="a queue doesn't answer"),
        pytest.param("cancels", "302", r"Missed call, \d\d:\d\d, rang [12] s", id="the caller leaves the queue"),
        pytest.param("is hung up on", "303", r"Missed call, \d\d:\d\d, rang [12] s", id="a queue after a greeting"),
        pytest.param("talks", "304", "Call: answered by desk, 1 s", id="a queue after a phone"),
        pytest.param("talks", "306", "Call: answered by desk, 1 s", id="the second queue answers"),
        pytest.param("talks", "305", "Call: answered by Bob Example, 1 s", id="a queue with names"),
        pytest.param("speaks", "205", r"Missed call, \d\d:\d\d, rang \d s, voicemail", id="voicemail"),
        pytest.param("talks", "205", r"Missed call, \d\d:\d\d, rang \d s", id="silence on voicemail"),
    ],
)
def test_what_becomes_of_a_call(running: Running, does: str, extension: str, outcome: str) -> None:
    body = running.outcome(does, extension, "+15550001111", seconds=2 if extension == "205" else 1)
    what, mark, rest = re.fullmatch(r"(\w+(?: \w+)?)([:,])(.*)", outcome).groups()  # type: ignore[union-attr]
    assert re.fullmatch(rf"{what} from \+1 555-000-1111 to {extension}{mark}{rest}", body), body


def test_a_call_pops_in_a_room_and_is_corrected_there(running: Running) -> None:
    with Recipient.at(running.server, "bob") as bob:
        Room(bob, ROOM)
        call = running.call("talks", "400", "+15551234567", seconds=2)
        first = bob.wait_for_message()
        while not first.body:  # the room's subject
            first = bob.wait_for_message()
        call.end()
        last = bob.wait_for_message()
    known = "\nMiller, Sons & Co.\nhttps://crm.example.org/c/42"
    assert first.body == f"Call from Ann Miller, +1 555-123-4567 to 400{known}"
    assert last.body == f"Call from Ann Miller, +1 555-123-4567 to 400: answered by desk, 2 s{known}"
    assert (replaced(last), last.type, last.from_jid) == (first.id, "groupchat", f"{ROOM}/pbx")
    running.settled()


def test_two_calls_at_once_are_each_corrected(running: Running) -> None:
    long = running.call("talks", "201", "+15550002221", seconds=2)
    firsts = {"2221": running.message()}
    short = running.call("is refused", "202", "+15550002222")
    firsts["2222"] = running.message()
    last = running.message()
    assert "555-000-2222 to 202, " in last.body
    assert_corrects(last, firsts["2222"])
    last = running.message()
    assert last.body == "Call from +1 555-000-2221 to 201: answered by desk, 2 s"
    assert_corrects(last, firsts["2221"])
    short.end()
    long.end()
    running.settled()


def test_a_channel_that_pops_twice_has_both_messages_corrected(running: Running) -> None:
    call = running.call("talks", "210", "+15550003333")
    firsts = [running.message() for _ in range(2)]
    call.end()
    lasts = [running.message() for _ in range(2)]
    assert {message.body for message in lasts} == {"Call from +1 555-000-3333 to 210: answered by desk, 1 s"}
    assert_correct_each(lasts, firsts)
    running.settled()


def assert_correct_each(lasts: list[Received], firsts: list[Received]) -> None:
    by_id = {message.id: message for message in firsts}
    assert len(by_id) == len(firsts)
    for last in lasts:
        assert_corrects(last, by_id.pop(replaced(last)))
    assert by_id == {}


def test_who_answers_is_told_at_once_and_nothing_more(running: Running) -> None:
    call = running.call("talks", "207", "+15550004444", seconds=2)
    first, last = running.message(), running.message()
    assert "1 active call" in running.asterisk.rx("core show channels count")
    assert last.body == "Call from +1 555-000-4444 to 207: answered by desk"
    assert_corrects(last, first)
    call.end()
    running.settled()


def test_phones_whose_own_lines_pop(running: Running) -> None:
    """Dial(Local/216@lines&Local/213@lines): three channels pop, and each ends in its own way."""
    call = running.call("talks", "209", "+15550005555")
    firsts = [running.message() for _ in range(3)]
    call.end()
    lasts = [running.message() for _ in range(3)]
    assert_correct_each(lasts, firsts)
    caller = "from +1 555-000-5555 to"
    assert sorted(re.sub(r"\d\d:\d\d, rang \d s", "…", message.body) for message in lasts) == [
        f"Call {caller} 209: answered by 216, 1 s",
        f"Call {caller} 216: answered by porch, 1 s",
        f"Missed call {caller} 213, …",
    ]
    running.settled()


def test_a_call_that_is_transferred(running: Running) -> None:
    """By REFER, to a line that pops as well, and that nobody answers. The first call ends with the transfer."""
    call = running.call("is hung up on", "208", "+15550006666")
    first = running.message()
    assert first.body == "Call from +1 555-000-6666 to 208"
    second, answered = sorted((running.message() for _ in range(2)), key=replaced)
    assert second.body == "Call from +1 555-000-6666 to 202"
    assert re.fullmatch(r"Call from \+1 555-000-6666 to 208: answered by reception, [12] s", answered.body)
    assert_corrects(answered, first)
    missed = running.message()
    assert re.fullmatch(r"Missed call from \+1 555-000-6666 to 202, \d\d:\d\d, rang [12] s", missed.body)
    assert_corrects(missed, second)
    call.end()
    running.settled()


def test_a_sender_that_is_killed_between_pop_and_end(running: Running) -> None:
    call = running.call("talks", "201", "+15550007777", seconds=2)
    first = running.message()
    running.confirmed(first)
    running.end_sender()
    call.end()
    last = running.message()
    assert last.body == "Call from +1 555-000-7777 to 201: answered by desk, 2 s"
    assert_corrects(last, first)
    running.settled()


def test_so_do_two_calls_at_once_and_one_in_a_room(running: Running) -> None:
    with Recipient.at(running.server, "bob") as bob:
        Room(bob, ROOM)
        numbers = ["+15550007771", "+15550007772", "+15550007773"]
        calls = [running.call("talks", to, one, seconds=3) for to, one in zip(("201", "201", "400"), numbers)]
        firsts = {as_shown(numbers[at]): message for at, message in enumerate(sorted_by_body(running, 2))}
        in_room = message_about(bob, numbers[2])
        for message in firsts.values():
            running.confirmed(message)
        eventually(lambda: not list(running.asterisk.box.path(f"{OUTBOX}/queue").iterdir()))
        running.end_sender()
        for call in calls:
            call.end()
        for (number, first), last in zip(firsts.items(), sorted_by_body(running, 2)):
            assert last.body == f"Call from {number} to 201: answered by desk, 3 s"
            assert_corrects(last, first)
        last = message_about(bob, numbers[2])
        assert last.body == f"Call from {as_shown(numbers[2])} to 400: answered by desk, 3 s"
        assert (replaced(last), last.from_jid) == (in_room.id, in_room.from_jid)
    running.settled()


def message_about(recipient: Recipient, number: str) -> Received:
    """Others are the room's subject, and what was said before."""
    while as_shown(number) not in (message := recipient.wait_for_message()).body:
        pass
    return message


def sorted_by_body(running: Running, count: int) -> list[Received]:
    return sorted((running.message() for _ in range(count)), key=lambda message: message.body)


def test_a_server_that_is_restarted_between_pop_and_end(running: Running) -> None:
    call = running.call("talks", "201", "+15550008888", seconds=2)
    first = running.message()
    running.confirmed(first)
    running.server.stop()
    call.end()
    running.server.start()
    running.alice, running.read = running.end.enter_context(Recipient.at(running.server)), 0
    last = running.message()
    assert last.body == "Call from +1 555-000-8888 to 201: answered by desk, 2 s"
    assert_corrects(last, first)
    running.settled()


def test_a_dialplan_without_the_context(running: Running) -> None:
    running.asterisk.rx("dialplan remove context screen_pop")
    before = len(running.asterisk.log)
    try:
        call = running.call("is refused", "211", "+15550009999")
        first = running.message()
        call.end()
        running.settled()
    finally:
        running.asterisk.rx("dialplan reload")
    log = running.asterisk.log[before:]
    assert f"dialplan: SUCCESS QUEUED {first.id.rpartition('-')[0]}" in log
    assert not re.search(r"screen_pop\.py: |res_agi\.c: .*(fail|error)|Gosub|\] (ERROR|WARNING)\[\d+\]\[C-", log), log


def as_corrected(messages: list[Received]) -> list[str]:
    """What a client shows in the end."""
    shown: dict[str, str] = {}
    senders = {message.id: message.from_jid for message in messages}
    for message in messages:
        corrected = replaced(message)
        if corrected:
            assert senders[corrected] == message.from_jid
        else:
            assert message.id not in shown
        shown[corrected or message.id] = message.body
    return list(shown.values())


def test_callers_who_hang_up_while_the_script_runs(running: Running) -> None:
    """Nobody is told that such a call still rings. SIGHUP ends a script that has hardly begun: then nobody is told."""
    numbers = [f"+1555111{number:04}" for number in range(10)]
    calls = [
        running.call("cancels while the script runs", "213", one, seconds=0.004 * count)
        for count, one in enumerate(numbers)
    ]
    for call in calls:
        call.end()
    shown = as_corrected(running.settle())
    found = [re.fullmatch(r"Missed call from (.*) to 213, \d\d:\d\d, rang 0 s", text) for text in shown]
    told = [one[1] for one in found if one]
    assert len(told) == len(shown)
    assert told
    assert len(told) == len({*told} & {as_shown(number) for number in numbers})


def test_the_end_of_a_call_from_a_hostile_number(running: Running) -> None:
    """With such a number the arguments of AGI() are ignored; but not the event of the handler."""
    body = running.outcome("talks", "201", "1%22%2Ceve")
    assert body == 'Call from "1\',eve" to 201: answered by desk, 1 s'
