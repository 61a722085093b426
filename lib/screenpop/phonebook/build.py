"""The process that makes an index (its tables: index.py). The sender starts it; it goes on when the sender leaves.

It writes `tmp/index.sqlite` in the spool, and renames it to `index.sqlite` when all is in it. `index.json` tells the
progress, and `index.lock` keeps it the only such process of the spool.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from itertools import islice

from ..call import uptime
from ..text import clean
from . import files, index
from .bulk import Numbers
from .files import FileSource, Reading
from .index import Contents
from .source import SourceError

NICE = 10
MEMORY = 1 << 30  # bytes that the process may have
ATTEMPTS = 3  # to read files that change meanwhile
AT_ONCE = 1000  # entries that are written together
NUMBERS = 50  # of an entry
LONGEST = 64  # characters of a number
TOLD = 0.3  # seconds between two reports of the progress
STEPS = 1_000_000  # of SQLite, between two looks whether a report is due

_TABLES = """
CREATE TABLE source (told TEXT);
CREATE TABLE entry (source INTEGER, entry INTEGER, texts TEXT, PRIMARY KEY (source, entry)) WITHOUT ROWID;
CREATE TABLE number (source INTEGER, key TEXT, entry INTEGER, PRIMARY KEY (source, key, entry)) WITHOUT ROWID;
CREATE TEMP TABLE unsorted (key TEXT, entry INTEGER);
"""


def main() -> None:
    """Standard input has the pickled job, from Index.start_build; standard output gets what has gone wrong, as JSON."""
    os.nice(NICE)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    job = pickle.load(sys.stdin.buffer)  # noqa: S301  it comes from the process that started this
    folder, sources, country, hangs = job
    os.environ["SQLITE_TMPDIR"] = f"{folder}/tmp"
    progress = Progress(folder, hangs)
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(open(f"{folder}/index.lock", "ab"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            problems = build(folder, sources, country, progress)
            progress.end(problems)
        except BlockingIOError:  # another such process is running
            pass
        except Exception as error:  # the disk is full, or a mistake in this program
            problems = [f"no index can be made: {type(error).__name__}: {error}"]
            progress.end(problems)
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/tmp/index.sqlite")
    print(json.dumps(problems))


def build(folder: str, sources: Sequence[FileSource], country: str, progress: Progress) -> list[str]:
    """Make the index. Returns what is wrong with the sources, a sentence each. Raises sqlite3.Error and OSError."""
    try:
        return Build(folder, sources, country, progress, f"{folder}/index.sqlite").run()
    except sqlite3.OperationalError:  # the disk is full, say
        raise
    except sqlite3.DatabaseError:  # the present index is damaged
        return Build(folder, sources, country, progress, "").run()


class Progress:
    """Writes the file that index.read_progress reads. After `hangs` seconds without progress SIGALRM ends the process;
    0: never.
    """

    def __init__(self, folder: str, hangs: int = 0) -> None:
        self.folder, self.hangs, self._due = folder, hangs, 0.0
        self.told: dict[str, object] = {"began": uptime(), "ended": 0.0, "problems": []}
        signal.alarm(hangs)

    def begin(self, source: str) -> None:
        """Written at once: it is the source that may hang."""
        self.told.update(source=source, entries=0, bytes=0, size=0)
        self._write()

    def tell(self, **told: object) -> None:
        """Written from time to time, also when nothing has changed: it shows that the process is running."""
        self.told.update(told)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + TOLD
            self._write()

    def end(self, problems: list[str]) -> None:
        self.told.update(ended=uptime(), problems=problems)
        self._write()

    def _write(self) -> None:
        self.told["now"] = uptime()
        with contextlib.suppress(OSError):  # the disk is full
            with open(f"{self.folder}/tmp/index.json", "w", encoding="ascii") as file:
                json.dump(self.told, file)
            os.rename(f"{self.folder}/tmp/index.json", f"{self.folder}/index.json")
        signal.alarm(self.hangs)


class Build:
    """`present`: the path of an index from which the entries of unchanged files are taken, if it is there."""

    def __init__(
        self, folder: str, sources: Sequence[FileSource], country: str, progress: Progress, present: str
    ) -> None:
        self.folder, self.sources, self.country, self.progress = folder, sources, country, progress
        self.numbers = Numbers(country)
        self.path = f"{folder}/tmp/index.sqlite"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # of a build that was killed
        self.database = sqlite3.connect(self.path, uri=True, isolation_level=None)  # `uri`: for ATTACH
        self.database.execute("PRAGMA journal_mode = OFF")  # nobody reads it before it is complete
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.set_progress_handler(progress.tell, STEPS)
        self.database.execute(f"PRAGMA user_version = {index.LAYOUT}")
        self.database.executescript(_TABLES)
        self.before: dict[str, Contents] = {}
        if os.path.exists(present):
            with contextlib.suppress(*index.DAMAGED):
                self.database.execute("ATTACH ? AS present", (index.uri(present),))
                self.before = index.read_contents(self.database, "present")

    def run(self) -> list[str]:
        problems = []
        self.database.execute("BEGIN")
        for number, source in enumerate(self.sources):
            contents = self._take(number, source)
            self.database.execute("INSERT INTO source VALUES (?)", (json.dumps(contents._asdict()),))
            if contents.problem:
                problems.append(f"[{source.name}] {contents.problem}")
        self.database.execute("COMMIT")
        self.database.close()
        with open(self.path, "rb") as file:
            os.fsync(file)
        os.rename(self.path, f"{self.folder}/index.sqlite")
        return problems

    def _take(self, number: int, source: FileSource) -> Contents:
        """Write a source's entries: those of the present index if nothing has changed or the files can't be used."""
        self.progress.begin(source.name)
        before = self.before.get(source.name)
        state = files.state(source, self.country)
        if before and before.state == state and not before.problem:
            self._copy(number, before)
            return before._replace(source=number)
        for _ in range(ATTEMPTS):
            state = files.state(source, self.country)
            self._forget(number)
            found = self._read(number, source, state)
            if files.state(source, self.country) == state:
                break
            found = found._replace(problem="its files change all the time while they are read")
        if not found.problem:
            return found
        self._forget(number)
        if before:
            self._copy(number, before)
            return before._replace(source=number, state=state, problem=f"{found.problem}; its former entries stay")
        return Contents(number, source.name, state, source.names, problem=found.problem)

    def _read(self, number: int, source: FileSource, state: str) -> Contents:
        reading, size = Reading(), files.size(source)
        entries = numbers = 0
        problem = ""
        self.progress.tell(entries=0, bytes=0, size=size)
        try:
            found = source.entries(reading)
            while some := list(islice(found, AT_ONCE)):
                rows, keys = [], []
                for texts, values in some:
                    if own := {key for text in texts[:NUMBERS] if (key := self._key(text))}:
                        entries += 1
                        rows.append((number, entries, json.dumps(values)))
                        keys += [(key, entries) for key in own]
                self.database.executemany("INSERT INTO entry VALUES (?, ?, ?)", rows)
                self.database.executemany("INSERT INTO unsorted VALUES (?, ?)", keys)
                numbers += len(keys)
                self.progress.tell(entries=entries, bytes=reading.bytes())
            sort = "INSERT INTO number SELECT ?, key, entry FROM unsorted ORDER BY key, entry"
            self.database.execute(sort, (number,))  # in their order, rows are only appended
        except SourceError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}"
        return Contents(
            number, source.name, state, source.names, entries, numbers, reading.skipped, tuple(reading.reasons), problem
        )

    def _key(self, text: str) -> str:
        """Empty for what is no number."""
        if len(text) > LONGEST:
            return ""
        return self.numbers.e164(text)[::-1] or index.key(clean(text))

    def _copy(self, number: int, before: Contents) -> None:
        """Write the entries that the present index has of a source."""
        for table, columns in ("entry", "entry, texts"), ("number", "key, entry"):
            copy = f"INSERT INTO {table} SELECT ?, {columns} FROM present.{table} WHERE source = ?"  # noqa: S608
            self.database.execute(copy, (number, before.source))

    def _forget(self, number: int) -> None:
        self.database.execute("DELETE FROM entry WHERE source = ?", (number,))
        self.database.execute("DELETE FROM number WHERE source = ?", (number,))
        self.database.execute("DELETE FROM unsorted")
