#!/usr/bin/env python3
"""An AGI script that tests an Asterisk: it sends the commands of a scenario and records all replies.

    probe.py SCENARIO [ARG…]          the record goes to $PROBE_RECORD/SCENARIO.json

It uses Python without libraries, so that it runs in any Asterisk and records the lines unchanged.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path

COMMANDS = (
    rb"""
NOOP
noop with words
NoOp "open quote
bogus
BOGUS COMMAND

 NOOP
	NOOP
"NOOP"
NO\OP
GET
GET VARIABLES X
CHANNEL STATUS
CHANNEL STATUS Local/nobody
CHANNEL STATUS a b
GET VARIABLE
GET VARIABLE UNSET
GET VARIABLE a b
GET VARIABLE EXTEN
GET VARIABLE CONTEXT
GET VARIABLE PRIORITY
GET VARIABLE GIVEN
GET VARIABLE given
GET VARIABLE GIVEN:1
GET VARIABLE GIVEN:1:2
GET VARIABLE GIVEN:-2
GET VARIABLE GIVEN:0:-2
GET VARIABLE ${GIVEN}
GET VARIABLE ""
GET VARIABLE NOSUCHFUNCTION(x)
GET VARIABLE DIALPLAN_EXISTS(probe,sub,1)
GET VARIABLE DIALPLAN_EXISTS(probe,sub,2)
GET VARIABLE DIALPLAN_EXISTS(probe,commands,after)
GET VARIABLE DIALPLAN_EXISTS(probe,nobody,1)
GET VARIABLE DIALPLAN_EXISTS(nowhere,sub,1)
GET VARIABLE CALLERID(num)
GET VARIABLE CALLERID(name)
SET VARIABLE
SET VARIABLE A
SET VARIABLE A one two
SET VARIABLE A plain
GET VARIABLE A
SET VARIABLE A "two words"
GET VARIABLE A
SET VARIABLE A ""
GET VARIABLE A
SET VARIABLE A "a \"quote\" and a \\ backslash"
GET VARIABLE A
SET VARIABLE A back\ slash\n
GET VARIABLE A
SET VARIABLE A half"quoted and"more
GET VARIABLE A
SET VARIABLE A "open quote
GET VARIABLE A
SET VARIABLE A	"tab	bed"
GET VARIABLE A
SET VARIABLE A ${GIVEN}
GET VARIABLE A
SET VARIABLE A trailing\
GET VARIABLE A
SET VARIABLE A "(a) b) ("
GET VARIABLE A
SET VARIABLE A hangup
GET VARIABLE A
SET VARIABLE A @UTF8@
GET VARIABLE A
SET VARIABLE A @LATIN1@
GET VARIABLE A
SET VARIABLE __A inherited
GET VARIABLE A
GET VARIABLE __A
SET VARIABLE NOSUCHFUNCTION(x) y
get variable EXTEN
Get Variable EXTEN
SET VARIABLE CALLERID(num) 4321
GET VARIABLE CALLERID(num)
SET VARIABLE "" empty
GET FULL VARIABLE
GET FULL VARIABLE UNSET
GET FULL VARIABLE ${UNSET}
GET FULL VARIABLE ${GIVEN}
GET FULL VARIABLE "<${GIVEN}> ${GIVEN:1} ${${NAMED}}"
GET FULL VARIABLE ${GIVEN} Local/nobody
GET FULL VARIABLE ${GIVEN} a b
GET FULL VARIABLE "${EXTEN} at ${CONTEXT}"
GET FULL VARIABLE ${GIVEN:-2:1}${GIVEN:1:-1}${CALLERID(num):1}
GET FULL VARIABLE ${GIVEN
GET FULL VARIABLE $GIVEN
GET FULL VARIABLE "-${UNSET}-${DB(probe/nothing)}-${DIALPLAN_EXISTS(probe,sub,1)}-${GIVEN}-"
SET VARIABLE A ") } ${EXTEN} {:1} $[1+1] -"
GET FULL VARIABLE "-${A}-${GIVEN}-"
VERBOSE
VERBOSE ""
VERBOSE "hello there"
VERBOSE "hello there" 3
VERBOSE hello there
DATABASE PUT
DATABASE PUT probe a
DATABASE PUT probe a 1
DATABASE PUT probe "b c" "two words"
DATABASE PUT probe d ""
DATABASE PUT probe tree/x 1
DATABASE GET
DATABASE GET probe a
DATABASE GET probe "b c"
DATABASE GET probe d
DATABASE GET probe nothing
DATABASE GET nothing a
GET VARIABLE DB(probe/a)
GET VARIABLE DB(probe/nothing)
DATABASE DEL
DATABASE DEL probe a
DATABASE DEL probe a
DATABASE DELTREE
DATABASE DELTREE probe tree
DATABASE DELTREE probe tree
DATABASE DELTREE probe
DATABASE DELTREE probe
DATABASE GET probe d
DATABASE DELTREE a b c
EXEC
EXEC NoSuchApplication x
EXEC NoOp
EXEC noop "hello there"
EXEC Set A=from\ Set
GET VARIABLE A
EXEC Set "A=one,two"
GET VARIABLE A
SET CALLERID
SET CALLERID 5551234
GET VARIABLE CALLERID(num)
GET VARIABLE CALLERID(name)
SET CALLERID "\"Ann Example\" <(555) 123-4567>"
GET VARIABLE CALLERID(num)
GET VARIABLE CALLERID(name)
SET CALLERID "Bob Example <12>"
GET VARIABLE CALLERID(num)
GET VARIABLE CALLERID(name)
SET CALLERID Anonymous
GET VARIABLE CALLERID(num)
GET VARIABLE CALLERID(name)
SET CONTEXT
SET CONTEXT elsewhere
GET VARIABLE CONTEXT
SET CONTEXT probe
SET EXTENSION
SET EXTENSION 99
GET VARIABLE EXTEN
SET EXTENSION commands
SET PRIORITY
SET PRIORITY nolabel
SET PRIORITY 12abc
SET PRIORITY after
SET AUTOHANGUP
SET AUTOHANGUP soon
SET AUTOHANGUP 60
SET AUTOHANGUP 0
SET MUSIC
SET MUSIC ON
SET MUSIC OFF
STREAM FILE
STREAM FILE no-such-sound
STREAM FILE no-such-sound ""
STREAM FILE no-such-sound "" x
STREAM FILE no-such-sound "" 40
CONTROL STREAM FILE
CONTROL STREAM FILE no-such-sound ""
CONTROL STREAM FILE no-such-sound "" x
GET OPTION
GET OPTION no-such-sound ""
GET DATA
GET DATA no-such-sound
GET DATA no-such-sound 1 1
GET DATA "" 1
SAY ALPHA a
SAY ALPHA "" ""
SAY ALPHA a ""
SAY ALPHA a "" x
SAY DIGITS a ""
SAY DIGITS 12
SAY DIGITS 12 ""
SAY NUMBER x ""
SAY NUMBER 12
SAY NUMBER 12 ""
SAY PHONETIC a
SAY PHONETIC "" ""
SAY PHONETIC a ""
SAY DATE x ""
SAY DATE 0
SAY DATE 0 ""
SAY TIME x ""
SAY TIME 0
SAY TIME 0 ""
SAY DATETIME 0
SAY DATETIME x ""
SAY DATETIME 0 ""
SEND TEXT
SEND TEXT hello
SEND TEXT hello there
SEND IMAGE
SEND IMAGE no-such-image
RECEIVE CHAR
RECEIVE CHAR 1
RECEIVE TEXT
RECEIVE TEXT 1
TDD MODE
TDD MODE on
TDD MODE off
WAIT FOR DIGIT
WAIT FOR DIGIT x
WAIT FOR DIGIT 1
WAIT FOR DIGIT 0
RECORD FILE
RECORD FILE /tmp/probe-record ulaw ""
RECORD FILE /tmp/probe-record ulaw "" x
RECORD FILE /tmp/probe-record nosuchformat "" 0
RECORD FILE /tmp/probe-record ulaw "" 0
RECORD FILE /tmp/probe-record ulaw "" 0 BEEP
RECORD FILE /tmp/probe-record ulaw "" 0 0 s=1
ASYNCAGI BREAK
GOSUB
GOSUB probe
GOSUB probe sub 1
GOSUB probe sub 1 "an argument"
GOSUB probe sub nolabel
GOSUB probe nobody 1
SPEECH CREATE
SPEECH CREATE no-such-engine
SPEECH SET a
SPEECH SET a b
SPEECH LOAD GRAMMAR a
SPEECH LOAD GRAMMAR a b
SPEECH ACTIVATE GRAMMAR
SPEECH ACTIVATE GRAMMAR a
SPEECH DEACTIVATE GRAMMAR
SPEECH DEACTIVATE GRAMMAR a
SPEECH UNLOAD GRAMMAR
SPEECH UNLOAD GRAMMAR a
SPEECH RECOGNIZE a
SPEECH RECOGNIZE a 1
SPEECH DESTROY
HANGUP Local/nobody
HANGUP a b
CHANNEL STATUS
ANSWER
CHANNEL STATUS
ANSWER now
""".replace(b"@UTF8@", "Jörg".encode())
    .replace(b"@LATIN1@", "Jörg".encode("latin-1"))
    .strip(b"\n")
    .split(b"\n")
)

lines: list[tuple[str, str]] = []  # the conversation, and other events with the mark "!"


def hear() -> bytes:
    line = sys.stdin.buffer.readline()
    lines.append((">", line.decode("utf-8", "surrogateescape")))
    return line


def hear_answer() -> None:
    # 520- starts a reply of several lines, and 520 with a space ends it. After 100 another line follows.
    line = hear()
    if line.startswith(b"520-"):
        while line and not line.startswith(b"520 "):
            line = hear()
    elif line.startswith(b"100 "):
        hear()


def say(command: bytes, end: bytes = b"\n") -> None:
    lines.append(("<", command.decode("utf-8", "surrogateescape")))
    os.write(1, command + end)


def ask(command: bytes) -> None:
    say(command)
    hear_answer()


def wait_for_hangup() -> None:
    got = signal.sigtimedwait([signal.SIGHUP], 10)
    lines.append(("!", "SIGHUP" if got else "no SIGHUP"))


def every_command() -> None:
    for command in COMMANDS:
        ask(command)


def hangup() -> None:
    ask(b"HANGUP")
    wait_for_hangup()
    for command in (b"GET VARIABLE EXTEN", b"CHANNEL STATUS", b"ANSWER now", b"SET VARIABLE LAST said-when-dead"):
        ask(command)


def hangup_without_signal() -> None:
    ask(b"HANGUP")
    ask(b"NOOP")  # the signal would be sent before the reply to this
    lines.append(("!", "SIGHUP" if signal.SIGHUP in signal.sigpending() else "no SIGHUP"))


def hangup_is_the_end() -> None:
    ask(b"HANGUP")
    wait_for_hangup()
    hear()


def failing_command() -> None:
    ask(b'STREAM FILE no-such-sound ""')
    ask(b"NOOP")


def failure() -> None:
    say(b"failure")
    wait_for_hangup()
    hear()


def failure_later() -> None:
    ask(b"NOOP")
    say(b"FAILURES of mine")
    wait_for_hangup()
    hear()


def exit_status() -> None:
    ask(b"NOOP")
    write_record()
    os._exit(3)


def killed() -> None:
    write_record()
    os.kill(os.getpid(), signal.SIGKILL)


def no_newline_at_the_end() -> None:
    ask(b"NOOP")
    say(b"SET VARIABLE LAST unended", end=b"")


def two_in_one_write() -> None:
    say(b"NOOP\nGET VARIABLE EXTEN")
    hear_answer()
    answered, _, _ = select.select([0], [], [], 1)
    lines.append(("!", "both answered" if answered else "the second waits"))
    say(b"GET VARIABLE CONTEXT")
    hear_answer()
    hear_answer()


LAST_COMMANDS = b'VERBOSE "one" 1\nSET VARIABLE __A two\nbogus\nSET VARIABLE LAST "said together"'


def last_commands() -> None:
    say(LAST_COMMANDS)
    os.close(1)


def last_commands_when_dead() -> None:
    ask(b"HANGUP")
    wait_for_hangup()
    last_commands()


def last_commands_of_hung_up() -> None:
    """While Asterisk doesn't know yet that the caller has hung up."""
    say(b"HANGUP\n" + LAST_COMMANDS)
    os.close(1)


def long_line() -> None:
    say(b"SET VARIABLE LAST " + b"x" * 9000)
    hear_answer()
    hear_answer()
    ask(b"SET VARIABLE LAST short")


def zero_byte() -> None:
    ask(b"SET VARIABLE LAST before\0after")


SCENARIOS = {
    "commands": every_command,
    "dead": every_command,
    "hangup": hangup,
    "nosighup": hangup_without_signal,
    "exitonhangup": hangup_is_the_end,
    "failingcommand": failing_command,
    "failure": failure,
    "failurelater": failure_later,
    "exitstatus": exit_status,
    "killed": killed,
    "unended": no_newline_at_the_end,
    "inonewrite": two_in_one_write,
    "last": last_commands,
    "lastdead": last_commands_when_dead,
    "lasthungup": last_commands_of_hung_up,
    "longline": long_line,
    "zerobyte": zero_byte,
}


def write_record() -> None:
    record = {
        "argv": sys.argv[1:],
        "ast_names": sorted(name for name in os.environ if name.startswith("AST_")),
        "folder": str(Path.cwd()),
        "lines": lines,
    }
    file = Path(os.environ["PROBE_RECORD"]) / f"{sys.argv[1]}.json"
    file.with_suffix(".unfinished").write_text(json.dumps(record))
    file.with_suffix(".unfinished").rename(file)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    while hear().strip():
        pass
    SCENARIOS[sys.argv[1]]()
    write_record()
