"""What the sources of the phone book have in common. Each source is a file of its own in this folder, with

    OPTIONS        the declaration of its section in screen_pop.conf: a subclass of SourceOptions
    class Source   made with the name of the section and its options
        lookup(number, deadline) -> dict[str, str]     the fields that are known of a number; empty for a stranger
        check() -> str                                 what `screen-pop check` says of it
        close()

`number` is a Number; `deadline` as time.monotonic(). All three raise SourceError. What `lookup` returns comes from
`fields.evaluate`: it has been cleaned, and can be as hostile as a caller ID.
"""

from __future__ import annotations

from typing import NamedTuple

from ..config import File, Option, SecretFile, Section, absolute_path, seconds
from .fields import field


class SourceError(Exception):
    """Why a source can't answer, in one sentence: what is wrong, and what the administrator can do."""


class SourceSecret(File):
    """A secret that only its source needs: if it can't be read, pops are sent without this source."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            self._secret, self._problem = SecretFile(path).secret, ""
        except ValueError as error:
            self._secret, self._problem = "", str(error)

    @property
    def secret(self) -> str:
        """Raises SourceError."""
        if self._problem:
            raise SourceError(self._problem)
        return self._secret


def source_secret(text: str) -> SourceSecret:
    return SourceSecret(absolute_path(text))


def source_file(text: str) -> File:
    return File(absolute_path(text))


class Number(NamedTuple):
    """A caller's number.

    `e164`: "+15551234567", or empty where it is no telephone number (an extension, a SIP user name). `written`: as it
    came, cleaned. `national`: the digits within the country, without its code. `international`: for reading,
    "+1 555-123-4567". `region`: the country's code in ISO 3166, where there is one. All but `written` are empty where
    `e164` is.
    """

    e164: str
    written: str
    national: str
    international: str = ""
    region: str = ""


class SourceOptions(Section):
    """Every option that a source does not declare names a field of its answer (fields.py)."""

    is_open = True
    cache = Option(seconds, 300.0)

    @property
    def type(self) -> str:
        return str(self._values["type"])

    @classmethod
    def read_other(cls, text: str) -> str:
        return field(text)
