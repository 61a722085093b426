"""What the sender says of one call, to whoever waits for it: JSON objects, one a line.

    {"step": "signed in", "ms": 12.5, "detail": "…"}   on the way, only to `screen-pop test`
    {"status": "QUEUED" | "DELIVERED" | "FAILED", "reason": "…"}   QUEUED: not yet, for this reason
    {"receipt": "alice@example.org/phone"}   the recipient's client has it (XEP-0184)

This is imported while a caller waits.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..call import Call
    from .outbox import Outbox


class Answers:
    """The reading end: a FIFO in the outbox, made before or after the call was put there."""

    def __init__(self, outbox: Outbox, call: Call) -> None:
        self.path = outbox.answer_fifo(call)
        os.mkfifo(self.path, 0o600)
        # for both, so that it never comes to its end when the sender closes it
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.rest = b""

    def fileno(self) -> int:
        return self.descriptor

    def read(self) -> list[dict[str, Any]]:
        """The answers that are there by now."""
        import json  # here: most callers wait for none

        *lines, self.rest = (self.rest + os.read(self.descriptor, 65536)).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        try:
            os.unlink(self.path)
        except FileNotFoundError:  # it was stale by a clock that has been set
            pass
        os.close(self.descriptor)
