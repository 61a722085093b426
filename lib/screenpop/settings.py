"""The whole configuration: the path of its file, and the sections of all packages."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from . import config
from .log import LogOptions
from .phonebook.source import SourceOptions
from .phonebook.types import Types
from .pop.options import PopOptions
from .spool.options import SpoolOptions
from .xmpp.options import XmppOptions

SECTIONS: dict[str, type[config.Section]] = {
    "xmpp": XmppOptions,
    "pop": PopOptions,
    "spool": SpoolOptions,
    "log": LogOptions,
}
FORMER_NAMES = {"outbox": "spool"}


class Settings(NamedTuple):
    path: str
    files: tuple[config.File, ...]
    xmpp: XmppOptions
    pop: PopOptions
    spool: SpoolOptions
    log: LogOptions
    sources: dict[str, SourceOptions]  # of the phone book, by the names of their sections, in the order of the file

    def is_stale(self) -> bool:
        """Whether one of the files has changed since it was read."""
        return any(file.has_changed() for file in self.files)


def path_from_environment() -> str:
    """`$SCREEN_POP_CONF`, or `screen_pop.conf` in Asterisk's configuration directory."""
    folder = os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk"
    return os.path.abspath(os.environ.get("SCREEN_POP_CONF") or f"{folder}/screen_pop.conf")


def load(path: str) -> Settings:
    """Raises config.ConfigError."""
    document = config.read(path, SECTIONS, Types(), FORMER_NAMES)
    fixed: dict[str, Any] = {name: document.sections[name] for name in SECTIONS}
    sources: dict[str, Any] = {name: found for name, found in document.sections.items() if name not in SECTIONS}
    return Settings(path=path, files=document.files, sources=sources, **fixed)
