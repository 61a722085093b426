"""The sender's loop: read the trigger, take calls in, send a window of messages, wait.

A door starts the sender when a call comes and none is up (spool/trigger.py). It stays for `linger` seconds after the
last call, and for as long as anything waits. A resident sender (`screen-pop serve`) stays, and keeps its session up.
What must not be forgotten is in the spool: a kill loses nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from typing import Any, Protocol

from .. import log, settings
from ..call import BOOT, uptime
from ..config import ConfigError
from ..descriptors import readable
from ..phonebook.book import Book
from ..pop.options import PopOptions
from ..spool import released, state, trigger
from ..spool.options import SpoolOptions
from ..spool.outbox import Outbox, path_from_environment
from ..spool.queue import Queue
from ..spool.trigger import Trigger
from ..xmpp.errors import SessionError
from .backlog import Backlog
from .backoff import LONGEST_REFUSED, may_be_older
from .connection import Connection
from .delivery import TOGETHER, Delivery
from .housekeeping import Housekeeping
from .intake import Intake
from .replies import Replies
from .results import Results, later, never

CHECK_INTERVAL = 5.0  # seconds after which the sender checks that spool and configuration are still the same
LEAVE_WITHIN = 8  # seconds from SIGTERM to the end, if the server is slow to confirm what is in flight


class Leave(BaseException):
    """SIGTERM came while nothing was in flight."""


class Service(Protocol):
    """What is in the process of a resident sender beside it."""

    def follow(self, current: settings.Settings) -> None:
        """The configuration was read."""

    def alive(self) -> None:
        """Called all the time, at least once a minute."""

    def leave(self) -> None:
        """SIGTERM has come. Called by its handler."""

    def addresses(self) -> list[str]:
        """Where its doors listen, each with its name."""


class Sender:
    """`service`: given to a resident sender."""

    def __init__(self, queue: Queue, wake: Trigger, conf: str, service: Service | None = None) -> None:
        self.queue, self.trigger, self.conf, self.service = queue, wake, conf, service
        self.settings: settings.Settings | None = None
        self.index_folder = _index_folder(queue.path)
        self.book = Book({}, self.index_folder, PopOptions.country, PopOptions.places, PopOptions.lookup_wait)
        self.log = log.Log(log.default_file())
        self.replies = Replies()
        self.backlog = Backlog()
        self.results = Results(queue, self.backlog, self.log, self.replies)
        self.intake = Intake(queue, self.backlog, self.log, self.replies, self.results)
        self.delivery = Delivery(queue, self.backlog, self.log, self.replies, self.results)
        self.housekeeping = Housekeeping(queue, self.log)
        self.connection = Connection()
        self.since = time.time()
        self.flush_began: float | None = uptime()  # all that waits is due, from this time on (by the uptime)
        self.refused: Any = None  # the last sign-in, if it was refused: what `_refusal` returns
        self.tried = 0.0  # what waited at this time has been tried (by the uptime)
        self.reported: dict[str, object] = {}
        self.call_rang = True  # since new/ was last listed
        self.queue_is_read = False  # what the sender before has left in it
        self.index_wanted = False  # by `screen-pop index`
        self.index_problems: list[str] = []  # of the last build; each is logged once
        self.leaving = self.reload_wanted = False
        self.at_work = threading.Lock()  # who works has it: `run`, except while it waits, or `send_at_once`
        self.is_waiting = False
        self.failure: SessionError | None = None  # of `send_at_once`: what the server has got is not known

    def run(self) -> None:
        """Until there has been nothing to do for `linger` seconds, SIGTERM comes, or another sender has the spool. The
        first of these does not end a resident one, and SIGHUP lets that read the configuration again.
        """
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self.service:
            signal.signal(signal.SIGHUP, self._on_sighup)
        with self.at_work:
            self._run()

    def _run(self) -> None:
        try:
            self._begin()
            last_work = time.monotonic()
            while not self.leaving:
                if not self._owns_spool():
                    self.connection.close()
                    return
                self._read_trigger()
                if self.leaving:
                    break
                if self._work():
                    last_work = time.monotonic()
                    continue
                if self.flush_began is not None and not self.delivery.in_flight:
                    self.tried, self.flush_began = self.flush_began, None
                linger = math.inf if self.service else self.settings.pop.linger if self.settings else 0.0
                # on a full disk, the next sender would know nothing of a refused sign-in, and try again at once
                leave_at = max(last_work + linger, self.connection.pause.refused_until)
                if time.monotonic() >= leave_at and not self._something_waits():
                    if self._leave():
                        break
                else:
                    self._wait(leave_at)
        except Leave:
            pass
        self._await_rooms()
        self.connection.close()
        self._report()

    def _begin(self) -> None:
        before = state.read(self.queue.path)
        self.refused, last = before.get("refused"), before.get("last")
        self.log.last += [entry for entry in (last if isinstance(last, list) else []) if isinstance(entry, dict)]
        self._report()
        try:
            released.convert_failed(self.queue)
        except OSError as error:
            self.log.problem(log.SPOOL, str(error))

    def _read_queue(self) -> None:
        """Once; again if there were no file descriptors."""
        if self.queue_is_read:
            return
        try:
            self.queue.recover()
            self.intake.floods.recall()
            for name in self.queue.messages():
                if not self.intake.floods.resume(name):
                    self.backlog.add(name)
            self.queue_is_read = True
        except OSError as error:
            self.log.problem(log.SPOOL, str(error))

    def _on_sigterm(self, *_: object) -> None:
        """Leave at once, or when what is in flight is confirmed; if that takes too long, SIGALRM ends the process."""
        if self.leaving:
            return
        self.leaving = True
        if self.service:
            self.service.leave()
        if self.service or self.delivery.in_flight:
            signal.alarm(LEAVE_WITHIN)
        if self.is_waiting:  # another thread may be at work
            self.trigger.ring_own(trigger.STOP)
        elif not self.delivery.in_flight:
            raise Leave

    def _on_sighup(self, *_: object) -> None:
        self.reload_wanted = True
        self.trigger.ring_own(trigger.FLUSH)

    def _await_rooms(self) -> None:
        """Before a session is closed. What is in flight would be sent twice."""
        while self.delivery.in_flight and self.connection.session and self.settings:
            if self.delivery.is_unconfirmed:
                self._send([], self.settings)
                continue
            due = self._keep_alive()
            if not self._settle(self.settings):
                self._process(due)

    def _owns_spool(self) -> bool:
        try:
            return self.trigger.renew()
        except OSError as error:  # it can't be known: out of file descriptors
            self.log.problem(log.SPOOL, str(error))
            return True

    def _read_trigger(self) -> None:
        now = uptime()
        rung = self.trigger.read()
        if trigger.RETRY in rung:
            try:
                for name in self.queue.retry():
                    self.backlog.add(name)
            except OSError as error:
                self.log.problem(log.SPOOL, str(error))
            if self.queue.trouble:
                self.log.problem(log.SPOOL, self.queue.trouble)
        if trigger.RETRY in rung or trigger.FLUSH in rung:
            self.intake.floods.end(everything=True)
            self.backlog.all_due()
            self.intake.delayed.clear()
            self._end_pause()
            self.flush_began = now
        if trigger.CALL in rung:
            self.call_rang = True
            self.connection.pause.new_call()
        if trigger.INDEX in rung:
            self.index_wanted = True
        if trigger.STOP in rung and not self.service:
            self.leaving = True

    def _work(self) -> bool:
        """Take calls in and send a window of messages. Returns whether there was anything to do."""
        self._alive()
        self._read_queue()
        current = self._current_settings()
        if current is None or not self.queue_is_read:
            return False
        worked, spool_is_well = self.delivery.is_unconfirmed, True
        if self.delivery.is_unconfirmed:  # what `send_at_once` has sent
            self._send([], current)
        self._tend_index()
        try:
            enough_waits = self.backlog.count_due(time.monotonic()) >= self.delivery.window.size
            if self.call_rang or self.intake.asking or not enough_waits:  # else new/ has only late calls
                self.call_rang = False
                worked |= self.intake.take_in(current, self.book, not enough_waits, self.delivery.in_flight)
        except OSError as error:  # out of file descriptors
            spool_is_well = False
            self.intake.delayed.clear()  # else their time would have come at once, again and again
            self.log.problem(log.SPOOL, str(error))
        self.intake.floods.end()
        self._read_book()
        self._keep_alive()  # a session that has died meanwhile gets no message
        worked = self._settle(current) or worked
        due = self._due(current)
        if (due or self._session_wanted()) and self.connection.may_send():
            self._send(due, current)
            worked = True
        self.queue.catch_up()
        if self.queue.trouble:
            self.log.problem(log.SPOOL, self.queue.trouble)
        elif spool_is_well and not self.intake.delayed and not self.backlog.has_postponed(time.monotonic()):
            self.log.problems_are_over(log.SPOOL)
            self.log.problems_are_over(log.MESSAGE)
        if worked:
            self.housekeeping.tidy(current.pop, current.spool, self.results.count)
            self._report()
        return worked

    def _due(self, current: settings.Settings) -> list[str]:
        """The names of the messages of the next window."""
        late_before = time.time() - current.pop.late_after
        return self.backlog.next(time.monotonic(), late_before, self.delivery.window.size)

    def send_at_once(self) -> None:
        """For the thread of FastAGI, which has just queued a call: while `run` only waits, it sends the call itself, as
        that takes less time than to wake `run`. Then `run` confirms it, and sends what can't be sent here.
        """
        if not self.at_work.acquire(blocking=False):
            return
        try:
            current, session = self.settings, self.connection.session
            if self.leaving or not current or not session or self.reload_wanted or current.is_stale():
                return
            if self.delivery.is_unconfirmed or self.failure or not self.book.is_quick or not self.trigger.is_held():
                return
            try:
                session.keep_alive()
                if self.intake.take_in_at_once(current, self.book):
                    names = self._due(current)[:TOGETHER]  # the kernel takes these at once, though the server be slow
                    self.delivery.write(session, names, current, self.book.facts, with_rooms=False)
            except SessionError as error:
                self.failure = error
            except Exception as error:  # a bug: the session may be in any state
                self.failure = SessionError("session", f"{type(error).__name__}: {error}", "this is a bug")
        finally:
            self.at_work.release()

    def _alive(self) -> None:
        if self.service:
            self.service.alive()

    def _session_wanted(self) -> bool:
        """Whether to sign in before the first message."""
        return self.service is not None and self.connection.session is None

    def _tend_index(self) -> None:
        if self.index_folder != self.queue.path:  # the other sender makes it
            return
        wanted, self.index_wanted = self.index_wanted, False
        try:
            problems = self.book.tend_index(wanted)
        except Exception as error:  # OSError; else a bug, or a path that nobody can open
            problems = [f"the index can't be made: {getattr(error, 'strerror', None) or repr(error)}"]
        if problems is None:
            return
        for problem in problems:
            if problem not in self.index_problems:
                self.log.write(f"phone book: {problem}")
        self.index_problems = problems

    def _current_settings(self) -> settings.Settings | None:
        """Read the configuration, at first and when it has changed; then the session begins anew."""
        if self.settings and not self.reload_wanted and not self.settings.is_stale():
            return self.settings
        self.reload_wanted = False
        self._await_rooms()
        self.connection.close()
        self.settings = None
        try:
            self.settings = settings.load(self.conf)
        except ConfigError as error:
            self._nothing_can_be_sent(str(error))
            return None
        self.log.file = self.settings.log.path
        self.book.close()
        pop = self.settings.pop
        self.book = Book({}, self.index_folder, pop.country, pop.places, pop.lookup_wait)
        try:
            self.book = Book(self.settings.sources, self.index_folder, pop.country, pop.places, pop.lookup_wait)
        except OSError as error:  # out of file descriptors
            self.settings = None
            self._nothing_can_be_sent(str(error))
            return None
        self.connection.pause.end()
        self._resume_pause(self.settings)
        if self.service:
            self.service.follow(self.settings)
        return self.settings

    def _send(self, names: list[str], current: settings.Settings) -> None:
        if not self.connection.session:
            self.queue.catch_up()
        if not self.connection.session and not self.book.is_prepared:  # while the sign-in waits for the server
            with contextlib.suppress(RuntimeError):  # the system has no more threads: it is done later
                threading.Thread(target=self.book.prepare, daemon=True).start()
        try:
            session = self.connection.session or self.connection.open(
                current.xmpp,
                state.resource(self.queue.path),
                self._on_step,
                lambda *error: self.delivery.on_error(current, *error),
                self.replies.receipt,
                self._alive,
            )
            self.delivery.write(session, names, current, self.book.facts)
            self.delivery.confirm(session, current, lambda: self._meanwhile(current))
            self._end_pause()
            self.log.problems_are_over(log.SESSION)
        except SessionError as error:
            self.connection.failed(error.refused)
            self.refused = self._refusal(current, str(error)) if error.refused else None
            self._report()
            self._nothing_can_be_sent(str(error))
        except Exception as error:  # a bug: the session may be in any state
            self.connection.failed(refused=False)
            self._nothing_can_be_sent(f"{type(error).__name__}: {error}")

    def _on_step(self, step: str, detail: str) -> None:
        self._alive()
        self.replies.step(step, detail)

    def _end_pause(self) -> None:
        self.connection.pause.end()
        self.refused = None

    def _refusal(self, current: settings.Settings, reason: str) -> dict[str, object]:
        """For the sender after this one, so that one that is killed or restarted all the time doesn't get the account
        locked.
        """
        until = uptime() + self.connection.pause.until - time.monotonic()
        files = [list(file.state or ()) for file in current.files]
        return {"boot": BOOT, "files": files, "until": until, "length": self.connection.pause.length, "reason": reason}

    def _resume_pause(self, current: settings.Settings) -> None:
        """That of a sender before, unless a file of the configuration has changed since then."""
        before, self.refused = self.refused, None
        try:
            left, length, reason = float(before["until"]) - uptime(), float(before["length"]), str(before["reason"])
            known = before["boot"], before["files"]
        except (TypeError, KeyError, ValueError):  # none was refused
            return
        files = [list(file.state or ()) for file in current.files]
        if known == (BOOT, files) and -LONGEST_REFUSED < left < 2 * LONGEST_REFUSED:
            self.connection.pause.resume(time.monotonic() + left, length)
            self.refused = before
            self._nothing_can_be_sent(reason)

    def _meanwhile(self, current: settings.Settings) -> None:
        """While the server handles what was sent: take more in, and write it with the rest."""
        if self.backlog.count_due(time.monotonic()) < 2 * self.delivery.window.size:  # with those in flight
            with contextlib.suppress(OSError):  # it will be met again by `_work`
                self.intake.take_in(current, self.book, in_flight=self.delivery.in_flight)
        self.queue.catch_up()

    def _nothing_can_be_sent(self, reason: str) -> None:
        """No message is to blame: all of them wait, except those that are too old or too many."""
        self.replies.put_off(reason)
        pop = self.settings.pop if self.settings else PopOptions({})
        spool = self.settings.spool if self.settings else SpoolOptions({})
        give_up_after, calls, size = pop.give_up_after, spool.calls, spool.megabytes * 1024 * 1024
        try:
            self.log.problem(log.SESSION, reason, waiting=len(self.backlog) + len(self.intake.waiting()))
            self.intake.put_off(reason)
            old = [name for name in self.backlog.names() if may_be_older(name, give_up_after)]
            for message in self.delivery.load(old):
                if message.event.age() > give_up_after:
                    self.results.settle(message, later(reason), give_up_after)
            beyond = [name for name in self.queue.oldest_beyond("queue", calls, size) if name in self.backlog]
            for message in self.delivery.load(beyond):
                self.results.settle(message, never(f"the spool is full: {reason}"), give_up_after)
            self.intake.give_up(reason, give_up_after)
            self.intake.give_up(reason, give_up_after, set(self.queue.oldest_beyond("new", calls, size)))
        except OSError as error:
            self.log.problem(log.SPOOL, str(error))
        self.queue.catch_up()
        self.housekeeping.tidy(pop, spool, self.results.count)

    def _something_waits(self) -> bool:
        try:
            queued = self.backlog or self.delivery.in_flight or self.intake.floods
            return bool(not self.queue_is_read or queued or self.queue.is_behind or self.intake.waiting())
        except OSError as error:
            self.log.problem(log.SPOOL, str(error))
            return True

    def _wait(self, leave_at: float) -> None:
        """For the trigger, the server, or the time."""
        now = time.monotonic()
        until = min(now + CHECK_INTERVAL, now + self._keep_alive(), self._next_work())
        if leave_at > now:  # else something waits
            until = min(until, leave_at)
        self._report()
        watched = [side for side in (self.trigger, self.connection.session, self.book.names and self.book) if side]
        self.is_waiting = True
        self.at_work.release()
        try:
            ready = readable(watched, until - now)
        finally:
            self.at_work.acquire()
            self.is_waiting = False
        if self.failure:  # the session is not used any more: what follows would be taken for the rest of a message
            failure, self.failure = self.failure, None
            self._session_ended(failure)
        if self.book in ready:
            self._read_book()
        if self.connection.session in ready:
            self._process()

    def _process(self, seconds: float = 0.0) -> None:
        """What the server sends within that time."""
        try:
            self.connection.process(seconds)
        except SessionError as error:
            self._session_ended(error)

    def _settle(self, current: settings.Settings) -> bool:
        """What rooms have sent back, or not. Returns whether there was any."""
        session = self.connection.session
        return session is not None and self.delivery.settle(session.awaited(), current)

    def _read_book(self) -> None:
        for problem in self.book.read():
            self.log.write(problem)

    def _next_work(self) -> float:
        """When a message or a call is due that could not be sent or taken in before."""
        if self.settings is None:  # the file is read again after CHECK_INTERVAL
            return math.inf
        due = self.backlog.next_due()
        if due is not None and not self.connection.session:
            due = max(due, self.connection.pause.until)
        session = self.connection.pause.until if self._session_wanted() else None
        taken_in = self.intake.next_due(self.delivery.in_flight)
        return min((when for when in (due, session, taken_in) if when is not None), default=math.inf)

    def _keep_alive(self) -> float:
        """Returns seconds until this is due again."""
        try:
            return self.connection.keep_alive()
        except SessionError as error:
            self._session_ended(error)
            return CHECK_INTERVAL

    def _session_ended(self, error: SessionError) -> None:
        """Only messages to rooms were in flight. The next message begins a new session."""
        if self.settings:
            self.delivery.session_ended(error.what, self.settings)
        self.connection.ended()
        self.log.write(f"session ended: {error}")

    def _leave(self) -> bool:
        """Close the trigger, and look once more: a call that came before that would wait for nobody."""
        self.connection.close()
        self._report()
        self._read_trigger()  # what was rung meanwhile is lost when the FIFO is closed
        self.trigger.close()
        if not self._something_waits():
            return True
        self.trigger.reopen()
        return False

    def _report(self) -> None:
        """For `screen-pop status` and `flush`."""
        session = self.connection.session
        report: dict[str, object] = {
            "pid": os.getpid(),
            "since": self.since,
            "resident": self.service is not None,
            "doors": self.service.addresses() if self.service else [],
            "session": {"jid": session.jid, "host": session.host, "since": session.since} if session else None,
            "tried": self.tried,
            "refused": self.refused,
            "problem": self.log.current_problem,
            "last": self.log.last,
        }
        if report != self.reported:
            state.write(self.queue.path, report)
            self.reported = report


def _index_folder(spool: str) -> str:
    """The spool, or for the spare one that which it stands in for: an index in memory could take all of that."""
    usual = path_from_environment()
    return usual if spool == Outbox(usual).spare_path else spool
