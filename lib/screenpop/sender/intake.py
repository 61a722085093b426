"""Calls that doors have left in new/ become messages in queue/, one for each recipient.

Before that the phone book is asked who is calling. A call whose answer takes time waits in new/ meanwhile, and delays
no other.
"""

from __future__ import annotations

import time
from bisect import bisect
from typing import Any

from ..call import Call
from ..log import SPOOL, Log
from ..phonebook.book import Book
from ..phonebook.lookup import Lookup
from ..pop.routes import Routes
from ..settings import Settings
from ..spool import records, released
from ..spool.outbox import Outbox
from ..spool.queue import Queue
from ..spool.records import NO_RECIPIENT, InvalidFile, Message
from . import backoff
from .backlog import Backlog
from .replies import Replies, tell
from .results import Results, never

CALLS_AT_ONCE = 50  # calls that are taken in before the next window of messages is sent


class Intake:
    def __init__(self, queue: Queue, backlog: Backlog, log: Log, replies: Replies, results: Results) -> None:
        self.queue, self.backlog, self.log, self.replies, self.results = queue, backlog, log, replies, results
        self.outbox = Outbox(queue.path)
        self.delayed: dict[str, float] = {}  # names that could not be taken in, and when to try again (monotonic)
        self.asking: dict[str, tuple[Call, Any, Lookup]] = {}  # by name: the call, its record, the question

    def waiting(self) -> list[str]:
        """The names in new/, the oldest call first. Raises OSError."""
        names = self.queue.new_calls()
        if self.delayed or self.asking:
            present = set(names)
            self.delayed = {name: due for name, due in self.delayed.items() if name in present}
            self.asking = {name: asked for name, asked in self.asking.items() if name in present}
        return names

    def next_due(self) -> float | None:
        """When the next call is due that could not be taken in, or that waits no longer for the phone book."""
        deadlines = (lookup.deadline for _, _, lookup in self.asking.values())
        return min((*self.delayed.values(), *deadlines), default=None)

    def take_in(self, settings: Settings, book: Book, late_too: bool = True) -> bool:
        """Take some calls in: fresh ones first, then the oldest of the late ones, if these are wanted.

        Returns whether there were any. Raises OSError.
        """
        pop, now = settings.pop, time.monotonic()
        names = [name for name in self.waiting() if name not in self.asking and self.delayed.get(name, 0.0) <= now]
        fresh = bisect(names, f"{time.time() - pop.late_after:017.6f}")  # names begin with the time of the call
        chosen = [*names[fresh:], *(names[:fresh] if late_too else ())][:CALLS_AT_ONCE]
        ready = [name for name, (_, _, lookup) in self.asking.items() if lookup.is_ready()]
        for name in [*ready, *chosen]:
            try:
                if name not in self.asking:
                    self.asking[name] = self._ask(name, book)
                if self.asking[name][2].is_ready():
                    self._accept(name, settings.routes, *self.asking.pop(name))
            except FileNotFoundError:  # somebody took it away
                continue
            except InvalidFile as reason:
                self._reject(name, str(reason))
            except OSError as error:  # out of file descriptors
                self._delay(name, str(error))
            except Exception as error:  # a bug, which must not hold up other calls
                self._bug(name, f"{type(error).__name__}: {error}", pop.give_up_after)
        return bool(ready or chosen)

    def _ask(self, name: str, book: Book) -> tuple[Call, Any, Lookup]:
        path = f"{self.queue.path}/new/{name}"
        record = records.read(path)
        call = records.call_from(record, path)
        try:
            lookup = book.ask(call)
        except Exception as error:  # a bug, or a damaged library: the pop goes out with what the call has
            self.log.write(f"phone book: {type(error).__name__}: {error}")
            lookup = book.stranger(call)
        return call, record, lookup

    def _accept(self, name: str, routes: Routes, call: Call, record: Any, lookup: Lookup) -> None:
        contact = lookup.contact()
        told, failed_before = released.outcomes(record)
        route = routes.route(call, contact)
        reasons = {**route.invalid, **failed_before}
        waiting = [Message(call, to, "", contact) for to in route.to if to not in told and to not in reasons]
        failed = [Message(call, to, reason, contact) for to, reason in reasons.items()]
        self.replies.expect(self.outbox.reply_fifo(call.id), call, [*waiting, *failed])
        self.queue.accept(name, waiting, failed)
        for message in waiting:
            self.backlog.add(message.name)
        for message in failed:
            self.results.settled(message, never(message.reason))

    def _bug(self, name: str, reason: str, give_up_after: float) -> None:
        """The call is tried again after pauses that grow with its age, and given up at the age of `give_up_after`."""
        try:
            call = records.read_call(f"{self.queue.path}/new/{name}")
        except Exception:  # the bug is in there
            self._delay(name, reason, backoff.LONGEST)
            return
        if call.age() > give_up_after:
            self._fail(name, call, f"given up after {call.age():.0f} s: {reason}")
        else:
            self._delay(name, reason, backoff.message_pause(call.age()))

    def _delay(self, name: str, reason: str, pause: float = backoff.FIRST) -> None:
        self.asking.pop(name, None)
        self.delayed[name] = time.monotonic() + pause
        self.log.problem(SPOOL, reason, waiting=len(self.delayed))

    def _reject(self, name: str, reason: str) -> None:
        try:
            self.queue.reject("new", name, reason)
            self.log.write(f"{name} failed: {reason}")
        except FileNotFoundError:  # somebody took it away
            pass
        except OSError as error:
            self._delay(name, str(error))

    def put_off(self, reason: str) -> None:
        """Tell those who wait for a call that has not been taken in. Raises OSError."""
        for name in self.waiting():
            tell(self.outbox.reply_fifo(records.call_id(name)), status="QUEUED", reason=reason)

    def give_up(self, reason: str, give_up_after: float, names: set[str] | None = None) -> None:
        """Calls that can't be taken in, and are too old to wait for that, go to failed/ without a recipient; so do
        those in `names`, whatever their age. Raises OSError.
        """
        for name in self.waiting():  # not those that only a full disk keeps in new/: their messages wait already
            if not (backoff.may_be_older(name, give_up_after) if names is None else name in names):
                continue
            try:
                call = records.read_call(f"{self.queue.path}/new/{name}")
            except (InvalidFile, FileNotFoundError):
                continue
            if names is None and call.age() <= give_up_after:
                continue
            what = "the spool is full" if names else f"given up after {call.age():.0f} s"
            self._fail(name, call, f"{what}: {reason}")

    def _fail(self, name: str, call: Call, reason: str) -> None:
        message = Message(call, NO_RECIPIENT, reason)
        self.queue.accept(name, [], [message])
        self.results.settled(message, never(reason))
