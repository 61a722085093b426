"""Delivery: a batch of calls becomes messages, and each of them comes to one of three ends.

The server has taken it; it came back and never will be taken (then the call goes to failed/ with the reason); or not yet.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

from . import jid, message, routes, stanza
from .call import Call, clean
from .config import Config
from .log import Log
from .session import Session

REMEMBERED = 2000  # pops whose bounce from a remote domain may still come


class Box(Protocol):
    """Where the calls are: the outbox, or the memory of a sender that got its call handed over."""

    def waiting(self) -> list[str]: ...
    def read(self, name: str) -> Call: ...
    def put(self, call: Call) -> None: ...
    def remove(self, call: Call) -> None: ...
    def fail(self, call: Call) -> None: ...
    def reject(self, name: str, reason: str) -> None: ...
    def tell(self, call: Call, **answer: object) -> None: ...
    def resource(self) -> str: ...


class Delivery:
    """Sends over one session, which is begun when it is first needed and kept until `close`."""

    def __init__(self, box: Box, log: Log) -> None:
        self.box, self.log = box, log
        self.session: Session | None = None
        self.batch: Sequence[Call] = ()
        self.step_began = 0.0
        self.sent: OrderedDict[str, tuple[Call, str]] = OrderedDict()  # stanza id: the call, and the recipient
        self.unconfirmed: set[str] = set()  # stanza ids
        self.bounced: dict[str, tuple[str, str]] = {}  # stanza id of the batch: the error's type, and the reason

    def deliver(self, calls: Sequence[Call], config: Config) -> str:
        """Send a batch. Returns why some of it is still to be tried, or "". Raises Trouble: then none of it was sent,
        or it isn't known what was; its stanza ids stay the same.
        """
        self.batch, self.step_began = calls, time.monotonic()
        for call in calls:
            self._step_of(call, "sender", (time.time() - call.time) * 1000, f"process {os.getpid()}")
        if not self.session:
            self.session = Session(config, self.box.resource(), self._on_step, self._on_error, self._on_receipt)
        self.bounced.clear()
        self.unconfirmed.clear()
        attempts = [(call, self._send(self.session, call, config)) for call in calls]
        self.session.confirm()
        self._on_step("message", "confirmed by the server")
        self.unconfirmed.clear()
        return next(filter(None, [self._settle(call, recipients) for call, recipients in attempts]), "")

    def _send(self, session: Session, call: Call, config: Config) -> list[str]:
        """Send one call's messages; returns to whom."""
        recipients, wrong = routes.recipients(call, config.to)
        call.failed = {**call.failed, **wrong}
        outstanding = [to for to in recipients if to not in call.delivered and to not in call.failed]
        now = time.time()
        text = message.text(call, config.message, config.late_after, now)
        for to in outstanding:
            stanza_id = stanza.stanza_id(call, to)
            self.sent[stanza_id] = (call, to)
            self.unconfirmed.add(stanza_id)
            session.send(stanza.pop(call, to, text, message.is_late(call, config.late_after, now)))
        while len(self.sent) > max(REMEMBERED, len(self.unconfirmed)):
            self.sent.popitem(last=False)
        return outstanding

    def _settle(self, call: Call, recipients: Iterable[str]) -> str:
        """Take down what became of one call's messages. Returns why one of them is to be tried again, or ""."""
        again = ""
        for to in recipients:
            kind, reason = self.bounced.get(stanza.stanza_id(call, to), ("", ""))
            if kind == "wait":  # RFC 6120 section 8.3.2: the one type that says to try again
                again = f"{to}: {reason}"
            elif kind:
                call.failed = {**call.failed, to: reason}
            else:
                call.delivered = [*call.delivered, to]
                self.log.pop(call.id, to, "delivered", call.time)
        if again:
            self.box.put(call)
            self.box.tell(call, status="QUEUED", reason=again)
        elif call.failed:
            self.fail(call)
        else:
            self.box.remove(call)
            self.box.tell(call, status="DELIVERED")
        return again

    def fail(self, call: Call) -> None:
        """Give a call up for the recipients in `call.failed`."""
        self.box.fail(call)
        for to, reason in call.failed.items():
            self.log.pop(call.id, to, f"failed: {reason}", call.time)
        reasons = ", ".join(f"{to}: {reason}" for to, reason in call.failed.items())
        self.box.tell(call, status="DELIVERED" if call.delivered else "FAILED", reason=reasons)

    def process(self) -> None:
        """Handle what the server sends in between. Raises Trouble."""
        if self.session:
            self.session.process()

    def close(self) -> None:
        if self.session:
            self.session.close()
            self.session = None

    def _on_step(self, step: str, detail: str) -> None:
        now = time.monotonic()
        for call in self.batch:
            self._step_of(call, step, (now - self.step_began) * 1000, detail)
        self.step_began = now

    def _step_of(self, call: Call, step: str, milliseconds: float, detail: str) -> None:
        if call.receipt:  # somebody is testing
            self.box.tell(call, step=step, ms=round(milliseconds, 1), detail=detail)

    def _on_error(self, stanza_id: str, sender: str, kind: str, reason: str) -> None:
        call, to = self.sent.get(stanza_id, (None, ""))
        if not call or not _speaks_for(sender, to):
            return
        reason = clean(reason, limit=300)
        if stanza_id in self.unconfirmed:
            self.bounced[stanza_id] = (kind, reason)
        else:  # the server had taken it; a remote one gave it back
            del self.sent[stanza_id]
            call.delivered = [other for other in call.delivered if other != to]
            call.failed = {to: reason}
            self.fail(call)

    def _on_receipt(self, stanza_id: str, sender: str) -> None:
        call, to = self.sent.get(stanza_id, (None, ""))
        if call and _speaks_for(sender, to):
            self.box.tell(call, receipt=clean(sender, limit=1024))


def _speaks_for(sender: str, recipient: str) -> bool:
    """Whether an answer is the recipient's own, or its server's: nobody else may say what became of a message."""
    try:
        by, to = jid.parse(sender), jid.parse(recipient)
    except ValueError:
        return False
    return by.domain == to.domain and by.local in ("", to.local)
