"""What strangers write becomes plain text, and a call becomes a record and a call again."""

from __future__ import annotations

import json
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.table import each
from screenpop.call import Call
from screenpop.text import clean

ANYTHING = st.one_of(st.binary(max_size=300), st.text(st.characters(), max_size=300))  # characters(): surrogates, too


def after_xml(text: str) -> str:
    """The text as it comes out of an XML document that it was put into. Raises ExpatError."""
    found: list[str] = []
    parser = expat.ParserCreate("utf-8")
    parser.CharacterDataHandler = found.append
    parser.Parse(f"<body>{escape(text)}</body>".encode(), True)
    return "".join(found)


@each(
    ("raw", "text"),
    [
        ("Zoë Müller".encode(), "Zoë Müller"),
        ("Zoë Müller".encode("latin-1"), "Zoë Müller"),
        ("東京 ☎ 😀".encode(), "東京 ☎ 😀"),
        ("+1 555 123-4567", "+1 555 123-4567"),
        (b"", ""),
        (b"M\xc3\xbcller \xfc", "MÃ¼ller ü"),  # neither of the two as a whole: nothing of it is lost
    ],
)
def test_utf8_is_read_as_such_and_all_else_as_latin1(raw: bytes | str, text: str) -> None:
    assert clean(raw) == text


@each("last", ["Ü", "€", "😀"])
@each("head", ["Zoë", "Zoë M"])
def test_a_name_that_was_cut_within_its_last_character_loses_only_that(head: str, last: str) -> None:
    whole = f"{head}{last}".encode()
    for cut in range(1, len(last.encode())):
        assert clean(whole[:-cut]) == head


def test_a_cut_is_seen_after_plain_letters_as_well() -> None:
    """By a byte that no Latin-1 name ends with, or by more than one of the character."""
    assert clean("Zoë".encode()[:-1]) == "Zo"
    assert clean("Zo€".encode()[:-1]) == "Zo"
    assert clean("Zo😀".encode()[:-1]) == clean("Zo😀".encode()[:-2]) == "Zo"


@each("name", ["André", "ANDRÉ", "Vigdís à"])
def test_a_latin1_name_keeps_an_accented_last_letter(name: str) -> None:
    """In UTF-8 that byte would begin a character, too, but no other byte says that this is UTF-8."""
    assert clean(name.encode("latin-1")) == name


@each(
    "forbidden",
    [
        *map(chr, (*range(0x9), 0xB, 0xC, *range(0xE, 0x20))),  # control characters
        "\ud800",  # surrogates: the first, the last
        "\udfff",
        "\ufffe",  # noncharacters
        "\uffff",
    ],
)
def test_what_xml_forbids_goes(forbidden: str) -> None:
    """XML 1.0 section 2.2: Char."""
    cleaned = clean(f"Ann{forbidden}Example")
    assert forbidden not in cleaned
    assert after_xml(cleaned) == cleaned
    assert cleaned.replace(" ", "") == "AnnExample"


@each("allowed", ["\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010ffff"])
def test_what_xml_allows_beside_that_stays(allowed: str) -> None:
    assert clean(allowed) == allowed


@each("control", map(chr, (0x7F, *range(0x80, 0x85), *range(0x86, 0xA0))))
def test_control_characters_that_xml_allows_go_as_well(control: str) -> None:
    assert clean(f"Ann{control}Example") == "Ann Example"


@each(
    "control",
    map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))),
)
def test_nothing_turns_the_reading_direction(control: str) -> None:
    """Unicode UAX 9 section 2: marks, embeddings, overrides, isolates and their ends."""
    assert clean(f"+1{control}555") == "+1555"


@each("separator", [*"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\r\n"])
def test_line_ends_become_a_blank(separator: str) -> None:
    assert clean(f"{separator}Ann{separator}Example{separator}") == "Ann Example"


def test_a_value_is_as_long_as_its_limit_at_most_and_a_cut_is_seen() -> None:
    assert clean("x" * 128) == "x" * 128
    assert clean("x" * 129) == "x" * 127 + "…"
    assert clean("é" * 9, limit=5) == "éééé…"


@settings(deadline=None, database=None)
@given(ANYTHING, st.integers(1, 200))
def test_anything_becomes_one_short_line_that_xml_carries(anything: bytes | str, limit: int) -> None:
    cleaned = clean(anything, limit)
    assert len(cleaned) <= limit
    assert len(cleaned.splitlines()) <= 1
    assert cleaned == cleaned.strip()
    assert after_xml(cleaned) == cleaned
    assert clean(cleaned, limit) == cleaned


KNOWN = Call(
    id="1700000000.000000-0123456789ab",
    time=1700000000.0,
    event="missed",
    number="+15551234567",
    name='Ann "Example"',
    presentation=1,
    dnid="100",
    extension="123",
    context="incoming",
    channel="PJSIP/trunk-00000001",
    uniqueid="1700000000.1",
    to="alice@example.org",
    receipt=True,
)


def test_a_call_comes_back_out_of_its_record() -> None:
    record = json.loads(KNOWN.json())
    assert Call.from_record(record).record() == KNOWN.record()


def test_a_new_call_has_an_id_of_its_own_and_comes_back_as_well() -> None:
    first, second = Call(number="1"), Call(number="1")
    assert first.id != second.id
    assert Call.from_record(first.record()).__dict__ == first.__dict__


def test_fields_of_a_later_version_are_passed_over() -> None:
    call = Call.from_record({**KNOWN.record(), "photo": "cat.png"})
    assert call.record() == KNOWN.record()


@settings(deadline=None, database=None)
@given(ANYTHING)
def test_any_cleaned_text_survives_the_record(anything: bytes | str) -> None:
    call = Call(name=clean(anything))
    assert Call.from_record(json.loads(call.json())).name == call.name


@each(
    "record",
    [
        None,
        [],
        "a call",
        1,
        {},
        {"id": "1"},
        {"time": 1.0},
        {"id": "", "time": 1.0},
        {"id": "1", "time": 0},
        {"id": "1", "time": "now"},
        {"id": 1, "time": 1.0},
        {"id": "1", "time": 1.0, "number": 5551234567},
        {"id": "1", "time": 1.0, "name": None},
        {"id": "1", "time": 1.0, "withheld": "no"},
        {"id": "1", "time": 1.0, "uptime": 10**400},
    ],
)
def test_a_record_that_is_no_call_is_refused(record: object) -> None:
    reasons = r"not a JSON object|\w+ is not \w+|it has no id or no time|what became .*|\w+ is out of range"
    with pytest.raises(ValueError, match=f"^({reasons})$"):
        Call.from_record(record)


@each("time", ["NaN", "Infinity", "-Infinity", "1e300"])
def test_a_time_that_no_clock_shows_is_refused(time: str) -> None:
    """JSON of Python has these; they would end the sender where it writes the time."""
    with pytest.raises(ValueError, match="time"):
        Call.from_record(json.loads(f'{{"id": "1", "time": {time}}}'))
    with pytest.raises(ValueError, match="uptime"):
        Call.from_record(json.loads(f'{{"id": "1", "time": 1.0, "uptime": {time}}}'))


def test_the_age_of_a_call_from_before_a_restart_is_by_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call()
    call.time -= 600
    assert call.age() < 60
    monkeypatch.setattr("screenpop.call.BOOT", "another")
    assert 600 <= call.age() < 660
    call.time += 7200
    assert call.age() == 0


def test_the_text_of_any_record_is_cleaned() -> None:
    """One of these in a stanza would end the stream, and with it the delivery of all that waits."""
    call = Call.from_record({"id": "1", "time": 1.0, "name": "Ann\0\ud800\nExample"})
    assert call.name == "Ann Example"


@given(
    st.builds(
        Call,
        name=st.text(),
        presentation=st.integers(),
        uptime=st.floats(0, 2**33),
        withheld=st.booleans(),
    )
)
def test_the_json_of_a_call_is_as_the_json_module_writes_it(call: Call) -> None:
    record = json.loads(call.json())
    assert record == json.loads(json.dumps(call.record()))
    assert list(record) == list(call.record())


def test_files_of_the_first_release_are_read() -> None:
    """As a door of 0.1.0 wrote them, without the fields at their defaults; and its sender, with what became of it."""
    queued = {
        "id": "1795526256.620564-4bf4f29b4f31",
        "time": 1795526256.620564,
        "boot": "0f2d",
        "uptime": 812.25,
        "event": "ringing",
        "number": "+15551234567",
        "name": "Ann",
        "presentation": 0,
        "withheld": False,
        "dnid": "",
        "extension": "123",
        "context": "incoming",
        "channel": "PJSIP/trunk-1",
        "uniqueid": "1.1",
        "to": "",
    }
    failed = {**queued, "delivered": ["bob@example.org"], "failed": {"alice@example.org": "item-not-found"}}
    call, other = Call.from_record(queued), Call.from_record(failed)
    assert (call.id, call.time, call.boot, call.uptime) == (queued["id"], queued["time"], "0f2d", 812.25)
    assert (call.number, call.extension, call.receipt) == ("+15551234567", "123", False)
    assert other.record() == call.record()


def test_a_record_without_the_machines_clock_has_none() -> None:
    call = Call.from_record({"id": "1", "time": 1.0})
    assert (call.id, call.boot, call.uptime) == ("1", "", 0.0)


def test_a_misspelt_field_is_refused() -> None:
    known: Any = {"numer": "1"}
    with pytest.raises(TypeError, match="numer"):
        Call(**known)
