"""`type = csv`: a text file with a header line, as spreadsheets and databases export it (RFC 4180)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import TextIO

from ..config import Option, Required, one_of
from ..text import clean
from . import files
from .fields import LONGEST
from .files import FileOptions, FileSource, Reading
from .source import SourceError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}


class OPTIONS(FileOptions):
    number = Required(files.names, "the names of the columns with numbers, such as phone, mobile")
    delimiter = Option(one_of(DELIMITERS), "")


class Source(FileSource):
    options: OPTIONS

    def entries(self, reading: Reading) -> Iterator[tuple[list[str], list[str]]]:
        with files.open_text(self.options.file, self.options.encoding, reading) as file:
            rows, header = self._rows(file, reading)
            numbers = [header.index(name) for name in self.options.number]
            values = [header.index(name) for name in self.names]
            while True:
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    reading.skip(f"{error}; is a quotation mark left open?")
                    continue
                if any(row[len(header) :]):
                    reading.skip(f"the line has {len(row)} columns, the header line {len(header)}")
                    continue
                row = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
                yield [row[place] for place in numbers if row[place]], [row[place][: LONGEST + 1] for place in values]

    def check(self) -> str:
        with files.open_text(self.options.file, self.options.encoding, Reading()) as file:
            header = self._rows(file, Reading())[1]
        return f"{self.options.file} has the columns {', '.join(header)}"

    def _rows(self, file: TextIO, reading: Reading) -> tuple[Iterator[list[str]], list[str]]:
        """The reader behind the header line, and the columns."""
        lines = files.lines(file, reading)
        first = next((line for line in lines if line.strip()), "")
        if not first:
            hint = "; is it UTF-16? Then give encoding = utf-16-le" if reading.skipped else ""
            raise SourceError(f"{self.options.file} is empty: it should have a header line{hint}")
        wanted = {*self.options.number, *self.names}
        try:
            found = self.options.delimiter or max(DELIMITERS.values(), key=lambda one: _fit(first, one, wanted))
            rows = csv.reader(chain([first], lines), delimiter=found)
            header = [name.strip() for name in next(rows)]
        except csv.Error as error:
            raise SourceError(f"{self.options.file}:{reading.line}: no header line: {error}") from error
        if missing := ", ".join(sorted(wanted.difference(header))):
            there_are = clean(", ".join(header), limit=500)
            raise SourceError(f"{self.options.file} has no column {missing}; its columns are {there_are}")
        return rows, header


def _fit(line: str, delimiter: str, wanted: set[str]) -> tuple[int, int]:
    """How well the header line fits when it is read with this delimiter."""
    columns = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
    return len(wanted.intersection(columns)), len(columns)
