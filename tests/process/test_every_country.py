"""Numbers of each country, which take longer to import than all of tests/unit to run."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.numbers import COUNTRIES, written
from screenpop.phonebook import bulk, numbers
from screenpop.text import clean


@pytest.mark.parametrize("country", COUNTRIES)
def test_the_e164_of_many_numbers_is_what_it_is_of_one(country: str) -> None:
    """tests/unit/test_phonebook_bulk.py has some of them."""
    many, chance = bulk.Numbers(country), random.Random(country)
    for _ in range(60):
        text = written(country, chance)
        assert many.e164(text) == numbers.e164(text, country), text


@given(
    st.text(max_size=200) | st.from_regex(r"\A[+09]{0,4}[0-9 ()./-]{0,30}\Z"),
    st.sampled_from(COUNTRIES),
)
@settings(max_examples=settings().max_examples * 5, deadline=None)
def test_any_text_is_a_number_of_one_clean_line(text: str, country: str) -> None:
    number = numbers.parse(text, country)
    shown = [*number, *numbers.facts(number, country).values(), numbers.place(number)]
    assert all(line == clean(line) for line in shown)
    assert re.fullmatch(r"(\+[0-9]{6,17})?", number.e164)
    assert number.written == clean(text)
    assert numbers.e164(text, country) == number.e164


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+14155552671", "San Francisco, CA"),
        ("+4930123456", "Berlin"),
        ("+4915123456789", ""),  # a mobile: the library would say Germany
        ("+80012345678", ""),
        ("1000", ""),
        ("anonymous", ""),
    ],
)
def test_the_place(text: str, expected: str) -> None:
    assert numbers.place(numbers.parse(text, "US")) == expected
