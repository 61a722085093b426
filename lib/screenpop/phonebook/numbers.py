"""Callers' numbers: what is looked up (E.164), what is read, and what the number itself tells of the caller.

To be imported when the first number needs it, as this imports a library: 25 ms.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, ValidationResult

from ..text import clean
from .countries import NAMES
from .source import Number, SourceError

# Digits as people write them. With any other character, as in a SIP user name, it is no telephone number.
_WRITTEN = re.compile(r"\+?[0-9\s().\-\u2010-\u2015/]+")
_EXTENSION = re.compile(r"\s*(?:;ext=|ext\.?|x)\s*[0-9]{1,7}$", re.IGNORECASE)  # it is not dialled with the number
_MOST_DIGITS = 25  # 15 of E.164, a prefix such as 011, and an outside line
_LEAST_DIGITS = 7  # without a country code; fewer are an internal extension, unless the country has shorter numbers


@lru_cache(maxsize=1000)
def parse(text: str, country: str) -> Number:
    """A number as Asterisk or a file has it. `country`: where it was written, such as US. Never raises."""
    written = clean(text)
    found = _telephone_number(written, country)
    if not found:
        return Number("", written, "")
    national = phonenumbers.national_significant_number(found)
    return Number(
        e164=f"+{found.country_code}{national}",
        written=written,
        national=national,
        international=phonenumbers.format_number(found, PhoneNumberFormat.INTERNATIONAL),
        region=_region(found, country),
    )


def e164(text: str, country: str) -> str:
    """The same as `parse(text, country).e164`, without the rest: for lists of a million numbers."""
    found = _telephone_number(clean(text), country)
    return phonenumbers.format_number(found, PhoneNumberFormat.E164) if found else ""


def facts(number: Number, country: str) -> dict[str, str]:
    """What the number itself tells: `number` for reading, and `country` if it is another one than this."""
    name = "" if number.region == country else NAMES.get(number.region, "")
    return {key: value for key, value in (("number", number.international), ("country", name)) if value}


def place(number: Number) -> str:
    """The state or city; empty where there is none. The first call takes 0.5 s and 100 MB. Raises SourceError."""
    try:
        from phonenumbers import geocoder
    except ImportError as error:
        raise SourceError("[pop] places: phonenumbers is not installed: ./install.sh --with places adds it") from error
    if not number.e164:
        return ""
    found = phonenumbers.parse(number.e164)
    description = geocoder.description_for_number(found, "en")
    return "" if description == geocoder.country_name_for_number(found, "en") else description


def _telephone_number(text: str, country: str) -> PhoneNumber | None:
    """The first reading of the text that is a valid number; else the plain one if it is as long as a number should be,
    because new numbers are allocated every month.
    """
    text = _EXTENSION.sub("", text)
    dialled = re.sub("[^0-9+]", "", text)
    if not _WRITTEN.fullmatch(text) or len(dialled) > _MOST_DIGITS:
        return None
    plain, *others = _readings(dialled)
    found = _read(plain, country)
    has_length = found is not None and _has_usual_length(found, plain, country)
    if has_length and not others:
        return found
    for number in (found, *(_read(other, country) for other in others)):
        if number and phonenumbers.is_valid_number(number):
            return number
    return found if has_length else None


def _readings(dialled: str) -> list[str]:
    """What a trunk may mean by these digits: 00 or 011 is a +, but the numbers of Delhi begin with 011, too; a 9 may be
    what is dialled for an outside line.
    """
    if dialled.startswith("00"):
        return ["+" + dialled[2:]]
    if dialled.startswith("011"):
        return [dialled, "+" + dialled[3:]]
    return [dialled, *_readings(dialled[1:])] if dialled.startswith("9") else [dialled]


def _read(dialled: str, country: str) -> PhoneNumber | None:
    if not dialled.startswith("+") and len(dialled) < min(_LEAST_DIGITS, _usual_length(country)):
        return None
    try:
        return phonenumbers.parse(dialled, country)
    except NumberParseException:
        return None


def _has_usual_length(number: PhoneNumber, dialled: str, country: str) -> bool:
    """Whether its country has numbers of this length; without a country code, the one length that is usual there."""
    national = not dialled.startswith("+") and number.country_code == phonenumbers.country_code_for_region(country)
    if national and len(phonenumbers.national_significant_number(number)) != _usual_length(country):
        return False
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE


@cache
def _usual_length(country: str) -> int:
    """The length of the country's numbers without its code, by the library's example."""
    example = phonenumbers.example_number(country)
    return len(phonenumbers.national_significant_number(example)) if example else _LEAST_DIGITS


def _region(number: PhoneNumber, country: str) -> str:
    """The code of its country; empty for satellites and the like. Several countries can share a number: all with +1
    share the free 800 numbers. Then it is a number of `country`.
    """
    sharing = phonenumbers.region_codes_for_country_code(number.country_code or 0)
    found = next(iter(sharing), "")
    if len(sharing) > 1:
        if phonenumbers.is_valid_number_for_region(number, country):
            return country
        valid = phonenumbers.region_code_for_number(number)
        found = valid or (country if country in sharing else found)
    return found if found in NAMES else ""
