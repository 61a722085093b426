"""SASLprep, by the examples of RFC 4013 and the rules of RFC 3454."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.table import each
from screenpop.xmpp import saslprep
from screenpop.xmpp.saslprep import SASLprepError


@each(
    ("text", "prepared"),
    [  # RFC 4013 section 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # section 2.1: other spaces become a space
        ("a\u00a0b\u3000c", "a b c"),
        ("pass word", "pass word"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_examples(text: str, prepared: str) -> None:
    assert saslprep.stored(text) == saslprep.query(text) == prepared


@each(
    ("text", "reason"),
    [
        ("\u0007", "forbids"),
        ("line\nend", "forbids"),
        ("\x7f", "forbids"),
        ("\ue000", "forbids"),  # private use
        ("\ufdd0", "forbids"),  # a noncharacter
        ("\ud800", "forbids"),  # a surrogate
        ("a\u200eb", "forbids"),  # a change of the direction
        ("\u06271", "mixes"),  # RFC 4013 section 3
        ("\u0627a\u0627", "mixes"),
    ],
)
def test_what_is_forbidden(text: str, reason: str) -> None:
    for prepare in (saslprep.stored, saslprep.query):
        with pytest.raises(SASLprepError, match=reason):
            prepare(text)


def test_code_points_that_unicode_3_2_does_not_know() -> None:
    """RFC 3454 section 7: a stored string may not have them, a query may."""
    assert saslprep.query("😀") == "😀"
    with pytest.raises(SASLprepError, match="newer"):
        saslprep.stored("😀")


@given(st.text())
def test_preparing_twice_changes_nothing(text: str) -> None:
    try:
        prepared = saslprep.query(text)
        again = saslprep.query(prepared)
    except SASLprepError:
        return
    assert again == prepared
