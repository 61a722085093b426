"""Send all waiting messages now, and print the result."""

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

WITHOUT_ARGUMENTS = {"start": False}
POLL_INTERVAL = 0.05  # seconds
TIMEOUT = 60.0  # seconds without progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start",
        action="store_true",
        help="only start a sender if messages wait and none is running, and print nothing; for cron",
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status: 0 if all that waited was sent. Raises OSError."""
    path = _spool.path()
    os.stat(path)  # not made here, because it must belong to Asterisk's user
    if arguments.start:
        for spool in _spool.own(path):
            start(spool)
        return 0
    return max([flush(spool) for spool in _spool.own(path)])


def start(spool: str) -> None:
    """A sender that is running keeps its pauses: after a refused sign-in, more attempts could lock the account."""
    if records.waiting(spool) and not trigger.has_sender(spool):
        trigger.ring(spool)


def flush(spool: str, retry: bool = False) -> int:
    """`retry`: failed messages are put back into the queue first."""
    try:
        names = {*records.waiting(spool), *(records.failed_messages(spool) if retry else ())}
        if not names:
            show(f"nothing is waiting in {spool}")
            return 0
        began = uptime()
        trigger.ring(spool, trigger.RETRY if retry else trigger.FLUSH)
        _wait(spool, names, began, retry)
        left = _among(names, records.waiting(spool)) | _told_in(names, spool, "queue")
        failed = (_among(names, records.failed(spool)) | _told_in(names, spool, "failed")) - left
    except OSError as error:  # continue with the other spool
        show(f"{error.filename}: {error.strerror}; for details run: screen-pop check")
        return 1
    show(f"{len(names) - len(left) - len(failed)} sent, {len(failed)} failed, {len(left)} still waiting")
    if left:
        show(str(state.read(spool).get("problem") or "no sender is running; see the log"))
    return 1 if left or failed else 0


def _wait(spool: str, names: set[str], began: float, retry: bool) -> None:
    """Wait until all of these are settled, or the sender has tried all that waited, or it has ended."""
    left, progress = len(names), began
    while (
        (left or retry)  # what is to be put back may not wait yet
        and _tried(spool) < began
        and trigger.has_sender(spool)
        and uptime() - progress < TIMEOUT  # on a full disk the sender can't write its state
    ):
        time.sleep(POLL_INTERVAL)
        now = len(_among(names, records.waiting(spool)) or _told_in(names, spool, "queue"))
        left, progress = now, progress if now == left else uptime()


def _among(names: set[str], found: list[str]) -> set[str]:
    """Those of the calls and messages `names` that are in `found`: under the same name, or a call as one of its
    messages, or a foreign file under the longer name that it gets in failed/.
    """
    known = {*found, *(f"{records.call_id(name)}.json" for name in found), *(name[:-9] for name in found)}
    return names & known


def _told_in(names: set[str], spool: str, folder: str) -> set[str]:
    """Those that are later events, which the messages in that folder tell: these have the names of their calls."""
    found = set()
    if any("~" not in name for name in names):
        for name in os.listdir(f"{spool}/{folder}"):
            try:
                found.add(f"{records.read_message(f'{spool}/{folder}/{name}').event.id}.json")
            except (records.InvalidFile, OSError):  # or it was sent meanwhile
                continue
    return names & found


def _tried(spool: str) -> float:
    """The sender has tried all that waited at this time, by uptime()."""
    tried = state.read(spool).get("tried")
    return tried if isinstance(tried, float) else 0.0
