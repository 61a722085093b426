"""E.164 for lists of a million numbers: the same as numbers.e164, at a tenth of the time for numbers that are plain.

A plain number has a + and a country code, or is written as within the country. All others are left to numbers.e164.
"""

from __future__ import annotations

import re
from typing import Any

import phonenumbers
from phonenumbers import PhoneMetadata

from . import numbers

_PUNCTUATION = str.maketrans("", "", " -./()")
_TYPES = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost"),
    *("personal_number", "voip", "pager", "uan", "voicemail"),
)
_NEVER = "(?!)"  # a regular expression that matches nothing


class Plan:
    """The numbers of a country code. Those that are valid in its country match both `general` and `valid`."""

    def __init__(self, metadata: Any) -> None:
        self.lengths = frozenset(metadata.general_desc.possible_length)
        self.prefix = re.compile(metadata.national_prefix_for_parsing or _NEVER)
        self.general = re.compile(metadata.general_desc.national_number_pattern)
        types = [getattr(metadata, name) for name in _TYPES]
        patterns = [one.national_number_pattern for one in types if one and one.national_number_pattern]
        self.valid = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or _NEVER)


class Numbers:
    """`country`: where they were written, such as US; empty: only those with a country code are telephone numbers."""

    def __init__(self, country: str) -> None:
        self.country = country
        self._plans: dict[str, Plan | None] = {}  # by country code
        metadata = PhoneMetadata.metadata_for_region(country) if country else None
        self._home = Plan(metadata) if metadata else None
        if metadata:
            example: Any = phonenumbers.example_number(country)
            self._usual = len(phonenumbers.national_significant_number(example))
            self._code = f"+{metadata.country_code}"
            self._not_plain = re.compile(f"00|{metadata.country_code}|{metadata.international_prefix or _NEVER}")
            literal = (metadata.national_prefix or "") == (metadata.national_prefix_for_parsing or "")
            self._prefix = metadata.national_prefix if literal and not metadata.national_prefix_transform_rule else None

    def e164(self, text: str) -> str:
        plain = text.translate(_PUNCTUATION)
        if plain.isascii() and len(plain) <= 17:
            if plain[:1] == "+" == text[:1] and plain[1:].isdigit():
                if self._is_plain(plain):
                    return plain
            elif plain.isdigit() and self._home and (found := self._national(plain, self._home)):
                return found
        return numbers.e164(text, self.country)

    def _is_plain(self, number: str) -> bool:
        """Whether that is E.164: of the right length, and without a national prefix behind the country code."""
        for end in (2, 3, 4):
            code = number[1:end]
            if code not in self._plans:
                self._plans[code] = _plan(code)
            if plan := self._plans[code]:
                rest = number[end:]
                return len(rest) in plan.lengths and not plan.prefix.match(rest)
        return False

    def _national(self, digits: str, home: Plan) -> str:
        """Empty where the library must look at it."""
        if self._not_plain.match(digits) or len(digits) < min(7, self._usual):  # fewer are an extension
            return ""
        is_ambiguous = digits.startswith(("9", "011"))  # numbers.py: such digits may be dialled before a number
        if home.prefix.match(digits):
            if not self._prefix or home.general.fullmatch(digits):  # with the prefix it may be a number, too
                return ""
            digits = digits[len(self._prefix) :]
        is_usual = len(digits) == self._usual and not is_ambiguous
        is_valid = home.general.fullmatch(digits) and home.valid.fullmatch(digits)
        if len(digits) in home.lengths and (is_usual or is_valid):
            return self._code + digits
        return ""


def _plan(text: str) -> Plan | None:
    code = 0 if text.startswith("0") else int(text or 0)
    region = phonenumbers.region_code_for_country_code(code)
    if region == phonenumbers.UNKNOWN_REGION:
        return None
    if region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY:
        return Plan(PhoneMetadata.metadata_for_nongeo_region(code))
    return Plan(PhoneMetadata.metadata_for_region(region))
