"""`screen-pop flush`: sends what is queued now, and says what became of it."""

from __future__ import annotations

import time

from . import doorbell
from .call import clean, uptime
from .outbox import Outbox

LOOK = 0.05  # seconds


def run(path: str) -> int:
    """Returns the exit status: 0 when nothing waits any more and nothing of it has failed. Raises OSError."""
    return max(_flush(outbox) for outbox in Outbox(path).and_spare())


def _flush(outbox: Outbox) -> int:
    names = set(outbox.waiting())
    if not names:
        print(f"nothing waits in {outbox.path}")
        return 0
    began = uptime()
    doorbell.ring(outbox.path, doorbell.FLUSH)
    # Until they are gone, or an attempt is over that began after the ring, or the sender has ended.
    while names.intersection(outbox.waiting()) and _attempted(outbox) < began and doorbell.is_heard(outbox.path):
        time.sleep(LOOK)
    left = len(names.intersection(outbox.waiting()))
    failed = sum(name in names or name.rpartition(".")[0] in names for name, _ in outbox.all_failed())
    print(f"{len(names) - left - failed} sent, {failed} failed, {left} still waiting")
    if left:
        print(clean(str(outbox.said().get("trouble") or "no sender is up; its log says more"), limit=1000))
    return 1 if left or failed else 0


def _attempted(outbox: Outbox) -> float:
    """When the last attempt began that is over, by the uptime."""
    attempted = outbox.said().get("attempted")
    return attempted if isinstance(attempted, float) else 0.0
