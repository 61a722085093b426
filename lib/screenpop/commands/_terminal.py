"""Prints text from servers, callers and files, without the control characters that a terminal would obey."""

from __future__ import annotations

import sys

from ..text import clean

LONGEST = 1000  # characters


def show(text: str, label: str = "") -> None:
    """Print a line: `label`, which must be our own text, and then `text`, which may come from anywhere."""
    encoding = sys.stdout.encoding
    line = label + clean(text, limit=LONGEST)
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
