"""Waits for conditions that have no event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0  # seconds


def eventually(condition: Callable[[], T], about: Callable[[], str] = lambda: "it didn't come to that") -> T:
    """Wait until the condition returns something true, and return that. `about`: the text of the error at a timeout."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, about()
        time.sleep(0.001)
    return found
