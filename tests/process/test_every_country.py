"""E.164 of many numbers is what it is of one, in each country: tests/unit/test_phonebook_bulk.py has some of them."""

from __future__ import annotations

import random

import pytest

from parts.numbers import COUNTRIES, written
from screenpop.phonebook import bulk, numbers


@pytest.mark.parametrize("country", COUNTRIES)
def test_it_is_what_one_number_is_by_itself(country: str) -> None:
    many, chance = bulk.Numbers(country), random.Random(country)
    for _ in range(60):
        text = written(country, chance)
        assert many.e164(text) == numbers.e164(text, country), text
