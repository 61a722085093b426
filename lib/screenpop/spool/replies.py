"""What the sender reports about one call, to the door or command that waits for it: JSON objects, one a line.

{"step": "signed in", "ms": 12.5, "detail": "…"}   on the way, only to `screen-pop test`
{"status": "QUEUED" | "DELIVERED" | "FAILED", "reason": "…"}   QUEUED: not yet, for this reason;
    with "is_final": true, nothing else will come
{"receipt": "alice@example.org/phone"}   the recipient's client has it (XEP-0184)
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..call import Call
    from .outbox import Outbox


class Replies:
    """The reading end: a FIFO in the spool. Make it before the call is queued, else the first replies are missed."""

    def __init__(self, outbox: Outbox, call: Call) -> None:
        """Raises OSError."""
        self.path = outbox.reply_fifo(call.id)
        try:
            posix.mkfifo(self.path, 0o600)
        except FileNotFoundError:
            outbox.make()
            posix.mkfifo(self.path, 0o600)
        # open for writing, too, so that it doesn't report an end when the sender closes it
        self.descriptor = posix.open(self.path, posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC)
        self.rest = b""

    def fileno(self) -> int:
        return self.descriptor

    def read(self) -> list[dict[str, Any]]:
        """The replies that have come by now."""
        import json  # here, where the door has nothing else to do than to wait

        *lines, self.rest = (self.rest + posix.read(self.descriptor, 65536)).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        try:
            posix.unlink(self.path)
        except OSError:  # the sender removes what is left in tmp/, and has perhaps done so
            pass
        posix.close(self.descriptor)
