"""The types of sources: `type = csv` in screen_pop.conf is csv.py in this folder. A source is a file with OPTIONS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from types import ModuleType

from . import __path__ as folders
from .source import SourceOptions

_IS_SOURCE = re.compile(rb"^(class )?OPTIONS\b", re.MULTILINE)


class Types(Mapping[str, type[SourceOptions]]):
    """The options of each type. A source is imported when the configuration has a section of its type."""

    def __getitem__(self, name: str) -> type[SourceOptions]:
        if name not in self._names:
            raise KeyError(name)
        options: type[SourceOptions] = module(name).OPTIONS
        return options

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def _names(self) -> list[str]:
        """By the text of the files: to import them all would take half a second."""
        files = (entry for folder in folders for entry in os.scandir(folder) if entry.name.endswith(".py"))
        return sorted(entry.name[: -len(".py")] for entry in files if _IS_SOURCE.search(_content(entry.path)))


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def module(name: str) -> ModuleType:
    return import_module(f"{__package__}.{name}")
