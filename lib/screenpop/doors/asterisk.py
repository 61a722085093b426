"""One run of AGI(), as a script or over FastAGI: from what Asterisk says of a call to what it is told."""

from __future__ import annotations

from ..call import EVENTS, Call, stands_for_no_number
from ..text import clean
from . import following
from .intake import LONGEST_WAIT
from .protocol import Command, set_variable, verbose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

# Asterisk substitutes ${CALLERID(num)} in the arguments of AGI() before it splits them: a caller who calls as
# "1,eve@evil.test" would choose the recipients. With such a number all arguments are ignored.
SPLITTING = ',"()\\'
KEY = frozenset("0123456789+*#-._ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # of numbers that are looked up
RESTRICTED_OR_UNAVAILABLE = 0x60  # callerid.h: AST_PRES_RESTRICTION
WAIT = "SCREEN_POP_WAIT"


class Conversation:
    """`call`: what Asterisk says of it. `seconds`: for how long the dialplan wants to wait for the confirmation.
    `earlier`: the end of the calls that popped on this channel before, if they have ended; to be queued first.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        arguments: Sequence[bytes],
        has_newline: bool = False,
        permitted: Callable[[str], tuple[str, str]] | None = None,
    ) -> None:
        """`env`: the variables that Asterisk sends, by names with `agi_`, their bytes beyond ASCII as lone surrogates.
        `arguments`: the dialplan's: number, recipients, event; each may be missing. `has_newline`: whether a newline
        of the caller's, which could hide or forge an argument, is among them. `permitted`: of recipients joined by "&",
        those that the dialplan may give, and a text about the others, if there are any.
        """
        self.problems: list[str] = []
        self.earlier: Call | None = None
        self.seconds = 0.0
        self.is_disturbed = False  # something else than a reply was in the place of one
        self._variables: list[tuple[str, str]] = []
        if has_newline or any(mark in env.get("agi_callerid", "") for mark in SPLITTING):
            arguments = self._without_the_callers(env, arguments)
        self.call = call_from(env, arguments)
        if self.call.event not in EVENTS:
            self.problems.append(f"event {self.call.event} is none of {', '.join(EVENTS)}: taken as {EVENTS[0]}")
            self.call.event = EVENTS[0]
        if permitted and self.call.to:
            self.call.to, problem = permitted(self.call.to)
            self.problems += [problem] if problem else []

    def _without_the_callers(self, env: Mapping[str, str], arguments: Sequence[bytes]) -> list[bytes]:
        if not arguments:
            return []
        marks = f"one of {SPLITTING} or a newline"
        self.problems.append(f"the caller's number contains {marks}: the arguments of AGI() are ignored")
        is_event = env.get("agi_context") == following.CONTEXT  # whose lines have the event as the last argument
        return [b"", b"", arguments[-1]] if is_event else []

    def commands(self) -> Generator[Command, bool, None]:
        """Those whose replies are needed before the call is queued. Each is to be sent back whether it was answered."""
        call = self.call
        is_new = call.event == EVENTS[0]
        key = f"DB(cidname/{call.number})" if call.number and KEY.issuperset(call.number) else ""
        names = [WAIT, following.OWN, following.INHERITED]
        if is_new:
            names += [following.HAS_HANDLER, *following.ANSWER]
        elif call.event == "ended":
            names += following.OUTCOME
        values = yield from self._ask([*names, key] if key else names)
        self.seconds, problem = seconds_to_wait(values.get(WAIT, ""))
        self.problems += [problem] if problem else []
        call.cidname = clean(values.get(key, ""))
        if is_new:
            if following.have_ended(values):
                yield from self._ask_for_record(values)
                self.earlier = following.end_before(values, call)
            self._variables = following.begin(values, call)
        else:
            following.describe(values, call)
            if call.event == "ended":
                yield from self._ask_for_record(values)
                following.find_outcome(values, call)
        if is_new and self.seconds:  # the caller may hang up meanwhile, and AGIEXITONHANGUP end the conversation
            for name, value in self._variables:
                yield Command(set_variable(name, value))
            self._variables = []

    def _ask_for_record(self, values: dict[str, str]) -> Generator[Command, bool, None]:
        """Add it to the values, if the outcome can't be known without it."""
        if following.needs_record(values):
            values.update((yield from self._ask(following.RECORD)))

    def _ask(self, names: Sequence[str]) -> Generator[Command, bool, dict[str, str]]:
        """The values; none if there is no answer, as the call must still be queued."""
        command = Command(names=names)
        try:
            if (yield command):
                return command.values()
        except ValueError as error:
            self.problems.append(str(error))
            self.is_disturbed = True
        return {}

    def last_commands(self, status: str, problems: Sequence[str] = ()) -> str:
        """What tells the dialplan how it went: to be sent at once, as nobody waits for the replies."""
        variables = [*self._variables, ("SCREEN_POP_STATUS", status)]
        texts = (verbose(f"screen_pop: {text}") for text in dict.fromkeys((*self.problems, *problems)))
        return "".join([*texts, *(set_variable(name, value) for name, value in variables)])


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


def seconds_to_wait(text: str) -> tuple[float, str]:
    """`SCREEN_POP_WAIT` of the channel in seconds, 0 when it isn't set or can't be read; and what is wrong with it."""
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT:
        return 0.0, f"{WAIT}={text} is not 0 to {LONGEST_WAIT:.0f} seconds: not waiting"
    return seconds, ""
