"""SASLprep: prepares names and passwords before they are hashed (RFC 4013, a profile of RFC 3454)."""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (  # RFC 4013 section 2.3
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class SASLprepError(ValueError):
    """Why a text can't be prepared. The message contains no part of the text, which may be a password."""


def stored(text: str) -> str:
    """Prepare a stored string: code points that Unicode 3.2 doesn't assign are refused. Raises SASLprepError."""
    prepared = query(text)
    if any(stringprep.in_table_a1(char) for char in prepared):
        raise SASLprepError("it has a character that is newer than SASLprep's Unicode 3.2 (RFC 4013)")
    return prepared


def query(text: str) -> str:
    """Prepare a query: unassigned code points are kept. Raises SASLprepError."""
    if text.isascii() and text.isprintable():
        return text
    mapped = (" " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char))
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", "".join(mapped))
    if any(prohibited(char) for char in prepared for prohibited in _PROHIBITED):
        raise SASLprepError("it has a character that SASLprep forbids, such as a control character (RFC 4013)")
    if any(map(stringprep.in_table_d1, prepared)):  # RFC 3454 section 6
        ends = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends or any(map(stringprep.in_table_d2, prepared)):
            raise SASLprepError("it mixes right-to-left and left-to-right characters as SASLprep forbids (RFC 3454)")
    return prepared
