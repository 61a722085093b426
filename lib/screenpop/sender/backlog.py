"""The messages that wait, in memory: when each is due, and which are sent first."""

from __future__ import annotations

from heapq import nsmallest


class Backlog:
    """File names of messages, which begin with the time of the call. After a restart all of them are due."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}  # as time.monotonic()
        self.uncertain: set[str] = set()  # that may have arrived: only their confirmation is missing

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def names(self) -> list[str]:
        return sorted(self._due)

    def add(self, name: str, due: float = 0.0) -> None:
        self._due[name] = due
        self.uncertain.discard(name)

    def due(self, name: str) -> float:
        return self._due.get(name, 0.0)

    def remove(self, name: str) -> None:
        self._due.pop(name, None)
        self.uncertain.discard(name)

    def all_due(self) -> None:
        self._due = dict.fromkeys(self._due, 0.0)

    def next(self, now: float, late_before: float, count: int) -> list[str]:
        """The messages to be sent now: those of fresh calls, then those of calls before `late_before` (seconds since
        the epoch), the oldest first.
        """
        due = [name for name, when in self._due.items() if when <= now]
        if not due:
            return []
        late = f"{late_before:017.6f}"
        fresh = nsmallest(count, [name for name in due if name >= late])
        return fresh + nsmallest(count - len(fresh), [name for name in due if name < late])

    def count_due(self, now: float) -> int:
        return sum(when <= now for when in self._due.values())

    def next_due(self) -> float | None:
        """When the next message is due, if any waits."""
        return min(self._due.values(), default=None)

    def has_postponed(self, now: float) -> bool:
        return any(when > now for when in self._due.values())
