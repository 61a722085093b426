"""What Asterisk 22 answers to each AGI command: the handlers of res_agi.c, and GOSUB of app_stack.c.

It plays an Asterisk without sound files and a caller who presses no key. What can't be played fails at once, and
nothing waits for a timeout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

MAX_ARGS = 128
STATE_RING, STATE_UP = 4, 6  # include/asterisk/channelstate.h

# These texts are in Asterisk's documentation, not in its code. They are recorded together with the rest.
USAGE: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[1] / "recordings/asterisk-22-usage.json").read_text(encoding="utf-8")
)


class Usage(Exception):
    """RESULT_SHOWUSAGE: the arguments are wrong."""


class Failure(str):
    """RESULT_FAILURE: an answer after which AGISTATUS is FAILURE."""


class CommandState:
    """The side of a channel that the commands read and change."""

    def __init__(
        self,
        *,
        channel: str,
        uniqueid: str,
        callerid: str | None,
        calleridname: str | None,
        context: str,
        extension: str,
        priority: int,
        variables: Mapping[str, str],
        applications: Mapping[str, int],
        dialplan: Mapping[str, Collection[str]],
    ) -> None:
        self.channel = channel
        self.uniqueid = uniqueid
        self.callerid = callerid
        self.calleridname = calleridname
        self.context = context
        self.extension = extension
        self.priority = priority
        self.state = STATE_RING
        self.hung_up = False
        self.verbose: list[str] = []
        self.executed: list[tuple[str, str]] = []
        self.database: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.inherited: dict[str, str] = {}  # by the names that dialled channels get: those with underscores
        self._applications = {"noop": 0, "set": 0, **{name.lower(): result for name, result in applications.items()}}
        self._dialplan = dialplan
        for name, value in variables.items():
            self.write(name, value)

    def read(self, name: str) -> str | None:
        """pbx_retrieve_variable, ast_func_read"""
        built_in = {
            "CHANNEL": self.channel,
            "UNIQUEID": self.uniqueid,
            "CONTEXT": self.context,
            "EXTEN": self.extension,
            "PRIORITY": str(self.priority),
            "CALLERID(num)": self.callerid or "",
            "CALLERID(name)": self.calleridname or "",
        }
        if name.startswith("DB(") and name.endswith(")"):
            return self.database.get(name[3:-1], "")
        if name.startswith("DIALPLAN_EXISTS(") and name.endswith(")"):
            context, extension, priority = name[16:-1].split(",")
            return str(int(self.has_extension(context, extension, priority)))
        return built_in.get(name, self.variables.get(name))

    def write(self, name: str, value: str) -> None:
        """pbx_builtin_setvar_helper: one or two leading underscores mean inheritance and are not part of the name"""
        underscores, name = re.fullmatch("(_?_?)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
        if underscores:
            self.inherited["__" * (underscores == "__") + name] = value
        if name == "CALLERID(num)":
            self.callerid = value
        elif name == "CALLERID(name)":
            self.calleridname = value
        elif name.startswith("DB(") and name.endswith(")"):
            self.database[name[3:-1]] = value
        elif name:
            self.variables[name] = value

    def execute(self, application: str, options: str) -> int:
        """pbx_findapp, pbx_exec: Set and NoOp work; the others return what the test says"""
        self.executed.append((application, options))
        if application.lower() == "set":
            name, _, value = options.partition("=")
            self.write(name, value)
        return self._applications.get(application.lower(), -2)

    def has_extension(self, context: str, extension: str, priority: str) -> bool:
        return priority in self._dialplan.get(f"{context},{extension}", ())


def answer(state: CommandState, line: str, dead: bool) -> tuple[list[str], bool]:
    """agi_handle_command: the lines of the reply, and whether the command failed."""
    argv = parse_args(line)
    name = find_command(argv)
    if name is None:
        return ["510 Invalid or unknown command"], False
    handler, on_dead_channel = COMMANDS[name]
    if dead and not on_dead_channel:
        return ["511 Command Not Permitted on a dead channel or intercept routine"], False
    try:
        reply = handler(state, argv)
    except Usage:
        usage = USAGE[name]
        return ["520-Invalid command syntax.  Proper usage follows:", *usage, "520 End of proper usage."], False
    return reply.split("\n"), isinstance(reply, Failure)


def parse_args(line: str) -> list[str]:
    """parse_args: splits at spaces; quotes and backslashes escape, and the end of the line closes an open quote"""
    argv: list[str] = []
    quoted = escaped = False
    whitespace = True
    for character in line:
        if character == '"' and not escaped:
            quoted = not quoted
            if quoted and whitespace:
                argv.append("")
                whitespace = False
        elif character in " \t" and not quoted and not escaped:
            whitespace = True
        elif character == "\\" and not escaped:
            escaped = True
        else:
            if whitespace:
                if len(argv) >= MAX_ARGS - 1:
                    continue
                argv.append("")
                whitespace = False
            argv[-1] += character
            escaped = False
    return argv


def find_command(argv: list[str]) -> str | None:
    for name in COMMANDS:
        words = name.split()
        if [word.lower() for word in argv[: len(words)]] == words:
            return name
    return None


def number(text: str) -> int:
    """sscanf("%30d")"""
    found = re.match(r"\s*([+-]?\d+)", text)
    if not found:
        raise Usage
    return int(found[1])


def expect(argv: list[str], least: int, most: int) -> None:
    if not least <= len(argv) <= most:
        raise Usage


def answer_channel(state: CommandState, argv: list[str]) -> str:
    state.state = STATE_UP
    return "200 result=0"


def asyncagi_break(state: CommandState, argv: list[str]) -> str:
    return "200 result=0"


def channel_status(state: CommandState, argv: list[str]) -> str:
    expect(argv, 2, 3)
    return f"200 result={state.state if argv[2:] in ([], [state.channel]) else -1}"


def control_stream_file(state: CommandState, argv: list[str]) -> str:
    expect(argv, 5, 10)
    for index in (5, 9):
        if len(argv) > index:
            number(argv[index])
    state.write("CPLAYBACKSTATUS", "ERROR")
    state.write("CPLAYBACKOFFSET", "-1")
    return Failure("200 result=-1 endpos=-1")


def database_del(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    state.database.pop(f"{argv[2]}/{argv[3]}", None)
    return "200 result=1"


def database_deltree(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 4)
    tree = "/".join(argv[2:])
    found = [key for key in state.database if key == tree or key.startswith(f"{tree}/")]
    for key in found:
        del state.database[key]
    return f"200 result={0 if found else 1}"  # the opposite of what its documentation says


def database_get(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    value = state.database.get(f"{argv[2]}/{argv[3]}")
    return "200 result=0" if value is None else f"200 result=1 ({value})"


def database_put(state: CommandState, argv: list[str]) -> str:
    expect(argv, 5, 5)
    state.database[f"{argv[2]}/{argv[3]}"] = argv[4]
    return "200 result=1"


def execute(state: CommandState, argv: list[str]) -> str:
    expect(argv, 2, MAX_ARGS)
    return f"200 result={state.execute(argv[1], argv[2] if len(argv) > 2 else '')}"


def get_data(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, MAX_ARGS)
    return "200 result=-1" if argv[2] else "200 result= (timeout)"


def get_full_variable(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 5)
    if argv[4:] not in ([], [state.channel]):
        return "200 result=0"
    return f"200 result=1 ({substitute(state, argv[3])})"


def get_option(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 5)
    return Failure("200 result=-1 endpos=0")


def get_variable(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    value = state.read(argv[2])
    return "200 result=0" if value is None else f"200 result=1 ({value})"


def gosub(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 5)
    if not state.has_extension(*argv[1:4]):
        return Failure("200 result=-1 Gosub label not found")
    return "100 result=0 Trying...\n200 result=0 Gosub complete"


def hangup(state: CommandState, argv: list[str]) -> str:
    expect(argv, 1, 2)
    if argv[1:] not in ([], [state.channel]):
        return "200 result=-1"
    state.hung_up = True
    return "200 result=1"


def noop(state: CommandState, argv: list[str]) -> str:
    return "200 result=0"


def receive_char(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    return Failure("200 result=-1 (hangup)")


def receive_text(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    return "200 result=-1"


def record_file(state: CommandState, argv: list[str]) -> str:
    expect(argv, 6, MAX_ARGS)
    number(argv[5])
    offset = re.match(r"\s*[+-]?\d+", argv[6]) if len(argv) > 6 else None
    position = int(offset[0]) if offset else 0
    beep = len(argv) > 6 and not offset and not argv[6].startswith("s=")
    if beep or (len(argv) > 7 and not argv[7].startswith("s=")):
        return f"200 result=-1 (randomerror) endpos={position}"
    if argv[3] not in ("alaw", "sln", "ulaw", "wav"):
        return Failure("200 result=-1 (writefile)")
    return f"200 result=0 (timeout) endpos={position}"


def say_alpha(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 5)
    if len(argv) > 4 and argv[4][:1].lower() not in ("", "a", "l", "n", "u"):
        raise Usage
    return "200 result=0"


def say_digits(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    number(argv[2])
    return "200 result=0"


def say_number(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 5)
    number(argv[2])
    return Failure("200 result=-1")


def say_phonetic(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    return "200 result=0"


def say_date_or_time(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    number(argv[2])
    return Failure("200 result=-1")


def say_datetime(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, MAX_ARGS)
    number(argv[2])
    return Failure("200 result=-1")


def send(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    return "200 result=0"


def set_autohangup(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    if not re.match(r"\s*[+-]?\.?\d", argv[2]):
        raise Usage
    return "200 result=0"


def set_callerid(state: CommandState, argv: list[str]) -> str:
    """ast_callerid_parse, ast_shrink_phone_number"""
    if len(argv) > 2:
        named = re.fullmatch(r'\s*"?(.*?)"?\s*<(.*?)>?\s*', argv[2], re.DOTALL)
        name, location = named.groups() if named else ("", argv[2])
        location = re.sub(r"[( )-]|\.(?!$)", "", location)
        if not named and not re.fullmatch(r"[0-9*#+]+", location):
            name, location = argv[2], ""
        state.callerid, state.calleridname = location, name
    return "200 result=1"


def set_context(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    state.context = argv[2]
    return "200 result=0"


def set_extension(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    state.extension = argv[2]
    return "200 result=0"


def set_music(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, MAX_ARGS)
    return "200 result=0"


def set_priority(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    if not state.has_extension(state.context, state.extension, argv[2]):
        state.priority = number(argv[2])
    return "200 result=0"


def set_variable(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    state.write(argv[2], argv[3])
    return "200 result=1"


def speech_create(state: CommandState, argv: list[str]) -> str:
    return "200 result=0"


def speech(*counts: int) -> Callable[[CommandState, list[str]], str]:
    """There is no speech engine, so each of them only counts its arguments."""

    def handler(state: CommandState, argv: list[str]) -> str:
        expect(argv, *counts)
        return "200 result=0"

    return handler


def stream_file(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 5)
    return Failure(f"200 result=-1 endpos={number(argv[4]) if len(argv) > 4 else 0}")


def tdd_mode(state: CommandState, argv: list[str]) -> str:
    expect(argv, 3, 3)
    return "200 result=0"


def verbose(state: CommandState, argv: list[str]) -> str:
    expect(argv, 2, MAX_ARGS)
    state.verbose.append(argv[1])
    return "200 result=1"


def wait_for_digit(state: CommandState, argv: list[str]) -> str:
    expect(argv, 4, 4)
    if number(argv[3]) < 0:
        state.hung_up = True  # no timeout and no key: only the end of the call ends the wait
        return Failure("200 result=-1")
    return "200 result=0"


def substitute(state: CommandState, text: str) -> str:
    """ast_str_substitute_variables, without the expressions of $[…]"""
    if "$[" in text:
        raise NotImplementedError(f"an expression in {text!r}")
    start = text.find("${")
    if start < 0:
        return text
    depth, end = 1, start + 2
    while end < len(text) and depth:
        if text.startswith("${", end):
            depth += 1
            end += 1
        elif text[end] == "}":
            depth -= 1
        end += 1
    inner = substitute(state, text[start + 2 : end - 1 if depth == 0 else end])
    name, offset, length = re.fullmatch(r"(.*?)(?::(-?\d+)(?::(-?\d+))?)?", inner, re.DOTALL).groups()  # type: ignore[union-attr]
    value = (state.read(name) or "")[int(offset or 0) :]
    return text[:start] + (value[: int(length)] if length else value) + substitute(state, text[end:])


# res_agi.c: commands[]; the flag says whether it is allowed on a dead channel.
COMMANDS: dict[str, tuple[Callable[[CommandState, list[str]], str], bool]] = {
    "answer": (answer_channel, False),
    "asyncagi break": (asyncagi_break, True),
    "channel status": (channel_status, False),
    "database del": (database_del, True),
    "database deltree": (database_deltree, True),
    "database get": (database_get, True),
    "database put": (database_put, True),
    "exec": (execute, True),
    "get data": (get_data, False),
    "get full variable": (get_full_variable, True),
    "get option": (get_option, False),
    "get variable": (get_variable, True),
    "gosub": (gosub, False),
    "hangup": (hangup, False),
    "noop": (noop, True),
    "receive char": (receive_char, False),
    "receive text": (receive_text, False),
    "record file": (record_file, False),
    "say alpha": (say_alpha, False),
    "say digits": (say_digits, False),
    "say number": (say_number, False),
    "say phonetic": (say_phonetic, False),
    "say date": (say_date_or_time, False),
    "say time": (say_date_or_time, False),
    "say datetime": (say_datetime, False),
    "send image": (send, False),
    "send text": (send, False),
    "set autohangup": (set_autohangup, False),
    "set callerid": (set_callerid, False),
    "set context": (set_context, False),
    "set extension": (set_extension, False),
    "set music": (set_music, False),
    "set priority": (set_priority, False),
    "set variable": (set_variable, True),
    "stream file": (stream_file, False),
    "control stream file": (control_stream_file, False),
    "tdd mode": (tdd_mode, False),
    "verbose": (verbose, True),
    "wait for digit": (wait_for_digit, False),
    "speech create": (speech_create, False),
    "speech set": (speech(4, 4), False),
    "speech destroy": (speech(2, MAX_ARGS), True),
    "speech load grammar": (speech(5, 5), False),
    "speech unload grammar": (speech(4, 4), True),
    "speech activate grammar": (speech(4, 4), False),
    "speech deactivate grammar": (speech(4, 4), False),
    "speech recognize": (speech(4, MAX_ARGS), False),
}
