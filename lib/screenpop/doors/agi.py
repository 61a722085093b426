"""The AGI door: one process per call. It reads the call from Asterisk, hands it over, and tells the dialplan.

The caller waits as long as this runs: it imports next to nothing, not even `os`, and nothing of XMPP.
"""

from __future__ import annotations

import _signal
import posix
import sys

from ..call import EVENTS, Call, stands_for_no_number
from ..spool.outbox import Outbox, path_from_environment
from ..text import clean
from . import following, intake
from .conversation import AGI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Asterisk substitutes ${CALLERID(num)} in the arguments of AGI() before it splits them: a caller who calls as
# "1,eve@evil.test" would choose the recipients. With such a number all arguments are ignored.
SPLITTING = ',"()\\'
KEY = frozenset("0123456789+*#-._ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # of numbers that are looked up
RESTRICTED_OR_UNAVAILABLE = 0x60  # callerid.h: AST_PRES_RESTRICTION


class HangUp:
    """SIGHUP, by which Asterisk tells the script that the caller has hung up. It ends a wait, and nothing else."""

    def __init__(self) -> None:
        self.came = self.waiting = False
        _signal.signal(_signal.SIGHUP, self._handle)

    def _handle(self, signum: int, frame: object) -> None:
        self.came = True
        if self.waiting:
            raise intake.HungUp

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        """Wait until there is something to read; False when the time is over first. Raises intake.HungUp."""
        import select  # here: most calls don't wait

        self.waiting = True
        try:
            if self.came:
                raise intake.HungUp
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            self.waiting = False


def call_from(env: Mapping[str, str], arguments: Sequence[bytes]) -> Call:
    """The call that Asterisk describes. `arguments`: the dialplan's: number, recipients, event; each may be missing."""

    def known(name: str) -> str:
        """`unknown` is what res_agi.c writes for a value that the channel doesn't have."""
        value = clean(env.get(f"agi_{name}", "").encode("ascii", "surrogateescape"))
        return "" if value == "unknown" else value

    number, to, event = [*arguments, b"", b"", b""][:3]
    try:
        presentation = int(env["agi_callingpres"])
    except (KeyError, ValueError):  # a name with an empty line in it ended the variables: show nothing
        presentation = RESTRICTED_OR_UNAVAILABLE
    caller = clean(number) or known("callerid")
    withheld = bool(presentation & RESTRICTED_OR_UNAVAILABLE) or stands_for_no_number(caller)
    return Call(
        event=clean(event) or EVENTS[0],
        number="" if withheld else caller,
        name="" if withheld else without_quoted_pairs(known("calleridname")),
        presentation=presentation,
        withheld=withheld,
        dnid=known("dnid"),
        extension=known("extension"),
        context=known("context"),
        channel=known("channel"),
        uniqueid=known("uniqueid"),
        to=clean(to, limit=8192),
    )


def without_quoted_pairs(name: str) -> str:
    r"""chan_pjsip leaves them in a name (RFC 3261 section 25.1): `a\"b` is `a"b`, and `a\\b` is `a\b`."""
    return "\\".join(part.replace('\\"', '"') for part in name.split("\\\\"))


def seconds_to_wait(agi: AGI) -> tuple[float, str]:
    """`SCREEN_POP_WAIT` of the channel in seconds, 0 when it isn't set or can't be read; and what is wrong with it."""
    try:
        text = agi.get_variable("SCREEN_POP_WAIT")
    except Exception as error:  # whatever it is, the call must still be queued
        return 0.0, f"not waiting: {error}"
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= intake.LONGEST_WAIT:
        return 0.0, f"SCREEN_POP_WAIT={text} is not 0 to {intake.LONGEST_WAIT:.0f} seconds: not waiting"
    return seconds, ""


def name_in_database(agi: AGI, number: str) -> str:
    """The name that Asterisk's own database has for a number, DB(cidname/NUMBER); empty where it has none."""
    return clean(agi.value(f"DB(cidname/{number})")) if number and KEY.issuperset(number) else ""


def act_as_owner(outbox: str) -> None:
    """When run by root, by hand: what root makes, Asterisk's user could neither open nor remove."""
    if posix.geteuid() != 0:
        return
    import os

    there = outbox if os.path.isdir(outbox) else os.path.dirname(outbox)
    if os.path.isdir(there):
        owner = os.stat(there)
        if owner.st_uid:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def main() -> None:
    """Raises AGIException or OSError when Asterisk doesn't describe a call."""
    hang_up = HangUp()
    agi = AGI(sys.stdin.buffer, sys.stdout.buffer)
    problems = []
    arguments = [argument.encode(sys.getfilesystemencoding(), "surrogateescape") for argument in sys.argv[1:]]
    if arguments and any(mark in agi.env.get("agi_callerid", "") for mark in SPLITTING):
        problems.append(f"the caller's number contains one of {SPLITTING}: the arguments of AGI() are ignored")
        is_event = agi.env.get("agi_context") == following.CONTEXT  # whose lines have the event as the last argument
        arguments = [b"", b"", arguments[-1]] if is_event else []
    call = call_from(agi.env, arguments)
    if call.event not in EVENTS:
        problems.append(f"event {call.event} is none of {', '.join(EVENTS)}: taken as {EVENTS[0]}")
        call.event = EVENTS[0]
    outbox = Outbox(path_from_environment())
    act_as_owner(outbox.path)
    seconds, problem = seconds_to_wait(agi)
    call.cidname = name_in_database(agi, call.number)
    if call.event == EVENTS[0]:
        following.begin(agi, call)
    else:
        following.describe(agi, call)
    status, more = intake.hand_over(outbox, call, seconds, hang_up.wait_readable)
    for text in filter(None, [*problems, problem, *more]):
        agi.attempt(agi.verbose, f"screen_pop: {text}", 1)
    agi.attempt(agi.set_variable, "SCREEN_POP_STATUS", status)
