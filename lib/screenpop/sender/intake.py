"""Calls that doors have left in new/ become messages in queue/, one for each recipient.

Before that the phone book is asked who is calling. A call whose answer takes time waits in new/ meanwhile, and delays
no other.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Collection, Sequence
from typing import Any, Optional

from ..call import EVENTS, Call, tie
from ..log import SPOOL, Log
from ..phonebook.book import Book
from ..phonebook.lookup import Lookup
from ..pop.routes import Routes, names_recipients
from ..settings import Settings
from ..spool import records, released
from ..spool.outbox import Outbox
from ..spool.queue import Queue
from ..spool.records import NO_RECIPIENT, InvalidFile, Message, message_name
from . import backoff, events
from .backlog import Backlog
from .floods import Floods
from .replies import Replies, tell
from .results import Results, never

Contact = Optional[dict[str, str]]
CALLS_AT_ONCE = 100  # calls that are taken in before the next window of messages is sent


class Intake:
    def __init__(self, queue: Queue, backlog: Backlog, log: Log, replies: Replies, results: Results) -> None:
        self.queue, self.backlog, self.log, self.replies, self.results = queue, backlog, log, replies, results
        self.outbox, self.floods = Outbox(queue.path), Floods(queue, backlog, log)
        self.delayed: dict[str, float] = {}  # names that could not be taken in, and when to try again (monotonic)
        self.asking: dict[str, tuple[Call, Any, Lookup]] = {}  # by name: the call, its record, the question
        self.listed: list[str] = []  # the names in new/ when they were last listed, the oldest first
        self.tied: dict[str, list[str]] | None = None  # their ids by what ties them (call.py); made when first needed

    def waiting(self) -> list[str]:
        """The names in new/, the oldest call first. Raises OSError."""
        names = self.listed = self.queue.new_calls()
        self.tied = None
        if len(self.queue.handed_over) > len(names):  # somebody has taken calls away
            for name in set(self.queue.handed_over).difference(names):
                self.queue.handed_over.pop(name, None)
        if self.delayed or self.asking:
            present = set(names)
            self.delayed = {name: due for name, due in self.delayed.items() if name in present}
            self.asking = {name: asked for name, asked in self.asking.items() if name in present}
        return names

    def next_due(self, in_flight: Collection[str] = ()) -> float | None:
        """When the next call is due that could not be taken in, or that waits no longer for the phone book, or a flood
        is over.
        """
        asking = self.asking.values()
        deadlines = (lookup.deadline for call, _, lookup in asking if not self._must_wait(call, in_flight))
        return min((*self.delayed.values(), *deadlines, *self.floods.next_due()), default=None)

    def take_in(self, settings: Settings, book: Book, late_too: bool = True, in_flight: Collection[str] = ()) -> bool:
        """Take some calls in: fresh ones first, then the oldest of the late ones, if these are wanted.

        `in_flight`: the ids of stanzas whose confirmation has not come. Returns whether there were any calls. Raises
        OSError.
        """
        pop, now = settings.pop, time.monotonic()
        names = [name for name in self.waiting() if name not in self.asking and self.delayed.get(name, 0.0) <= now]
        fresh = bisect(names, f"{time.time() - pop.late_after:017.6f}")  # names begin with the time of the call
        chosen = [*names[fresh:], *(names[:fresh] if late_too else ())][:CALLS_AT_ONCE]
        ready = [name for name in self.asking if self._is_ready(name, in_flight)]
        for name in [*ready, *chosen]:
            self._take_in(name, settings, book, in_flight)
        return bool(ready or chosen)

    def take_in_at_once(self, settings: Settings, book: Book) -> bool:
        """Take in the one call that a door of this process has queued. Returns whether that was possible: not if there
        are several, nor if it follows or may repeat another one.
        """
        names = list(self.queue.handed_over)
        if len(names) != 1 or self.asking or not self.queue.is_new(records.call_id(names[0])):
            return False
        call = self.queue.handed_over.get(names[0])
        if not call or call.event != EVENTS[0] or events.related(call):
            return False
        self._take_in(names[0], settings, book, ())
        return True

    def _take_in(self, name: str, settings: Settings, book: Book, in_flight: Collection[str]) -> None:
        try:
            if name not in self.asking:
                self.asking[name] = self._ask(name, book)
            if self._is_ready(name, in_flight):
                self._accept(name, settings, *self.asking.pop(name))
        except FileNotFoundError:  # somebody took it away
            pass
        except InvalidFile as reason:
            self._reject(name, str(reason))
        except OSError as error:  # out of file descriptors
            self._delay(name, str(error))
        except Exception as error:  # a bug, which must not hold up other calls
            self._bug(name, f"{type(error).__name__}: {error}", settings.pop.give_up_after)

    def _is_ready(self, name: str, in_flight: Collection[str]) -> bool:
        call, _, lookup = self.asking[name]
        return lookup.is_ready() and not self._must_wait(call, in_flight)

    def _must_wait(self, event: Call, in_flight: Collection[str] = ()) -> bool:
        """Whether the calls that this event follows are being taken in, or their messages being sent."""
        ids = events.related(event)
        if not ids:
            return False
        return any(self._is_coming(id, event) for id in ids) or any(
            f"-{id}-" in f"-{stanza_id}" for stanza_id in in_flight for id in ids
        )

    def _is_coming(self, id: str, event: Call) -> bool:
        """Whether that is a call in new/. An event waits for no event that could wait for it: for one that it names by
        an id, if that is no event; and of those that the same id of their sender ties, for the older ones.
        """
        for older in self._tied(id):
            if older >= event.id:
                break
            if self.queue.is_new(older):
                return True
        asked = self.asking.get(f"{id}.json")
        return self.queue.is_new(id) and not (asked and asked[0].follows)

    def _tied(self, by: str) -> Sequence[str]:
        if self.tied is None:
            self.tied = {}
            for id in map(records.call_id, self.listed):
                if tied := tie(id):
                    self.tied.setdefault(tied, []).append(id)
        return self.tied.get(by, ())

    def _ask(self, name: str, book: Book) -> tuple[Call, Any, Lookup]:
        call, record = self.queue.handed_over.pop(name, None), {}
        if not call:
            path = f"{self.queue.path}/new/{name}"
            record = records.read(path)
            call = records.call_from(record, path)
        firsts = [] if call.event == EVENTS[0] else self._firsts(call)
        try:
            lookup = book.ask(firsts[0][1].call if firsts else call)
        except Exception as error:  # a bug, or a damaged library: the pop goes out with what the call has
            self.log.write(f"phone book: {type(error).__name__}: {error}")
            lookup = book.stranger(call)
        return call, record, lookup

    def _accept(self, name: str, settings: Settings, call: Call, record: Any, lookup: Lookup) -> None:
        wanted, most = settings.pop.events, settings.pop.flood_limit
        firsts = self._firsts(call)
        if events.is_repeated(call, firsts) or self.floods.have_counted(call, firsts):
            self._make(name, call, most, [])
            return
        events.settle_outcome(call, firsts)
        if firsts and call.event != EVENTS[0]:
            route = settings.routes.route(call, lookup.contact()) if names_recipients(call) else None
            found = events.messages(call, firsts, lookup, self.queue.has_second, route)
            found = found if call.event in wanted else []
            failed = [message for message in found if message.reason]
            if call.event == "answered":
                self._note_answer(call, firsts, {message.name for message in found})
            self._make(name, call, most, [message for message in found if not message.reason], failed)
        else:
            self._make(name, call, most, *self._messages(settings.routes, wanted, call, record, lookup.contact()))

    def _note_answer(self, call: Call, firsts: Sequence[tuple[str, Message]], made: Collection[str]) -> None:
        """In the first messages: an `ended` that comes is then no missed call, even if nobody was told of the answer.
        `made`: the names of the messages that tell of it themselves.
        """
        for folder, first in firsts:
            if first.name not in made and not first.answered:
                first.answered = call
                self.queue.write_later(call.id, "queue" if first.name in self.backlog else folder, first)

    def _firsts(self, call: Call) -> list[tuple[str, Message]]:
        """The first messages of the calls that it follows or repeats; not its own, of a sender that was killed. What
        may have arrived counts as sent: it is repeated as it was, so that clients can recognise it by its id.
        """
        found = self.queue.first_messages(events.related(call))
        sent = self.backlog.uncertain
        return [("sent" if one.name in sent else folder, one) for folder, one in found if one.call.id != call.id]

    def _messages(
        self, routes: Routes, wanted: Collection[str], call: Call, record: Any, contact: Contact
    ) -> tuple[list[Message], ...]:
        """Of a call that has come, or of an event whose call is not known: those to send, failed ones, silent ones."""
        told, failed_before = released.outcomes(record)
        route = routes.route(call, contact)
        reasons = {**route.invalid, **failed_before}
        waiting = [Message(call, to, "", contact) for to in route.to if to not in told and to not in reasons]
        failed = [Message(call, to, reason, contact) for to, reason in reasons.items()]
        if call.event in wanted or call.receipt:  # `screen-pop test` is always shown
            return waiting, failed, []
        for message in waiting:
            message.is_silent = True
        return [], failed, waiting if call.event == EVENTS[0] else []  # the outcome of a call that comes may be wanted

    def _make(
        self,
        name: str,
        call: Call,
        most: int,
        waiting: list[Message],
        failed: Sequence[Message] = (),
        silent: Sequence[Message] = (),
    ) -> None:
        """The call in new/ becomes these messages, or is counted. `most`: of a caller within a minute."""
        waiting, summaries = self.floods.limit(waiting, most)
        self.replies.expect(self.outbox.reply_fifo(call.id), call, [*waiting, *failed], is_counted=bool(summaries))
        self.queue.accept(name, [*waiting, *summaries], failed, silent)
        for message in waiting:  # a correction is not sent before what it corrects
            self.backlog.add(message.name, self.backlog.due(message_name(message.first_id)) if message.is_second else 0)
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
        those in `names`, of any age. Raises OSError.
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
