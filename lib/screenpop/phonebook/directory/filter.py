"""Search filters with a place for the caller's number (RFC 4515): `(telephoneNumber={number})`."""

from __future__ import annotations

import re
import string

from ..fields import PLACEHOLDER
from ..source import Number

_PLAIN = string.ascii_letters + string.digits + "+"  # all else is escaped


def template(text: str) -> str:
    """An option. Raises ValueError, saying what would be right."""
    names = {*PLACEHOLDER.findall(text)}
    if not names or not names <= {"number", "national", "written"}:
        raise ValueError(f"{text!r} should have {{number}}, {{national}} or {{written}}: (telephoneNumber={{number}})")
    return text


def filled(text: str, number: Number) -> str:
    """The filter that finds this number.

    No form of a number is empty here, as `*{national}` would find everybody: where there is none, it is the number as
    it was written.
    """
    forms = {"number": number.e164, "national": number.national, "written": number.written}
    return PLACEHOLDER.sub(lambda match: _escaped(forms[match[1]] or number.written), text)


def for_any_number(text: str) -> str:
    """The filter that finds all entries that could be found; empty where that can't be said (`:=`)."""
    return "" if ":=" in text else re.sub(r"\*+", "*", PLACEHOLDER.sub("*", text))


def _escaped(value: str) -> str:
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"\\{byte:02x}" for byte in value.encode())
