"""The threads that ask one source, its cache, and what is wrong with it.

A question has more time than the pop that waits for it: an answer that comes after the pop is cached, and so the next
call has it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from .lookup import Lookup
from .source import Number, SourceError

ANSWERS_WITHIN = 10.0  # seconds from when a thread begins to ask
THREADS = 8  # of each source, at most
QUESTIONS = 200  # that wait for a thread of one source
CACHED = 10_000  # answers of one source
FAILURES = 3  # in a row, after which a source is not asked for a while
SKIPPED = 30.0  # seconds
LATE = "it answers after lookup_wait: pops go out without its answer, which only the next call of that number has"


class Worker:
    def __init__(self, name: str, source: Any, cache: float) -> None:
        self.name, self.source, self.cache_seconds = name, source, cache
        self.problem = ""  # the last one, until it answers again
        self._failures, self._skipped_until = 0, 0.0
        self._cache: OrderedDict[str, tuple[float, Mapping[str, str]]] = OrderedDict()  # until when, answer
        self._waiting: deque[tuple[Lookup, Callable[[], None]]] = deque()
        self._unanswered = 0  # questions that wait, and those that are being asked
        self._threads = 0
        self._closed = False
        self._lock = threading.Lock()  # for all of the above
        self._changed = threading.Condition(self._lock)

    def cached(self, number: Number) -> Mapping[str, str] | None:
        with self._lock:
            until, answer = self._cache.get(_key(number), (0.0, {}))
        return answer if until > time.monotonic() else None

    def ask(self, lookup: Lookup, wake: Callable[[], None]) -> None:
        """`wake` is called, from a thread, when there is an answer or a problem."""
        if problem := self._skipped():
            lookup.problems[self.name] = problem
            return
        with self._lock:
            if len(self._waiting) >= QUESTIONS:
                lookup.problems[self.name] = f"{QUESTIONS} questions wait for it already"
                return
            if self._threads < min(self._unanswered + 1, THREADS):
                try:
                    threading.Thread(target=self._work, name=f"phone book: {self.name}", daemon=True).start()
                    self._threads += 1
                except RuntimeError as error:  # the system has no more of them
                    if not self._threads:
                        lookup.problems[self.name] = self.problem = str(error)
                        return
            self._waiting.append((lookup, wake))
            self._unanswered += 1
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                question = self._waiting.pop()  # the newest: its pop may still wait
            self._answer(*question)

    def _answer(self, lookup: Lookup, wake: Callable[[], None]) -> None:
        began = time.monotonic()
        known = self.cached(lookup.number)  # the same caller may have been asked for meanwhile
        if known is not None:
            lookup.answers[self.name] = known
        elif problem := self._skipped():  # it may have failed meanwhile
            lookup.problems[self.name] = problem
        else:
            try:
                answer = dict(self.source.lookup(lookup.number, began + ANSWERS_WITHIN))
                self._succeeded(lookup, answer)
                lookup.answers[self.name] = answer
            except SourceError as error:
                self._failed(lookup, str(error))
            except BaseException as error:  # a bug in the source or its library, or its SystemExit: the thread goes on
                self._failed(lookup, f"{type(error).__name__}: {error}")
        lookup.seconds[self.name] = time.monotonic() - began
        with self._lock:
            self._unanswered -= 1
        wake()

    def _skipped(self) -> str:
        """Why the source is not asked now; empty if it is."""
        left = self._skipped_until - time.monotonic()
        return f"not asked for {left:.0f} s: {self.problem}" if left > 0 else ""

    def _succeeded(self, lookup: Lookup, answer: Mapping[str, str]) -> None:
        key = _key(lookup.number)
        with self._lock:
            self.problem = LATE if lookup.seconds_left() < 0 else ""
            self._failures, self._skipped_until = 0, 0.0
            self._cache[key] = (time.monotonic() + self.cache_seconds, answer)
            self._cache.move_to_end(key)
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)

    def _failed(self, lookup: Lookup, problem: str) -> None:
        lookup.problems[self.name] = problem
        with self._lock:
            self.problem = problem
            self._failures += 1
            if self._failures >= FAILURES:
                self._skipped_until = time.monotonic() + SKIPPED

    def close(self) -> None:
        """Questions that wait are not asked any more. Those that are being asked are finished."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        self.source.close()


def _key(number: Number) -> str:
    return number.e164 or number.written
