"""What the sources csv and vcard have in common. Their files are not read when a call comes: their entries are put into
the index (build.py) when they change.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from ..config import Option, Required, absolute_path
from .fields import record_names
from .source import SourceError, SourceOptions
from .types import module

LONGEST_LINE = 1_000_000  # characters; a longer one is skipped
REASONS = 10  # that are kept of all that was skipped


def encoding(text: str) -> str:
    try:
        " ".encode(text)  # LookupError: not known, or not an encoding of text
        name = codecs.lookup(text).name
        return "utf-8-sig" if name == "utf-8" else name  # with or without a byte order mark
    except LookupError:
        raise ValueError(f"{text!r} should be an encoding, such as utf-8, utf-16 or latin-1") from None


def last_digits(text: str) -> int:
    if not re.fullmatch(r"[5-9]|1[0-5]", text):
        raise ValueError(f"{text!r} should be a number of digits from 5 to 15, such as 9")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ValueError(f"{text!r} should be names with commas between them, such as phone, mobile")
    return found


class FileOptions(SourceOptions):
    """`match`: so many last digits are enough where no whole number matches; 0: none are."""

    file = Required(absolute_path, "the path of the file")
    encoding = Option(encoding, "")
    match = Option(last_digits, 0)


class FileSource:
    """`names`: the columns or properties that the fields of the section need."""

    def __init__(self, name: str, options: FileOptions) -> None:
        self.name, self.options = name, options
        fields = options.others.values()
        self.names = sorted({name for text in fields for name in record_names(text)})

    def paths(self) -> list[str]:
        """The files that are to be read now. Raises OSError."""
        return [self.options.file]

    def entries(self, reading: Reading) -> Iterator[tuple[list[str], list[str]]]:
        """The numbers of each entry as they are written, and its values in the order of `names`.

        What is wrong with one entry is told to `reading.skip`. Raises SourceError and OSError.
        """
        raise NotImplementedError

    def check(self) -> str:
        """What `screen-pop check` says of it. Raises SourceError and OSError."""
        raise NotImplementedError


def sources(sections: Mapping[str, SourceOptions]) -> list[FileSource]:
    """The sources of the phone book that are files."""
    return [module(one.type).Source(name, one) for name, one in sections.items() if isinstance(one, FileOptions)]


def state(source: FileSource, country: str) -> str:
    """It changes when the files change, or what is to be read from them."""
    options = [getattr(source.options, name) for name in source.options.options()]
    found = hashlib.sha256(repr((country, source.names, options)).encode())
    try:
        for path in source.paths():
            status = os.stat(path)
            found.update(repr((path, status.st_ino, status.st_size, status.st_mtime_ns)).encode())
    except OSError as error:
        found.update(repr(error.errno).encode())
    return found.hexdigest()


def size(source: FileSource) -> int:
    """Of its files, in bytes, as far as it is known."""
    try:
        return sum(os.stat(path).st_size for path in source.paths())
    except OSError:
        return 0


class Reading:
    """How far a source has been read, and what was skipped."""

    def __init__(self) -> None:
        self.path, self.line = "", 0
        self.skipped = 0
        self.reasons: list[str] = []
        self._before = 0  # bytes of the files before
        self._file: TextIO | None = None

    def begin(self, file: TextIO) -> None:
        self._file = file

    def end(self) -> None:
        self._before, self._file = self.bytes(), None

    def bytes(self) -> int:
        """How many have been read, of all files."""
        return self._before + (self._file.buffer.tell() if self._file else 0)

    def skip(self, reason: str, line: int = 0) -> None:
        """Count what can't be used: an entry, a line or a file. `line`: where it is; default: the line read last."""
        self.skipped += 1
        if len(self.reasons) < REASONS:
            self.reasons.append(f"{self.path}:{line or self.line}: {reason}")


@contextmanager
def open_text(path: str, encoding: str, reading: Reading) -> Iterator[TextIO]:
    """Without `encoding`, it is found out: UTF-16 and UTF-8 by their byte order marks, else UTF-8. There, each invalid
    byte is read as Windows-1252, the superset of Latin-1 that spreadsheets write.
    """
    reading.path, reading.line = path, 0
    if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would never end
        raise SourceError(f"{path} is not a file")
    with open(path, "rb") as file:
        start = file.read(2)
    found = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    errors = "strict" if encoding else "windows-1252"
    try:
        with open(path, encoding=encoding or found, errors=errors, newline="") as text:
            reading.begin(text)
            try:
                yield text
            finally:
                reading.end()
    except UnicodeError as error:
        advice = "leave `encoding` out, or give the right one" if encoding else "save it as UTF-8"
        raise SourceError(
            f"{path}: line {reading.line + 1} or one soon after it isn't {encoding or found}; {advice}"
        ) from error


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError) or error.encoding.startswith("utf-16"):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("windows-1252", _as_windows_1252)


def lines(file: TextIO, reading: Reading) -> Iterator[str]:
    """The lines that can be used, with their line ends."""
    read: Callable[[int], str] = file.readline
    while line := read(LONGEST_LINE):
        reading.line += 1
        if "\0" in line:
            reading.skip("the line has a NUL character")
        elif len(line) < LONGEST_LINE or line[-1] in "\r\n":
            yield line
        else:
            reading.skip(f"the line has more than {LONGEST_LINE:,} characters")
            while line and line[-1] not in "\r\n":
                line = read(LONGEST_LINE)
