"""The phone book's index of a long CSV file: how long it takes to make, and what a lookup in it costs. As root it also
measures what the phone book costs a call in a real Asterisk (callers.py).

    sudo bench/run.sh phonebook [ROWS]

An index of a few rows is there, and is looked into ten times a second while the process in the background makes the one
of all rows. This process has imported what the sender has, so that its memory is the sender's.
"""

from __future__ import annotations

import os
import random
import resource
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import callers
import screenpop.sender.loop  # noqa: F401  for its memory
from parts.phonebook import build, open_index, sources
from screenpop.phonebook import numbers
from screenpop.phonebook.index import Index
from screenpop.phonebook.source import Number

COUNTRY = "US"
SECTION = """
[customers]
type = csv
file = {file}
number = phone, mobile
name = full_name
company = company
url = https://crm.example.org/c/{{id}}
match = 9
"""
LOOKUPS = 2000
LONGEST_BUILD, LONGEST_LOOKUP, LARGEST = 90.0, 5.0, 60.0  # targets: seconds, ms, MB


def write(file: Path, rows: int) -> list[str]:
    """Numbers as people in the United States write them; every second one has a mobile phone, too. Returns some."""
    chance, some = random.Random(rows), []
    written = file.with_suffix(".new")
    with written.open("w") as output:
        output.write("id;full_name;company;phone;mobile;notes\n")
        for row in range(rows):
            digits = f"{chance.randrange(2_000_000_000, 10_000_000_000)}"
            phone = f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"
            mobile = f"+1{chance.randrange(2_000_000_000, 10_000_000_000)}" if row % 2 else ""
            output.write(f"{row};Person {row};Company {row % 5000};{phone};{mobile};as they are\n")
            if row % (rows // 100) == 0:
                some.append(phone)
    written.rename(file)
    return some


def milliseconds(index: Index, number: Number) -> float:
    began = time.perf_counter()
    index.lookup(number)
    return (time.perf_counter() - began) * 1000


def build_while_calls_come(index: Index, known: list[Number]) -> tuple[float, list[float]]:
    """Seconds of the build, and milliseconds of each lookup meanwhile."""
    began, took = time.monotonic(), []
    index.start_build()
    while (problems := index.poll()) is None:
        select.select([index.fileno()], [], [], 0.1)
        took.append(milliseconds(index, random.choice(known)))
    assert not problems, problems
    return time.monotonic() - began, took


def main(rows: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "customers.csv")
        write(file, 1000)
        index = open_index(Path(folder), sources(Path(folder), SECTION.format(file=file)), COUNTRY)
        build(index)
        some = [numbers.parse(phone, COUNTRY) for phone in write(file, rows)]
        strangers = [numbers.parse(f"+4930{1_000_000 + number}", COUNTRY) for number in range(LOOKUPS)]
        seconds, meanwhile = build_while_calls_come(index, some)
        assert all(index.lookup(number)["customers"]["url"] for number in some)
        hits = [milliseconds(index, random.choice(some)) for _ in range(LOOKUPS)]
        misses = [milliseconds(index, number) for number in strangers]
        copy = timed(lambda: build(index))
        sizes = file.stat().st_size / 1e6, Path(index.path).stat().st_size / 1e6
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    of_build = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{rows:,} rows, {sizes[0]:.0f} MB; the index has {sizes[1]:.0f} MB")
    print(f"build: {seconds:.1f} s; again, nothing has changed: {copy:.1f} s")
    print(
        f"both builds: {of_build.ru_utime + of_build.ru_stime:.1f} s of CPU, {of_build.ru_maxrss / 1024:.1f} MB at most"
    )
    print(f"{'lookup, ms':30}{'median':>10}{'worst':>10}")
    for what, took in (
        ("somebody known", hits),
        ("a stranger, last digits too", misses),
        ("during the build", meanwhile),
    ):
        print(f"{what:30}{statistics.median(took):10.2f}{max(took):10.2f}")
    print(f"sender: {memory:.1f} MB")
    wrong = {
        f"the build takes {LONGEST_BUILD:.0f} s or more": seconds >= LONGEST_BUILD,
        f"a lookup takes {LONGEST_LOOKUP:.0f} ms or more": max(map(statistics.median, (hits, misses, meanwhile)))
        >= LONGEST_LOOKUP,
        f"{LARGEST:.0f} MB or more": memory >= LARGEST,
    }
    return [what for what, is_so in wrong.items() if is_so]


def timed(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


if __name__ == "__main__":
    missed = main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    if os.geteuid() == 0:
        missed += callers.measure()
    sys.exit("\n".join(missed) or 0)
