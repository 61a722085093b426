"""For what is told by no event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0  # seconds


def eventually(condition: Callable[[], T], about: Callable[[], str] = lambda: "it didn't come to that") -> T:
    """What the condition gives as soon as that is true; `about`: what is said if it never is."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, about()
        time.sleep(0.001)
    return found
