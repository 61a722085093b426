"""What is known of one call. Doors import this while a caller waits."""

from __future__ import annotations

import os
import time

from .text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EVENTS = ("ringing", "answered", "missed", "ended")


class Call:
    """One event of one call. All text in it has been cleaned.

    `presentation` is Asterisk's number (`callerid.h`: `& 0x60` not 0 is restricted or unavailable). A number that may
    not be shown is not kept either: `number` and `name` are then empty and `withheld` is true.
    """

    id: str = ""  # unique; the name of the file in the outbox
    time: float = 0.0  # when it came, in seconds since the epoch; and, because a clock may be set:
    boot: str = ""  # Linux' id of the machine's run,
    uptime: float = 0.0  # and its seconds until then
    event: str = "ringing"
    number: str = ""
    name: str = ""
    presentation: int = 0
    withheld: bool = False
    dnid: str = ""
    extension: str = ""
    context: str = ""
    channel: str = ""
    uniqueid: str = ""
    to: str = ""  # recipients given by the dialplan, joined by "&"; empty: the configured ones
    receipt: bool = False  # ask the recipient's client to confirm (XEP-0184)
    # What the sender knows of it so far:
    delivered: tuple[str, ...] | list[str] = ()
    failed: dict[str, str] = {}  # noqa: RUF012 - a default that is never changed in place; recipient: reason

    def __init__(self, **known: object) -> None:
        self.__dict__.update(known)

    @classmethod
    def new(cls, **known: object) -> Call:
        """A call that comes in now."""
        now = time.time()
        return cls(id=f"{now:017.6f}-{os.urandom(6).hex()}", time=now, boot=BOOT, uptime=uptime(), **known)

    @classmethod
    def from_record(cls, record: object) -> Call:
        """A call out of its JSON object; fields of a later version are passed over. Raises ValueError."""
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        known: dict[str, Any] = {}
        for field, default in _DEFAULTS.items():
            if field in record:
                numeric = isinstance(default, float)
                kind = (list, tuple) if field == "delivered" else (int, float) if numeric else type(default)
                if not isinstance(record[field], kind):
                    raise ValueError(f"{field} is not {type(default).__name__}")
                if numeric and not abs(record[field]) < 2**53:  # or no number at all
                    raise ValueError(f"{field} is out of range")
                known[field] = clean(record[field], limit=8192) if isinstance(default, str) else record[field]
        if not known.get("id") or not 0 < known.get("time", 0) < 2**33:
            raise ValueError("no id or no time in it")
        if not all(isinstance(text, str) for text in (*known.get("delivered", ()), *known.get("failed", {}).values())):
            raise ValueError("what has become of it is not text")
        return cls(**known)

    def age(self) -> float:
        """For how many seconds it has waited; by the clock on the wall only if the machine has been restarted since."""
        if self.boot and self.boot == BOOT:
            return uptime() - self.uptime
        return max(0.0, time.time() - self.time)

    def record(self) -> dict[str, object]:
        """What of it is known; the rest is at its default."""
        return dict(self.__dict__)

    def json(self) -> bytes:
        """The JSON object of this call."""
        return _json(self.record()).encode("utf-8", "ignore")


# RFC 8259 section 7
_ESCAPES = {**{code: f"\\u{code:04x}" for code in range(0x20)}, ord('"'): '\\"', ord("\\"): "\\\\"}


def _json(value: object) -> str:
    """As `json.dumps`, whose import alone keeps the caller waiting for longer than the rest of the door."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(name)}: {_json(content)}" for name, content in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_json, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def uptime() -> float:
    """Seconds since the machine was started; nobody sets this clock, and it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().decode().strip()
    except OSError:  # a chroot without /proc
        return ""


BOOT = _boot_id()
_DEFAULTS = {field: getattr(Call, field) for field in Call.__annotations__}
