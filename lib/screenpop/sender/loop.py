"""The sender: takes the calls out of the outbox and sends them, over one session for as many as come.

Started by a door when a call comes and nobody answers the doorbell (spool/trigger.py), it stays for `linger` seconds after
the last call, and for as long as calls wait.
"""

from __future__ import annotations

import os
import random
import select
import time
from pathlib import Path

from .. import config, settings
from ..call import Call, uptime
from ..log import Log, default_file
from ..pop.options import PopOptions
from ..spool import trigger
from ..spool.options import SpoolOptions
from ..spool.outbox import Broken, Outbox
from ..spool.trigger import FLUSH, Doorbell
from ..xmpp.errors import SessionError
from .delivery import Delivery

BATCH = 100  # calls that are read at a time
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts
LOOK = 5.0  # seconds after which a sender looks whether the outbox is still its own
TIDY = 3600.0  # seconds after which it tidies up again


class Sender:
    def __init__(self, outbox: Outbox, bell: Doorbell, conf: Path) -> None:
        self.outbox, self.bell, self.conf = outbox, bell, conf
        self.log = Log(default_file())
        self.delivery = Delivery(outbox, self.log)
        self.config: settings.Settings | None = None
        self.trouble = ""  # what was last said to be wrong, so that it is said once
        self.pause = FIRST_PAUSE
        self.next_attempt = self.last_attempt = 0.0  # as time.monotonic()
        self.stopped = False  # by what is wrong for all calls
        self.put_off: set[str] = set()  # names of those that wait for the next attempt, if it is not
        self.since, self.attempted = time.time(), 0.0
        self.next_tidy = 0.0
        last = outbox.said().get("last")
        self.log.last += [entry for entry in (last if isinstance(last, list) else []) if isinstance(entry, dict)]

    def run(self) -> None:
        """Until there has been nothing to do for `linger` seconds, or the outbox has another sender."""
        self._say()
        last_call = time.monotonic()
        while self._has_outbox():
            self._put_off_returned()
            keep_alive = self._keep_alive()
            now = time.monotonic()
            try:
                names = self._waiting()
            except OSError as error:  # out of file descriptors
                self._troubled(str(error))
                self._wait(FIRST_PAUSE)
                continue
            if due := self._due(names, now):
                self._attempt(due)
                self._say()
                self._tidy()
                last_call = time.monotonic()
                continue
            until = self.next_attempt if names else last_call + (self.config.pop.linger if self.config else 0.0)
            if names or now < until:
                self._wait(min(until - now, keep_alive))
            elif self._leave():
                return
        self.delivery.close()

    def _has_outbox(self) -> bool:
        """Whether this is still its sender."""
        try:
            return self.bell.keep()
        except OSError as error:  # it can't be known: out of file descriptors
            self._troubled(str(error))
            return True

    def _waiting(self) -> list[str]:
        """Raises OSError."""
        try:
            return self.outbox.waiting()
        except FileNotFoundError:
            self.outbox.make()
            return []

    def _say(self) -> None:
        """For `screen-pop status`."""
        session = self.delivery.session
        self.outbox.say(
            {
                "pid": os.getpid(),
                "since": self.since,
                "session": {"jid": session.jid, "host": session.host, "since": session.since} if session else None,
                "attempted": self.attempted,  # by the uptime: when the last attempt began
                "trouble": self.trouble,
                "last": self.log.last,
            }
        )

    def _tidy(self) -> None:
        """What was left by others who were killed, in tmp/ and in the spare outbox; and what is too much in failed/."""
        now = time.monotonic()
        if now < self.next_tidy:
            return
        self.next_tidy = now + TIDY
        try:
            self.outbox.tidy()
            for spare in self.outbox.and_spare()[1:]:
                if spare.waiting():
                    trigger.ring(spare.path)
            self._forget_oldest()
        except OSError as error:
            self.log.write(f"not tidied up: {error}")

    def _keep_alive(self) -> float:
        """Returns the seconds until this is due again."""
        try:
            return self.delivery.session.keep_alive() if self.delivery.session else LOOK
        except SessionError as trouble:
            self._lost(trouble)
            return LOOK

    def _lost(self, trouble: SessionError) -> None:
        """Nothing was under way: the next call will begin a new session."""
        self.delivery.close()
        self.log.write(f"session ended: {trouble}")
        self._say()

    def _due(self, names: list[str], now: float) -> list[str]:
        """All of them after a pause; during it the new ones, unless nothing can be sent at all."""
        if now >= self.next_attempt:
            self.put_off.clear()
            return names
        return [] if self.stopped else [name for name in names if name not in self.put_off]

    def _put_off_returned(self) -> None:
        """What a remote domain gave back, to be tried again, is not tried at once: it might come back for ever."""
        returned, self.delivery.returned = self.delivery.returned, {}
        for call_id, reason in returned.items():
            call = self.delivery.calls[call_id]
            self.put_off.add(f"{call_id}.json")
            self.pause = max(self.pause, min(call.age(), LONGEST_PAUSE))  # the attempt, which went well, has reset it
            self._troubled(reason)
            self._put_off(call, reason)
        if returned:
            self._pause()

    def _pause(self) -> None:
        self.next_attempt = time.monotonic() + self.pause * random.uniform(0.8, 1.2)  # noqa: S311
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def _wait(self, seconds: float) -> None:
        """For the doorbell, the server, or the time."""
        watched = [side for side in (self.bell, self.delivery.session) if side]
        ready = select.select(watched, [], [], min(max(0.0, seconds), LOOK))[0]
        if self.bell in ready:
            if FLUSH in self.bell.answer():
                self.next_attempt, self.pause = 0.0, FIRST_PAUSE
            elif self.stopped:  # a new call is a reason to try again, but no more than once a second
                self.next_attempt, self.pause = min(self.next_attempt, self.last_attempt + FIRST_PAUSE), FIRST_PAUSE
        if self.delivery.session in ready:
            newest = self.log.last[-1:]
            try:
                self.delivery.process()
            except SessionError as trouble:
                self._lost(trouble)
            if self.log.last[-1:] != newest:  # something has come back
                self._say()

    def _leave(self) -> bool:
        """Close the doorbell, and look once more: a call that came before that would wait for nobody."""
        self.delivery.close()
        self._say()
        self.bell.close()
        if self._waiting():
            self.bell.reopen()
            return False
        return True

    def _attempt(self, names: list[str]) -> None:
        """Send what waits. What can't be sent yet is tried again after a pause that grows."""
        self.attempted = uptime()
        self.put_off.difference_update(names)
        again: dict[str, str] = {}  # by name or id: why it is to be tried again
        for first in range(0, len(names), BATCH):
            if not self._has_outbox():
                return
            calls: list[Call] = []
            for name in names[first : first + BATCH]:
                try:
                    calls += filter(None, [self._read(name)])
                except OSError as error:  # one that can be neither read nor moved must not hold up the others
                    again[name] = str(error)
            stopped = self._deliver(calls, again)
            if stopped:
                again.update((call.id, stopped) for call in calls if self.outbox.is_waiting(call))
                again.setdefault("", stopped)
            for call in calls:
                if call.id in again:
                    self._put_off(call, again[call.id])
            self.stopped = bool(stopped)
            if stopped:
                break
        self.last_attempt = time.monotonic()
        reason = next(iter(again.values()), "")
        if reason:
            self._troubled(reason)
            if not self.put_off or self.stopped:
                self._pause()
            self.put_off.update(name for name in names if name in again or name.removesuffix(".json") in again)
            self._keep_within_limits()
        elif not self.put_off:
            self.pause, self.trouble = FIRST_PAUSE, ""

    def _deliver(self, calls: list[Call], again: dict[str, str]) -> str:
        """Returns what keeps all calls from being sent, if anything does; `again` gets what keeps single ones."""
        try:
            again.update(self.delivery.deliver(calls, self._read_config()))
            return ""
        except (SessionError, config.ConfigError, OSError) as trouble:
            self.delivery.close()
            return str(trouble)
        except Exception as error:  # a mistake of ours, which must hold up none but the call that it is made with
            self.delivery.close()
            if len(calls) == 1:
                again[calls[0].id] = f"{type(error).__name__}: {error}"
                return ""
            return next(filter(None, (self._deliver([call], again) for call in calls)), "")

    def _troubled(self, reason: str) -> None:
        """Say it, once."""
        if reason != self.trouble:
            try:
                count = str(len(self.outbox.waiting()))
            except OSError:
                count = "all"
            self.log.write(f"not sent yet, {count} waiting: {reason}")
        self.trouble = reason

    def _keep_within_limits(self) -> None:
        """Of what waits and can't be sent, the oldest calls go to failed/."""
        try:
            for name in self.outbox.beyond("new", *self._limits()):
                if call := self._read(name):
                    self._give_up(call, f"the outbox is full: {self.trouble}")
            self._forget_oldest()
        except OSError as error:
            self.log.write(f"the outbox is not kept within its limits: {error}")

    def _forget_oldest(self) -> None:
        """Of what has failed. Raises OSError."""
        for name in self.outbox.beyond("failed", *self._limits()):
            self.outbox.forget(name)
            self.log.write(f"{name} is removed from failed/, which is full")

    def _limits(self) -> tuple[int, int]:
        """Of the outbox: calls, and bytes."""
        limits = self.config.spool if self.config else SpoolOptions
        return limits.calls, limits.megabytes * 1024 * 1024

    def _read(self, name: str) -> Call | None:
        try:
            return self.outbox.read(name)
        except FileNotFoundError:  # somebody took it away
            return None
        except Broken as broken:
            self.outbox.reject(name, str(broken))
            self.log.write(f"{name} failed: {broken}")
            return None

    def _read_config(self) -> settings.Settings:
        """At first, and whenever a file of it has changed: then a new session is needed as well."""
        if not self.config or self.config.is_stale():
            self.delivery.close()
            self.config = None
            self.config = settings.load(self.conf)
            self.log.file = self.config.log.path
        return self.config

    def _put_off(self, call: Call, reason: str) -> None:
        """A call that was tried and could not be sent waits, or is too old for that."""
        age = call.age()
        if age > (self.config.pop if self.config else PopOptions).give_up_after:
            self._give_up(call, f"given up after {age:.0f} s: {reason}")
        else:
            self.outbox.tell(call, status="QUEUED", reason=reason)

    def _give_up(self, call: Call, reason: str) -> None:
        self.delivery.give_up(call, self.config.pop.to if self.config else (), reason)
