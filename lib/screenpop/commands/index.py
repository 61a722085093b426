"""Put the phone book's files (CSV, vCard) into the index, if they have changed, and say what is in it."""

from __future__ import annotations

import os
import sys
import time

from ..call import uptime
from ..spool import trigger
from . import _spool
from ._terminal import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..phonebook.index import Index

LOOK = 0.1  # seconds
PATIENCE = 20.0  # seconds without a sign of the sender, or of the process that makes the index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """The sender does it. Returns the exit status: 0 when the index has all that the files say. Raises OSError."""
    from ..phonebook import files
    from ..phonebook.index import Index
    from . import _settings

    path = _spool.path()
    os.stat(path)  # the installer makes it, or the first call: as Asterisk's user
    given = _settings.load()
    if given is None:
        return 1
    index = Index(path, files.sources(given.sources), given.pop.country)
    if not index.sources:
        show(f"{given.path} has no section with type = csv or type = vcard, which would be in an index")
        return 0
    problem = _renew(index)
    if problem:
        show(problem, label="PROBLEM  ")
    return 0 if _report(index) and not problem else 1


def _renew(index: Index) -> str:
    """Ring, and wait until there is another index. Returns why there is none."""
    from ..phonebook.index import read_progress

    index.open()
    before, began, sign = index.file, uptime(), time.monotonic()
    told: dict[str, Any] = {}
    trigger.ring(index.folder, trigger.INDEX)
    while True:
        index.open()
        if index.file != before and index.is_current():
            return ""
        if index.file == before and told.get("ended", 0.0) > began and told["problems"]:
            return "; ".join(told["problems"])
        if time.monotonic() - sign > PATIENCE:
            return f"there is no new index after {PATIENCE:.0f} s; screen-pop status says more"
        time.sleep(LOOK)
        progress = read_progress(index.folder)
        if progress != told:
            told, sign = progress, time.monotonic()
            _show(told)


def _show(told: dict[str, Any]) -> None:
    """How far it is, in a line that the next one replaces."""
    if not sys.stdout.isatty():
        return
    line = ""
    if "source" in told and not told["ended"]:
        percent = min(100, 100 * told["bytes"] // max(told["size"], 1))
        line = f"{told['source']}: {told['entries']:,} entries, {percent} % of its files"
    print(f"\r{line}\033[K", end="", flush=True)  # ECMA-48: erase to the end of the line


def _report(index: Index) -> bool:
    """Say what is in the index. Returns whether all sources could be read."""
    _show({})
    for contents in index.contents.values():
        if contents.problem:
            show(contents.problem, label=f"{'PROBLEM':9}{contents.name:15}")
            continue
        found = f"entries: {contents.entries:,}, numbers: {contents.numbers:,}, skipped: {contents.skipped:,}"
        show(found, label=f"{'ok':9}{contents.name:15}")
        for reason in contents.reasons:
            show(reason, label=" " * 24)
    return not any(contents.problem for contents in index.contents.values())
