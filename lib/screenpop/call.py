"""What is known of one call, and the one place where what strangers wrote becomes plain text.

This is imported while a caller waits: nothing here may import more than `re`, which pyst2 brings along anyway.
"""

from __future__ import annotations

import os
import re
import time

EVENTS = ("ringing", "answered", "missed", "ended")

# XML 1.0 forbids most control characters, surrogates and two noncharacters (section 2.2). Line and paragraph separators
# would forge a log line. Bidirectional controls would show a number backwards (Unicode TR 36, section 2.5).
_SPACE = re.compile("[\\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_FORBIDDEN = re.compile("[\ud800-\udfff\ufffe\uffff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def decode(raw: bytes) -> str:
    """UTF-8, else Latin-1: Asterisk passes a caller ID on as the bytes that came."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # a name that was cut within its last character
            return raw[: error.start].decode("utf-8")
        return raw.decode("latin-1")


def clean(value: str | bytes, limit: int = 128) -> str:
    """One line of text that XML 1.0 allows, at most `limit` characters long."""
    text = decode(value) if isinstance(value, bytes) else value
    text = _SPACE.sub(" ", _FORBIDDEN.sub("", text)).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Call:
    """One event of one call. All text in it has been cleaned.

    `presentation` is Asterisk's number (`callerid.h`: `& 0x60` not 0 is restricted or unavailable). A number that may not
    be shown is not kept either: `number` and `name` are then empty and `withheld` is true.
    """

    id: str = ""  # unique; the name of the file in the outbox
    time: float = 0.0  # seconds since the epoch
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
        return cls(id=f"{now:.6f}-{os.urandom(6).hex()}", time=now, **known)

    @classmethod
    def from_record(cls, record: object) -> Call:
        """A call out of its JSON object; fields of a later version are passed over. Raises ValueError."""
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        known = {}
        for field, default in _DEFAULTS.items():
            if field in record:
                kind = (list, tuple) if field == "delivered" else (int, float) if field == "time" else type(default)
                if not isinstance(record[field], kind):
                    raise ValueError(f"{field} is not {type(default).__name__}")
                known[field] = record[field]
        if not known.get("id") or not known.get("time"):
            raise ValueError("no id or no time in it")
        return cls(**known)

    def record(self) -> dict[str, object]:
        """The JSON object of this call."""
        return dict(self.__dict__)


_DEFAULTS = {field: getattr(Call, field) for field in Call.__annotations__}
