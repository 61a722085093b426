"""What commands print. Much of it comes from servers, callers and files, and a terminal obeys control characters."""

from __future__ import annotations

import sys

from ..text import clean

LONGEST = 1000  # characters


def show(text: str, label: str = "") -> None:
    """Print `text`, which may come from anywhere, as one line behind `label`, which is ours and printed as it is."""
    encoding = sys.stdout.encoding
    line = label + clean(text, limit=LONGEST)
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
