"""The phone book with sources that are played: each answers when the test lets it, not before."""

from __future__ import annotations

import errno
import os
import posix
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parts import phonebook
from parts.waiting import PATIENCE
from parts.world import World, world
from screenpop import config, settings
from screenpop.call import Call
from screenpop.phonebook import book as book_module
from screenpop.phonebook import csv, numbers, worker
from screenpop.phonebook.book import Book
from screenpop.phonebook.index import Index
from screenpop.phonebook.lookup import Lookup
from screenpop.phonebook.source import Number, SourceError, SourceOptions
from screenpop.spool import outbox
from screenpop.spool.trigger import FLUSH, INDEX

__all__ = ["world"]

ALICE, BOB = {"name": "Alice"}, {"name": "Bob"}
DOWN = SourceError("it is down")


class Source:
    """`asked`: what has been asked so far. `begun`: acquire it to wait for the next question."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.deadlines: list[float] = []
        self.begun = threading.Semaphore(0)
        self.closed = False
        self._replies: dict[str, queue.SimpleQueue[Any]] = {}
        self._lock = threading.Lock()

    def lookup(self, number: Number, deadline: float) -> Any:
        with self._lock:
            self.asked.append(number.written)
            self.deadlines.append(deadline)
        self.begun.release()
        reply = self._of(number.written).get(timeout=PATIENCE)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def says(self, number: str, reply: Any) -> None:
        self._of(number).put(reply)

    def close(self) -> None:
        self.closed = True

    def wait_for_question(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE), "nobody asks"

    def _of(self, number: str) -> queue.SimpleQueue[Any]:
        with self._lock:
            return self._replies.setdefault(number, queue.SimpleQueue())


class Sources(dict[str, Source]):
    """By the names of their sections; `type = played` makes one. `woken` counts what threads have told the book."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.woken = threading.Semaphore(0)
        wake: Callable[[Book], None] = Book._wake

        def counted_wake(book: Book) -> None:
            wake(book)
            self.woken.release()

        monkeypatch.setattr(Book, "_wake", counted_wake)
        monkeypatch.setattr(book_module, "module", lambda kind: SimpleNamespace(Source=self._made))

    def _made(self, name: str, options: SourceOptions) -> Source:
        self[name] = Source()
        return self[name]

    def say(self, name: str, number: str, reply: Any) -> None:
        """Returns when the book has got it."""
        self[name].says(number, reply)
        self.wait()

    def wait(self) -> None:
        assert self.woken.acquire(timeout=PATIENCE), "the book doesn't get the answer"


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(monkeypatch)


class Shelf:
    """Books, and the clock."""

    def __init__(self, folder: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.sources = folder, sources
        self.now = 1000.0
        self.opened: list[Book] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def open(self, *names: str, cache: int = 300, before: str = "") -> Book:
        """`before`: sections that stand before the played ones."""
        conf = self.folder / "book.conf"
        conf.write_text(before + "".join(f"[{name}]\ntype = played\ncache = {cache}\n" for name in names))
        types: dict[str, type[SourceOptions]] = {"played": SourceOptions, "csv": csv.OPTIONS}
        sections: Mapping[str, Any] = config.read(str(conf), {}, types, {}).sections
        self.opened.append(Book(sections, f"{self.folder}/spool", "US", places=False, wait=1.0))
        return self.opened[-1]


@pytest.fixture
def shelf(tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    made = Shelf(tmp_path, sources, monkeypatch)
    yield made
    for book in made.opened:
        book.close()


def ask(book: Book, number: str = "1", **known: Any) -> Lookup:
    return book.ask(Call(number=number, **known))


def has_news(book: Book) -> bool:
    return bool(select.select([book], [], [], 0)[0])


# Answers


def test_sources_are_asked_side_by_side_and_the_pop_waits_for_all(shelf: Shelf, sources: Sources) -> None:
    lookup = ask(shelf.open("crm", "ad"))
    sources["crm"].wait_for_question()
    sources["ad"].wait_for_question()
    sources.say("ad", "1", {"company": "Example"})
    assert not lookup.is_ready()
    sources.say("crm", "1", ALICE)
    assert lookup.is_ready()
    assert lookup.contact() == {"name": "Alice", "company": "Example"}


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_for_each_field_the_first_source_in_the_file_wins_whatever_answers_first(
    order: tuple[str, str], shelf: Shelf, sources: Sources
) -> None:
    answers = {"first": ALICE, "second": {"name": "Bob", "company": "Example"}}
    lookup = ask(shelf.open("first", "second"))
    for name in order:
        sources.say(name, "1", answers[name])
    assert lookup.contact() == {"name": "Alice", "company": "Example"}


def test_a_stranger_is_told_from_a_caller_without_a_phone_book(shelf: Shelf, sources: Sources) -> None:
    lookup = ask(shelf.open("crm"))
    sources.say("crm", "1", {})
    assert lookup.contact() == {}
    assert ask(shelf.open()).contact() is None


def test_asterisks_own_database_comes_last(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    lookup = ask(book, "1", cidname="Old name")
    assert lookup.contact() == {"name": "Old name"}
    sources.say("crm", "1", ALICE)
    assert lookup.contact() == ALICE
    stranger = ask(book, "2", cidname="Old name")
    sources.say("crm", "2", {})
    assert stranger.contact() == {"name": "Old name"}
    assert ask(shelf.open(), "1", cidname="Old name").contact() == {"name": "Old name"}


def test_a_withheld_number_is_asked_for_nowhere(shelf: Shelf, sources: Sources) -> None:
    lookup = ask(shelf.open("crm"), "", withheld=True)
    assert lookup.is_ready() and lookup.contact() == {}
    assert sources["crm"].asked == []


def test_what_the_number_tells_needs_no_source(shelf: Shelf) -> None:
    book = shelf.open()
    assert book.facts(Call(number="+442079460123")) == {"number": "+44 20 7946 0123", "country": "Britain (UK)"}
    assert ask(book, "+442079460123").is_ready()


def test_who_is_in_the_index_waits_for_no_other_source(shelf: Shelf, tmp_path: Path) -> None:
    text = f"[list]\ntype = csv\nfile = {tmp_path}/list.csv\nnumber = phone\nname = who\ncompany = firm\n"
    (tmp_path / "list.csv").write_text("phone,who,firm\n+12025550123,Carol,\n+12025550124,,Example\n")
    index = phonebook.open_index(tmp_path, phonebook.sources(tmp_path, text))
    assert phonebook.build_here(index) == []
    book = shelf.open("crm", before=text)
    known = ask(book, "+12025550123")
    assert known.is_ready() and not known.is_complete()
    assert known.contact() == {"name": "Carol"}
    assert not ask(book, "+12025550124").is_ready()  # it has no name there
    assert not ask(book, "+12025550125").is_ready()


# The deadline


def test_the_pop_waits_for_the_deadline_and_no_longer(shelf: Shelf, sources: Sources) -> None:
    lookup = ask(shelf.open("crm", "ad"))
    sources.say("ad", "1", ALICE)
    shelf.now += 0.999
    assert not lookup.is_ready()
    shelf.now += 0.001
    assert lookup.is_ready() and lookup.is_complete()
    assert lookup.contact() == ALICE


def test_a_late_answer_stands_in_the_next_pop(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    ask(book)
    shelf.now += 5
    sources.say("crm", "1", ALICE)
    later = ask(book)
    assert later.is_ready() and later.contact() == ALICE
    assert later.cached == {"crm"} and sources["crm"].asked == ["1"]


def test_a_source_has_ten_seconds_from_when_it_is_asked(
    shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)
    book = shelf.open("crm")
    ask(book, "1")
    sources["crm"].wait_for_question()
    ask(book, "2")
    shelf.now += 3
    sources.say("crm", "1", ALICE)
    sources["crm"].wait_for_question()
    assert sources["crm"].deadlines == [1010, 1013]


def test_late_answers_are_told_once_and_are_no_failures(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    told = []
    for number in "1234":
        ask(book, number)
        shelf.now += 2
        sources.say("crm", number, {})
        told += book.read()
    assert sources["crm"].asked == ["1", "2", "3", "4"]
    assert told == [f"phone book [crm]: {worker.LATE}"]
    ask(book, "5")
    sources.say("crm", "5", {})
    assert book.problems() == {}


def test_a_source_with_a_problem_and_an_answer_counts_once() -> None:
    lookup = Lookup(Number("", "1", ""), time.monotonic() + PATIENCE, ["crm", "ad"], {})
    lookup.problems["crm"] = "it is down"
    lookup.answers["crm"] = ALICE
    assert not lookup.is_complete()
    lookup.answers["ad"] = {}
    assert lookup.is_complete()


# The cache


def test_strangers_are_cached_too(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    ask(book)
    sources.say("crm", "1", {})
    assert ask(book).is_ready()
    assert sources["crm"].asked == ["1"]


def test_a_number_is_the_same_however_it_is_written(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    ask(book, "+12025550123")
    sources.say("crm", "+12025550123", ALICE)
    assert ask(book, "(202) 555-0123").contact() == ALICE


def test_an_answer_is_cached_for_so_many_seconds(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm", cache=60)
    ask(book)
    sources.say("crm", "1", ALICE)
    shelf.now += 59.9
    assert ask(book).contact() == ALICE
    shelf.now += 0.1
    lookup = ask(book)
    sources.say("crm", "1", BOB)
    assert lookup.contact() == BOB and sources["crm"].asked == ["1", "1"]


def test_the_cache_is_bounded(shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CACHED", 2)
    book = shelf.open("crm")
    for number in "123":
        ask(book, number)
        sources.say("crm", number, {})
    assert [ask(book, number).is_ready() for number in "321"] == [True, True, False]


def test_of_two_calls_of_the_same_caller_one_is_asked_for(
    shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)
    book = shelf.open("crm")
    first, second = ask(book), ask(book)
    sources.say("crm", "1", ALICE)
    sources.wait()
    assert first.contact() == second.contact() == ALICE
    assert sources["crm"].asked == ["1"]


# Failures


def fail(book: Book, sources: Sources, numbers: str, error: Exception = DOWN) -> None:
    for number in numbers:
        ask(book, number)
        sources.say("crm", number, error)


def test_a_source_that_fails_ends_the_wait(shelf: Shelf, sources: Sources) -> None:
    lookup = ask(shelf.open("crm"))
    sources.say("crm", "1", DOWN)
    assert lookup.is_ready() and lookup.contact() == {}
    assert lookup.problems == {"crm": "it is down"}


def test_a_source_that_fails_three_times_in_a_row_is_left_alone_for_half_a_minute(
    shelf: Shelf, sources: Sources
) -> None:
    book = shelf.open("crm")
    fail(book, sources, "123")
    skipped = ask(book, "4")
    assert skipped.is_ready() and skipped.problems == {"crm": "not asked for 30 s: it is down"}
    shelf.now += 29.9
    assert ask(book, "5").is_ready()
    shelf.now += 0.1
    again = ask(book, "6")
    sources.say("crm", "6", ALICE)
    assert again.contact() == ALICE and book.problems() == {}
    assert sources["crm"].asked == ["1", "2", "3", "6"]


def test_a_failure_after_the_half_minute_is_enough_for_the_next(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    fail(book, sources, "123")
    shelf.now += 30
    fail(book, sources, "4")
    assert ask(book, "5").is_ready()


def test_what_is_cached_is_known_while_a_source_is_left_alone(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    ask(book, "1")
    sources.say("crm", "1", ALICE)
    fail(book, sources, "234")
    assert ask(book, "1").contact() == ALICE


def test_failures_with_an_answer_between_them_are_not_in_a_row(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    fail(book, sources, "12")
    ask(book, "3")
    sources.say("crm", "3", {})
    fail(book, sources, "45")
    assert not ask(book, "6").is_ready()


def test_an_answer_ends_the_half_minute(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    for number in "1234":
        ask(book, number)
    for number in "123":
        sources.say("crm", number, DOWN)
    assert ask(book, "5").is_ready()
    sources.say("crm", "4", ALICE)
    assert not ask(book, "6").is_ready()


def test_questions_that_wait_for_a_source_that_has_failed_are_not_asked(
    shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)
    monkeypatch.setattr(worker, "FAILURES", 1)
    book = shelf.open("crm")
    ask(book, "1")
    sources["crm"].wait_for_question()
    waiting = ask(book, "2")
    sources.say("crm", "1", DOWN)
    sources.wait()
    assert waiting.problems == {"crm": "not asked for 30 s: it is down"}
    assert sources["crm"].asked == ["1"]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (ValueError("no such thing"), "ValueError: no such thing"),
        (None, "TypeError: 'NoneType' object is not iterable"),
        (SystemExit("bad option"), "SystemExit: bad option"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
    ],
)
def test_a_bug_in_a_source_is_a_line_and_harms_no_other(
    reply: object, problem: str, shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)  # which must be there for the next question
    book = shelf.open("crm", "ad")
    lookup = ask(book)
    sources.say("crm", "1", reply)
    sources.say("ad", "1", BOB)
    assert lookup.is_ready() and lookup.contact() == BOB
    assert book.read() == [f"phone book [crm]: {problem}"]
    after = ask(book, "2")
    sources.say("crm", "2", ALICE)
    assert after.contact() == ALICE


def test_a_problem_is_told_once_until_it_is_over(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    fail(book, sources, "1")
    assert has_news(book)
    assert book.read() == ["phone book [crm]: it is down"]
    assert not has_news(book)
    fail(book, sources, "2")
    assert book.read() == []
    fail(book, sources, "3", SourceError("no such host"))
    assert book.read() == ["phone book [crm]: no such host"]
    shelf.now += 30
    ask(book, "4")
    sources.say("crm", "4", {})
    assert book.read() == []
    fail(book, sources, "5", SourceError("no such host"))
    assert book.read() == []  # it comes and goes
    shelf.now += worker.SKIPPED
    ask(book, "6")
    sources.say("crm", "6", {})
    assert book.read() == []
    shelf.now += 300
    fail(book, sources, "7", SourceError("no such host"))
    assert book.read() == ["phone book [crm]: no such host"]


def test_places_that_cant_be_known_are_told_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: Number) -> str:
        raise SourceError("no geocoder")

    monkeypatch.setattr(numbers, "place", fails)
    book = Book({}, "", "US", places=True, wait=1.0)
    assert book.facts(Call(number="+12025550123")) == {"number": "+1 202-555-0123"}
    assert book.read() == ["phone book [numbers]: no geocoder"]
    book.facts(Call(number="+12025550123"))
    assert book.read() == []


def test_a_number_is_shown_as_it_came_when_a_bug_prevents_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_a_bug(*_: object) -> Number:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(numbers, "parse", has_a_bug)
    world.configure(message="{number}")
    world.call("+12025550123")
    world.run(10)
    assert world.server.texts() == ["+12025550123"]
    assert [line for line in world.log() if "bug" in line] == ["phone book [numbers]: ZeroDivisionError: a bug"]


# Threads


def test_a_call_that_waits_holds_up_no_other(shelf: Shelf, sources: Sources) -> None:
    book = shelf.open("crm")
    slow, quick = ask(book, "1"), ask(book, "2")
    sources.say("crm", "2", BOB)
    assert quick.is_ready() and not slow.is_ready()


def test_a_source_is_asked_by_so_many_threads_and_for_the_newest_call_first(
    shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 2)
    book = shelf.open("crm")
    for number in "1234":
        ask(book, number)
        if number in "12":
            sources["crm"].wait_for_question()
    sources.say("crm", "1", {})
    sources["crm"].wait_for_question()
    assert sources["crm"].asked == ["1", "2", "4"]


def test_one_thread_is_enough_for_one_call_after_the_other(shelf: Shelf, sources: Sources) -> None:
    before = threading.active_count()
    book = shelf.open("crm")
    for number in "123":
        ask(book, number)
        sources.say("crm", number, {})
    assert threading.active_count() == before + 1


def test_more_questions_than_a_source_can_answer(
    shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)
    monkeypatch.setattr(worker, "QUESTIONS", 2)
    book = shelf.open("crm")
    ask(book, "1")
    sources["crm"].wait_for_question()
    waiting = [ask(book, "2"), ask(book, "3")]
    refused = ask(book, "4")
    assert refused.is_ready() and refused.problems == {"crm": "2 questions wait for it already"}
    for number in "132":
        sources.say("crm", number, {})
    assert all(lookup.is_ready() for lookup in waiting)
    after = ask(book, "5")
    sources.say("crm", "5", ALICE)
    assert after.contact() == ALICE


def test_no_thread_can_be_started(shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    book = shelf.open("crm")
    with monkeypatch.context() as patches:
        patches.setattr(threading.Thread, "start", fails)
        lookup = ask(book)
    assert lookup.is_ready() and lookup.problems == {"crm": "can't start new thread"}
    assert book.read() == ["phone book [crm]: can't start new thread"]
    first = ask(book)
    sources["crm"].wait_for_question()
    with monkeypatch.context() as patches:
        patches.setattr(threading.Thread, "start", fails)
        second = ask(book, "2")
    for number, found in (("1", first), ("2", second)):
        sources.say("crm", number, ALICE)
        assert found.contact() == ALICE


def test_no_thread_and_no_file_remains_of_a_book_that_is_closed(
    shelf: Shelf, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)
    monkeypatch.setattr(worker, "QUESTIONS", 2)
    before, descriptors = set(threading.enumerate()), os.listdir("/proc/self/fd")
    book = shelf.open("crm", "ad")
    asked = ask(book, "1")
    for name in ("crm", "ad"):
        sources[name].wait_for_question()
    waiting = [ask(book, "2"), ask(book, "3")]
    book.close()
    assert sources["crm"].closed and sources["ad"].closed
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
    for name in ("crm", "ad"):
        sources.say(name, "1", {"company": name})
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert asked.is_ready() and asked.contact() == {"company": "crm"}
    assert sources["crm"].asked == ["1"]
    shelf.now += 1
    assert all(lookup.is_ready() and lookup.contact() == {} for lookup in waiting)
    book.close()


def test_a_thread_without_a_question_ends_with_its_book(shelf: Shelf, sources: Sources) -> None:
    before = set(threading.enumerate())
    book = shelf.open("crm")
    ask(book)
    sources.say("crm", "1", {})
    (thread,) = set(threading.enumerate()) - before
    book.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


# Through the sender


@pytest.fixture
def box(world: World, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(settings, "Types", lambda: {"played": SourceOptions})
    configure(world, "crm")
    return world


def configure(world: World, *names: str, more: str = "") -> None:
    sections = "".join(f"\n[{name}]\ntype = played" for name in names)
    world.configure(message="{number} {name}", more=more + sections)


def test_a_call_that_waits_for_its_answer_delays_no_other(box: World, sources: Sources) -> None:
    box.at(0, lambda: [box.call(number) for number in ("201", "202", "203")])
    box.at(0.3, lambda: sources.say("crm", "203", {"name": "Carol"}))
    box.at(0.6, lambda: sources.say("crm", "201", ALICE))
    box.run(5)
    assert box.server.texts() == ["203 Carol", "201 Alice", "202"]
    assert box.server.times() == [0.3, 0.6, 1.0]


def test_a_late_answer_stands_in_the_pop_of_the_next_call(box: World, sources: Sources) -> None:
    box.at(0, lambda: box.call("201"))
    box.at(1.5, lambda: sources.say("crm", "201", ALICE))
    box.at(2, lambda: box.call("201"))
    box.run(5)
    assert box.server.texts() == ["201", "201 Alice"]
    assert box.server.times() == [1.0, 2.0]


def test_a_late_answer_stands_in_the_message_about_the_calls_end(box: World, sources: Sources) -> None:
    calls: list[Call] = []
    box.at(0, lambda: calls.append(box.call("201")))
    box.at(1.5, lambda: sources.say("crm", "201", ALICE))
    box.at(9, lambda: box.call("201", event="answered", follows=calls[0].id))
    box.run(60)
    assert box.server.texts() == ["201", "Call from Alice, 201 to ?: answered"]
    assert box.server.times() == [1.0, 9.0]


def test_a_source_that_never_answers_delays_each_call_once(box: World, sources: Sources) -> None:
    for number in range(201, 221):
        box.at(number - 201, lambda number=number: box.call(str(number)))  # type: ignore[misc]
    box.run(60)
    assert box.server.times() == [float(second) for second in range(1, 21)]
    assert box.waiting() == []


def test_the_log_names_a_source_that_fails_once(box: World, sources: Sources) -> None:
    for second in range(5):
        box.at(second, lambda number=str(201 + second): box.call(number))  # type: ignore[misc]
    for second in range(3):
        box.at(second + 0.5, lambda number=str(201 + second): sources.say("crm", number, DOWN))  # type: ignore[misc]
    box.run(60)
    assert [line for line in box.log() if "crm" in line] == ["phone book [crm]: it is down"]
    assert box.server.times() == [0.5, 1.5, 2.5, 3.0, 4.0]


def test_a_bug_in_the_phone_book_harms_no_call(box: World, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_a_bug(*_: object) -> Number:
        raise ZeroDivisionError("a bug")

    configure(box, "crm")
    monkeypatch.setattr("screenpop.phonebook.numbers.parse", has_a_bug)
    box.call("1", name="Mallory")
    box.run(1)
    assert box.server.texts() == ['1 "Mallory"'] and box.server.times() == [0]
    assert "phone book: ZeroDivisionError: a bug" in box.log()


def test_a_name_without_a_number_looks_like_no_hit(box: World, sources: Sources) -> None:
    configure(box, "crm")
    box.call("", name="Alice Example")
    box.run(1)
    assert box.server.texts() == ['unknown number "Alice Example"']


def test_the_log_names_a_bug_in_a_source_and_the_call_goes_out(box: World, sources: Sources) -> None:
    box.at(0, lambda: box.call("201"))
    box.at(0.5, lambda: sources.say("crm", "201", KeyError("name")))
    box.run(60)
    assert [line for line in box.log() if "crm" in line] == ["phone book [crm]: KeyError: 'name'"]
    assert box.server.times() == [0.5]


@pytest.mark.parametrize("names", [("crm",), ("ad",), ()], ids=["still there", "another one", "removed"])
def test_an_answer_comes_after_the_configuration_has_changed(
    names: tuple[str, ...], box: World, sources: Sources
) -> None:
    def change() -> None:
        asked.append(sources["crm"])
        asked[0].wait_for_question()
        configure(box, *names, more="late_after = 60\n")
        box.call("202")

    def answer() -> None:
        assert asked[0].closed
        asked[0].says("201", ALICE)
        sources.wait()

    asked: list[Source] = []
    box.at(0, lambda: box.call("201"))
    box.at(0.2, change)
    box.at(0.5, answer)
    box.run(60)
    expected = [(0.2, "202"), (1.0, "201 Alice")] if not names else [(1.0, "201 Alice"), (1.2, "202")]
    assert list(zip(box.server.times(), box.server.texts())) == expected
    assert box.problems() == []


@pytest.mark.parametrize("names", [("crm",), ("ad",), ()], ids=["still there", "another one", "removed"])
def test_calls_go_out_at_their_deadline_though_the_book_that_was_asked_is_closed(
    names: tuple[str, ...], box: World, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "THREADS", 1)  # so that the others have not been asked at all

    def change() -> None:
        sources["crm"].wait_for_question()
        configure(box, *names, more="lookup_wait = 9\n")  # it counts for calls that come from now on
        box.ring(FLUSH)  # the sender reads it before the deadlines

    for second, number in enumerate(("201", "202", "203")):
        box.at(second / 10, lambda number=number: box.call(number))  # type: ignore[misc]
    box.at(0.3, change)
    box.run(60)
    assert list(zip(box.server.times(), box.server.texts())) == [(1.0, "201"), (1.1, "202"), (1.2, "203")]
    assert box.waiting() == [] and box.problems() == []


def test_calls_that_wait_for_an_answer_go_out_when_a_wrong_configuration_is_mended(
    box: World, sources: Sources
) -> None:
    box.at(0, lambda: box.call("201"))
    box.at(0.5, lambda: box.write_configuration("[pop]\n"))
    box.at(20, lambda: configure(box, "crm"))
    for second in (0.5, 20):
        box.at(second, lambda: box.ring(FLUSH))
    box.run(60)
    assert list(zip(box.server.times(), box.server.texts())) == [(20.0, "201")]


def test_a_sender_leaves_while_a_source_is_still_asked(box: World, sources: Sources) -> None:
    box.configure(message="{number}", more="\n[crm]\ntype = played", linger=3)
    box.at(0, lambda: box.call("201"))
    assert box.run(60)
    assert box.server.times() == [1.0]


def test_a_sender_that_is_killed_while_a_source_is_asked_loses_nothing(box: World, sources: Sources) -> None:
    box.at(0, lambda: box.call("201"))
    box.at(0.5, box.kill)
    box.run(60)
    assert box.server.texts() == []
    box.run(60)
    assert box.server.texts() == ["201"]


def test_the_sender_of_the_spool_in_memory_reads_the_index_and_makes_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"[list]\ntype = csv\nfile = {tmp_path}/list.csv\nnumber = phone\nname = who\n"
    (tmp_path / "list.csv").write_text("phone,who\n201,Carol\n")
    index = phonebook.open_index(tmp_path, phonebook.sources(tmp_path, text))
    assert phonebook.build_here(index) == []
    monkeypatch.setattr(outbox, "MEMORY", f"{tmp_path}/memory")
    monkeypatch.setitem(posix.environ, b"SCREEN_POP_SPOOL", index.folder.encode())
    world.outbox = outbox.Outbox(index.folder).spare()
    world.configure(message="{number} {name}", more=text)
    monkeypatch.setattr(Index, "start_build", lambda index: pytest.fail("it makes an index"))
    world.at(0, lambda: world.call("201"))
    world.at(1, lambda: (tmp_path / "list.csv").write_text("phone,who\n201,Eve\n"))
    world.at(30, lambda: world.ring(INDEX))
    world.run(60)
    assert world.server.texts() == ["201 Carol"]


def indexed(world: World, *, who: str) -> Path:
    """A file with one caller, 201, who stands in the index. Returns the path of the file."""
    file = world.folder / "list.csv"
    file.write_text(f"phone,who\n201,{who}\n")
    text = f"[list]\ntype = csv\nfile = {file}\nnumber = phone\nname = who\n"
    index = phonebook.open_index(world.folder, phonebook.sources(world.folder, text))
    assert phonebook.build(index) == []
    world.configure(message="{number} {name}", more=text)
    return file


def test_no_pop_waits_for_a_look_at_the_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gate = threading.Event(), threading.Event()

    def never_answers(source: csv.Source) -> list[str]:  # as a server of files that is down
        begun.set()
        assert gate.wait(PATIENCE)
        raise OSError(errno.EIO, "Input/output error")

    indexed(world, who="Carol")
    monkeypatch.setattr(csv.Source, "paths", never_answers)
    threads = threading.active_count()
    for second in (0, 60, 120):
        world.at(second, lambda: world.call("201"))
    world.at(61, lambda: begun.wait(PATIENCE))
    world.run(200)
    assert begun.is_set() and not gate.is_set()
    assert world.server.times() == [0, 60, 120] and world.server.texts() == 3 * ["201 Carol"]
    assert threading.active_count() == threads + 1  # it isn't looked at again
    gate.set()


def test_the_log_says_why_places_cant_be_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: Number) -> str:
        raise SourceError("no geocoder")

    monkeypatch.setattr(numbers, "place", fails)
    world.configure(more="places = yes")
    world.at(0, lambda: world.call("+12025550123"))
    world.run(60)
    assert [line for line in world.log() if "geocoder" in line] == ["phone book [numbers]: no geocoder"]


def test_the_sender_rests_when_an_answer_comes_while_the_configuration_is_wrong(box: World, sources: Sources) -> None:
    box.at(0, lambda: box.call("201"))
    box.at(0.2, lambda: box.write_configuration("[pop]\n"))
    box.at(0.3, lambda: box.call("202"))
    box.at(0.5, lambda: sources.say("crm", "201", ALICE))
    box.run(30)
    assert box.server.texts() == []
    assert len(box.waits) < 100
