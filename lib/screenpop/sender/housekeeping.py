"""Keeps the spool small: what killed processes left, what was sent long ago, what has failed beyond the limits."""

from __future__ import annotations

import time

from ..log import Log
from ..pop.options import PopOptions
from ..spool import records, trigger
from ..spool.options import SpoolOptions
from ..spool.outbox import Outbox
from ..spool.queue import Queue

INTERVAL = 3600.0  # seconds
SETTLED = 500  # messages that were sent or failed since the limits were last applied


class Housekeeping:
    def __init__(self, queue: Queue, log: Log) -> None:
        self.queue, self.log = queue, log
        self._due, self._settled = 0.0, 0

    def tidy(self, pop: PopOptions, spool: SpoolOptions, settled: int) -> None:
        """From time to time. `settled`: how many messages have been sent or have failed since the sender's start."""
        calls, size = spool.calls, spool.megabytes * 1024 * 1024
        is_due = time.monotonic() >= self._due
        if not is_due and settled < self._settled + SETTLED:
            return
        self._settled = settled
        try:
            if is_due:
                self._due = time.monotonic() + INTERVAL
                self.queue.tidy()
                self.queue.forget_sent_before(time.time() - pop.remember)
            for name in self.queue.oldest_beyond("sent", calls, size):
                self.queue.forget("sent", name)
            for name in self.queue.oldest_beyond("failed", calls, size):
                self.queue.forget("failed", name)
                self.log.write(f"{name} is removed from failed/, which is full")
            spare = Outbox(self.queue.path).spare_path
            if records.waiting(spare):
                trigger.ring(spare)
        except OSError as error:
            self.log.write(f"the spool can't be tidied up: {error}")
