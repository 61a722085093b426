"""`type = vcard`: a .vcf file, or a folder of them, as vdirsyncer and address books leave them.

vCard 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350), by the library vobject. The fields of a section name properties: fn, org,
note, url, email, x-anything. Of a property that a card has several times, the first one is taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NoReturn

from ..config import Option
from . import cards, files
from .fields import LONGEST, PLACEHOLDER, field
from .files import FileOptions, FileSource, Reading
from .source import SourceError


def properties(text: str) -> tuple[str, ...]:
    """Their names may be in capitals, too (RFC 6350 section 3.3)."""
    return files.names(text.lower())


class OPTIONS(FileOptions):
    number: Option[tuple[str, ...]] = Option(properties, ("tel",))

    @classmethod
    def read_other(cls, text: str) -> str:
        if "{" in text:
            return PLACEHOLDER.sub(lambda match: match[0].lower(), field(text))
        return field(text).lower()


class Source(FileSource):
    options: OPTIONS

    def paths(self) -> list[str]:
        """In a folder, the .vcf files at any depth. Hidden ones are being written, or belong to a program."""
        if not os.path.isdir(self.options.file):
            return [self.options.file]
        found = []
        for folder, folders, names in os.walk(self.options.file, onerror=_fail):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [f"{folder}/{name}" for name in names if name.lower().endswith(".vcf") and name[0] != "."]
        return sorted(found)

    def entries(self, reading: Reading) -> Iterator[tuple[list[str], list[str]]]:
        vobject = _library()
        for path in self.paths():
            try:
                with files.open_text(path, self.options.encoding, reading) as file:
                    for line, text in cards.split(file, reading):
                        try:
                            card = vobject.readOne(text, ignoreUnreadable=True, allowQP=True).contents
                            tels = [tel.value for name in self.options.number for tel in card.get(name, ())]
                            values = [cards.value(card, name).strip()[: LONGEST + 1] for name in self.names]
                        except Exception as error:  # vobject raises anything for a broken card
                            reading.skip(f"the card can't be read: {error}", line)
                        else:
                            yield list(map(cards.number, tels)), values
            except (OSError, SourceError) as error:
                if path == self.options.file:
                    raise
                reading.skip(f"the file can't be read: {error}")

    def check(self) -> str:
        _library()
        paths = self.paths()
        for path in paths[:1]:
            open(path, "rb").close()
        is_file = paths == [self.options.file]
        return f"{self.options.file} is there" if is_file else f"{self.options.file} has {len(paths)} .vcf files"


def _library() -> Any:
    try:
        import vobject
    except ImportError:
        raise SourceError("vobject is not installed: ./install.sh --with vcard adds it") from None
    return vobject


def _fail(error: OSError) -> NoReturn:
    raise error
