"""Asterisk's extension patterns; tests/asterisk/test_dialplan_patterns.py asks a real Asterisk for the same."""

from __future__ import annotations

import pytest

from parts.table import each
from screenpop.pop.patterns import Pattern, split


@each(
    ("pattern", "matched", "others"),
    [
        ("201", ["201", "2-01"], ["20", "2011", "", "_201"]),
        ("2-01", ["201"], ["2-0"]),
        ("alice.x", ["alice.x"], ["Alice.x", "alice1x", "alice.1"]),
        ("_2XX", ["200", "299", "2-0-1"], ["2", "20", "2000", "300", "2a0"]),
        ("_nzx", ["210"], ["110", "200", "nzx"]),
        ("_[2-57]!", ["2", "5", "7", "712"], ["6", "1", "-", ""]),
        ("_[2-9].", ["21", "9é"], ["2", "11"]),
        ("_+49.", ["+491"], ["+49", "491"]),
        ("_X!", ["0", "12"], ["a", ""]),
        ("_[2,3]", ["2", ",", "3"], ["4"]),
        ("_[-2]1", ["21"], ["-1", "1"]),
    ],
)
def test_what_a_pattern_matches(pattern: str, matched: list[str], others: list[str]) -> None:
    made = Pattern(pattern)
    assert [text for text in (*matched, *others) if made.matches(text)] == matched


def test_the_most_specific_ranks_first() -> None:
    order = [
        "201",
        "_20[1]5",
        "_201",
        "_20[12]",
        "_20N",
        "_20Z",
        "_20X",
        "_20.",
        "_20!",
        "_20",
        "_2[12]1",
        "_2!",
        "_X.",
    ]
    assert [made.text for made in sorted(map(Pattern, reversed(order)), key=lambda made: made.rank)] == order


@each(
    ("one", "other"),
    [("_2XX", "_2xx"), ("_2XX", "_2[0-9]X"), ("_N", "_[98765432]"), ("_[11]", "_1"), ("2-01", "201"), ("_2-X", "_2X")],
)
def test_the_same_pattern_in_another_notation(one: str, other: str) -> None:
    assert Pattern(one).rank == Pattern(other).rank
    assert Pattern(one).hides(Pattern(other)) and Pattern(other).hides(Pattern(one))


@each(
    ("first", "hidden"),
    [
        ("_2XX!", "_2XX"),
        ("_2!", "_2"),
        ("201", "_201"),
        ("201", "_[2]0[1]"),
        ("_2", "_[-2]"),  # a dash is ignored, so nothing dialled has one
    ],
)
def test_a_pattern_that_another_one_hides(first: str, hidden: str) -> None:
    assert Pattern(first).hides(Pattern(hidden)) and not Pattern(hidden).hides(Pattern(first))


@each(
    ("one", "other"),
    [("_2XX", "_2X."), ("_2XX.", "_2XX"), ("_2X.", "_2!"), ("_2.", "_2!"), ("_20[1-5]", "_20X"), ("200", "_2XX")],
)
def test_patterns_of_which_both_can_apply(one: str, other: str) -> None:
    assert not Pattern(one).hides(Pattern(other)) and not Pattern(other).hides(Pattern(one))


@each(
    ("text", "wrong"),
    [
        ("_[2-", "the [ has no ]"),
        ("_2[9-1]", "9-1 should be 1-9"),
        ("_2[]", "nothing can match []"),
        ("_2[-]", "nothing can match [-]"),
        ("_2 XX", "it has a space in it"),
        ("2\t1", "it has a space in it"),
        ("_2XX,_3XX", "only one pattern may stand here"),
        ("_2XX/1234", "the caller's number after a / is not supported"),
        ("_2.X", "nothing may follow the ."),
        ("_!.", "nothing may follow the !"),
        ("_2]", "']' may not stand here"),
        ("_é", "'é' may not stand here"),
        ("_[é]", "only ASCII characters"),
        ("_", "nothing follows the _"),
        ("_-", "nothing follows the _"),
        ("2[01]", "a pattern begins with _, such as _2[01]"),
        ("-", "is not an extension"),
        ("", "such as _2XX"),
    ],
)
def test_what_is_no_pattern_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ValueError) as error:
        Pattern(text)
    assert wrong in str(error.value)


def test_a_comma_in_a_set_separates_nothing() -> None:
    assert split("_2XX, 201 ,_3[0,5]X") == ["_2XX", "201", "_3[0,5]X"]
