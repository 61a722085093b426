"""The AGI door: the harness runs the real script. The test plays the sender, so that no real one starts."""

from __future__ import annotations

import fcntl
import io
import os
import posix
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import termios
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_agi import Channel, Result
from parts.agi_commands import parse_args
from parts.asterisk import watch
from parts.spool import calls, files, messages, outbox, tell
from parts.waiting import eventually
from screenpop.call import Call
from screenpop.doors import intake
from screenpop.doors.conversation import AGI
from screenpop.doors.protocol import Command, quote, set_variable, verbose
from screenpop.sender import replies
from screenpop.spool import outbox as outbox_module
from screenpop.spool import trigger
from screenpop.spool.outbox import FOLDERS, Outbox
from screenpop.spool.trigger import Trigger
from screenpop.text import clean

__all__ = ["outbox"]

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "screen_pop.py")
FROM_SCRIPT = "<"
GET = "GET FULL VARIABLE"
ASKED = [
    *("SCREEN_POP_WAIT", "SCREEN_POP_OWN", "SCREEN_POP_ID", "DIALPLAN_EXISTS(screen_pop,ended,1)"),
    *("SCREEN_POP_BEFORE", "DIALEDTIME_MS", "ANSWEREDTIME_MS", "ANSWEREDTIME", "DIALSTATUS", "DIALEDPEERNAME"),
    *("ABANDONED", "MEMBERNAME"),
]
NAME = "DB(cidname/%s)"
FOLLOWING = re.compile("^SET VARIABLE.*SCREEN_POP_(ID|OWN)")  # the commands for later events (test_following.py)
SET = 'SET VARIABLE "SCREEN_POP_STATUS" "{}"'.format
NOT_READ = "VERBOSE \"screen_pop: the channel's variables can't be read: {}\" 1".format
HOSTILE = 'x" 1\nSET VARIABLE PWNED 1\n\\" "${PWNED} `id` \\'


def environment(outbox: Outbox) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SCREEN_POP_SPOOL": outbox.path}


def run(
    outbox: Outbox, *arguments: str | bytes, script: Sequence[str] = (SCRIPT,), how: Any = None, **channel: Any
) -> Result:
    """AGI(screen_pop.py,arguments…) on a channel like that. Whatever happens, the dialplan goes on with this."""
    result = Channel(**channel).run([*script, *arguments], env=environment(outbox), **(how or {}))
    assert result.status == 0
    assert result.stderr == b""
    return result


def said_by_script(result: Result) -> list[str]:
    return without_following([line for direction, line in result.conversation if direction == FROM_SCRIPT])


def without_following(lines: list[str]) -> list[str]:
    return [line for line in lines if not FOLLOWING.search(line)]


def asked_by(line: str) -> list[str]:
    """The names of the variables and functions for whose values the script has asked."""
    assert line.startswith(GET)
    return re.findall(r"\${([^}]*)}", line)


def queued(outbox: Outbox) -> Call:
    """The one call that waits."""
    (call,) = calls(outbox)
    return call


def left_in_tmp(outbox: Outbox) -> list[Path]:
    return list(Path(outbox.path, "tmp").iterdir())


def raw(outbox: Outbox, said: bytes, *arguments: str) -> tuple[Call | None, list[str]]:
    """The script is told that, and then the end of file. What it has queued, and what it has said."""
    done = subprocess.run(
        [SCRIPT, *arguments],
        input=said,
        env={**os.environ, **environment(outbox)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    lines = without_following(done.stdout.decode().splitlines())
    return queued(outbox) if files(outbox, "new") else None, lines


ENVIRONMENT = b"agi_callerid: +15551234567\nagi_calleridname: Ann\nagi_callingpres: 0\nagi_extension: 123\n\n"


# What is read of the call


def test_all_that_asterisk_says_of_a_call_is_queued(outbox: Outbox) -> None:
    before = time.time()
    result = run(
        outbox,
        callerid="+15551234567",
        calleridname="Ann Example",
        dnid="100",
        extension="123",
        context="incoming",
        channel="PJSIP/trunk-00000007",
        uniqueid="1700000000.7",
    )
    call = queued(outbox)
    assert before <= call.time <= time.time()
    assert 0 <= call.age() <= time.time() - before
    stamps = ("id", "time", "boot", "uptime")
    assert {name: value for name, value in call.record().items() if name not in stamps} == {
        "event": "ringing",
        "number": "+15551234567",
        "name": "Ann Example",
        "presentation": 0,
        "withheld": False,
        "dnid": "100",
        "extension": "123",
        "context": "incoming",
        "channel": "PJSIP/trunk-00000007",
        "cidname": "",
        "follows": "",
        "peer": "",
        "talked": -1.0,
        "uniqueid": "1700000000.7",
        "to": "",
        "receipt": False,
    }
    assert (result.agistatus, result.variables["SCREEN_POP_STATUS"], result.verbose) == ("SUCCESS", "QUEUED", [])


def test_one_question_is_all_that_a_reply_is_waited_for(outbox: Outbox) -> None:
    question, *rest = said_by_script(run(outbox, callerid="1"))
    assert (asked_by(question), rest) == ([*ASKED, NAME % "1"], [SET("QUEUED")])


def test_the_name_is_looked_up_in_asterisks_database(outbox: Outbox) -> None:
    entry = {"DB(cidname/+15551234567)": "Jörg ) Ex"}
    run(outbox, callerid="+15551234567", calleridname="+15551234567", variables=entry)
    assert (queued(outbox).cidname, queued(outbox).name) == ("Jörg ) Ex", "+15551234567")


@pytest.mark.parametrize("number", ["1)", "1,SHELL(id", "1/2", "1 2", '1"', "${EXTEN}", "ü"])
def test_a_number_that_could_be_more_than_a_key_is_not_looked_up(outbox: Outbox, number: str) -> None:
    assert asked_by(said_by_script(run(outbox, callerid=number))[0]) == ASKED


def test_a_withheld_number_is_not_looked_up(outbox: Outbox) -> None:
    assert asked_by(said_by_script(run(outbox, callerid="1", callingpres="32"))[0]) == ASKED


@pytest.mark.parametrize(
    ("arguments", "number"),
    [((), "+15551234567"), (("",), "+15551234567"), (("0049 30 123",), "0049 30 123"), (("+49 (30) 1",), "+49 (30) 1")],
)
def test_the_number_is_the_argument_or_else_the_channels(
    outbox: Outbox, arguments: tuple[str, ...], number: str
) -> None:
    run(outbox, *arguments, callerid="+15551234567")
    assert queued(outbox).number == number


def test_unknown_is_asterisks_word_for_nothing(outbox: Outbox) -> None:
    result = run(outbox)
    assert (">", "agi_callerid: unknown") in result.conversation
    call = queued(outbox)
    assert (call.number, call.name, call.dnid, call.withheld) == ("", "", "", False)


@pytest.mark.parametrize("presentation", [0x20, 0x23, 0x40, 0x43, 0x60, 0x63])
@pytest.mark.parametrize("arguments", [(), ("+15551234567",)])
def test_a_withheld_number_and_its_name_are_kept_nowhere(
    outbox: Outbox, arguments: tuple[str, ...], presentation: int
) -> None:
    result = run(outbox, *arguments, callerid="+15551234567", calleridname="Ann Example", callingpres=presentation)
    call = queued(outbox)
    assert (call.withheld, call.presentation, call.number, call.name) == (True, presentation, "", "")
    written = Path(outbox.path, "new", f"{call.id}.json").read_text()
    said = written + "".join(said_by_script(result))
    assert "5551234567" not in said and "Example" not in said


@pytest.mark.parametrize("presentation", [0x00, 0x01, 0x02, 0x03])
def test_a_number_that_may_be_shown_is_shown_with_any_kind_of_screening(outbox: Outbox, presentation: int) -> None:
    run(outbox, callerid="1", calleridname="Ann", callingpres=presentation)
    call = queued(outbox)
    assert (call.withheld, call.number, call.name) == (False, "1", "Ann")


@pytest.mark.parametrize("line", [b"", b"agi_callingpres: \n", b"agi_callingpres: restricted\n"])
def test_a_presentation_that_isnt_told_is_taken_as_withheld(outbox: Outbox, line: bytes) -> None:
    call, _ = raw(outbox, b"agi_callerid: 1\nagi_calleridname: Ann\n" + line + b"\n", "1")
    assert call
    assert (call.withheld, call.number, call.name) == (True, "", "")


@pytest.mark.parametrize("number", ["anonymous", "Anonymous", "anonymous@x.invalid", "restricted", "unavailable"])
@pytest.mark.parametrize("is_argument", [True, False])
def test_a_sip_user_that_stands_for_no_number_is_a_withheld_one(outbox: Outbox, number: str, is_argument: bool) -> None:
    arguments, callerid = ([number], "+15551234567") if is_argument else ([], number)
    run(outbox, *arguments, callerid=callerid, calleridname="Anonymous", callingpres=0)
    call = queued(outbox)
    assert (call.withheld, call.presentation, call.number, call.name) == (True, 0, "", "")


@pytest.mark.parametrize("number", ["anonymous1", "anon", "@anonymous", "restricted-area"])
def test_other_sip_users_are_shown(outbox: Outbox, number: str) -> None:
    run(outbox, callerid=number, calleridname="Ann")
    call = queued(outbox)
    assert (call.withheld, call.number, call.name) == (False, number, "Ann")


@pytest.mark.parametrize(
    ("raw_name", "name"),
    [
        ("Zoë Müller".encode(), "Zoë Müller"),
        ("Zoë Müller".encode("latin-1"), "Zoë Müller"),
        ("Zoë Ü".encode()[:-1], "Zoë"),
        ('Ann "The" \\Example\\', 'Ann "The" \\Example\\'),
        (r"Ann \"The\" Example", 'Ann "The" Example'),  # quoted pairs, as chan_pjsip leaves them
        (r"a\\b", r"a\b"),
        (r"a\\\"b", r"a\"b"),
        (r'a\\"b', r"a\"b"),
        ("a\\", "a\\"),  # cut within a pair
        ("<script>alert(1)</script>&amp;", "<script>alert(1)</script>&amp;"),
        ("a: b", "a: b"),
        ("Ann\r\x0b\x1b[2KExample", "Ann [2KExample"),
        (b"\xe2\x80\xae+1 555\xe2\x80\xac", "+1 555"),
        ("x" * 500, "x" * 127 + "…"),
        (b"\xff\xfe\xfd", "ÿþý"),
        ("unknown", ""),
        ("Voilà", "Voilà"),  # in UTF-8 its last byte is Latin-1's no-break space
        ("Åse Å", "Åse Å"),  # … and its next line
    ],
)
def test_a_name_may_be_any_bytes(outbox: Outbox, raw_name: str | bytes, name: str) -> None:
    run(outbox, calleridname=raw_name)
    assert queued(outbox).name == name


@pytest.mark.parametrize("number", ["Zoë".encode(), "Zoë".encode("latin-1")])
def test_an_argument_may_be_any_bytes_as_well(outbox: Outbox, number: bytes) -> None:
    run(outbox, number)
    assert queued(outbox).number == "Zoë"


@pytest.mark.parametrize("name", ["Ann\nagi_extension: 666\nSET VARIABLE PWNED 1", "Ann\n\nagi_extension: 666"])
def test_a_newline_in_a_name_changes_no_command_and_not_the_status(outbox: Outbox, name: str) -> None:
    """The second one ends what Asterisk says of the call; what it says after that comes where a reply should."""
    result = run(outbox, calleridname=name, callerid="1")
    assert queued(outbox).name in ("Ann", "")
    assert "PWNED" not in result.variables
    assert {line.partition(" ")[0] for line in said_by_script(result)} <= {"GET", "SET", "VERBOSE"}
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"


def test_recipients_and_the_event_come_from_the_dialplan(outbox: Outbox) -> None:
    run(outbox, "1", "alice@example.org&bob@example.org/desk", "missed")
    call = queued(outbox)
    assert (call.to, call.event) == ("alice@example.org&bob@example.org/desk", "missed")


def test_a_long_list_of_recipients_is_whole(outbox: Outbox) -> None:
    to = "&".join(f"user{number}@example.org" for number in range(300))
    run(outbox, "1", to)
    assert queued(outbox).to == to


def test_an_event_that_isnt_known_is_taken_as_ringing_and_told(outbox: Outbox) -> None:
    result = run(outbox, "1", "", "busy")
    assert queued(outbox).event == "ringing"
    assert result.verbose == ["screen_pop: event busy is none of ringing, answered, missed, ended: taken as ringing"]
    assert said_by_script(result)[-1] == SET("QUEUED")


@pytest.mark.parametrize("mode", ["--help", "-h", "--version", "-c", "-m", "-i", "check", "test", "--"])
def test_no_argument_switches_the_script_into_another_mode(outbox: Outbox, mode: str) -> None:
    result = run(outbox, mode)
    assert queued(outbox).number == mode
    question, *rest = said_by_script(result)
    assert (asked_by(question), rest) == ([*ASKED, NAME % mode], [SET("QUEUED")])


@pytest.mark.parametrize("place", range(3))
def test_a_hostile_argument_is_text(outbox: Outbox, place: int) -> None:
    arguments = ["", "", ""]
    text = clean(HOSTILE)
    arguments[place] = text
    result = run(outbox, *arguments)
    call = queued(outbox)
    assert "PWNED" not in result.variables
    assert [call.number, call.to, call.event] == [text if place == 0 else "", text if place == 1 else "", "ringing"]
    told = [f"screen_pop: event {text} is none of ringing, answered, missed, ended: taken as ringing"]
    assert result.verbose == (told if place == 2 else [])
    assert len(said_by_script(result)) == (3 if place == 2 else 2)


def test_a_newline_in_the_callers_number_hides_no_comma(outbox: Outbox) -> None:
    """It ends the line of agi_callerid; what Asterisk puts into AGI(…) has all of the number."""
    number = "1\n,eve@evil.example,missed"
    result = run(outbox, *number.split(","), callerid=number)
    call = queued(outbox)
    assert (call.number, call.to, call.event) == ("1", "", "ringing")
    assert "the arguments of AGI() are ignored" in result.verbose[0]


@pytest.mark.parametrize("number", ["1,eve@evil.example", '1"', "1(2", "1)2", "1\\", 'x",eve@evil.example,"'])
def test_a_caller_doesnt_choose_the_recipients(outbox: Outbox, number: str) -> None:
    """Asterisk puts ${CALLERID(num)} into AGI(…) and takes that apart then: all arguments are the caller's."""
    run(outbox, *number.split(","), callerid=number)
    call = queued(outbox)
    assert (call.number, call.to, call.event) == (number, "", "ringing")


def conversation(said: bytes) -> tuple[AGI, io.BytesIO]:
    """The AGI class with a conversation in memory."""
    written = io.BytesIO()
    return AGI(io.BytesIO(b"\n" + said), written), written


def test_a_conversation_can_be_had_in_a_thread_and_changes_no_signal() -> None:
    before = signal.getsignal(signal.SIGHUP)
    asked: list[bool] = []

    def commands() -> Generator[Command, bool, None]:
        asked.append((yield Command(set_variable("X", "1"))))

    thread = threading.Thread(target=lambda: conversation(b"200 result=1\n")[0].send_all(commands()))
    thread.start()
    thread.join()
    assert asked == [True]
    assert signal.getsignal(signal.SIGHUP) == before


@settings(deadline=None, database=None)
@given(st.text(st.characters()))
def test_any_value_is_one_argument_of_one_command(value: str) -> None:
    first, second = set_variable("X", value), verbose(value)
    for line in (first, second):
        line.encode()
        assert line.count("\n") == 1 and line.endswith("\n")
    assert parse_args(first[:-1]) == ["SET", "VARIABLE", "X", clean(value, 1024)]
    assert parse_args(second[:-1]) == ["VERBOSE", clean(value, 1024), "1"]


@settings(deadline=None, database=None)
@given(st.lists(st.binary(), min_size=1, max_size=5))
def test_any_values_can_be_told_apart(values: list[bytes]) -> None:
    """As Asterisk replies to the question: lines, also within a value; but no zero byte, with which a string ends."""
    values = [value.replace(b"\0", b"") for value in values]
    command = Command(names=[str(index) for index, _ in enumerate(values)])
    (_, _, _, expression) = parse_args(command.line)
    reply = expression.rstrip("\n").encode()
    for index, value in enumerate(values):
        reply = reply.replace(b"${%d}" % index, value)
    *lines, last = (b"200 result=1 (%s)\n" % reply).decode("ascii", "surrogateescape").splitlines(keepends=True)
    assert not any(command.is_answered_by(line) for line in lines)
    assert command.is_answered_by(last)
    assert list(command.values().values()) == [clean(value, 1024) for value in values]


def test_what_was_said_before_the_reply_is_no_value() -> None:
    """A caller's name with an empty line in it ends the variables; what follows it can't forge the reply."""
    command = Command(names=["A"])
    mark = parse_args(command.line)[3].split("${A}")[0]
    for line in ("200 result=1 (forged\n", "agi_extension: 1\n"):
        assert not command.is_answered_by(line)
    assert command.is_answered_by(f"200 result=1 ({mark}value{mark})\n")
    with pytest.raises(ValueError, match="can't be read"):
        command.values()


def test_a_reply_without_an_end_is_given_up() -> None:
    command = Command(names=["A"])
    lines = 0
    while not command.is_answered_by("200 result=1 (" + "x" * 1000 + "\n"):
        lines += 1
    assert lines < 100
    with pytest.raises(ValueError, match="can't be read"):
        command.values()


# Waiting for the server's confirmation


class Sender:
    """Plays the sender: it replies as soon as the script's call is queued, whether that has rung or not."""

    def __init__(self, outbox: Outbox, *replies: dict[str, str]) -> None:
        self.outbox, self.replies = outbox, replies
        self.queued = watch(Path(outbox.path, "new"))
        self.thread = threading.Thread(target=self.play)

    def play(self) -> None:
        assert select.select([self.queued], [], [], 30)[0]
        call = queued(self.outbox)
        for reply in self.replies:
            tell(self.outbox, call, **reply)

    def __enter__(self) -> Sender:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        os.close(self.queued)


LATER = {"status": "QUEUED", "reason": "no route to host"}
DELIVERED = {"status": "DELIVERED"}
FAILED = {"status": "FAILED", "reason": f"alice@example.org: {HOSTILE}"}


@pytest.mark.parametrize(
    ("answers", "status", "verbose"),
    [
        ([DELIVERED], "DELIVERED", []),
        ([FAILED], "FAILED", [f"screen_pop: alice@example.org: {clean(HOSTILE)}"]),
        ([LATER, {"step": "sign-in"}, DELIVERED], "DELIVERED", []),
        (
            [{"status": "DELIVERED", "reason": "bob@example.org: item-not-found"}],
            "DELIVERED",
            ["screen_pop: bob@example.org: item-not-found"],
        ),
    ],
)
def test_the_dialplan_waits_for_the_answer_if_it_asks_to(
    outbox: Outbox, answers: list[dict[str, str]], status: str, verbose: list[str]
) -> None:
    with Sender(outbox, *answers):
        result = run(outbox, variables={"SCREEN_POP_WAIT": "60"})
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == (status, verbose)
    assert "PWNED" not in result.variables
    assert left_in_tmp(outbox) == []


def test_a_wait_that_is_over_says_why_there_is_no_confirmation_yet(outbox: Outbox) -> None:
    result = run(outbox, variables={"SCREEN_POP_WAIT": "0.01"})
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == ("QUEUED", ["screen_pop: no confirmation yet"])
    assert left_in_tmp(outbox) == []


def test_a_reply_that_comes_before_the_script_waits_is_not_missed(outbox: Outbox) -> None:
    """Even one from a sender that had the call before it was rung."""

    class Fast(Outbox):
        def put(self, call: Call) -> None:
            super().put(call)
            tell(self, call, **DELIVERED)

    def wait_readable(descriptor: int, seconds: float) -> bool:
        return bool(select.select([descriptor], [], [], 0)[0])

    assert intake.hand_over(Fast(outbox.path), Call(number="1"), 60, wait_readable) == ("DELIVERED", [])


def test_no_wait_makes_no_fifo(outbox: Outbox) -> None:
    folder = watch(Path(outbox.path, "tmp"))
    run(outbox)
    changes = os.read(folder, 65536)
    os.close(folder)
    assert b".replies" not in changes and queued(outbox).id.encode() not in changes


@pytest.mark.parametrize("wait", ["yes", "-1", "-0.1", "nan", "inf", "-inf", "1e9", "60.1", "5s", "hangup", HOSTILE])
def test_a_wait_that_is_no_number_of_seconds_is_told_and_not_waited_for(outbox: Outbox, wait: str) -> None:
    wait = wait.replace("\n", " ")  # Asterisk's replies are lines
    result = run(outbox, variables={"SCREEN_POP_WAIT": wait})
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
    (told,) = result.verbose
    assert told.startswith("screen_pop: SCREEN_POP_WAIT=") and told.endswith(" is not 0 to 60 seconds: not waiting")
    assert wait == HOSTILE.replace("\n", " ") or f"={wait} is" in told
    assert "PWNED" not in result.variables


@pytest.mark.parametrize("wait", ["", "0", "0.0"])
def test_no_wait_is_no_mistake(outbox: Outbox, wait: str) -> None:
    assert said_by_script(run(outbox, variables={"SCREEN_POP_WAIT": wait}))[1:] == [SET("QUEUED")]


def tell_and_wait_until_it_is_read(outbox: Outbox, call: Call, reply: dict[str, str]) -> None:
    replies.tell(outbox.reply_fifo(call.id), **reply)
    fifo = os.open(outbox.reply_fifo(call.id), os.O_RDONLY | os.O_NONBLOCK)
    eventually(lambda: fcntl.ioctl(fifo, termios.FIONREAD, bytes(4)) == bytes(4))  # bytes that are left: none
    os.close(fifo)


def test_a_hang_up_ends_the_wait(outbox: Outbox) -> None:
    script = subprocess.Popen(
        [SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment(outbox)}
    )
    with script:
        assert script.stdin and script.stdout
        script.stdin.write(ENVIRONMENT)
        script.stdin.flush()
        question = script.stdout.readline().decode()
        assert asked_by(question)[0] == "SCREEN_POP_WAIT"
        expression = question.split('"')[1]
        reply = expression.replace("${SCREEN_POP_WAIT}", "10")
        script.stdin.write(f"200 result=1 ({re.sub(r'[$]{[^}]*}', '', reply)})\n".encode())
        script.stdin.flush()
        for _ in range(2):  # each with a reply, as the caller may hang up meanwhile
            assert FOLLOWING.search(script.stdout.readline().decode())
            script.stdin.write(b"200 result=1\n")
            script.stdin.flush()
        eventually(lambda: files(outbox, "new"))
        for _ in range(2):  # the first takes longer to read, with an import
            tell_and_wait_until_it_is_read(outbox, queued(outbox), LATER)
        script.send_signal(signal.SIGHUP)
        # and not first, when the time is over, that there is no confirmation yet
        assert script.stdout.readline().decode().strip() == SET("QUEUED")
        script.stdin.write(b"200 result=1\n")
        script.stdin.flush()
        assert script.wait(30) == 0
    assert left_in_tmp(outbox) == []


def test_a_caller_who_has_hung_up_before_the_wait_isnt_waited_for(outbox: Outbox) -> None:
    result = run(outbox, variables={"SCREEN_POP_WAIT": "60"}, how={"hangup_at": GET})
    assert said_by_script(result)[1:] == [SET("QUEUED")]
    assert queued(outbox)


def test_a_call_that_cant_be_waited_for_is_queued_all_the_same(outbox: Outbox) -> None:
    """Where the file system takes no FIFO."""
    script = (
        f"import posix, sys; sys.path.insert(0, {str(ROOT / 'lib')!r}); from screenpop.doors import agi\n"
        "def mkfifo(*_): raise OSError(1, 'Operation not permitted')\n"
        "posix.mkfifo = mkfifo; agi.main()"
    )
    result = run(outbox, script=(sys.executable, "-c", script), variables={"SCREEN_POP_WAIT": "60"})
    assert queued(outbox)
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
    assert result.verbose == ["screen_pop: not waiting: [Errno 1] Operation not permitted"]


def test_the_first_call_of_all_can_be_waited_for(tmp_path: Path, outbox: Outbox) -> None:
    """When there is no outbox yet."""
    for folder in FOLDERS:
        Path(outbox.path, folder).rmdir()
    result = run(outbox, variables={"SCREEN_POP_WAIT": "0.01"})
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == ("QUEUED", ["screen_pop: no confirmation yet"])


def test_a_call_that_waits_in_memory_can_be_waited_for(no_outbox: Outbox) -> None:
    spare = no_outbox.spare()
    trigger = Trigger.acquire(spare.path)
    assert trigger
    with Sender(spare, DELIVERED):
        result = run(no_outbox, variables={"SCREEN_POP_WAIT": "60"})
    trigger.close()
    os.close(trigger.lock)
    assert result.variables["SCREEN_POP_STATUS"] == "DELIVERED"
    assert [line for line in result.verbose if "not waiting" in line] == []
    assert left_in_tmp(spare) == []


# Asterisk and the caller go, or say what they shouldn't


@pytest.mark.parametrize("when", [{"hangup_at": GET}, {"hangup_after": 1}, {"hangup_at": "SET VARIABLE"}])
def test_a_caller_who_hangs_up_is_told_of_all_the_same(outbox: Outbox, when: dict[str, Any]) -> None:
    result = run(outbox, callerid="1", how=when)
    assert queued(outbox).number == "1"
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"


EARLY_HANG_UP = """
import os, sys
os.kill(os.getpid(), 1)
__path__ += [folder + "/asterisk" for folder in sys.path if os.path.isdir(folder + "/asterisk")]
"""


def test_a_hang_up_while_the_script_still_begins_ends_nothing(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with the import of pyst2. Nobody can do anything about one before the script's first line."""
    (tmp_path / "asterisk").mkdir()
    (tmp_path / "asterisk" / "__init__.py").write_text(EARLY_HANG_UP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    call, told = raw(outbox, ENVIRONMENT + b"200 result=0\n")
    assert call and call.number == "+15551234567"
    assert told[-1] == SET("QUEUED")


def test_a_dead_channel_pops(outbox: Outbox) -> None:
    result = run(outbox, "1", "", "missed", hungup=True)
    assert queued(outbox).event == "missed"
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"


@pytest.mark.parametrize("said", [b"", b"agi_callerid: 1\n", ENVIRONMENT[:-1], ENVIRONMENT[:-20]])
def test_the_end_before_all_is_said_of_the_call_queues_nothing(outbox: Outbox, said: bytes) -> None:
    call, told = raw(outbox, said)
    assert call is None
    assert told[-1] == "SET VARIABLE SCREEN_POP_STATUS FAILED"
    assert "end of file: Asterisk has ended the conversation" in told[0]


@pytest.mark.parametrize("said", [b"", b"200 result=0", b"200 result=0\n", b"520-Usage\nof it\n"])
def test_the_end_in_the_middle_of_the_conversation_is_too_late_to_harm(outbox: Outbox, said: bytes) -> None:
    call, told = raw(outbox, ENVIRONMENT + said)
    assert call and call.number == "+15551234567"
    assert told[0].startswith(GET) and told[-1] == SET("QUEUED")


def test_nobody_who_listens_is_no_error(outbox: Outbox) -> None:
    script = subprocess.Popen(
        [SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment(outbox)},
    )
    with script:
        assert script.stdin and script.stdout and script.stderr
        script.stdout.close()
        script.stdin.write(ENVIRONMENT)
        script.stdin.close()
        assert script.stderr.read() == b""
        assert script.wait(30) == 0
    assert queued(outbox)


@pytest.mark.parametrize("lines", [b"HANGUP\n", b"HANGUP\nHANGUP\n"])
def test_a_hang_up_that_is_told_in_between_is_passed_over(outbox: Outbox, lines: bytes) -> None:
    said = ENVIRONMENT[:-1] + lines + b"\n" + lines + b"200 result=0\n" + lines + b"200 result=1\n"
    call, told = raw(outbox, said)
    assert call and call.number == "+15551234567"
    assert told[1:] == [NOT_READ("200 result=0"), SET("QUEUED")]


@pytest.mark.parametrize(
    "reply",
    [
        b"511 Command Not Permitted on a dead channel or intercept routine\n",
        b"510 Invalid or unknown command\n",
        b"520-Invalid command syntax.  Proper usage follows:\nUsage: GET VARIABLE\n520 End of proper usage.\n",
        b"200\n",
        b"200 result=-1\n",
        b"\n",
        b"hello\n",
        b"\xff\xfe\0\n",
        b"100 result=0 Trying...\n",
        b"99999999999999999999\n",
    ],
)
def test_a_strange_reply_doesnt_make_a_queued_call_a_failed_one(outbox: Outbox, reply: bytes) -> None:
    call, told = raw(outbox, ENVIRONMENT + reply + b"200 result=1\n" * 5)
    assert call and call.number == "+15551234567"
    assert told[0].startswith(GET)
    assert told[1:] == [NOT_READ(clean(reply.partition(b"\n")[0])).replace(': " 1', ':" 1'), SET("QUEUED")]


# What is missing


@pytest.fixture
def no_outbox(tmp_path: Path) -> Iterator[Outbox]:
    """An outbox that nobody can write, not even root; with a spare one, that can be."""
    (tmp_path / "file").write_text("")
    outbox = Outbox(str(tmp_path / "file" / "outbox"))
    yield outbox
    shutil.rmtree(outbox.spare_path, ignore_errors=True)


def test_without_an_outbox_the_call_waits_in_memory(tmp_path: Path, no_outbox: Outbox) -> None:
    """Where a real sender looks after it, and gives it up at once."""
    conf = tmp_path / "screen_pop.conf"
    conf.write_text(
        "[xmpp]\njid = pbx@example.org\npassword = secret\nserver = 127.0.0.1:1\n"
        f"[pop]\nto = alice@example.org\ngive_up_after = 0\nlinger = 0\n[log]\nfile = {tmp_path}/log\n"
    )
    result = Channel(callerid="1").run([SCRIPT], env={**environment(no_outbox), "SCREEN_POP_CONF": str(conf)})
    assert (result.status, result.stderr, result.variables["SCREEN_POP_STATUS"]) == (0, b"", "QUEUED")
    (told,) = result.verbose
    assert told.startswith("screen_pop: the spool can't be written (") and "Not a directory" in told
    assert told.endswith(f": the call waits in memory, in {no_outbox.spare_path}")
    spare = no_outbox.spare()
    (message,) = eventually(lambda: messages(spare, "failed"))
    assert message.call.number == "1"
    with open(f"{spare.path}/lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the sender has left
    assert Path(spare.path).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("squat", ["file", "link", "folder of another"])
def test_a_spare_outbox_that_may_be_somebody_elses_is_not_used(
    tmp_path: Path, no_outbox: Outbox, monkeypatch: pytest.MonkeyPatch, squat: str
) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY", str(tmp_path / "memory"))
    spare = Path(no_outbox.spare_path)
    spare.parent.mkdir()
    if squat == "file":
        spare.write_text("")
    elif squat == "link":
        (tmp_path / "target").mkdir()
        spare.symlink_to(tmp_path / "target")
    else:
        for folder in FOLDERS:
            (spare / folder).mkdir(parents=True)
        monkeypatch.setattr(posix, "geteuid", lambda: os.getuid() + 1)
        spare.rename(no_outbox.spare_path)  # whose name has the user in it
    status, (reason,) = intake.hand_over(no_outbox, Call(number="1"), 0, lambda *_: False)
    assert status == "FAILED"
    assert "the spool can't be written (" in reason and ", nor can memory (" in reason
    assert not list((tmp_path / "target").glob("*")) and not list(Path(no_outbox.spare_path).glob("new/*"))


def test_a_call_that_can_be_written_nowhere_has_failed(no_outbox: Outbox, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'lib')!r}); from screenpop.spool import outbox\n"
        f"outbox.MEMORY = {str(tmp_path / 'file')!r}; from screenpop.doors import agi; agi.main()"
    )
    result = Channel(callerid="1").run([sys.executable, "-c", script], env=environment(no_outbox))
    assert (result.status, result.variables["SCREEN_POP_STATUS"]) == (0, "FAILED")
    (told,) = result.verbose
    assert "the spool can't be written (" in told and ", nor can memory (" in told


def test_a_call_waits_in_the_outbox_if_no_sender_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> int:
        raise OSError("no more processes")

    monkeypatch.setattr(trigger, "start_sender", start)
    outbox, call = Outbox(str(tmp_path)), Call(number="1")
    assert intake.hand_over(outbox, call, 60, lambda *_: False) == (
        "QUEUED",
        [f"no sender can be started (no more processes): the call waits in {tmp_path}"],
    )
    assert queued(outbox).id == call.id
    assert left_in_tmp(outbox) == []


def test_without_pyst2_the_console_says_so_and_the_call_goes_on(outbox: Outbox) -> None:
    result = run(outbox, "1", script=(sys.executable, "-S", SCRIPT), callerid="1")
    assert files(outbox, "new") == []
    assert result.variables["SCREEN_POP_STATUS"] == "FAILED"
    assert result.verbose == ["screen_pop: ModuleNotFoundError: No module named 'asterisk'"]


def test_by_hand_it_says_what_to_run_instead(outbox: Outbox) -> None:
    ours, terminal = pty.openpty()
    done = subprocess.run(
        [SCRIPT, "1"],
        stdin=terminal,
        capture_output=True,
        env={**os.environ, **environment(outbox)},
        timeout=30,
        check=False,
    )
    os.close(terminal)
    os.close(ours)
    assert done.stdout == b""
    assert done.stderr == (
        b"screen_pop.py is for Asterisk's dialplan; to send a test pop, run: screen-pop test NUMBER\n"
    )
    assert files(outbox, "new") == []


def test_the_door_imports_nothing_that_a_caller_would_wait_for() -> None:
    path = [str(ROOT / "lib"), sysconfig.get_path("purelib")]
    code = f"import sys; sys.path += {path}; import screenpop.doors.agi; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "screenpop" in imported and "asterisk" in imported
    slow = "xmpp dns ssl socket subprocess dataclasses typing inspect logging pprint"
    slow += " json re enum signal contextlib functools collections os posixpath select fcntl"
    assert imported & set(slow.split()) == set()


def test_no_value_is_longer_than_a_line_of_asterisk_16() -> None:
    """What is beyond 2047 bytes would be the next command: this text may come from a server, before any TLS."""
    assert len(quote("☎" * 5000).encode()) < 1950
    assert len(quote("\\" * 5000).encode()) < 1950
