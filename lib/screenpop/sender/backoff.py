"""How long to wait before the next attempt, and how many messages to send in one."""

from __future__ import annotations

import time

FIRST, LONGEST = 1.0, 60.0  # seconds, after a connection error
FIRST_REFUSED, LONGEST_REFUSED = 60.0, 600.0  # seconds, after an error that only an administrator can mend
FIRST_WINDOW, LARGEST_WINDOW = 10, 50  # messages; by default ejabberd reads 3 kB a second


def message_pause(age: float) -> float:
    """Seconds until a message that was put off is tried again: as long as it has waited, 1 to 60 s, ±20 %."""
    return min(max(age, FIRST), LONGEST) * _jitter(0.8, 1.2)


def may_be_older(name: str, seconds: float) -> bool:
    """Whether a call or message with this file name may be older than that. The name has the time of the call by the
    wall clock. If that is in the future, the clock has been set back, and the name tells nothing.
    """
    now = time.time()
    return not f"{now - seconds:017.6f}" <= name <= f"{now:017.6f}"


def _jitter(least: float, most: float) -> float:
    import random  # here: the first call needn't wait for it

    return random.uniform(least, most)  # noqa: S311


class SessionPause:
    """When the next sign-in may begin. Times are those of `time.monotonic()`.

    Each pause is twice as long as the one before it. After a refused sign-in or certificate, or a wrong configuration,
    pauses are longer, and new calls do not end them: servers lock accounts and ban addresses.
    """

    def __init__(self) -> None:
        self.until = self.length = 0.0
        self._failed_at = 0.0
        self._refused = False

    def begin(self, now: float, refused: bool) -> None:
        """An attempt has failed."""
        first, longest = (FIRST_REFUSED, LONGEST_REFUSED) if refused else (FIRST, LONGEST)
        self.length = min(2 * self.length, longest) if self.length and refused == self._refused else first
        self._refused, self._failed_at = refused, now
        self.until = now + self.length * _jitter(1.0 if refused else 0.8, 1.2)

    def after_end(self, began: float, length: float) -> None:
        """A session that began then has ended."""
        self.length, self._refused, self._failed_at = length, False, began
        self.until = began + length

    def resume(self, until: float, length: float) -> None:
        """A sender before had this pause, after a refused sign-in."""
        self.until, self.length, self._refused = until, length, True

    @property
    def refused_until(self) -> float:
        """When the pause after a refused sign-in or certificate ends; in the past if there is none."""
        return self.until if self._refused else 0.0

    def new_call(self) -> None:
        """A new call is a reason to try again after a connection error, but not more than once a second."""
        if self.length and not self._refused:
            self.until, self.length = min(self.until, self._failed_at + FIRST), FIRST

    def end(self) -> None:
        """After a success, a change of the configuration, or `flush`."""
        self.until = self.length = 0.0


class Window:
    """How many messages share the next confirmation: as many as the server confirms in good time."""

    def __init__(self) -> None:
        self.size = FIRST_WINDOW

    def confirmed(self, seconds: float, deadline: float) -> None:
        if seconds < deadline / 4:
            self.size = min(2 * self.size, LARGEST_WINDOW)
        elif seconds >= deadline / 2:
            self.size = max(1, self.size // 2)

    def lost(self) -> None:
        self.size = max(1, self.size // 4)
