"""One question to the phone book, and the answers that have come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from .source import Number


class Lookup:
    """`deadline`: of the pop, as time.monotonic(). `asked`: the names of the sources in the order of the configuration.
    `given`: what is known without a source; each source may know better. `answers`, `problems` and `seconds` are by the
    name of the source.
    """

    def __init__(self, number: Number, deadline: float, asked: list[str], given: Mapping[str, str]) -> None:
        self.number, self.deadline, self.asked, self.given = number, deadline, asked, given
        self.answers: dict[str, Mapping[str, str]] = {}
        self.problems: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.cached: set[str] = set()
        self.known_at_once = False

    def add_indexed(self, answers: Mapping[str, Mapping[str, str]], sources: Iterable[str], seconds: float) -> None:
        """The answers of the index to one question for all its `sources`; those that don't know the number are not in
        `answers`. A known name ends the wait.
        """
        for name in sources:
            self.answers[name] = answers.get(name, {})
            self.seconds[name] = seconds
            self.known_at_once |= "name" in self.answers[name]

    def is_ready(self) -> bool:
        """Whether the pop needn't wait any longer."""
        return self.known_at_once or self.is_complete()

    def is_complete(self) -> bool:
        """Whether all sources have answered or have a problem, or the time is over."""
        return all(name in self.answers or name in self.problems for name in self.asked) or self.seconds_left() <= 0

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def contact(self) -> dict[str, str] | None:
        """The fields that are known by now; None without a source or an entry in Asterisk's database."""
        if not self.asked and not self.given:
            return None
        found: dict[str, str] = {}
        for name in self.asked:
            for field, value in self.answers.get(name, {}).items():
                found.setdefault(field, value)
        return {**self.given, **found}
