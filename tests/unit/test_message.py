"""What a pop says."""

from __future__ import annotations

import time
from typing import Any

import pytest

from screenpop.call import Call
from screenpop.pop.message import DEFAULT, text

BEGAN = time.mktime((2026, 1, 2, 12, 4, 0, 0, 0, -1))  # local time, as the pop shows it


def said(template: str = DEFAULT, age: float | None = None, **known: Any) -> str:
    call = Call(**{"time": BEGAN, "number": "+15551234567", "name": "Ann Example", "extension": "123", **known})
    return text(call, template, age)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, "Call from Ann Example, +15551234567 to 123"),
        ({"name": ""}, "Call from +15551234567 to 123"),
        ({"number": ""}, "Call from Ann Example, unknown number to 123"),
        ({"number": "", "name": ""}, "Call from unknown number to 123"),
        ({"number": "", "name": "", "withheld": True}, "Call from number withheld to 123"),
        ({"number": "00 1 (555) 123"}, "Call from Ann Example, 00 1 (555) 123 to 123"),  # as it came
        ({"event": "answered"}, "Answered call from Ann Example, +15551234567 to 123"),
        ({"event": "missed"}, "Missed call from Ann Example, +15551234567 to 123"),
        ({"event": "ended"}, "Ended call from Ann Example, +15551234567 to 123"),
    ],
)
def test_the_default_says_who_calls_whom(known: dict[str, Any], expected: str) -> None:
    assert said(**known) == expected


def test_a_template_has_all_that_is_known() -> None:
    template = "{event}|{caller}|{number}|{name}|{extension}|{dnid}|{time}"
    assert said(template, dnid="100") == "Call|Ann Example, +15551234567|+15551234567|Ann Example|123|100|12:04"


@pytest.mark.parametrize(
    ("extension", "dnid", "shown"),
    [("123", "100", "123"), ("s", "100", "100"), ("h", "100", "100"), ("s", "", "s"), ("", "", "?")],
)
def test_an_extension_that_nobody_dialled_gives_way_to_the_number_dialled(
    extension: str, dnid: str, shown: str
) -> None:
    assert said("{extension}", extension=extension, dnid=dnid) == shown


def test_an_empty_text_which_no_client_shows_becomes_the_default() -> None:
    assert said("{name}", name="") == "Call from +15551234567 to 123"


def test_the_text_is_one_line_and_has_an_end() -> None:
    assert said("Call\u2028from {name}" + "x" * 3000).startswith("Call from Ann Example")
    assert len(said("x" * 3000)) == 2000


def test_a_withheld_number_is_never_shown_even_if_it_were_there() -> None:
    assert said("{number} {caller}", withheld=True, name="") == "number withheld number withheld"


@pytest.mark.parametrize("name", ["{number}", "{{number}}", "{0}", "{}", "%s %(name)s", "\\1 \\g<0>", "${number}"])
def test_a_name_is_no_template(name: str) -> None:
    assert said("{name}: {number}", name=name) == f"{name}: +15551234567"


@pytest.mark.parametrize(
    ("seconds", "ago"),
    [
        (31, "31 seconds"),
        (60, "1 minute"),
        (150, "2 minutes"),
        (3600, "1 hour"),
        (7300, "2 hours"),
        (86400, "1 day"),
        (300000, "3 days"),
    ],
)
def test_a_late_pop_says_when_the_call_was(monkeypatch: pytest.MonkeyPatch, seconds: int, ago: str) -> None:
    monkeypatch.setattr(time, "time", lambda: BEGAN + seconds)
    assert said("Call", age=seconds) == f"Call (12:04, {ago} ago)"
