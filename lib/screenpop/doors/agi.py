"""The AGI door: one process per call, that reads the call from Asterisk and puts it in the outbox (`res/res_agi.c`).

The caller waits as long as this runs: it imports next to nothing, and nothing of XMPP.
"""

from __future__ import annotations

import _signal
import os
import select
import sys
import time

from ..call import EVENTS, Call
from ..spool import trigger
from ..spool.outbox import Outbox, path_from_environment
from ..spool.replies import Answers
from ..text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, BinaryIO


class _Pattern:
    """A regular expression that is compiled when it is first needed, which is next to never (get_result)."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> Any:
        import re

        return getattr(re.compile(self.text), name)


class _StandIns:
    """For what pyst2 imports, which takes longer than all the rest of the script: `six`, of which it needs one name,
    `pprint`, which makes its noise on stderr, and `re`. `_signal` is what the module `signal` wraps.
    """

    PY3 = True
    pformat = staticmethod(repr)
    compile = _Pattern


_stand_ins = {"pprint": _StandIns, "re": _StandIns, "signal": _signal, "six": _StandIns}
_stood_in = _stand_ins.keys() - sys.modules.keys()
sys.modules.update({name: _stand_ins[name] for name in _stood_in})
from asterisk import agi as pyst2  # noqa: E402

for _name in _stood_in:
    del sys.modules[_name]

# Asterisk puts ${CALLERID(num)} into the arguments of AGI() and splits them then: a caller who calls as
# "1,eve@evil.test" would choose the recipients. With such a caller all arguments are left alone.
SPLITTING = ',"()\\'
RESTRICTED_OR_UNAVAILABLE = 0x60  # callerid.h: AST_PRES_RESTRICTION
LONGEST_WAIT = 60.0  # seconds


class HungUp(Exception):
    """The caller hung up while the script waited for the server."""


class _Lines:
    """Asterisk's end of the conversation as pyst2 reads and writes it: text, a line at a time."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self.reader, self.writer = reader, writer
        self.peeked = ""

    def peek(self) -> str:
        """The line that will be read next."""
        self.peeked = self.readline()
        return self.peeked

    def readline(self) -> str:
        """Bytes beyond ASCII as lone surrogates, so that none is refused, and none taken for a blank by pyst2, which
        strips each line. Raises AGIHangup when Asterisk has gone.
        """
        if self.peeked:
            peeked, self.peeked = self.peeked, ""
            return peeked
        line = self.reader.readline()
        while line == b"HANGUP\n":  # sent in between by FastAGI, and by AGI when AGISIGHUP is "no"
            line = self.reader.readline()
        if not line.endswith(b"\n"):
            raise pyst2.AGIHangup("end of file: Asterisk has ended the conversation")
        return line.decode("ascii", "surrogateescape")

    def write(self, text: str) -> None:
        self.writer.write(text.encode())

    def flush(self) -> None:
        self.writer.flush()


class _Silence:
    """Where pyst2 writes each line of the conversation: Asterisk's stderr is its console."""

    def write(self, text: str) -> None:
        pass


class AGI(pyst2.AGI):  # type: ignore[misc]
    """pyst2's AGI, that lets no value change a command and that a hang-up doesn't stop.

    `env` is as Asterisk sent it, its bytes beyond ASCII as lone surrogates (PEP 383). Commands raise AGIException.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self.waiting = False
        lines = _Lines(reader, writer)
        super().__init__(stdin=lines, stdout=lines, stderr=_Silence())

    def _quote(self, string: object) -> str:
        """As `parse_args` in res_agi.c takes it apart: a backslash escapes; a newline would begin a second command, and
        so would what is beyond the line's length (2047 bytes in Asterisk 16).
        """
        text = clean(str(string), limit=1024).encode()[:960].decode("utf-8", "ignore")
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def get_result(self, stdin: object = None) -> dict[str, tuple[str, str]]:
        """What is no plain answer is left to pyst2, and to its regular expressions."""
        try:
            code, is_result, rest = self.stdin.peek().rstrip().partition(" result=")
            value, has_data, data = rest.partition(" (")
            if code == "200" and is_result and value.isdigit() and (not has_data or data.endswith(")")):
                self.stdin.readline()
                return {"result": (value, data[:-1])}
            return super().get_result()  # type: ignore[no-any-return]
        except ValueError as error:  # a line that doesn't begin with a number
            raise pyst2.AGIUnknownError(f"not a reply: {error}") from error

    def _handle_sighup(self, signum: int, frame: object) -> None:
        super()._handle_sighup(signum, frame)
        if self.waiting:
            raise HungUp

    def test_hangup(self) -> None:
        """A caller who hangs up is still told of; variables can be set on a dead channel, too."""

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        """Wait until there is something to read, the time is over (False), or the caller hangs up (HungUp)."""
        self.waiting = True
        try:
            if self._got_sighup:
                raise HungUp
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            self.waiting = False


def call_from(env: Mapping[str, str], arguments: Sequence[bytes]) -> Call:
    """The call that Asterisk describes. `arguments`: the dialplan's: number, recipients, event; each may be missing."""

    def known(name: str) -> str:
        """`unknown` is res_agi.c's word for a value that the channel doesn't have."""
        value = clean(os.fsencode(env.get(f"agi_{name}", "")))
        return "" if value == "unknown" else value

    number, to, event = [*arguments, b"", b"", b""][:3]
    try:
        presentation = int(env["agi_callingpres"])
    except (KeyError, ValueError):  # a name with a blank line in it ended the environment: show nothing
        presentation = RESTRICTED_OR_UNAVAILABLE
    withheld = bool(presentation & RESTRICTED_OR_UNAVAILABLE)
    return Call.new(
        event=clean(event) or EVENTS[0],
        number="" if withheld else clean(number) or known("callerid"),
        name="" if withheld else known("calleridname"),
        presentation=presentation,
        withheld=withheld,
        dnid=known("dnid"),
        extension=known("extension"),
        context=known("context"),
        channel=known("channel"),
        uniqueid=known("uniqueid"),
        to=clean(to, limit=8192),
    )


def seconds_to_wait(agi: AGI) -> float:
    """`SCREEN_POP_WAIT` of the channel: seconds, 0 when it isn't set."""
    text = agi.get_variable("SCREEN_POP_WAIT")
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT:
        agi.verbose(f"screen_pop: SCREEN_POP_WAIT={text} is not 0 to {LONGEST_WAIT:.0f} seconds: not waiting", 1)
        return 0.0
    return seconds


def act_as_owner(outbox: str) -> None:
    """As root (by hand): Asterisk's user could neither open nor remove what root makes."""
    there = outbox if os.path.isdir(outbox) else os.path.dirname(outbox)
    if os.geteuid() == 0 and os.path.isdir(there):
        owner = os.stat(there)
        if owner.st_uid:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def queue(outbox: Outbox, call: Call) -> tuple[Outbox | None, str]:
    """Put the call into the outbox, or else into the spare one. Returns where it is, and what is wrong."""
    try:
        outbox.put(call)
        return outbox, ""
    except OSError as error:
        wrong = f"the outbox can't be written ({error})"
    try:
        spare = outbox.spare()
        spare.put(call)
        return spare, f"{wrong}: the call waits in memory, in {spare.path}"
    except OSError as error:
        return None, f"{wrong}, nor can memory ({error})"


def ring_and_wait(agi: AGI, outbox: Outbox, call: Call) -> tuple[str, str]:
    """See that a sender is up, and wait for it if the dialplan wants that. Returns the status, and what is wrong."""
    try:
        trigger.ring(outbox.path)
    except OSError as error:
        return "QUEUED", f"no sender can be started ({error}): the call waits in {outbox.path}"
    try:  # the call is queued: what fails from here on changes nothing of that
        seconds = seconds_to_wait(agi)
        return wait_for_answer(agi, outbox, call, seconds) if seconds else ("QUEUED", "")
    except (pyst2.AGIException, OSError, ValueError) as error:
        return "QUEUED", f"not waiting: {error}"


def wait_for_answer(agi: AGI, outbox: Outbox, call: Call, seconds: float) -> tuple[str, str]:
    """Wait for the server's confirmation, that long at most and no longer than the caller does."""
    end = time.monotonic() + seconds
    answers = Answers(outbox, call)
    try:
        if not outbox.is_waiting(call):  # the sender was faster, and found nobody to tell
            failed = outbox.failed(call)
            status = "FAILED" if failed and not failed.delivered else "DELIVERED"
            return status, f"see {outbox.path}/failed" if failed else ""
        reason = "no confirmation yet"
        while agi.wait_readable(answers.fileno(), max(0.0, end - time.monotonic())):
            for answer in answers.read():
                if answer.get("status") in ("DELIVERED", "FAILED"):
                    return answer["status"], answer.get("reason", "")
                reason = answer.get("reason", reason)
        return "QUEUED", reason
    except HungUp:
        return "QUEUED", ""
    finally:
        answers.close()


def main() -> None:
    """Read the call, hand it over, tell the dialplan. Raises AGIException when Asterisk doesn't describe a call."""
    agi = AGI(sys.stdin.buffer, sys.stdout.buffer)
    arguments, complaints = [os.fsencode(argument) for argument in sys.argv[1:]], []
    if arguments and any(mark in agi.env.get("agi_callerid", "") for mark in SPLITTING):
        complaints.append(f"the caller's number has one of {SPLITTING} in it: the arguments of AGI() are left alone")
        arguments = []
    call = call_from(agi.env, arguments)
    if call.event not in EVENTS:
        complaints.append(f"event {call.event} is none of {', '.join(EVENTS)}: taken as {EVENTS[0]}")
        call.event = EVENTS[0]
    outbox = Outbox(path_from_environment())
    act_as_owner(outbox.path)
    queued, full = queue(outbox, call)
    status, reason = ring_and_wait(agi, queued, call) if queued else ("FAILED", "")
    for complaint in filter(None, (*complaints, full, reason)):
        say(agi.verbose, f"screen_pop: {complaint}", 1)
    say(agi.set_variable, "SCREEN_POP_STATUS", status)


def say(command: Callable[..., None], *arguments: object) -> None:
    """Say it, whatever Asterisk answers: the call is handed over, or its reason is all that is left to be said."""
    try:
        command(*arguments)
    except (pyst2.AGIException, OSError):
        pass
