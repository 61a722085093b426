"""Callers' numbers: tests/process/test_every_country.py has any text, and the places."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import phonenumbers
import pytest

from parts.table import each
from screenpop.phonebook import numbers
from screenpop.phonebook.countries import NAMES
from screenpop.phonebook.source import SourceError
from screenpop.text import clean

ROOT = Path(__file__).parents[2]
HOSTILE = ["anonymous", "sip:alice@example.org", "*)(uid=*", "'; DROP TABLE", "1-800-FLOWERS", "1'2", "%2b15551234567"]


@each(
    ("text", "country", "e164", "international"),
    [
        ("+1 555 123 4567", "DE", "+15551234567", "+1 555-123-4567"),
        ("5551234567", "US", "+15551234567", "+1 555-123-4567"),
        ("(555) 123.4567", "US", "+15551234567", "+1 555-123-4567"),
        ("15551234567", "US", "+15551234567", "+1 555-123-4567"),
        ("555-123-4567 x12", "US", "+15551234567", "+1 555-123-4567"),
        ("+1 555 123 4567 ext. 5", "DE", "+15551234567", "+1 555-123-4567"),
        ("+1-555-123-4567;ext=12", "US", "+15551234567", "+1 555-123-4567"),
        ("030 / 12345678", "DE", "+493012345678", "+49 30 12345678"),
        ("+49 (0)30 12345678", "US", "+493012345678", "+49 30 12345678"),
        ("4930123456", "DE", "+4930123456", "+49 30 123456"),  # a + that the trunk has left out
        ("06 1234 5678", "IT", "+390612345678", "+39 06 1234 5678"),  # Italy's zero is a part of the number
        ("312345", "AD", "+376312345", "+376 312 345"),  # Andorra's numbers are short
        # a trunk's habits
        ("0044 20 8366 1177", "US", "+442083661177", "+44 20 8366 1177"),
        ("001 555 123 4567", "DE", "+15551234567", "+1 555-123-4567"),
        ("011 44 20 8366 1177", "US", "+442083661177", "+44 20 8366 1177"),
        ("011442083661177", "DE", "+442083661177", "+44 20 8366 1177"),
        ("011 23456789", "IN", "+911123456789", "+91 11 2345 6789"),  # Delhi
        ("94155552671", "US", "+14155552671", "+1 415-555-2671"),
        ("914155552671", "US", "+14155552671", "+1 415-555-2671"),
        ("9011442083661177", "US", "+442083661177", "+44 20 8366 1177"),
        ("9030123456", "DE", "+4930123456", "+49 30 123456"),
        ("9162345678", "US", "+19162345678", "+1 916-234-5678"),  # Sacramento
    ],
)
def test_a_telephone_number(text: str, country: str, e164: str, international: str) -> None:
    number = numbers.parse(text, country)
    assert (number.e164, number.international, number.written) == (e164, international, text)
    assert number.e164 == f"+{international[1:].partition(' ')[0]}{number.national}"
    assert numbers.e164(text, country) == e164


@each(
    ("text", "country"),
    [
        *((text, country) for country in ("US", "DE", "GB", "AD") for text in ("", "+", "0", "00", "9", "100", "1000")),
        *((text, "US") for text in ("0" * 40, "1" * 40, "+" * 40, "0" * 10, "911", "5551234", "*97", "#31#5551234567")),
        *((text, "DE") for text in ("112", "200100", "2001001", "+49")),
        *((text, "US") for text in HOSTILE),
        ("95551234567", "US"),  # a 9, but no valid number behind it
    ],
)
def test_what_is_no_telephone_number_stays_as_it_is(text: str, country: str) -> None:
    number = numbers.parse(text, country)
    assert number == ("", clean(text), "", "", "")
    assert numbers.e164(text, country) == ""
    assert numbers.facts(number, country) == {}


@each(
    ("text", "country", "expected"),
    [
        ("+15551234567", "US", {"number": "+1 555-123-4567"}),
        ("+15551234567", "CA", {"number": "+1 555-123-4567"}),  # not valid anywhere: its country code is ours
        ("+15551234567", "DE", {"number": "+1 555-123-4567", "country": "United States"}),
        ("+14165550123", "US", {"number": "+1 416-555-0123", "country": "Canada"}),
        ("+18005550199", "CA", {"number": "+1 800-555-0199"}),  # at home in each country with +1
        ("+80012345678", "US", {"number": "+800 1234 5678"}),  # of no country
        ("100", "US", {}),
    ],
)
def test_what_the_number_itself_tells(text: str, country: str, expected: dict[str, str]) -> None:
    assert numbers.facts(numbers.parse(text, country), country) == expected


def test_each_country_of_the_library_has_a_name() -> None:
    assert set(NAMES) == phonenumbers.SUPPORTED_REGIONS
    assert all(name == clean(name) for name in NAMES.values())


def test_without_its_data_the_place_says_what_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("phonenumbers.geocoder", "phonenumbers.geodata"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(phonenumbers, "geocoder", raising=False)
    with pytest.raises(SourceError, match=r"phonenumbers is not installed: \./install\.sh --with places adds it"):
        numbers.place(numbers.parse("+4930123456", "US"))


def test_both_packages_of_the_library_have_one_version() -> None:
    """Then the files that both of them install are the same."""
    pins = {
        name: re.findall(r"^(\w+)==([\d.]+)", (ROOT / name).read_text(), re.MULTILINE)
        for name in ("requirements.txt", "requirements/places.txt")
    }
    assert pins["requirements/places.txt"] == [("phonenumbers", dict(pins["requirements.txt"])["phonenumberslite"])]
