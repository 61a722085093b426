"""Sections of the phone book that are files, as screen_pop.conf would have them, and their index."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

from parts.waiting import PATIENCE, eventually
from screenpop import config
from screenpop.phonebook import build as build_module
from screenpop.phonebook import csv, files, numbers
from screenpop.phonebook.files import FileSource, Reading
from screenpop.phonebook.index import Index
from screenpop.phonebook.types import Types


class Waiting(csv.Source):
    """Whose file can be read when `gate` lets it be. The process that makes the index imports this, too."""

    gate = ""  # the path of a FIFO

    def entries(self, reading: Reading) -> Iterator[tuple[list[str], list[str]]]:
        with open(self.gate) as gate:
            gate.read()  # until the test closes it
        yield from super().entries(reading)


def sources(folder: Path, text: str) -> list[FileSource]:
    """Raises ConfigError."""
    conf = folder / "sections.conf"
    conf.write_text(text)
    sections = config.read(str(conf), {}, Types(), {}).sections
    return files.sources(sections)  # type: ignore[arg-type]


def read(source: FileSource) -> tuple[list[tuple[list[str], dict[str, str]]], Reading]:
    """All entries, and what was skipped."""
    reading = Reading()
    entries = [(numbers, dict(zip(source.names, values))) for numbers, values in source.entries(reading)]
    return entries, reading


def open_index(folder: Path, sources: list[FileSource], country: str = "US") -> Index:
    """In a spool of its own; nothing has been built yet."""
    (folder / "spool" / "tmp").mkdir(parents=True, exist_ok=True)
    return Index(f"{folder}/spool", sources, country)


def needs_build(index: Index) -> bool:
    """What the sender knows when the files have been looked at."""
    if index.needs_build():
        return True
    look = index._look
    return bool(look and eventually(lambda: look.has_ended) and index.needs_build())


def build(index: Index) -> list[str]:
    """Make the index, and return what has gone wrong."""
    index.start_build()
    return end_of_build(index)


def end_of_build(index: Index) -> list[str]:
    while (problems := index.poll()) is None:
        assert select.select([index.fileno()], [], [], PATIENCE)[0], "the build doesn't end"
    return problems


def build_here(index: Index) -> list[str]:
    """The same without a process, for tests of what the index is used for."""
    progress = build_module.Progress(index.folder)
    problems = build_module.build(index.folder, index.sources, index.country, progress)
    progress.end(problems)
    index.open()
    return problems


def look_up(index: Index, number: str) -> dict[str, dict[str, str]]:
    return index.lookup(numbers.parse(number, index.country))


def spool(index: Index) -> list[str]:
    return sorted(
        os.path.relpath(f"{at}/{name}", index.folder) for at, _, names in os.walk(index.folder) for name in names
    )
