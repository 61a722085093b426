"""The sender: takes the calls out of the outbox and sends them, over one session for as many as come.

Started by a door when a call comes and nobody answers the doorbell (doorbell.py), it stays for `linger` seconds after
the last call, and for as long as calls wait.
"""

from __future__ import annotations

import random
import select
import time
from pathlib import Path

from . import config
from .call import Call
from .delivery import Box, Delivery
from .doorbell import Doorbell
from .log import Log
from .outbox import Broken
from .trouble import Trouble

BATCH = 100  # calls that are read at a time
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts


class Sender:
    def __init__(self, box: Box, bell: Doorbell | None, conf: Path) -> None:
        self.box, self.bell, self.conf = box, bell, conf
        self.log = Log(config.default_log_file())
        self.delivery = Delivery(box, self.log)
        self.config: config.Config | None = None
        self.trouble = ""  # what was last said to be wrong, so that it is said once
        self.pause = FIRST_PAUSE
        self.next_attempt = self.last_attempt = 0.0  # as time.monotonic()
        self.stopped = False  # by what is wrong for all calls
        self.put_off: set[str] = set()  # names of those that wait for the next attempt, if it is not

    def run(self) -> None:
        """Until there has been nothing to do for `linger` seconds."""
        last_call = time.monotonic()
        while True:
            self._put_off_returned()
            names = self.box.waiting()
            now = time.monotonic()
            if due := self._due(names, now):
                self._attempt(due)
                last_call = time.monotonic()
                continue
            until = self.next_attempt if names else last_call + self._linger()
            if names or now < until:
                self._wait(until - now)
            elif self._leave():
                return

    def _due(self, names: list[str], now: float) -> list[str]:
        """All of them after a pause; during it the new ones, unless nothing can be sent at all."""
        if now >= self.next_attempt:
            self.put_off.clear()
            return names
        return [] if self.stopped else [name for name in names if name not in self.put_off]

    def _put_off_returned(self) -> None:
        """What a remote domain gave back, to be tried again, is not tried at once: it might come back for ever."""
        if self.delivery.returned:
            self.put_off.update(f"{call_id}.json" for call_id in self.delivery.returned)
            self.delivery.returned.clear()
            self._pause()

    def _pause(self) -> None:
        self.next_attempt = time.monotonic() + self.pause * random.uniform(0.8, 1.2)  # noqa: S311
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def _linger(self) -> float:
        return self.config.linger if self.bell and self.config else 0.0

    def _wait(self, seconds: float) -> None:
        """For the doorbell, the server, or the time."""
        watched = [side for side in (self.bell, self.delivery.session) if side]
        ready = select.select(watched, [], [], max(0.0, seconds))[0]
        if self.bell and self.bell in ready:
            self.bell.answer()
            if self.stopped:  # a new call is a reason to try again, but no more than once a second
                self.next_attempt, self.pause = min(self.next_attempt, self.last_attempt + FIRST_PAUSE), FIRST_PAUSE
        if self.delivery.session in ready:
            try:
                self.delivery.process()
            except Trouble:  # nothing was under way: the next call will begin a new session
                self.delivery.close()

    def _leave(self) -> bool:
        """Close the doorbell, and look once more: a call that came before that would wait for nobody."""
        self.delivery.close()
        if self.bell:
            self.bell.close()
            if self.box.waiting():
                self.bell.reopen()
                return False
        return True

    def _attempt(self, names: list[str]) -> None:
        """Send what waits. What can't be sent yet is tried again after a pause that grows."""
        self.put_off.difference_update(names)
        again: dict[str, str] = {}
        for first in range(0, len(names), BATCH):
            calls: list[Call] = []
            stopped = ""
            try:
                for name in names[first : first + BATCH]:
                    try:
                        calls += filter(None, [self._read(name)])
                    except OSError as error:  # one that can be neither read nor moved must not hold up the others
                        again[name] = str(error)
                again.update(self.delivery.deliver(calls, self._read_config()))
            except (Trouble, config.ConfigError, OSError) as trouble:
                stopped = str(trouble)
            except Exception as error:  # a mistake of ours must not end the sender, and with it all other calls
                stopped = f"{type(error).__name__}: {error}"
            if stopped:
                self.delivery.close()
                again.update((call.id, stopped) for call in calls if self.box.is_waiting(call))
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
            if reason != self.trouble:
                self.log.write(f"not sent yet, {len(self.box.waiting())} waiting: {reason}")
            if not self.put_off or self.stopped:
                self._pause()
            self.put_off.update(name for name in names if name in again or name.removesuffix(".json") in again)
            self.trouble = reason
        elif not self.put_off:
            self.pause, self.trouble = FIRST_PAUSE, ""

    def _read(self, name: str) -> Call | None:
        try:
            return self.box.read(name)
        except FileNotFoundError:  # somebody took it away
            return None
        except Broken as broken:
            self.box.reject(name, str(broken))
            self.log.write(f"{name} failed: {broken}")
            return None

    def _read_config(self) -> config.Config:
        """At first, and whenever a file of it has changed: then a new session is needed as well."""
        if not self.config or self.config.is_stale():
            self.delivery.close()
            self.config = None
            self.config = config.load(self.conf)
            self.log.file = self.config.log_file
        return self.config

    def _put_off(self, call: Call, reason: str) -> None:
        """A call that was tried and could not be sent waits, or is too old for that."""
        age = call.age()
        given_up = f"given up after {age:.0f} s: {reason}"
        if self.config and age > min(self.config.give_up_after, self.box.patience):
            self.delivery.give_up(call, self.config, given_up)
        elif age > self.box.patience:
            self.log.write(f"{call.id} failed: {given_up}")
            self.box.fail(call)
        else:
            self.box.tell(call, status="QUEUED", reason=reason)
