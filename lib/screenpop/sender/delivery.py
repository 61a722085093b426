"""Delivery: calls become messages, and each of these comes to one of three ends.

The server has taken it; or it came back, and the call goes to failed/ with the reason; or not yet.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Sequence

from ..call import Call
from ..config import Config
from ..log import Log
from ..pop import message, routes
from ..spool.outbox import Outbox
from ..text import clean
from ..xmpp import jid, stanza
from ..xmpp.session import STEP_DEADLINE, Session

UNCONFIRMED = 50  # messages that share one confirmation, at most: what isn't confirmed is sent again
AT_FIRST = 10  # until it is known how many the server confirms in time (by default ejabberd reads 3 kB a second)
REMEMBERED = 2000  # messages whose bounce from a remote domain may still come


class Delivery:
    """Sends over one session, which is begun when it is first needed and kept until `close`."""

    def __init__(self, outbox: Outbox, log: Log) -> None:
        self.outbox, self.log = outbox, log
        self.session: Session | None = None
        self.elsewhere = ""  # the host to which the server has sent us
        self.calls: dict[str, Call] = {}  # by id: those in the outbox of which something has been sent
        self.sent: OrderedDict[str, tuple[Call, str]] = OrderedDict()  # by stanza id: the call, and the recipient
        self.unconfirmed: set[str] = set()  # stanza ids
        self.refused: dict[str, str] = {}  # by call id: why it is to be tried again
        self.returned: dict[str, str] = {}  # by call id: why a remote domain gave it back, to be tried again later
        self.together = AT_FIRST  # messages that share the next confirmation
        self.tested: list[Call] = []  # calls of which somebody wants to know each step
        self.step_began = 0.0

    def deliver(self, calls: Sequence[Call], config: Config) -> dict[str, str]:
        """Send these calls. Returns, by call id, why some are to be tried again.

        Raises SessionError: then it isn't known which of the last messages the server has taken. Their ids stay.
        """
        calls = [self.calls.setdefault(call.id, call) for call in calls]  # what we know is newer than what is written
        self.tested = [call for call in calls if call.receipt]
        for call in self.tested:
            self.outbox.tell(call, step="sender", ms=round(call.age() * 1000, 1), detail=f"process {os.getpid()}")
        self.step_began = time.monotonic()
        if not self.session:
            elsewhere, self.elsewhere = self.elsewhere, ""  # once: there may be nobody
            self.session = Session(
                config, self.outbox.resource(), self._on_step, self._on_error, self._on_receipt, elsewhere
            )
        self.refused.clear()
        messages: list[tuple[Call, str]] = []
        for call in calls:
            outstanding = self._outstanding(call, config.to)
            messages += [(call, to) for to in outstanding]
            if not outstanding:
                self._settle(call)
        after = 0
        while after < len(messages):
            first, after = after, after + self.together
            self._send_together(self.session, messages[first:after], config)
            unfinished = messages[after][0] if after < len(messages) else None
            for call in dict.fromkeys(call for call, _ in messages[first:after]):
                if call is not unfinished:
                    self._settle(call)
        return dict(self.refused)

    def _outstanding(self, call: Call, default: Sequence[str]) -> list[str]:
        recipients, wrong = routes.recipients(call, default)
        for to in wrong.keys() - call.failed.keys():
            self._failed(call, to, wrong[to])
        return [to for to in recipients if to not in call.delivered and to not in call.failed]

    def _send_together(self, session: Session, messages: Sequence[tuple[Call, str]], config: Config) -> None:
        """Send some messages, and learn how many of them the server confirms in good time."""
        began, together = time.monotonic(), self.together
        self.together = max(1, together // 4)  # if they are not confirmed
        self._send(session, messages, config)
        took = time.monotonic() - began
        if took < STEP_DEADLINE / 4:
            self.together = min(2 * together, UNCONFIRMED)
        else:
            self.together = together if took < STEP_DEADLINE / 2 else max(1, together // 2)

    def _send(self, session: Session, messages: Sequence[tuple[Call, str]], config: Config) -> None:
        """Send some messages and take down what became of them."""
        self.unconfirmed.clear()
        for call, to in messages:
            stanza_id = stanza.stanza_id(call, to)
            self.sent[stanza_id] = (call, to)
            self.unconfirmed.add(stanza_id)
            age = call.age()
            late = age if age > config.late_after else None
            session.send(stanza.pop(call, to, message.text(call, config.message, late), late))
        session.confirm()
        self._on_step("message", "confirmed by the server")
        for call, to in messages:
            if stanza.stanza_id(call, to) in self.unconfirmed:  # it didn't come back
                call.delivered = [*call.delivered, to]
                self.log.pop(call.id, to, "delivered", call.age())
        self.unconfirmed.clear()
        while len(self.sent) > REMEMBERED:
            self.sent.popitem(last=False)

    def _settle(self, call: Call) -> None:
        """Write down what became of a call. What can't be written is known here, so nothing is sent twice."""
        try:
            if call.id in self.refused or call.id in self.returned:
                self.outbox.put(call)
                return
            if call.failed:
                self.outbox.fail(call)
            else:
                self.outbox.remove(call)
        except OSError as error:
            self.refused[call.id] = str(error)
            return
        del self.calls[call.id]
        if call.failed:
            reasons = clean(", ".join(f"{to}: {reason}" for to, reason in call.failed.items()), limit=1000)
            self.outbox.tell(call, status="DELIVERED" if call.delivered else "FAILED", reason=reasons)
        else:
            self.outbox.tell(call, status="DELIVERED")

    def give_up(self, call: Call, default: Sequence[str], reason: str) -> None:
        """Stop trying to reach those recipients that have not been."""
        call = self.calls.setdefault(call.id, call)
        self.refused.pop(call.id, None)
        self.returned.pop(call.id, None)
        for to in self._outstanding(call, default or ["whoever is configured"]):
            self._failed(call, to, reason)
        self._settle(call)

    def _failed(self, call: Call, to: str, reason: str) -> None:
        call.failed = {**call.failed, to: reason}
        call.delivered = [other for other in call.delivered if other != to]
        self.log.pop(call.id, to, f"failed: {reason}", call.age())

    def process(self) -> None:
        """Handle what the server sends in between. Raises SessionError."""
        if self.session:
            self.session.process()

    def close(self) -> None:
        if self.session:
            self.elsewhere = self.session.elsewhere
            self.session.close()
            self.session = None

    def _on_step(self, step: str, detail: str) -> None:
        now = time.monotonic()
        for call in self.tested:
            self.outbox.tell(call, step=step, ms=round((now - self.step_began) * 1000, 1), detail=detail)
        self.step_began = now

    def _on_error(self, stanza_id: str, sender: str, kind: str, reason: str) -> None:
        """A message came back: before its confirmation, or later from a remote domain. RFC 6120 section 8.3.2: `wait`
        is the one type that says to try again.
        """
        call, to = self.sent.get(stanza_id, (None, ""))
        if not call or not self.session or not jid.may_bounce(sender, self.session.config.jid, to):
            return
        call = self.calls.get(call.id, call)  # it may have been put back, and read again
        reason = clean(reason, limit=300)
        if stanza_id in self.unconfirmed:
            self.unconfirmed.discard(stanza_id)
            if kind == "wait":
                self.refused[call.id] = f"{to}: {reason}"
            else:
                self._failed(call, to, reason)
        elif to not in call.delivered:
            return  # it has come back before
        elif kind == "wait" and self._put_back(call, to):
            self.returned[call.id] = f"{to}: {reason}"
            self.log.pop(call.id, to, f"came back: {reason}", call.age())
        else:
            self._failed(call, to, reason)
            if call.id not in self.calls:  # nothing else of it is under way
                with contextlib.suppress(OSError):  # the log has it
                    self.outbox.fail(call)

    def _put_back(self, call: Call, to: str) -> bool:
        """Queue a call again for this recipient, if it can be written."""
        before, call.delivered = call.delivered, [other for other in call.delivered if other != to]
        try:
            self.outbox.put_back(call)
        except OSError:
            call.delivered = before
            return False
        self.calls[call.id] = call
        return True

    def _on_receipt(self, stanza_id: str, sender: str) -> None:
        call, to = self.sent.get(stanza_id, (None, ""))
        if call and jid.same_account(sender, to):
            self.outbox.tell(call, receipt=clean(sender, limit=1024))
