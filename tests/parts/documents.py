"""The examples of docs/phonebook.md: its blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

PHONEBOOK = Path(__file__).parents[2] / "docs/phonebook.md"


def blocks(heading: str) -> list[str]:
    """The text of those that begin with this after the backticks, such as `ini`."""
    text = PHONEBOOK.read_text(encoding="utf-8")
    return re.findall(rf"^```{re.escape(heading)}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def block(heading: str) -> str:
    (found,) = blocks(heading)
    return found


def section(name: str) -> dict[str, str]:
    """The options of a section of screen_pop.conf."""
    (found,) = [text for text in blocks("ini") if text.startswith(f"[{name}]\n")]
    return dict(line.split(" = ", 1) for line in found.splitlines()[1:])
