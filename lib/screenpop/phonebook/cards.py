"""The text of vCards, split into cards, and the values of their properties as vobject gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TextIO

from . import files
from .files import Reading

LARGEST = 10_000_000  # characters of a card, with its photo


def split(file: TextIO, reading: Reading) -> Iterator[tuple[int, str]]:
    """The text of each card with the line where it begins, so that a broken one spoils no other."""
    card: list[str] = []
    begin, size = 0, 0
    for line in files.lines(file, reading):
        word = line.strip().upper()
        if word == "BEGIN:VCARD":
            if card:
                reading.skip("the card has no end", begin)
            card, begin, size = [], reading.line, 0
        elif not card:
            continue
        size += len(line)
        if size <= LARGEST:
            card.append(line)
        if word == "END:VCARD":
            if size <= LARGEST:
                yield begin, "".join(card)
            else:
                reading.skip(f"the card has more than {LARGEST:,} characters", begin)
            card = []
    if card:
        reading.skip("the card has no end", begin)


def number(value: Any) -> str:
    """Version 4.0 may have a URI: tel:+1-555-123-4567;ext=12 (RFC 3966)."""
    text = str(value)
    return text[4:].partition(";")[0] if text[:4].lower() == "tel:" else text


def value(card: Any, name: str) -> str:
    """The first value of a property. A card of version 2.1 may lack `fn`: its name is made of `n`."""
    found: Any = card[name][0].value if name in card else ""
    if name == "fn" and not found and "n" in card:
        found = card["n"][0].value
    if hasattr(found, "family"):  # of the parts of a name, those that people are called by
        parts = (" ".join(part) if isinstance(part, list) else part for part in (found.given, found.family))
        return " ".join(filter(None, parts))
    if isinstance(found, list):  # of `org`: the company, its department, …; of `categories`: several
        return ", ".join(str(part) for part in found if part)
    return "" if isinstance(found, bytes) else str(found)
