"""The sender: takes the calls out of the outbox and sends them, over one session for as many as come.

Started by a door when a call comes and nobody answers the doorbell (doorbell.py), it stays for `linger` seconds after the
last call, and for as long as calls wait.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import sys
import time

from . import config, handover, routes
from .call import Call
from .delivery import Box, Delivery
from .doorbell import Doorbell
from .log import Log
from .outbox import Broken, Outbox, path_from_environment
from .trouble import Trouble

BATCH = 100  # calls that share one confirmation
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts


class Sender:
    def __init__(self, box: Box, bell: Doorbell | None) -> None:
        self.box, self.bell = box, bell
        self.log = Log(config.default_log_file())
        self.delivery = Delivery(box, self.log)
        self.config: config.Config | None = None
        self.trouble = ""  # what was last said to be wrong, so that it is said once
        self.pause = FIRST_PAUSE
        self.next_attempt = 0.0  # as time.monotonic()

    def run(self) -> None:
        """Until there has been nothing to do for `linger` seconds."""
        last_call = time.monotonic()
        while True:
            names = self.box.waiting()
            now = time.monotonic()
            if names and now >= self.next_attempt:
                self._attempt(names)
                last_call = time.monotonic()
                continue
            until = self.next_attempt if names else last_call + self._linger()
            if names or now < until:
                self._wait(until - now)
            elif self._leave():
                return

    def _linger(self) -> float:
        return self.config.linger if self.bell and self.config else 0.0

    def _wait(self, seconds: float) -> None:
        """For the doorbell, the server, or the time."""
        watched = [side for side in (self.bell, self.delivery.session) if side]
        ready = select.select(watched, [], [], max(0.0, seconds))[0]
        if self.bell and self.bell in ready:
            self.bell.answer()
            self.next_attempt, self.pause = 0.0, FIRST_PAUSE
        if self.delivery.session in ready:
            try:
                self.delivery.process()
            except Trouble:  # nothing was under way: the next call will begin a new session
                self.delivery.close()

    def _leave(self) -> bool:
        """Close the doorbell, and look once more: a call that came before that would wait for nobody."""
        if self.bell:
            self.bell.close()
            if self.box.waiting():
                self.bell.reopen()
                return False
        self.delivery.close()
        return True

    def _attempt(self, names: list[str]) -> None:
        """Send what waits. What can't be sent yet is tried again after a pause that grows."""
        again = ""
        for first in range(0, len(names), BATCH):
            calls = [call for call in map(self._read, names[first : first + BATCH]) if call]
            try:
                self._read_config()
                again = self._send(calls) or again
            except (Trouble, config.ConfigError, OSError) as trouble:
                self.delivery.close()
                again = str(trouble)
                for call in calls:
                    self.box.tell(call, status="QUEUED", reason=again)
                break
        if again:
            if again != self.trouble:
                self.log.write(f"not sent yet, {len(self.box.waiting())} waiting: {again}")
            self.next_attempt = time.monotonic() + self.pause * random.uniform(0.8, 1.2)  # noqa: S311
            self.pause = min(2 * self.pause, LONGEST_PAUSE)
        else:
            self.pause = FIRST_PAUSE
        self.trouble = again

    def _read(self, name: str) -> Call | None:
        try:
            return self.box.read(name)
        except FileNotFoundError:  # somebody took it away
            return None
        except Broken as broken:
            self.box.reject(name, str(broken))
            self.log.write(f"{name} failed: {broken}")
            return None

    def _read_config(self) -> None:
        """At first, and whenever a file of it has changed: then a new session is needed as well."""
        if self.config and not self.config.is_stale():
            return
        self.delivery.close()
        self.config = None
        self.config = config.load(config.path_from_environment())
        self.log.file = self.config.log_file

    def _send(self, calls: list[Call]) -> str:
        assert self.config  # noqa: S101 - read just before
        young = []
        for call in calls:
            if time.time() - call.time > self.config.give_up_after:
                self._give_up(call, self.config)
            else:
                young.append(call)
        return self.delivery.deliver(young, self.config) if young else ""

    def _give_up(self, call: Call, given: config.Config) -> None:
        reason = f"not sent for {given.give_up_after:.0f} s; {self.trouble or 'no sender was up'}"
        recipients, wrong = routes.recipients(call, given.to)
        call.failed = {**dict.fromkeys((to for to in recipients if to not in call.delivered), reason), **wrong, **call.failed}
        self.delivery.fail(call)


def main(arguments: list[str]) -> None:
    """`--handed`: the call comes on standard input. Else the outbox's; `arguments` are then the descriptors of the lock
    and the doorbell, or nothing."""
    os.chdir("/")
    os.umask(0o077)
    if arguments == ["--handed"]:
        Sender(handover.Memory(handover.take()), None).run()
        return
    left = [int(descriptor) for descriptor in arguments]
    _close_all_but({0, 1, 2, *left})
    outbox = Outbox(path_from_environment())
    outbox.make()
    Sender(outbox, Doorbell(outbox.path, *left)).run()


def _close_all_but(kept: set[int]) -> None:
    """Whatever was inherited by mistake, Asterisk may be waiting for its end."""
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - kept:
        with contextlib.suppress(OSError):
            os.close(descriptor)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as error:
        Log(config.default_log_file()).write(f"the sender ends: {type(error).__name__}: {error}")
        raise
