"""`screen-pop flush`: sends what is queued now, and says what became of it."""

from __future__ import annotations

import time

from ..call import uptime
from ..spool import trigger
from ..spool.outbox import Outbox
from .terminal import show

LOOK = 0.05  # seconds
PATIENCE = 60.0  # seconds without anything being sent


def run(path: str) -> int:
    """Returns the exit status: 0 when nothing waits any more and nothing of it has failed. Raises OSError."""
    status = 0
    for outbox in Outbox(path).and_spare():
        try:
            status |= _flush(outbox)
        except OSError as error:  # it is the other one that is needed then
            show(f"{error.filename}: {error.strerror}; screen-pop check says more")
            status = 1
    return status


def _flush(outbox: Outbox) -> int:
    names = set(outbox.waiting())
    if not names:
        show(f"nothing waits in {outbox.path}")
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
    show(f"{len(names) - len(left) - failed} sent, {failed} failed, {len(left)} still waiting")
    if left:
        show(str(outbox.said().get("trouble") or "no sender is up; its log says more"))
    return 1 if left or failed else 0


def _attempted(outbox: Outbox) -> float:
    """When the last attempt began that is over, by the uptime."""
    attempted = outbox.said().get("attempted")
    return attempted if isinstance(attempted, float) else 0.0
