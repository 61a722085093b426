"""E.164 of many numbers is what it is of one."""

from __future__ import annotations

import random

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata, PhoneNumberType

from screenpop.phonebook import bulk, numbers

TYPES = (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE)
COUNTRIES = sorted(phonenumbers.SUPPORTED_REGIONS)


def written(country: str, chance: random.Random) -> str:
    """A number of this country or of any, right or nearly right, as people write it."""
    region = chance.choice([country or "US", country or "US", chance.choice(COUNTRIES)])
    example = phonenumbers.example_number_for_type(region, chance.choice(TYPES)) or phonenumbers.example_number(region)
    metadata = PhoneMetadata.metadata_for_region(region)
    assert example and metadata
    digits = phonenumbers.national_significant_number(example)
    kept = chance.randrange(len(digits) + 1)
    digits = digits[:kept] + "".join(chance.choice("0123456789") for _ in digits[kept:])
    digits = chance.choice([digits, digits, digits[:-1], digits[:-3], digits + "5"])
    prefix = metadata.national_prefix or ""
    code = str(example.country_code)
    number = chance.choice(
        [
            f"+{code}{digits}",
            f"{prefix}{digits}",
            digits,
            f"{code}{digits}",
            f"+{code}{prefix or 0}{digits}",
            f"00{code}{digits}",
            f"9{digits}",
            f"+0{digits}",
            digits[:4],
        ]
    )
    if chance.random() < 0.3:
        place = chance.randrange(len(number) + 1)
        number = number[:place] + chance.choice([" ", "-", "(0)", "/", ".", "+", ")", "x"]) + number[place:]
    return number


@pytest.mark.parametrize("country", ["", *COUNTRIES])
def test_it_is_what_one_number_is_by_itself(country: str) -> None:
    many, chance = bulk.Numbers(country), random.Random(country)
    for _ in range(60):
        text = written(country, chance)
        assert many.e164(text) == numbers.e164(text, country), text


@pytest.mark.parametrize(
    ("country", "text", "expected"),
    [
        ("AE", "90800123", "+971800123"),  # with a 9 for an outside line
        ("DE", "(0)4930123456", ""),
    ],
)
def test_numbers_that_look_plain_and_are_not(country: str, text: str, expected: str) -> None:
    assert bulk.Numbers(country).e164(text) == numbers.e164(text, country) == expected


def test_plain_numbers_don_t_need_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "e164", lambda *_: "asked")
    german, american = bulk.Numbers("DE"), bulk.Numbers("US")
    assert german.e164("030 / 1234567") == german.e164("+49 30 123-4567") == "+49301234567"
    assert american.e164("(555) 123-4567") == american.e164("+1 555.123.4567") == "+15551234567"
    assert american.e164("+49301234567") == "+49301234567"
    assert american.e164("extension") == "asked"
