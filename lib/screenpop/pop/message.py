"""The text of a pop."""

from __future__ import annotations

import re
import time

from ..call import Call
from ..text import clean

DEFAULT = "{event} from {caller} to {extension}"
PLACEHOLDER = re.compile(r"\{(\w*)\}")
PLACEHOLDERS = ("event", "caller", "number", "name", "extension", "dnid", "time")
# Asterisk's special extensions, which nobody dials (pbx.c)
_SPECIAL = ("s", "h", "i", "t", "T", "o", "a", "e")
_EVENT = {"ringing": "Call", "answered": "Answered call", "missed": "Missed call", "ended": "Ended call"}


def text(call: Call, template: str, age: float | None = None) -> str:
    """The text of a pop. `age`: seconds since the call if the text should say that it is late, else None.

    The template is filled in one pass, so a caller's name such as `{number}` is not replaced.
    """
    number = "number withheld" if call.withheld else call.number or "unknown number"
    values = {
        "event": _EVENT.get(call.event, "Call"),
        "caller": f"{call.name}, {number}" if call.name else number,
        "number": number,
        "name": call.name,
        "extension": ((call.dnid or call.extension) if call.extension in _SPECIAL else call.extension) or "?",
        "dnid": call.dnid,
        "time": _clock(call.time),
    }
    body = clean(PLACEHOLDER.sub(lambda match: values[match[1]], template), limit=2000)
    if not body:  # all values of the template are empty; clients don't show an empty message
        return text(call, DEFAULT, age)
    if age is not None:
        body += f" ({_clock(time.time() - age)}, {ago(age)} ago)"
    return body


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M", time.localtime(seconds))


def ago(seconds: float) -> str:
    """A duration in its largest unit."""
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next((unit for unit in units if seconds >= unit[1]), units[-1])
    count = int(seconds // length)
    return f"{count} {unit}{'' if count == 1 else 's'}"
