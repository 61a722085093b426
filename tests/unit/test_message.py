"""What a pop says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.table import each
from screenpop.call import Call
from screenpop.pop.message import DEFAULT, DEFAULTS, LONGEST, text
from screenpop.text import clean

BEGAN = time.mktime((2026, 1, 2, 12, 4, 0, 0, 0, -1))  # local time, as the pop shows it


def said(
    template: str = DEFAULT,
    age: float | None = None,
    facts: Mapping[str, str] | None = None,
    contact: Mapping[str, str] | None = None,
    outcome: Call | None = None,
    **known: Any,
) -> str:
    call = Call(**{"time": BEGAN, "number": "+15551234567", "name": "Ann Example", "extension": "123", **known})
    return text(call, template, age, facts, contact, outcome)


@each(
    ("known", "expected"),
    [
        ({}, "Call from Ann Example, +15551234567 to 123"),
        ({"name": ""}, "Call from +15551234567 to 123"),
        ({"number": ""}, "Call from Ann Example, unknown number to 123"),
        ({"number": "", "name": ""}, "Call from unknown number to 123"),
        ({"number": "", "name": "", "withheld": True}, "Call from number withheld to 123"),
        ({"number": "00 1 (555) 123"}, "Call from Ann Example, 00 1 (555) 123 to 123"),  # as it came
    ],
)
def test_the_default_says_who_calls_whom(known: dict[str, Any], expected: str) -> None:
    assert said(**known) == expected


@each(
    ("event", "after", "known", "expected"),
    [
        ("answered", 12, {"peer": "bob", "talked": 192.0}, "Call from {}: answered by bob, 3 min 12 s"),
        ("answered", 12, {"talked": 3723.0}, "Call from {}: answered, 1 h 2 min"),
        ("answered", 12, {"peer": "bob"}, "Call from {}: answered by bob"),
        ("answered", 12, {"talked": 0.0}, "Call from {}: answered, 0 s"),
        ("missed", 20.4, {}, "Missed call from {}, 12:04, rang 20 s"),
        ("missed", -5, {}, "Missed call from {}, 12:04, rang 0 s"),  # somebody has set the clock
        ("busy", 2, {}, "Call from {}, 12:04, busy"),
        ("voicemail", 45, {}, "Missed call from {}, 12:04, rang 45 s, voicemail"),
    ],
)
def test_the_outcome_is_told_in_a_text_that_stands_alone(
    event: str, after: float, known: dict[str, Any], expected: str
) -> None:
    outcome = Call(time=BEGAN + after, event=event, **known)
    assert said(DEFAULTS[event], outcome=outcome) == expected.format("Ann Example, +15551234567 to 123")


@each(
    ("event", "expected"),
    [
        ("answered", "Call from {}: answered by bob"),
        ("missed", "Missed call from {}, 12:04"),
        ("busy", "Call from {}, 12:04, busy"),
    ],
)
def test_an_event_of_a_call_that_is_not_known_tells_what_it_knows_itself(event: str, expected: str) -> None:
    handler: dict[str, Any] = {"extension": "ended", "context": "screen_pop", "dnid": "100"}
    text = said(DEFAULTS[event], event=event, peer="bob", **handler)
    assert text == expected.format("Ann Example, +15551234567 to 100")


def test_a_template_has_all_that_is_known() -> None:
    template = "{event}|{caller}|{number}|{name}|{extension}|{dnid}|{time}"
    assert said(template, dnid="100") == "Call|Ann Example, +15551234567|+15551234567|Ann Example|123|100|12:04"


@each(
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
    assert len(said("x" * 3000)) == LONGEST


def test_a_withheld_number_is_never_shown_even_if_it_were_there() -> None:
    assert said("{number} {caller}", withheld=True, name="") == "number withheld number withheld"


@each("name", ["{number}", "{{number}}", "{x}", "{}", "%s %(name)s", "\\a \\g<name>", "${number}"])
def test_a_name_is_no_template(name: str) -> None:
    assert said("{name}: {number}", name=name) == f"{name}: +15551234567"
    assert said("{name}: {number}", contact={"name": name}) == f"{name}: +15551234567"


@each("template", ["{}", "{ name }", "{first-name}", "{", "}", "%s", "$name", "\\n"])
def test_what_is_no_placeholder_stays_as_it_is(template: str) -> None:
    assert said(f"{template} {{name}}") == f"{template} Ann Example"


# What the number tells, and the phone book

ABROAD = {"number": "+49 30 123456", "country": "Germany", "place": "Berlin"}
ANN = {"name": "Ann Miller", "company": "Example Inc.", "url": "https://crm.example.org/c/42"}


def test_a_caller_whom_the_phone_book_knows() -> None:
    assert said(facts={"number": "+1 555-123-4567"}, contact=ANN) == (
        "Call from Ann Miller, +1 555-123-4567 to 123\nExample Inc.\nhttps://crm.example.org/c/42"
    )


def test_a_stranger_from_abroad() -> None:
    assert said(facts=ABROAD, name="") == "Call from +49 30 123456 to 123\nBerlin\nGermany"
    assert said(facts=ABROAD, contact={}) == 'Call from "Ann Example", +49 30 123456 to 123\nBerlin\nGermany'


def test_of_a_withheld_number_nothing_is_said() -> None:
    assert said(facts=ABROAD, contact=ANN, withheld=True, name="", number="") == "Call from number withheld to 123"
    assert said("{name}{country}{company}{x}", contact={**ANN, "x": "y"}, withheld=True, name="").startswith("Call ")


def test_any_field_of_a_source_can_stand_in_the_template() -> None:
    contact = {**ANN, "account": "42", "notes": "{number}\nrings twice", "country": "Bavaria"}
    template = "{caller}\n{Account}: {notes}\nin {country} by {street}\nof {city}"
    assert said(template, facts=ABROAD, contact=contact) == (
        "Ann Miller, +49 30 123456\n42: {number} rings twice\nin Bavaria by"
    )


def test_a_source_does_not_say_who_was_called_or_from_where() -> None:
    template = "{event}|{caller}|{number}|{name}|{extension}|{dnid}|{time}"
    forged = dict.fromkeys(("event", "caller", "number", "extension", "dnid", "time"), "forged")
    assert "forged" not in said(template, contact=forged, facts={"number": "+1 555-123-4567"})
    assert "forged" not in said(template, contact=forged)


def test_how_late_it_is_does_not_stand_behind_a_link() -> None:
    link = "https://crm.example.org/c/1"
    late = said("{url}\n{caller}", age=180.0, contact={"url": link})
    assert late.split("\n")[0] == link and late.endswith("3 minutes ago)")


@each(
    ("template", "expected"),
    [
        ("{company}\n{event}\n{url}", "Call"),
        ("A customer\n{company}", "A customer"),  # without a placeholder a line stays
        ("{event}\n{company} {street}\n\n{number}", "Call\n+15551234567"),
        ("{company}\n{street}", "Call from Ann Example, +15551234567 to 123"),
    ],
)
def test_a_line_of_which_nothing_is_known_is_left_out(template: str, expected: str) -> None:
    assert said(template) == expected


@each(
    ("url", "shown"),
    [
        ("https://crm.example.org/c/42", True),
        ("http://crm/", True),
        ("https://crm.example.org/?q=" + "x" * 473, True),
        ("https://crm.example.org/?q=" + "x" * 474, False),  # a link that is cut leads elsewhere
        ("javascript:alert(1)", False),
        ("crm.example.org/c/42", False),
        ("https://", False),
        ("https://crm.example.org/ c", False),
        ("https://crm.example.org/\nCall from Bob", False),
        ("ftp://crm.example.org/", False),
    ],
)
def test_a_link_is_http_and_whole(url: str, shown: bool) -> None:
    lines = said("{event}\n{url}", contact={"url": url}).split("\n")
    assert lines == (["Call", url] if shown else ["Call"])


def test_a_mere_link_which_clients_take_for_a_file_becomes_the_default() -> None:
    assert said("{company}\n{url}", contact={"url": ANN["url"]}) == (
        f'Call from "Ann Example", +15551234567 to 123\n{ANN["url"]}'
    )


# Names that callers choose


@each("name", ["Ann Miller", "ann miller", "Reception", "+1 555 999 9999", 'Ann", +1 555 "'])
@each("contact", [{}, {"company": "Example Inc."}])
def test_a_name_that_the_phone_book_does_not_know_is_in_quotation_marks(name: str, contact: dict[str, str]) -> None:
    quoted = '"' + name.replace('"', "'") + '"'  # nobody ends the quotation himself
    first = said(name=name, contact=contact).split("\n")[0]
    assert first == f"Call from {quoted}, +15551234567 to 123"
    assert said("{name}", name=name, contact=contact) == quoted


@each("name", ["+1 555 999 9999", "Ann, +15559999999", "1", "٥٥٥١٢٣"])
def test_without_a_phone_book_a_name_that_may_be_read_as_a_number_is(name: str) -> None:
    assert said(name=name) == f'Call from "{name}", +15551234567 to 123'


@each("name", ["+15551234567", "15551234567", "+1 (555) 123-4567"])
@each("contact", [None, {}])
def test_the_number_again_is_no_name(name: str, contact: dict[str, str] | None) -> None:
    assert said(name=name, contact=contact) == "Call from +15551234567 to 123"


def test_a_name_of_the_phone_book_is_not_whatever_the_caller_says() -> None:
    assert said(name="Eve 1", contact={"name": "Ann 2"}) == "Call from Ann 2, +15551234567 to 123"


# What is whole


def test_each_line_is_left_out_or_whole() -> None:
    contact = {"name": "n" * 600, "company": "c" * 600, "place": "p" * 600, "country": "o" * 600, "url": ANN["url"]}
    name, company, place, *others = said(contact=contact).split("\n")
    assert name == f"Call from {'n' * 499}…, +15551234567 to 123"
    assert (company, place, others) == ("c" * 499 + "…", "p" * 499 + "…", [])


fields = st.dictionaries(st.sampled_from(["name", "number", "company", "country", "place", "url", "x"]), st.text())


@given(
    template=st.text(st.sampled_from("{}namexurl\n \\") | st.characters()) | st.just(DEFAULT),
    name=st.text(),
    number=st.text(),
    facts=st.none() | fields,
    contact=st.none() | fields,
)
def test_any_text_gives_clean_lines(
    template: str, name: str, number: str, facts: dict[str, str] | None, contact: dict[str, str] | None
) -> None:
    lines = said(template, None, facts, contact, name=clean(name), number=clean(number)).split("\n")
    assert all(line and line == clean(line, LONGEST) for line in lines)
    assert len(lines) <= template.count("\n") + 1 or len(lines) <= DEFAULT.count("\n") + 1
    assert len("\n".join(lines)) <= LONGEST


@each(
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


def test_it_is_said_in_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: BEGAN + 180)
    assert said(age=180, facts=ABROAD, name="") == (
        "Call from +49 30 123456 to 123 (12:04, 3 minutes ago)\nBerlin\nGermany"
    )


@each(
    ("known", "expected"),
    [
        ({"number": "Alice, +1 555-1", "name": ""}, 'Call from "Alice, +1 555-1" to 123'),
        ({"number": "carol.example", "name": ""}, "Call from carol.example to 123"),
        ({"name": "A\u201d, +1 555\uff02 to 123"}, "Call from \"A', +1 555' to 123\", +15551234567 to 123"),
    ],
)
def test_what_the_caller_has_chosen_does_not_look_like_a_hit(known: dict[str, Any], expected: str) -> None:
    assert said(contact={}, **known) == expected
