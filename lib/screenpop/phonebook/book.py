"""The phone book: asks its sources side by side.

The index (CSV and vCard) and the cache answer at once. All other sources are asked in worker threads. For each field
the first source wins, in the order of the configuration; Asterisk's own database, which the door has asked, comes last.
A pop goes out when all have answered, when the index knows the name, or at its deadline; an answer that comes later is
cached for the next call.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Mapping

from ..call import Call
from .lookup import Lookup
from .source import Number, SourceError, SourceOptions
from .types import module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .index import Index
    from .worker import Worker

QUIET = 300.0  # seconds for which a problem that comes and goes is not told again


class Book:
    """`options`: the sections of the sources. `spool`: where the index is. `country`: of numbers without a country
    code, such as US. `places`: whether the state or city is looked up. `wait`: seconds that a pop may wait for the
    sources.
    """

    def __init__(
        self, options: Mapping[str, SourceOptions], spool: str, country: str, places: bool, wait: float
    ) -> None:
        self.country, self.places, self.wait = country, places, wait
        self.number_problem = ""
        self.names = list(options)
        self.workers: dict[str, Worker] = {}
        self.index: Index | None = None
        self._open_sources(options, spool)
        self._reads = self._wakes = -1
        if options:
            self._reads, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._told: dict[str, str] = {}  # problems by source, as they were told last
        self._told_at: dict[tuple[str, str], float] = {}  # by source and problem, as time.monotonic()

    def _open_sources(self, options: Mapping[str, SourceOptions], spool: str) -> None:
        if not options:
            return
        from . import files  # here: most installations have no source
        from .index import Index
        from .worker import Worker

        indexed = files.sources(options)
        if indexed:
            self.index = Index(spool, indexed, self.country, self._wake)
        for name, section in options.items():
            if not any(source.name == name for source in indexed):
                self.workers[name] = Worker(name, module(section.type).Source(name, section), section.cache)

    def fileno(self) -> int:
        """Readable when an answer has come, or files have been looked at; only where there are sources."""
        return self._reads

    def ask(self, call: Call) -> Lookup:
        """Begin to look the caller up. A caller without a number is a stranger to all sources."""
        if not call.number or not self.names:
            return self.stranger(call)
        from . import numbers  # here: this takes 25 ms, and is needed with the first number

        number = numbers.parse(call.number, self.country)
        lookup = Lookup(number, time.monotonic() + self.wait, self.names, _given(call))
        if self.index:
            began = time.monotonic()
            found = self.index.lookup(number)
            lookup.add_indexed(found, [source.name for source in self.index.sources], time.monotonic() - began)
        for name, worker in self.workers.items():
            known = worker.cached(number)
            if known is not None:
                lookup.answers[name] = known
                lookup.cached.add(name)
        for name, worker in self.workers.items():
            if name not in lookup.answers:
                worker.ask(lookup, self._wake)
        return lookup

    def stranger(self, call: Call) -> Lookup:
        """The answer without any source."""
        lookup = Lookup(Number("", call.number, ""), 0.0, self.names, _given(call))
        lookup.answers.update((name, {}) for name in self.names)
        return lookup

    def facts(self, call: Call) -> dict[str, str]:
        """What the number itself tells: `number` for reading, `country`, `place`. `problems` has what goes wrong."""
        found: dict[str, str] = {}
        if not call.number:
            return found
        try:
            from . import numbers

            number = numbers.parse(call.number, self.country)
            found.update(numbers.facts(number, self.country))
            if self.places:
                found["place"] = numbers.place(number)
            self.number_problem = ""
        except SourceError as error:
            self.number_problem = str(error)
        except Exception as error:  # a bug, or a damaged library
            self.number_problem = f"{type(error).__name__}: {error}"
        return found

    @property
    def is_prepared(self) -> bool:
        """Whether this process has what the first number needs."""
        return hasattr(sys.modules.get(f"{__package__}.numbers"), "parse")  # not while it is imported

    def expect(self, number: str) -> None:
        """Find out what this number tells: `facts` will be asked for it. Another thread may call this."""
        if number and self.is_quick:
            self._parse(number)

    @property
    def is_quick(self) -> bool:
        """Whether the next number needs no import. The import for `places` takes 0.5 s."""
        return self.is_prepared and not self.places

    def prepare(self) -> None:
        """Import what the first number needs: 40 ms. A thread does this."""
        self._parse("12345678")

    def _parse(self, number: str) -> None:
        with contextlib.suppress(Exception):  # `facts` tells of it
            from . import numbers

            numbers.parse(number, self.country)

    def _wake(self) -> None:
        """From a thread, which may come to its end after the book was closed."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._wakes >= 0:
                os.write(self._wakes, b"\n")

    def read(self) -> list[str]:
        """Take note of what has come. Returns a text for each source with another problem than before.

        A problem that was over and comes again is told again only after 5 minutes.
        """
        if self._reads >= 0:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reads, 65536)
        now, before, self._told = time.monotonic(), self._told, self.problems()
        self._told_at = {problem: when for problem, when in self._told_at.items() if when > now - QUIET}
        fresh = [(name, text) for name, text in self._told.items() if before.get(name) != text]
        fresh = [problem for problem in fresh if problem not in self._told_at]
        self._told_at.update(dict.fromkeys(fresh, now))
        return [f"phone book [{name}]: {text}" for name, text in fresh]

    def problems(self) -> dict[str, str]:
        """What is wrong with the sources and with `facts` now, by name."""
        found = {name: worker.problem for name, worker in self.workers.items()}
        return {name: problem for name, problem in {**found, "numbers": self.number_problem}.items() if problem}

    def tend_index(self, rebuild: bool = False) -> list[str] | None:
        """Only the sender does this: make the index anew when a file has changed, or when `rebuild` is wanted. Returns
        what went wrong in a build that has ended, or None when none has. Raises OSError.
        """
        if not self.index:
            return []
        problems = self.index.poll()
        if rebuild or self.index.needs_build():
            self.index.start_build()
        return problems

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        if self.index:
            self.index.close()
            self.index.leave_build()
        with self._lock:
            if self._wakes >= 0:
                os.close(self._reads)
                os.close(self._wakes)
            self._reads = self._wakes = -1


def _given(call: Call) -> dict[str, str]:
    """What the door has asked Asterisk's own database."""
    return {"name": call.cidname} if call.cidname else {}
