"""One call. Doors import this module while a caller waits."""

from __future__ import annotations

import posix
import time as clock

from .text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EVENTS = ("ringing", "answered", "missed", "ended")  # that the dialplan may name
OUTCOMES = ("answered", "missed", "busy", "voicemail")  # what `ended` turns out to be
# SIP users in place of a number that may not be shown: RFC 3323 section 4.1.1.3 has the first, and gateways the others.
# chan_pjsip takes the user in From for a number that may be shown.
NO_NUMBER = ("anonymous", "restricted", "unavailable")


class Call:
    """One event of one call. All its text is cleaned (text.py).

    `id`: unique; the name of the call's file in the spool.
    `time`: when the event came, in seconds since the epoch. `boot` and `uptime`: Linux's boot id, and the seconds from
    that boot to the event. They give the call's age even if the clock is set.
    `presentation`: Asterisk's number (`callerid.h`: `& 0x60` is not 0 for restricted or unavailable). If the number
    must not be shown, `number` and `name` are empty and `withheld` is true.
    `cidname`: the name that Asterisk's own database has for the number, DB(cidname/NUMBER).
    `follows`: the ids of the calls whose event this is, joined by "&"; empty for a call that has just come. In place of
    an id there may be what ties the events of a call (`tie`).
    `peer`: who has answered. `talked`: for how many seconds; -1 if that is not known.
    `to`: recipients given by the dialplan, joined by "&"; empty for the configured ones.
    `receipt`: request a receipt from the recipient's client (XEP-0184).
    """

    def __init__(
        self,
        *,
        id: str = "",
        time: float = 0.0,
        boot: str = "",
        uptime: float = 0.0,
        event: str = "ringing",
        number: str = "",
        name: str = "",
        presentation: int = 0,
        withheld: bool = False,
        dnid: str = "",
        extension: str = "",
        context: str = "",
        channel: str = "",
        uniqueid: str = "",
        cidname: str = "",
        follows: str = "",
        peer: str = "",
        talked: float = -1.0,
        to: str = "",
        receipt: bool = False,
        tie: str = "",
    ) -> None:
        """The default of `time` is now. The default of `id` is a new id; it ends with `tie` if there is one."""
        if not time:
            time, boot, uptime = _now()
        self.id = id or f"{time:017.6f}-{posix.urandom(6).hex()}{'-' * bool(tie)}{tie}"
        self.time = time
        self.boot = boot
        self.uptime = uptime
        self.event = event
        self.number = number
        self.name = name
        self.presentation = presentation
        self.withheld = withheld
        self.dnid = dnid
        self.extension = extension
        self.context = context
        self.channel = channel
        self.uniqueid = uniqueid
        self.cidname = cidname
        self.follows = follows
        self.peer = peer
        self.talked = talked
        self.to = to
        self.receipt = receipt

    @classmethod
    def from_record(cls, record: object) -> Call:
        """A call from its JSON object. Unknown fields, e.g. of a later version, are ignored. Raises ValueError."""
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        fields: dict[str, Any] = {}
        for name in record.keys() & _KINDS.keys():
            kind = _KINDS[name]
            if not isinstance(record[name], kind):
                raise ValueError(f"{name} is not {kind[0].__name__}")
            if float in kind and not abs(record[name]) < 2**53:  # also true for NaN
                raise ValueError(f"{name} is out of range")
            fields[name] = clean(record[name], limit=8192) if str in kind else record[name]
        if not fields.get("id") or not 0 < fields.get("time", 0) < 2**33:
            raise ValueError("it has no id or no time")
        return cls(**fields)

    def age(self) -> float:
        """The seconds since the event. The wall clock is used only if the machine has been restarted since."""
        if self.boot and self.boot == BOOT:
            return uptime() - self.uptime
        return max(0.0, clock.time() - self.time)

    def seconds_until(self, event: Call) -> float:
        """From this event to a later one, 0 to an earlier one; the clock may have been set between them."""
        if self.boot and self.boot == event.boot:
            return max(0.0, event.uptime - self.uptime)
        return max(0.0, event.time - self.time)

    def record(self) -> dict[str, object]:
        """The JSON object of this call."""
        return dict(self.__dict__)

    def json(self) -> bytes:
        """The same as `json.dumps`, whose import takes longer than everything else that a door does."""
        fields = ", ".join([f'"{name}": {_json(value)}' for name, value in self.__dict__.items()])
        return f"{{{fields}}}".encode("utf-8", "ignore")


def tie(id: str) -> str:
    """What ties the events of a call whose sender has an id of its own for it; empty for a call from Asterisk.

    It is the last part of this project's ids of these events, so that the names of the spool's files tell which belong
    together.
    """
    parts = id.split("-")
    return parts[2] if len(parts) == 3 else ""


def stands_for_no_number(caller: str) -> bool:
    return caller.partition("@")[0].lower() in NO_NUMBER


# RFC 8259 section 7
_ESCAPES = {**{code: f"\\u{code:04x}" for code in range(0x20)}, ord('"'): '\\"', ord("\\"): "\\\\"}


def _json(value: object) -> str:
    if isinstance(value, str):
        return f'"{value if value.isalnum() else value.translate(_ESCAPES)}"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def uptime() -> float:
    """Seconds since the machine was started. This clock can't be set, and it runs while the machine is suspended."""
    return clock.clock_gettime(clock.CLOCK_BOOTTIME)


def _now() -> tuple[float, str, float]:
    """`time`, `boot` and `uptime` of a call."""
    return clock.time(), BOOT, uptime()


def _boot_id() -> str:
    try:
        file = posix.open("/proc/sys/kernel/random/boot_id", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:  # a chroot without /proc
        return ""
    try:
        return posix.read(file, 100).decode().strip()
    finally:
        posix.close(file)


BOOT = _boot_id()
# the types that each field may have in JSON
_KINDS: dict[str, tuple[type, ...]] = {
    **{name: (type(value),) for name, value in vars(Call(time=1.0)).items()},
    **dict.fromkeys(("time", "uptime", "talked"), (float, int)),
}
