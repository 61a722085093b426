"""What the sender tells those who wait for a call: the dialplan (SCREEN_POP_WAIT) and `screen-pop test`.

They read JSON objects, one a line, from a FIFO (spool/replies.py).
"""

from __future__ import annotations

import json
import os
import time

from ..call import Call
from ..spool.records import Message
from ..text import clean
from ..xmpp import jid

MOST_RECEIPTS = 100  # messages whose receipt somebody may be waiting for


class _Call:
    """A call that somebody waits for."""

    def __init__(self, fifo: str, call: Call, names: set[str]) -> None:
        self.fifo, self.call, self.names = fifo, call, names
        self.sent = 0
        self.reasons: list[str] = []


class Replies:
    def __init__(self) -> None:
        self._waiting: dict[str, _Call] = {}  # by call id
        self._receipts: dict[str, tuple[str, str]] = {}  # by stanza id: FIFO and recipient
        self._step_began = time.monotonic()

    def expect(self, fifo: str, call: Call, messages: list[Message], is_counted: bool = False) -> None:
        """From now on these messages are waited for, if the FIFO of the call is there. `is_counted`: for some
        recipients the call is only counted (floods.py), and no summary is waited for.
        """
        if not os.path.exists(fifo):
            return
        if is_counted and not messages:
            tell(fifo, status="QUEUED", reason="its caller calls too often: the call is counted", is_final=True)
            return
        if not messages:
            tell(fifo, status="DELIVERED", reason=f"there is nobody to be told of this event: {call.event}")
            return
        self._waiting[call.id] = _Call(fifo, call, {message.name for message in messages})
        if call.receipt:
            self._step_began = time.monotonic()
            tell(fifo, step="sender", ms=round(call.age() * 1000, 1), detail=f"process {os.getpid()}")
            for message in messages[:MOST_RECEIPTS]:
                self._receipts[message.id] = (fifo, message.to)
            while len(self._receipts) > MOST_RECEIPTS:
                del self._receipts[next(iter(self._receipts))]

    def step(self, step: str, detail: str) -> None:
        """A step of the way to the server is done: of interest to `screen-pop test` only."""
        now = time.monotonic()
        for waiting in self._waiting.values():
            if waiting.call.receipt:
                tell(waiting.fifo, step=step, ms=round((now - self._step_began) * 1000, 1), detail=detail)
        self._step_began = now

    def result(self, message: Message, kind: str, reason: str) -> None:
        """`kind` is SENT, LATER or NEVER (results.py)."""
        for call in {message.call.id, message.event.id}:
            if call in self._waiting:
                self._tell_result(self._waiting[call], message, kind, reason)

    def _tell_result(self, waiting: _Call, message: Message, kind: str, reason: str) -> None:
        if message.name not in waiting.names:
            return
        if kind == "LATER":
            tell(waiting.fifo, status="QUEUED", reason=f"{message.to}: {reason}")
            return
        waiting.names.discard(message.name)
        waiting.sent += kind == "SENT"
        if kind == "NEVER":
            waiting.reasons.append(f"{message.to}: {reason}")
        if not waiting.names:
            del self._waiting[waiting.call.id]
            failures = {"reason": clean(", ".join(waiting.reasons), limit=1000)} if waiting.reasons else {}
            tell(waiting.fifo, status="DELIVERED" if waiting.sent else "FAILED", **failures)

    def put_off(self, reason: str) -> None:
        """Nothing can be sent at the moment."""
        for waiting in self._waiting.values():
            tell(waiting.fifo, status="QUEUED", reason=reason)

    def receipt(self, stanza_id: str, sender: str) -> None:
        """A client has confirmed a message (XEP-0184); only the recipient's own is believed."""
        fifo, recipient = self._receipts.get(stanza_id, ("", ""))
        if fifo and jid.same_account(sender, recipient):
            tell(fifo, receipt=clean(sender, limit=1024))


def tell(fifo: str, **reply: object) -> None:
    """Write a reply, if somebody reads."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # nobody waits any more
        return
    try:
        os.write(descriptor, json.dumps(reply).encode() + b"\n")
    except (BrokenPipeError, BlockingIOError):
        pass
    finally:
        os.close(descriptor)
