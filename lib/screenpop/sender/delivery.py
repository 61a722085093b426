"""Sends a window of messages over the session, waits for the server's confirmation, and settles each message.

A message to a room stays in flight after that, until the room has sent it back or is silent for too long; the windows
that follow don't wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

from ..call import Call
from ..log import SPOOL, Log
from ..pop import flood
from ..pop import message as text
from ..pop.message import DEFAULT, DEFAULTS
from ..settings import Settings
from ..spool.queue import Queue
from ..spool.records import InvalidFile, Message
from ..text import clean
from ..xmpp import jid, stanza
from ..xmpp.session import STEP_DEADLINE, Session
from . import backoff
from .backlog import Backlog
from .replies import Replies
from .results import SENT, Result, Results, later, never, of_error

Facts = Callable[[Call], dict[str, str]]
TOGETHER = 10  # stanzas that are written to the socket at once


class Delivery:
    def __init__(self, queue: Queue, backlog: Backlog, log: Log, replies: Replies, results: Results) -> None:
        self.queue, self.backlog, self.log, self.replies, self.results = queue, backlog, log, replies, results
        self.window = backoff.Window()
        self.in_flight: dict[str, Message] = {}  # sent and not confirmed, by stanza id
        self.is_unconfirmed = False  # something was written, and `confirm` must follow
        self._began = 0.0  # the last window, by time.monotonic()
        self._errors: dict[str, Result] = {}  # of those in flight, by stanza id
        self._written: list[str] = []  # stanzas that are not sent yet

    def write(
        self, session: Session, names: list[str], settings: Settings, facts: Facts, with_rooms: bool = True
    ) -> None:
        """Send the messages of these names; `confirm` must follow. `facts`: what the number of a call tells
        (`Book.facts`). `with_rooms`: also those before which a server or a room must answer.

        Raises SessionError; then the messages without a result stay as they are, and are sent again.
        """
        self._began = time.monotonic()
        try:
            self._written.clear()
            for message, xml in self._stanzas(session, names, settings, facts, with_rooms):
                self.in_flight[message.id] = message
                self.is_unconfirmed = True
                self._written.append(xml)
                if len(self._written) == TOGETHER:  # these are handled while the next are made
                    self._flush(session)
            self._flush(session)
        except BaseException:
            self._lost(settings)
            raise

    def confirm(self, session: Session, settings: Settings, meanwhile: Callable[[], object]) -> None:
        """Wait until the server has handled what was written, and settle it. `meanwhile` is called while it works.

        Raises SessionError, as `write`.
        """
        try:
            if self.is_unconfirmed:
                session.confirm(meanwhile)
                self.replies.step("message", "confirmed by the server")
            self.window.confirmed(time.monotonic() - self._began, STEP_DEADLINE)
        except BaseException:
            self._lost(settings)
            raise
        self.is_unconfirmed = False
        self.settle(session.awaited(), settings)
        for message in self.in_flight.values():
            self.backlog.remove(message.name)  # it is not due while the room is waited for

    def _lost(self, settings: Settings) -> None:
        """The session. What is in flight may have arrived, and is sent again over the next one."""
        self.is_unconfirmed = False
        self.settle(self.in_flight, settings)
        self.window.lost()
        for message in self.in_flight.values():
            self.backlog.add(message.name)
            self.backlog.uncertain.add(message.name)
        self.in_flight = {}

    def _flush(self, session: Session) -> None:
        if self._written:
            session.send("".join(self._written))
            self._written.clear()

    def settle(self, awaited: Collection[str], settings: Settings) -> bool:
        """What is in flight and no longer awaited. `awaited`: ids. Returns whether there was any."""
        ended = [one for one in self.in_flight if one in self._errors or one not in awaited]
        for stanza_id in ended:
            result = self._errors.pop(stanza_id, SENT)
            try:
                self.results.settle(self.in_flight[stanza_id], result, settings.pop.give_up_after)
            finally:  # not before: when nothing is in flight, SIGTERM ends the process at once
                del self.in_flight[stanza_id]
        return bool(ended)

    def session_ended(self, reason: str, settings: Settings) -> None:
        """Perhaps while messages to rooms were in flight."""
        if self.is_unconfirmed:
            self._lost(settings)
            return
        result = later(f"the session ended before the room sent the message back: {reason}", may_have_arrived=True)
        for stanza_id in self.in_flight:
            self._errors.setdefault(stanza_id, result)
        self.settle((), settings)

    def _stanzas(
        self, session: Session, names: list[str], settings: Settings, facts: Facts, with_rooms: bool
    ) -> Iterator[tuple[Message, str]]:
        """The messages of these names that can be sent, each with its XML."""
        for message, in_room in self._addressed(session, names, settings, with_rooms):
            held = flood.MINUTE if message.counted else 0.0
            late = message.call.age() if message.event.age() > settings.pop.late_after + held else None
            replaces = message.first_id if message.is_second and settings.pop.corrections else ""
            try:
                event = message.event.event
                template = settings.routes.template(message.call, event) or DEFAULTS.get(event, DEFAULT)
                known = facts(message.call)
                language = settings.pop.language
                if message.counted:
                    duration = message.call.seconds_until(message.event)
                    template = text.summary(len(message.counted), duration, language)
                body = text.text(message.call, template, late, known, message.contact, message.outcome, language)
                to = jid.address(message.to)
                xml = stanza.chat(message.id, to, body, message.event.receipt, replaces, in_room)
            except Exception as error:  # a bug, which must not hold up other messages
                self.results.settle(message, later(f"{type(error).__name__}: {error}"), settings.pop.give_up_after)
                continue
            if in_room:
                session.rooms.expect(message.id, message.to)
            yield message, xml

    def _addressed(
        self, session: Session, names: list[str], settings: Settings, with_rooms: bool
    ) -> Iterator[tuple[Message, bool]]:
        """The messages of these names that have a recipient, each with whether that is a room. Those for which a server
        or a room must answer first come last, if they are wanted.
        """
        last = []
        fresh = set(filter(self.queue.is_fresh, names))  # which can't be outdated
        for message in self.load(names):
            if (message.outcome or message.name not in fresh) and self._is_outdated(message):
                self.results.outdated(message)
                continue
            try:
                may_be_room = jid.may_be_room(message.to, settings.xmpp.jid)
            except ValueError as error:  # a server might close the stream for it, and every message would wait
                self.results.settle(message, never(str(error)), settings.pop.give_up_after)
                continue
            if may_be_room and with_rooms:
                room = settings.rooms.get(jid.address(message.to))
                session.rooms.prepare(message.to, room.password if room else "")
                last.append(message)
            elif not may_be_room:
                yield message, False
        if last:
            from ..xmpp.rooms import NotJoined  # here: most boxes have no room

            self._flush(session)  # those before them don't wait for an answer
        for message in last:
            try:
                in_room = session.rooms.enter(message.to)
            except NotJoined as error:
                self.results.settle(message, of_error(error.type, error.reason), settings.pop.give_up_after)
            else:
                yield message, in_room

    def load(self, names: list[str]) -> Iterator[Message]:
        """The messages of these names that can be read."""
        for name in names:
            try:
                message = self.queue.load(name)
            except FileNotFoundError:  # somebody took it away
                self.backlog.remove(name)
            except InvalidFile as reason:
                self._reject(name, str(reason))
            except OSError as error:  # out of file descriptors
                self._postpone(name, str(error))
            else:
                yield message

    def _is_outdated(self, message: Message) -> bool:
        """Whether what came back, or had failed, is told by its correction, which was sent: the older text must not
        come after it. A correction that waits is sent behind it.
        """
        if message.is_second:
            return False
        return f"{message.id}-2" in self.in_flight or self.queue.has_second(message, ("sent",))

    def _reject(self, name: str, reason: str) -> None:
        try:
            self.queue.reject("queue", name, reason)
        except OSError as error:
            self._postpone(name, str(error))
            return
        self.backlog.remove(name)
        self.log.write(f"{name} failed: {reason}")

    def _postpone(self, name: str, reason: str) -> None:
        self.backlog.add(name, time.monotonic() + backoff.FIRST)
        self.log.problem(SPOOL, reason, waiting=len(self.backlog))

    def on_error(self, settings: Settings, stanza_id: str, sender: str, error_type: str, reason: str) -> None:
        """A message came back: before its confirmation, or later from a remote domain."""
        message = self.in_flight.get(stanza_id) or self.queue.find_sent(stanza_id)
        if not message or not jid.may_bounce(sender, settings.xmpp.jid, jid.address(message.to)):
            return
        result = of_error(error_type, clean(reason, limit=300))
        if stanza_id in self.in_flight:
            self._errors[stanza_id] = result
        else:
            self.results.settle(message, result, settings.pop.give_up_after, "sent")
