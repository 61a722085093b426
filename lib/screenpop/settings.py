"""The whole configuration: the path of its file, and the sections of all packages."""

from __future__ import annotations

import os
from collections import ChainMap
from typing import Any, NamedTuple

from . import config
from .doors.options import FastagiOptions, HttpOptions
from .log import LogOptions
from .phonebook.source import SourceOptions
from .phonebook.types import Types
from .pop.options import PopOptions, RouteOptions, RoutesOptions
from .pop.routes import Routes
from .spool.options import SpoolOptions
from .xmpp.options import RoomOptions, XmppOptions

SECTIONS: dict[str, type[config.Section]] = {
    "xmpp": XmppOptions,
    "pop": PopOptions,
    "routes": RoutesOptions,
    "spool": SpoolOptions,
    "log": LogOptions,
    "fastagi": FastagiOptions,
    "http": HttpOptions,
}
TYPES: dict[str, type[config.Section]] = {  # of sections that are no sources of the phone book
    "route": RouteOptions,
    "room": RoomOptions,
}
FORMER_NAMES = {"outbox": "spool"}


class Settings(NamedTuple):
    path: str
    files: tuple[config.File, ...]
    xmpp: XmppOptions
    pop: PopOptions
    routes: Routes
    spool: SpoolOptions
    log: LogOptions
    fastagi: FastagiOptions
    http: HttpOptions
    sources: dict[str, SourceOptions]  # of the phone book, by the names of their sections, in the order of the file
    rooms: dict[str, RoomOptions]  # those with a password, by their JID

    def is_stale(self) -> bool:
        """Whether one of the files has changed since it was read."""
        return any(file.has_changed() for file in self.files)


def path_from_environment() -> str:
    """`$SCREEN_POP_CONF`, or `screen_pop.conf` in Asterisk's configuration directory."""
    folder = os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk"
    return os.path.abspath(os.environ.get("SCREEN_POP_CONF") or f"{folder}/screen_pop.conf")


def load(path: str) -> Settings:
    """Raises config.ConfigError."""
    types = ChainMap(TYPES, Types())  # type: ignore[arg-type] # nothing is written to it
    sections, files, lines = config.read(path, SECTIONS, types, FORMER_NAMES)
    fixed: dict[str, Any] = {name: sections[name] for name in SECTIONS}
    typed = {name: found for name, found in sections.items() if name not in SECTIONS}
    long = {name: found for name, found in typed.items() if isinstance(found, RouteOptions)}
    fixed["routes"] = routes = Routes(fixed["pop"], fixed["routes"], long, lines)
    if routes.complaints:
        raise config.ConfigError([f"{path}:{line}: {text}" for line, text in routes.complaints], sections)
    rooms = {found.room: found for found in typed.values() if isinstance(found, RoomOptions)}
    sources = {name: found for name, found in typed.items() if isinstance(found, SourceOptions)}
    return Settings(path=path, files=files, sources=sources, rooms=rooms, **fixed)
