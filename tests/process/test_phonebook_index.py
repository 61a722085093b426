"""The index of the phone book's files: who is found in it, and what becomes of it when files change or are broken."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sqlite3
import stat
from pathlib import Path

import pytest

from parts.phonebook import Waiting, build, end_of_build, look_up, needs_build, open_index, sources, spool
from parts.waiting import PATIENCE
from screenpop.phonebook import build as build_module
from screenpop.phonebook import csv
from screenpop.phonebook import index as index_module
from screenpop.phonebook import look as look_module
from screenpop.phonebook.book import Book
from screenpop.phonebook.files import FileSource
from screenpop.phonebook.index import Index, read_progress

CUSTOMERS = """\
id,phone,mobile,full_name
1,+1 555-123-4567,,Alice
2,(555) 123-4568,555.123.4569,Bob
3,123,,Extension
4,Carol.Example,,Carol
5,+49 30 1234567,,Dora
6,+1 555-123-4567,,Somebody else with Alice's number
7,,,Nobody
"""
SECTION = """
[{name}]
type = csv
file = {file}
number = phone, mobile
name = full_name
url = https://crm.example.org/{{id}}
"""


def customers(folder: Path, content: str = CUSTOMERS, options: str = "", name: str = "customers") -> FileSource:
    file = folder / f"{name}.csv"
    file.write_text(content)
    (source,) = sources(folder, SECTION.format(name=name, file=file) + options)
    return source


def built(folder: Path, content: str = CUSTOMERS, options: str = "", country: str = "US") -> Index:
    index = open_index(folder, [customers(folder, content, options)], country)
    assert build(index) == []
    return index


def name_of(index: Index, number: str, source: str = "customers") -> str:
    return look_up(index, number).get(source, {}).get("name", "")


def rows(*pairs: tuple[str, str]) -> str:
    return "id,phone,mobile,full_name\n" + "".join(f",{phone},,{name}\n" for phone, name in pairs)


# Who is found


def test_before_there_is_an_index_nobody_is_known(tmp_path: Path) -> None:
    index = open_index(tmp_path, [customers(tmp_path)])
    assert look_up(index, "+15551234567") == {}
    assert needs_build(index)


def test_all_fields_of_an_entry(tmp_path: Path) -> None:
    found = look_up(built(tmp_path), "+15551234567")
    assert found == {"customers": {"name": "Alice", "url": "https://crm.example.org/1"}}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("+15551234567", "Alice"),  # the first of two in the file
        ("15551234567", "Alice"),
        ("5551234567", "Alice"),
        ("0115551234568", ""),
        ("+15551234568", "Bob"),
        ("5551234569", "Bob"),
        ("123", "Extension"),
        ("carol.example", "Carol"),
        ("01149301234567", "Dora"),
        ("+49301234567", "Dora"),
        ("+493012345670", ""),
        ("1234567", ""),
    ],
)
def test_a_caller_is_found_by_the_number_however_it_is_written(tmp_path: Path, number: str, name: str) -> None:
    assert name_of(built(tmp_path), number) == name


@pytest.mark.parametrize(
    "number",
    [
        "",
        "+",
        "0",
        "anonymous",
        "9" * 40,
        "sip:alice@example.org",
        "*)(uid=*",
        "'; DROP TABLE number; --",
        "%",
        "\ud800",
    ],
)
@pytest.mark.parametrize("match", ["", "match = 5"])
def test_numbers_that_are_none_are_harmless(tmp_path: Path, number: str, match: str) -> None:
    index = built(tmp_path, options=match)
    assert look_up(index, number) == {}
    assert name_of(index, "+15551234567") == "Alice"


def test_without_a_country_numbers_are_found_as_they_are_written(tmp_path: Path) -> None:
    index = built(
        tmp_path, rows(("030 / 123 45-67", "Alice"), ("4930765432", "Bob"), ("+49 30 999999", "Carol")), country=""
    )
    assert name_of(index, "0301234567") == "Alice"
    assert name_of(index, "+4930765432") == "Bob"
    assert name_of(index, "4930999999") == "Carol"
    assert name_of(index, "+49301234567") == ""


def test_the_longest_match_of_the_last_digits(tmp_path: Path) -> None:
    content = rows(("030 1234567", "Berlin"), ("040 1234567", "Hamburg"), ("1234567", "local"), ("34567", "short"))
    index = built(tmp_path, content, "match = 7", country="")
    assert name_of(index, "+49301234567") == "Berlin"
    assert name_of(index, "+49401234567") == "Hamburg"
    assert name_of(index, "+49891234567") == "Berlin"  # as good as the others; it is the first in the file
    assert name_of(index, "1234567") == "local"
    assert name_of(index, "+49301234568") == name_of(index, "234567") == name_of(index, "99934567") == ""


def test_last_digits_match_numbers_with_a_country_code(tmp_path: Path) -> None:
    index = built(tmp_path, rows(("+49 30 1234567", "Alice")), "match = 7", country="")
    assert name_of(index, "0301234567") == name_of(index, "1234567") == "Alice"


def test_many_with_the_same_last_digits_are_not_all_looked_at(tmp_path: Path) -> None:
    content = rows(*((f"{area:05}1234567", f"Person {area}") for area in range(5000)))
    index = built(tmp_path, content, "match = 7", country="")
    assert name_of(index, "1234567").startswith("Person ")


def test_each_source_has_its_own_entries(tmp_path: Path) -> None:
    one, other = customers(tmp_path), customers(tmp_path, rows(("+15551234567", "A. E.")), name="partners")
    index = open_index(tmp_path, [one, other])
    build(index)
    assert {name: fields["name"] for name, fields in look_up(index, "+15551234567").items()} == {
        "customers": "Alice",
        "partners": "A. E.",
    }
    assert list(look_up(index, "123")) == ["customers"]


def test_another_template_needs_no_other_index(tmp_path: Path) -> None:
    index = built(tmp_path)
    (source,) = sources(
        tmp_path, SECTION.format(name="customers", file=tmp_path / "customers.csv") + "text = Mx {full_name}"
    )
    index.sources = [source]
    assert index.is_current()
    assert look_up(index, "123")["customers"]["text"] == "Mx Extension"


def test_what_it_tells_of_itself(tmp_path: Path) -> None:
    index = built(tmp_path, CUSTOMERS + "1,2,3,4,5\n")
    contents = index.contents["customers"]
    assert (contents.entries, contents.numbers, contents.skipped, contents.problem) == (6, 7, 1, "")
    assert list(contents.reasons) == [f"{tmp_path}/customers.csv:9: the line has 5 columns, the header line 4"]
    told = read_progress(index.folder)
    assert told["ended"] >= told["began"] > 0
    assert told["problems"] == []


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    index = built(tmp_path)
    for name in spool(index):
        assert stat.S_IMODE(os.stat(f"{index.folder}/{name}").st_mode) == 0o600


# When files change


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(index_module, "time", clock)
    monkeypatch.setattr(look_module, "time", clock)
    return clock


def test_a_changed_file_is_noticed_and_waited_for_until_it_is_complete(tmp_path: Path, clock: Clock) -> None:
    index = built(tmp_path)
    assert not needs_build(index)
    for length in 10, 20:  # it is being written
        customers(tmp_path, CUSTOMERS + rows(("+15550000000", "New" * length)))
        clock.now += 5
        assert not needs_build(index)
        assert not needs_build(index)
    clock.now += 4.9
    assert not needs_build(index)
    clock.now += 0.1
    assert needs_build(index)
    assert name_of(index, "+15551234567") == "Alice"
    build(index)
    assert name_of(index, "+15550000000") == "New" * 20
    clock.now += 5
    assert not needs_build(index)


def test_the_book_wakes_the_sender_when_files_have_been_looked_at(tmp_path: Path, clock: Clock) -> None:
    source = built(tmp_path).sources[0]
    customers(tmp_path, rows(("+15551234567", "New")))
    book = Book({source.name: source.options}, f"{tmp_path}/spool", "US", places=False, wait=1.0)
    assert book.index
    for _ in range(2):  # the second look finds the file as it was at the first
        assert book.index.fileno() is None
        book.tend_index()
        assert select.select([book], [], [], PATIENCE)[0]
        book.read()
        book.tend_index()
        clock.now += 5
    assert end_of_build(book.index) == []
    assert name_of(book.index, "+15551234567") == "New"
    book.close()


def test_files_that_take_long_to_look_at_are_looked_at_rarely(tmp_path: Path, clock: Clock) -> None:
    class Slow(csv.Source):
        def paths(self) -> list[str]:
            clock.now += 0.5
            return super().paths()

    index = built(tmp_path)
    source = customers(tmp_path, rows(("+15551234567", "New")))
    index.sources = [Slow(source.name, source.options)]
    assert not needs_build(index)
    clock.now += 40
    assert not needs_build(index)
    clock.now += 9
    assert not needs_build(index)
    clock.now += 1
    assert needs_build(index)


def test_a_change_of_what_is_read_needs_another_index(tmp_path: Path) -> None:
    index = built(tmp_path)
    for change in "extra = mobile", "match = 7", "encoding = latin-1", "delimiter = comma":
        index.sources = [customers(tmp_path, options=change)]
        assert not index.is_current()
        assert build(index) == []
        assert index.is_current()
    index.country = "DE"
    assert not index.is_current()
    index.sources = []
    assert not index.is_current()


def test_a_source_that_has_not_changed_is_taken_from_the_present_index(tmp_path: Path) -> None:
    index = built(tmp_path)
    file = tmp_path / "customers.csv"
    before = file.stat()
    file.write_text(CUSTOMERS.replace("Alice\n", "Clara\n"))  # as nobody can notice
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    index.sources = [customers_of(tmp_path, rows(("7777777", "New")), "others"), *index.sources]
    assert build(index) == []
    assert name_of(index, "+15551234567") == "Alice"
    assert name_of(index, "7777777", "others") == "New"
    assert index.contents["customers"].entries == 6


def customers_of(folder: Path, content: str, name: str) -> FileSource:
    return customers(folder, content, name=name)


class Replaced(csv.Source):
    """A file that is replaced while it is read, so many times."""

    times = 1

    def entries(self, reading):  # type: ignore[no-untyped-def]
        for place, entry in enumerate(super().entries(reading)):
            if place == 1 and self.times:
                self.times -= 1
                new = Path(self.options.file).with_suffix(".new")
                new.write_text(rows(("+15551234567", f"Alice {self.times}"), ("1111111", "x"), ("2222222", "y")))
                new.rename(self.options.file)
            yield entry


def replaced(index: Index, times: int) -> list[str]:
    source = Replaced(index.sources[0].name, index.sources[0].options)
    source.times = times
    return build_module.build(index.folder, [source], index.country, build_module.Progress(index.folder))


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    index = open_index(tmp_path, [customers(tmp_path)])
    assert replaced(index, 2) == []
    assert name_of(index, "+15551234567") == "Alice 0"
    assert name_of(index, "123") == ""
    assert index.contents["customers"].entries == 3
    assert index.is_current()


def test_a_file_that_changes_all_the_time_leaves_the_former_entries(tmp_path: Path) -> None:
    index = built(tmp_path)
    customers(tmp_path, CUSTOMERS + "\n")
    problem = "its files change all the time while they are read; its former entries stay"
    assert replaced(index, 100) == [f"[customers] {problem}"]
    assert name_of(index, "+15551234567") == "Alice"
    assert name_of(index, "123") == "Extension"
    assert index.contents["customers"].problem == problem


# When something is broken


def test_a_file_that_cant_be_used_leaves_the_former_entries(tmp_path: Path) -> None:
    index = built(tmp_path)
    file = tmp_path / "customers.csv"
    for content, problem in {
        "": f"{file} is empty: it should have a header line",
        "a,b\n1,2\n": f"{file} has no column full_name, id, mobile, phone; its columns are a, b",
    }.items():
        file.write_text(content)
        assert build(index) == [f"[customers] {problem}; its former entries stay"]
        assert name_of(index, "+15551234567") == "Alice"
        assert index.is_current()  # it needn't be tried again and again
    file.unlink()
    assert build(index) == [f"[customers] {file}: No such file or directory; its former entries stay"]
    assert index.contents["customers"].entries == 6
    file.write_text(rows(("1111111", "New")))
    assert not index.is_current()
    assert build(index) == []
    assert (name_of(index, "1111111"), name_of(index, "+15551234567")) == ("New", "")


def test_a_broken_source_is_no_other_ones(tmp_path: Path) -> None:
    broken, fine = customers(tmp_path, ""), customers(tmp_path, CUSTOMERS, name="partners")
    index = open_index(tmp_path, [broken, fine])
    (problem,) = build(index)
    assert problem.startswith("[customers] ") and "is empty" in problem
    assert name_of(index, "+15551234567", "partners") == "Alice"


def test_what_was_missing_is_found_by_the_next_build_though_no_file_has_changed(tmp_path: Path) -> None:
    """As a library that has been installed since."""
    index = open_index(tmp_path, [customers(tmp_path)])
    file = tmp_path / "customers.csv"
    before = file.stat()
    file.write_text("x" * (len(CUSTOMERS) - 1) + "\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "has no column" in build(index)[0]
    file.write_text(CUSTOMERS)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build(index) == []
    assert name_of(index, "+15551234567") == "Alice"


@pytest.mark.parametrize("damage", ["all", "behind the first page", "empty", "other tables"])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: str) -> None:
    index = built(tmp_path, rows(*((f"+1555{number:07}", "Alice") for number in range(2000))))
    file = Path(index.path)
    size = file.stat().st_size
    file.unlink()
    if damage == "other tables":
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.executescript(f"PRAGMA user_version = {index_module.LAYOUT}; CREATE TABLE source (told)")
    else:
        start = {"all": 0, "behind the first page": 8192, "empty": 0}[damage]
        build(index)
        content = file.read_bytes()[:start] + (b"" if damage == "empty" else b"\xff" * (size - start))
        file.unlink()
        file.write_bytes(content)
    assert name_of(index, "+15550000001") == ""
    assert needs_build(index)
    assert build(index) == []
    assert name_of(index, "+15550000001") == "Alice"


@pytest.mark.parametrize("layout", [0, index_module.LAYOUT + 1], ids=["before there were any", "a later one"])
def test_an_index_of_another_version_is_not_read_but_made_again(tmp_path: Path, layout: int) -> None:
    index = built(tmp_path)
    with contextlib.closing(sqlite3.connect(index.path, isolation_level=None)) as other:
        other.execute(f"PRAGMA user_version = {layout}")
        other.execute("""UPDATE entry SET texts = '["Misread", "1"]'""")
    index.close()  # as of a sender that has come since
    assert name_of(index, "+15551234567") == ""
    assert not index.is_current()
    assert needs_build(index)
    assert build(index) == []
    assert name_of(index, "+15551234567") == "Alice"  # of the file: nothing is taken from the other index


def test_a_disk_that_is_full_leaves_the_present_index(tmp_path: Path) -> None:
    index = built(tmp_path)
    customers(tmp_path, rows(*((f"+1555{number:07}", "x" * 100) for number in range(5000))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a full disk: a write fails
    try:
        (problem,) = build(index)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert problem.startswith("no index can be made: OperationalError: ")
    assert read_progress(index.folder)["problems"] == [problem]
    assert name_of(index, "+15551234567") == "Alice"
    assert spool(index) == ["index.json", "index.lock", "index.sqlite"]


def waiting(folder: Path, source: FileSource) -> Waiting:
    found = Waiting(source.name, source.options)
    found.gate = f"{folder}/gate"
    os.mkfifo(found.gate)
    return found


def test_the_present_index_serves_while_one_build_at_a_time_makes_the_next(tmp_path: Path) -> None:
    index = built(tmp_path)
    source = waiting(tmp_path, customers(tmp_path, rows(("+15551234567", "New"))))
    index.sources = [source]
    index.start_build()
    with open(source.gate, "w"):  # the process has come to the file
        index.start_build()
        assert index.poll() is None
        assert not needs_build(index)
        assert name_of(index, "+15551234567") == "Alice"
        other = open_index(tmp_path, [source])  # as of a sender that has come since
        assert build(other) == []
        assert not needs_build(other)
        assert name_of(other, "+15551234567") == "Alice"
    assert end_of_build(index) == []
    assert name_of(index, "+15551234567") == name_of(other, "+15551234567") == "New"


def builds() -> list[int]:
    """The processes that this one has started to make an index."""
    children = Path("/proc/thread-self/children").read_text().split()
    return [int(pid) for pid in children if b"screenpop.index" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_build_that_is_killed_leaves_a_file_in_tmp_and_is_not_repeated_at_once(tmp_path: Path, clock: Clock) -> None:
    index = built(tmp_path)
    source = waiting(tmp_path, customers(tmp_path, rows(("+15551234567", "New"))))
    index.sources = [source]
    index.start_build()
    with open(source.gate, "w"):
        (process,) = builds()
        assert os.getpriority(os.PRIO_PROCESS, process) == 10
        assert os.getsid(process) == process
        os.kill(process, signal.SIGKILL)
        assert end_of_build(index) == ["the process that makes the index was killed"]
    assert set(spool(index)) - {"tmp/index.json"} == {"index.json", "index.lock", "index.sqlite", "tmp/index.sqlite"}
    assert name_of(index, "+15551234567") == "Alice"
    for _ in range(12):
        assert not needs_build(index)
        clock.now += 5
    assert not needs_build(index)  # the first look
    clock.now += 5
    assert needs_build(index)
    index.sources = [csv.Source(source.name, source.options)]
    assert build(index) == []
    assert name_of(index, "+15551234567") == "New"
    assert spool(index) == ["index.json", "index.lock", "index.sqlite"]


def test_a_build_that_hangs_ends_and_names_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "HANGS", 1)
    index = built(tmp_path)
    partners = customers(tmp_path, rows(("1111111", "New")), name="partners")
    index.sources = [*index.sources, waiting(tmp_path, partners)]  # nobody opens its gate
    assert build(index) == ["the process that makes the index has ended: [partners] came no further for 1 s"]
    assert name_of(index, "+15551234567") == "Alice"
    assert not needs_build(index)
    index.sources = [index.sources[0], partners]
    assert build(index) == []  # the lock is free
    assert name_of(index, "1111111", "partners") == "New"


def test_a_build_that_makes_progress_may_take_long(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        progress = build_module.Progress(str(tmp_path), 1000)
        signal.alarm(100)
        progress.tell(entries=1)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 100
        progress.end([])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_builds_that_fail_are_tried_more_and_more_rarely(tmp_path: Path, clock: Clock) -> None:
    index = open_index(tmp_path, [customers(tmp_path)])
    (tmp_path / "spool/tmp/index.sqlite").mkdir()  # so that none can be made

    def pause() -> int:
        (problem,) = build(index)
        assert problem.startswith("no index can be made: ")
        began = clock.now
        while not needs_build(index):
            clock.now += 1
        return round(clock.now - began)

    assert [pause() for _ in range(6)] == [60, 120, 240, 480, 600, 600]
    (tmp_path / "spool/tmp/index.sqlite").rmdir()
    assert build(index) == []
    Path(index.path).unlink()
    (tmp_path / "spool/tmp/index.sqlite").mkdir()
    assert pause() == 60


def test_an_extension_is_not_found_by_the_last_digits_of_a_number(tmp_path: Path) -> None:
    index = built(tmp_path, rows(("+1 202 551 2345", "Alice")), "match = 5\n")
    assert [name_of(index, number) for number in ("12345", "+44 20 8361 2345")] == ["", "Alice"]


def test_a_build_that_is_left_keeps_no_descriptor(tmp_path: Path) -> None:
    index = open_index(tmp_path, [customers(tmp_path)])
    before = len(os.listdir("/proc/self/fd"))
    index.start_build()
    index.leave_build()
    assert len(os.listdir("/proc/self/fd")) == before
    os.waitpid(index._process, 0)
