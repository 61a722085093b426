"""The numbers of callers, as people write them and as a message shows them."""

from __future__ import annotations

import random

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberType

TYPES = (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE)
COUNTRIES = sorted(phonenumbers.SUPPORTED_REGIONS)


def as_shown(number: str) -> str:
    """+15551234567 in the international format."""
    country, area, exchange, line = number[:2], number[2:5], number[5:8], number[8:]
    assert country == "+1" and len(line) == 4
    return f"{country} {area}-{exchange}-{line}"


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
