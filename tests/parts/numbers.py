"""The numbers of callers as a message shows them."""

from __future__ import annotations


def as_shown(number: str) -> str:
    """+15551234567 in the international format."""
    country, area, exchange, line = number[:2], number[2:5], number[5:8], number[8:]
    assert country == "+1" and len(line) == 4
    return f"{country} {area}-{exchange}-{line}"
