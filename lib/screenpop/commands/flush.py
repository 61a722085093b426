"""Send what is queued now, and say what became of it."""

from __future__ import annotations

import os
import time

from ..call import uptime
from ..spool import records, state, trigger
from . import _spool
from ._terminal import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

WITHOUT_ARGUMENTS: dict[str, object] = {}
LOOK = 0.05  # seconds
PATIENCE = 60.0  # seconds without anything being sent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status: 0 when nothing waits any more and nothing of it has failed. Raises OSError."""
    path = _spool.path()
    os.stat(path)  # the installer makes it, or the first call: as Asterisk's user
    return max([flush(spool) for spool in _spool.own(path)])


def flush(spool: str, retry: bool = False) -> int:
    """`retry`: what has failed is put back first."""
    try:
        names = {*records.waiting(spool), *(records.failed_messages(spool) if retry else ())}
        if not names:
            show(f"nothing waits in {spool}")
            return 0
        began = uptime()
        trigger.ring(spool, trigger.RETRY if retry else trigger.FLUSH)
        _wait(spool, names, began)
        left = _among(names, records.waiting(spool))
        failed = _among(names, records.failed(spool)) - left
    except OSError as error:  # the other spool may be the one that is needed
        show(f"{error.filename}: {error.strerror}; screen-pop check says more")
        return 1
    show(f"{len(names) - len(left) - len(failed)} sent, {len(failed)} failed, {len(left)} still waiting")
    if left:
        show(str(state.read(spool).get("problem") or "no sender is up; its log says more"))
    return 1 if left or failed else 0


def _wait(spool: str, names: set[str], began: float) -> None:
    """Until none of these waits, or the sender has tried all that waited, or has ended."""
    left, progress = len(names), began
    while (
        left
        and _tried(spool) < began
        and trigger.has_sender(spool)
        and uptime() - progress < PATIENCE  # on a full disk the sender can't report
    ):
        time.sleep(LOOK)
        now = len(_among(names, records.waiting(spool)))
        left, progress = now, progress if now == left else uptime()


def _among(names: set[str], found: list[str]) -> set[str]:
    """Which of these calls and messages are found: by their names, or a call by one of its messages. A foreign file
    gets something added to its name in failed/.
    """
    known = {*found, *(f"{records.call_id(name)}.json" for name in found), *(name[:-9] for name in found)}
    return names & known


def _tried(spool: str) -> float:
    """What waited at this time has been tried; by the uptime."""
    tried = state.read(spool).get("tried")
    return tried if isinstance(tried, float) else 0.0
