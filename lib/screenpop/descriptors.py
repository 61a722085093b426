"""File descriptors: how many there may be, and which are ready."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ENOUGH = 4096  # for all connections that the doors take at once, and the sender


def readable(files: Sequence[Any], seconds: float) -> list[Any]:
    """Those that can be read, or have ended; wait for one at most this long. select(2) has none above 1023."""
    return _ready(files, select.POLLIN, seconds)


def writable(files: Sequence[Any], seconds: float) -> list[Any]:
    """The same for writing."""
    return _ready(files, select.POLLOUT, seconds)


def _ready(files: Sequence[Any], event: int, seconds: float) -> list[Any]:
    poll = select.poll()
    for file in files:
        poll.register(file, event)
    found = {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
    return [file for file in files if file.fileno() in found]


def allow_enough() -> None:
    """Many connections at the doors must not keep the sender from its files. Systems begin with 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
