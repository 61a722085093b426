"""The index: one SQLite file in the spool, with the entries of all CSV and vCard files. A lookup takes under 1 ms.

The sender looks numbers up, notices when files have changed, and starts a process that makes a new index (build.py),
which replaces the present one in one rename. An index itself is never changed. Its tables:

    source(told)                   the Contents of a source, as a JSON object
    entry(source, entry, texts)    `texts`: a JSON list, in the order of the source's `names`
    number(source, key, entry)     `key`: the number, reversed: those with the same last digits stand together

Its `PRAGMA user_version` is LAYOUT; an index with another one is made anew, as a damaged one is.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..call import uptime
from . import files
from .fields import evaluate
from .files import FileSource
from .look import Look
from .source import Number

LAYOUT = 1  # one more with each change of the tables, or of what stands in them
LOOK = 5.0  # seconds after which the files are looked at again
RETRY, LONGEST_RETRY = 60.0, 600.0  # seconds after a build that has brought no index; each time twice as long
HANGS = 900  # seconds after which a build that makes no progress ends itself
CACHE = 2048  # kB of the index that SQLite keeps in memory
LEAST_DIGITS = 7  # of what is no telephone number, but may be a local one; fewer are an extension
SAME_DIGITS = 1000  # entries that are looked at where several have the same last digits
DAMAGED = (sqlite3.Error, ValueError, TypeError)  # what a damaged index raises
_ENTRY = """SELECT texts FROM entry WHERE source = ? AND entry = (SELECT min(entry) FROM (
    SELECT entry FROM number WHERE source = ? AND key >= ? AND key <= ? LIMIT ?))"""
_SIGNALS = [signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT]
_PUNCTUATION = str.maketrans("", "", " -./()\xa0\u2010\u2011\u2012\u2013")


class Contents(NamedTuple):
    """What the index has of a source. `state`: of the files, as files.state. `reasons`: of the first entries that were
    skipped. `problem`: why the files could not be read; then the entries are the former ones.
    """

    source: int
    name: str
    state: str
    names: list[str]
    entries: int = 0
    numbers: int = 0
    skipped: int = 0
    reasons: tuple[str, ...] = ()
    problem: str = ""


def read_contents(connection: sqlite3.Connection, schema: str = "main") -> dict[str, Contents]:
    """By the name of the source. Raises sqlite3.Error, and ValueError or TypeError where the index is damaged, or was
    made by another version of this program.
    """
    ((layout,),) = connection.execute(f"PRAGMA {schema}.user_version")
    if layout != LAYOUT:
        raise ValueError(f"the index has the layout {layout}, not {LAYOUT}")
    rows = connection.execute(f"SELECT told FROM {schema}.source")  # noqa: S608
    found = [Contents(**json.loads(told)) for (told,) in rows]
    return {contents.name: contents for contents in found}


def key(number: str) -> str:
    """Of E.164, with its plus sign; of another number, its digits; of a SIP user name, itself. All reversed."""
    plain = number.translate(_PUNCTUATION)
    return (plain if plain.removeprefix("+").isdecimal() else number.casefold())[::-1]


def keys(number: Number) -> list[str]:
    """The keys under which a caller may be found, the best one first."""
    first = key(number.e164 or number.written)
    digits = first.removesuffix("+")
    return list(dict.fromkeys((first, f"{digits}+", digits, key(number.written))))


def uri(path: str) -> str:
    """For SQLite: the file is only read, and nobody changes it (sqlite.org/uri.html)."""
    path = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{path}?mode=ro&immutable=1"


def _texts(connection: sqlite3.Connection, source: int, number: Number, match: int) -> list[str] | None:
    """The values of the entry that fits best; of several, those of the first in the file."""
    ranges = [(one, one) for one in keys(number)]
    digits = ranges[0][0].removesuffix("+")
    if match and digits.isdecimal() and (number.e164 or len(digits) >= LEAST_DIGITS):
        ends = [digits[:length] for length in range(len(digits), match - 1, -1)]
        ranges += [(end, f"{end}:") for end in ends]  # all keys that begin so: ":" comes after "9"
    for first, last in ranges:
        row = connection.execute(_ENTRY, (source, source, first, last, SAME_DIGITS)).fetchone()
        if row:
            texts: list[str] = json.loads(row[0])
            return texts
    return None


def read_progress(folder: str) -> dict[str, Any]:
    """What the build in this spool tells, or the last one has told; empty if none did.

    "began", "ended", "now": by the uptime; "ended" is 0 until the end. "problems": a sentence each. "source": the
    present one, "entries" of it so far, "bytes" of its files so far, "size" of its files.
    """
    try:
        with open(f"{folder}/index.json", "rb") as file:
            told = json.load(file)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


class Index:
    """For one thread at a time. `folder`: the spool. `country`: of numbers without a country code. `wake` is called,
    from another thread, when `needs_build` is to be asked again.
    """

    def __init__(
        self, folder: str, sources: Sequence[FileSource], country: str, wake: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.sources, self.country, self._wake = folder, sources, country, wake
        self.path = f"{folder}/index.sqlite"
        self.contents: dict[str, Contents] = {}  # by the name of the source
        self.file: tuple[int, int] | None = None  # which one is open
        self._connection: sqlite3.Connection | None = None
        self._look_at = self._not_before = self._pause = 0.0
        self._look: Look | None = None  # that is going on, or has ended and is to be read
        self._seen: dict[str, str] = {}
        self._build: int | None = None  # the pipe from the process

    def lookup(self, number: Number) -> dict[str, dict[str, str]]:
        """The fields that each source has of this number; without the sources that don't know it."""
        found: dict[str, dict[str, str]] = {}
        connection = self.open()
        if not connection:
            return found
        for source in self.sources:
            contents = self.contents.get(source.name)
            if not contents:
                continue
            try:
                texts = _texts(connection, contents.source, number, source.options.match)
            except DAMAGED:
                self._close()
                break
            if texts is not None:
                found[source.name] = evaluate(source.options.others, dict(zip(contents.names, texts)))
        return found

    def open(self) -> sqlite3.Connection | None:
        """The index that is there now; None when none is, or a damaged one."""
        try:
            status = os.stat(self.path)
        except OSError:
            self.close()
            return None
        file = (status.st_ino, status.st_mtime_ns)
        if file != self.file:
            self._close()
            self.file = file
            try:
                self._connection = sqlite3.connect(
                    uri(self.path), uri=True, isolation_level=None, check_same_thread=False
                )
                self._connection.execute(f"PRAGMA cache_size = -{CACHE}")
                self.contents = read_contents(self._connection)
            except DAMAGED:
                self._close()
        return self._connection

    def close(self) -> None:
        """A build that was started goes on."""
        self._close()
        self.file = None

    def leave_build(self) -> None:
        """The result of the build is not read any more."""
        if self._build is not None:
            os.close(self._build)
            self._build = None

    def _close(self) -> None:
        """The file is not opened again until another one has replaced it."""
        if self._connection:
            self._connection.close()
        self._connection, self.contents = None, {}

    # Making a new one

    def is_current(self) -> bool:
        """Whether it has what the files say now."""
        return self._has(self._states())

    def _has(self, states: dict[str, str]) -> bool:
        self.open()
        return states == {name: contents.state for name, contents in self.contents.items()}

    def needs_build(self) -> bool:
        """To be asked at any time. Where there is no index, one is needed at once. Else the files are looked at, and
        waited for while they are changing.
        """
        now = time.monotonic()
        if self._look and self._look.has_ended:
            look, self._look = self._look, None
            self._look_at = now + max(LOOK, 100 * look.seconds)  # with a folder of many thousand files
            before, self._seen = self._seen, look.found()
            may_begin = self._build is None and now >= self._not_before
            return may_begin and before == self._seen and not self._has(self._seen)
        if self._look or self._build is not None or now < max(self._look_at, self._not_before):
            return False
        self.open()
        if self.contents:
            self._look = Look(self._states, self._wake)
            return False
        self._look_at = now + LOOK
        return True

    def _states(self) -> dict[str, str]:
        return {source.name: files.state(source, self.country) for source in self.sources}

    def start_build(self) -> None:
        """Unless one that was started here is still going on. Raises OSError."""
        if self._build is not None:
            return
        self.open()
        job = os.memfd_create("job", os.MFD_CLOEXEC)
        reads, writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.write(job, pickle.dumps((self.folder, self.sources, self.country, HANGS)))
            os.lseek(job, 0, os.SEEK_SET)
            # -I -S: as spool/trigger.py starts the sender
            run = f"import sys; sys.path[:] = {sys.path}; from screenpop.phonebook import build; build.main()"
            self._process = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", run, "screenpop.index"],  # a name for `ps`
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, job, 0),
                    (os.POSIX_SPAWN_DUP2, writes, 1),
                    (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=_SIGNALS,
            )
        except BaseException:
            os.close(reads)
            self._put_off()
            raise
        finally:
            os.close(job)
            os.close(writes)
        self._build, self._report, self._replaces = reads, b"", self.file

    def fileno(self) -> int | None:
        """Readable when the build has ended; None when there is none."""
        return self._build

    def poll(self) -> list[str] | None:
        """What has gone wrong in the build that has ended, a sentence each; None when none has ended."""
        if self._build is None:
            return None
        try:
            while part := os.read(self._build, 65536):
                self._report += part
        except BlockingIOError:
            return None
        os.close(self._build)
        self._build = None
        with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored
            os.waitpid(self._process, 0)
        self.open()
        if self.file == self._replaces or not self.contents:
            self._put_off()
        else:
            self._pause = 0.0
        try:
            problems: list[str] = json.loads(self._report)
        except ValueError:
            problems = [self._why_killed()]
        return problems

    def _put_off(self) -> None:
        self._pause = min(2 * self._pause or RETRY, LONGEST_RETRY)
        self._not_before = time.monotonic() + self._pause

    def _why_killed(self) -> str:
        told = read_progress(self.folder)
        if uptime() - told.get("now", math.inf) < HANGS:
            return "the process that makes the index was killed"
        return f"the process that makes the index has ended: [{told.get('source')}] came no further for {HANGS} s"
