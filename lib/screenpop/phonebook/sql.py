"""A database, asked by a query: the columns of the first row that it finds.

    database = postgresql://screenpop@crm.example.org/crm
    query = SELECT id, name FROM contacts WHERE phone = :number

The parameters are those of a Number: `:number` (E.164), `:written` and `:national`. One that is empty is NULL, which
equals nothing: a caller without a number must not be taken for a record without one.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Iterator
from typing import Any

from ..config import Option, Required
from ..text import decode
from .database import Database
from .fields import evaluate, record_names
from .source import Number, SourceError, SourceOptions, SourceSecret, source_secret

LONGEST = 2000  # characters of a value that are looked at
CHECK_WITHIN = 10.0  # seconds
NOBODY = Number("+999123456789012", "+999123456789012", "123456789012")  # no country has the code 999


def _database(text: str) -> str:
    """The complaint doesn't repeat the text, as there may be a password in it."""
    if not re.fullmatch(r"\w+(\+\w+)?://[^@]*(@[^@]*)?", text):
        raise ValueError("should be a URL such as postgresql://user@host/name; a @ in the password is written as %40")
    return text


def _query(text: str) -> str:
    if not re.match(r"(select|with)\b", text, re.IGNORECASE) or not re.search(r":(number|written|national)\b", text):
        raise ValueError("should be a SELECT with :number, :written or :national in it")
    return text


class SqlOptions(SourceOptions):
    database = Required(_database, "the URL of the database, such as postgresql://user@host/name")
    password_file: Option[SourceSecret | None] = Option(source_secret, None)
    query = Required(_query, "such as SELECT name FROM contacts WHERE phone = :number")

    @classmethod
    def complaints(cls, given: Collection[str]) -> Iterator[str]:
        if "password" in given:
            yield "password is no field that people may see; it stands in password_file"


OPTIONS = SqlOptions


class Source:
    def __init__(self, name: str, options: SqlOptions) -> None:
        self._options = options
        self._database: Database | None = None  # made by the first question, as importing SQLAlchemy takes its time
        self._lock = threading.Lock()

    def lookup(self, number: Number, deadline: float) -> dict[str, str]:
        columns, row = self._ask(number, deadline)
        return evaluate(self._options.others, dict(zip(columns, map(_text, row))))

    def check(self) -> str:
        columns, row = self._ask(NOBODY, time.monotonic() + CHECK_WITHIN)
        if row:
            raise SourceError(f"the query finds a row for {NOBODY.e164}, which nobody has; does it compare :number?")
        return f"{self._database}: the query works, its columns are {', '.join(columns)}"

    def close(self) -> None:
        if self._database:
            self._database.close()

    def _ask(self, number: Number, deadline: float) -> tuple[list[str], tuple[Any, ...]]:
        with self._lock:
            if not self._database:
                file = self._options.password_file
                self._database = Database(self._options.database, file.secret if file else "")
        values = {"number": number.e164, "written": number.written, "national": number.national}
        columns, row = self._database.first_row(self._options.query, values, deadline)
        for name in (name for text in self._options.others.values() for name in record_names(text)):
            if name not in columns:
                raise SourceError(f"the query has no column {name!r}; its columns are {', '.join(columns)}")
        return columns, row


def _text(value: object) -> str:
    if isinstance(value, (bytes, memoryview)):
        return decode(bytes(value[:LONGEST]))
    return "" if value is None else str(value)[:LONGEST]
