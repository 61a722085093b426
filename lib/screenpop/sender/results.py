"""The three results of an attempt to send a message, and what becomes of the message by each.

SENT    it moves to sent/
LATER   it stays in queue/, and is due again after a pause; when it is too old for that, NEVER
NEVER   it moves to failed/, with the reason in it
"""

from __future__ import annotations

import time
from typing import NamedTuple

from ..log import MESSAGE, Log
from ..spool.queue import Queue
from ..spool.records import Message
from ..xmpp.errors import UNCONFIRMED
from . import backoff
from .backlog import Backlog
from .replies import Replies


class Result(NamedTuple):
    """`may_have_arrived`: LATER, because only the confirmation is missing."""

    kind: str
    reason: str = ""
    may_have_arrived: bool = False


SENT = Result("SENT")


def later(reason: str, may_have_arrived: bool = False) -> Result:
    return Result("LATER", reason, may_have_arrived)


def never(reason: str) -> Result:
    return Result("NEVER", reason)


def of_error(error_type: str, reason: str) -> Result:
    """Of an error stanza: `wait` is the one type that says to try again (RFC 6120 section 8.3.2)."""
    if error_type == UNCONFIRMED:
        return later(reason, may_have_arrived=True)
    return later(reason) if error_type == "wait" else never(reason)


class Results:
    """Applies results: to the spool, the backlog, the log, and for those who wait for the call."""

    def __init__(self, queue: Queue, backlog: Backlog, log: Log, replies: Replies) -> None:
        self.queue, self.backlog, self.log, self.replies = queue, backlog, log, replies
        self.count = 0  # of messages that were sent or failed

    def settle(self, message: Message, result: Result, give_up_after: float, folder: str = "queue") -> None:
        """`folder`: where the message is, "queue" or "sent" (an error came after its confirmation)."""
        age = message.event.age()
        if result.kind == "LATER" and age > give_up_after:
            result = never(f"given up after {age:.0f} s: {result.reason}")
        if result.kind == "LATER":
            if folder == "sent":
                self.queue.send_again(message)
                self._log(message, f"came back: {result.reason}")
            self.backlog.add(message.name, time.monotonic() + backoff.message_pause(age))
            if result.may_have_arrived:
                self.backlog.uncertain.add(message.name)
            self.log.problem(MESSAGE, f"{message.to}: {result.reason}", waiting=len(self.backlog))
        elif result.kind == "SENT":
            self.backlog.remove(message.name)
            self.queue.sent(message)
        else:
            self.backlog.remove(message.name)
            message.reason = result.reason
            self.queue.failed(message, folder)
        self.settled(message, result)

    def outdated(self, message: Message) -> None:
        """A later message replaces this one, which is kept as if it had been sent."""
        self.backlog.remove(message.name)
        self.queue.sent(message)
        self._log(message, "not sent again: the outcome of the call has been told")

    def settled(self, message: Message, result: Result) -> None:
        """Log and tell a result that stands in the spool."""
        if result.kind != "LATER":
            self.count += 1
            self._log(message, "delivered" if result.kind == "SENT" else f"failed: {result.reason}")
        self.replies.result(message, result.kind, result.reason)

    def _log(self, message: Message, outcome: str) -> None:
        self.log.message(message.call.id, message.to or "nobody", outcome, message.event.age())
