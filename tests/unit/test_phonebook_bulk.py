"""E.164 of many numbers is what it is of one."""

from __future__ import annotations

import random

import pytest

from parts.numbers import written
from parts.table import each
from screenpop.phonebook import bulk, numbers

SOME = ["", "AR", "GB", "IT", "US"]  # all: tests/process


@each("country", SOME)
def test_it_is_what_one_number_is_by_itself(country: str) -> None:
    many, chance = bulk.Numbers(country), random.Random(country)
    for _ in range(60):
        text = written(country, chance)
        assert many.e164(text) == numbers.e164(text, country), text


@each(
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
