"""Send what is queued now, and say what became of it."""

from __future__ import annotations

import time

from ..call import uptime
from ..spool import trigger
from ..spool.outbox import Outbox
from ..text import clean
from . import _spool

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
    return flush(_spool.existing())


def flush(first: Outbox) -> int:
    status = 0
    for outbox in first.and_spare():
        try:
            status |= _flush(outbox)
        except OSError as error:  # it is the other one that is needed then
            print(f"{error.filename}: {error.strerror}; screen-pop check says more")
            status = 1
    return status


def _flush(outbox: Outbox) -> int:
    names = set(outbox.waiting())
    if not names:
        print(f"nothing waits in {outbox.path}")
        return 0
    began = uptime()
    trigger.ring(outbox.path, trigger.FLUSH)
    left, progress = names, began
    # Until all are gone, or an attempt is over that began after the ring, or the sender has ended.
    while (
        left
        and _attempted(outbox) < began
        and trigger.is_heard(outbox.path)
        and uptime() - progress < PATIENCE  # on a full disk the sender can't say how it is
    ):
        time.sleep(LOOK)
        now = left.intersection(outbox.waiting())
        left, progress = now, progress if now == left else uptime()
    left = left.intersection(outbox.waiting())
    failed = sum(name in names or name.rpartition(".")[0] in names for name, _ in outbox.all_failed())
    print(f"{len(names) - len(left) - failed} sent, {failed} failed, {len(left)} still waiting")
    if left:
        print(clean(str(outbox.said().get("trouble") or "no sender is up; its log says more"), limit=1000))
    return 1 if left or failed else 0


def _attempted(outbox: Outbox) -> float:
    """When the last attempt began that is over, by the uptime."""
    attempted = outbox.said().get("attempted")
    return attempted if isinstance(attempted, float) else 0.0
