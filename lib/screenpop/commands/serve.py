"""Run the resident sender with its doors, FastAGI and HTTP; for systemd or another supervisor."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time

from ..spool import state, trigger
from . import _spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..log import Log
    from ..sender.loop import Sender
    from ..settings import Settings
    from ..spool.outbox import Outbox
    from ..spool.queue import Queue
    from ..spool.trigger import Trigger

POLL = 0.5  # seconds
RETRY = 5.0  # seconds until a spool that can't be used is tried again
READ_ONLY_FOR = 300.0  # seconds; then it ends: in systemd's sandbox, a spool that was missing stays so until a restart
START_WITHIN = 30  # seconds, of which systemd is told again and again while this waits for another sender


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM comes; or ends with status 1 if the spool is gone or has another sender, or a door can't
    listen. Raises OSError.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to be read again
    path = _spool.path()
    from .. import descriptors, settings
    from ..log import Log, default_file
    from ..sender import process
    from ..sender.loop import Sender
    from ..spool.outbox import Outbox
    from ..spool.queue import Queue
    from ._doors import CannotListen, configured

    conf = settings.path_from_environment()
    process.prepare()
    descriptors.allow_enough()
    queue = Queue(path)
    service = Service(Outbox(path, queue.handed_over), Log(default_file()))
    try:
        service.wait_for_resident(path)
        service.doors.open(configured(conf))  # first: without them, a sender that is up goes on
        taken = _take_over(queue, service, conf)
    except (CannotListen, ReadOnly) as error:
        service.tell(str(error))
        service.doors.close()
        return 1
    sender = Sender(queue, taken, conf, service)
    service.sender = sender
    sender.run()
    if not sender.leaving:
        service.tell(f"ending, as the spool {path} is gone or has another sender")
    service.doors.close()
    os._exit(0 if sender.leaving else 1)  # at once: threads may wait for others


def _take_over(queue: Queue, service: Service, conf: str) -> Trigger:
    """As long as the spool can't be used, the doors send calls to the spool in memory. Raises ReadOnly; and
    CannotListen, when the configuration has changed meanwhile.
    """
    from ..spool.trigger import Trigger
    from ._doors import configured

    began = time.monotonic()
    while True:
        try:
            queue.make()
            return Trigger.take_over(queue.path, service.keep_starting)
        except OSError as error:
            if error.errno == errno.EROFS and time.monotonic() - began > READ_ONLY_FOR:
                raise ReadOnly(f"ending, as {queue.path} is still read-only") from error
            service.do_without(f"{queue.path}: {error.strerror}")
        service.doors.open(configured(conf))
        service.alive()
        time.sleep(RETRY)


class ReadOnly(Exception):
    """The spool stays so."""


class Service:
    """What the sender's process has beside it: the doors, and systemd, which is told how it goes."""

    def __init__(self, outbox: Outbox, log: Log) -> None:
        from ..sender.systemd import Systemd
        from ._doors import Doors

        self.log, self.systemd = log, Systemd()
        self.doors = Doors(outbox, self.tell, log.write, self)
        self.sender: Sender | None = None
        self._does_without = ""
        self._is_ready = False

    def tell(self, text: str) -> None:
        """To the log, and to stderr."""
        with contextlib.suppress(OSError):
            print(f"service: {text}", file=sys.stderr, flush=True)
        self.log.write(f"service: {text}")

    def keep_starting(self) -> None:
        """Tell systemd that the start takes longer."""
        self.systemd.notify(f"EXTEND_TIMEOUT_USEC={START_WITHIN * 1_000_000}")

    def wait_for_resident(self, spool: str) -> None:
        """Wait for the end of another resident sender, which has the spool and the doors."""
        told: object = None
        with contextlib.suppress(OSError):  # the spool can't be used
            while trigger.has_sender(spool) and (other := state.read(spool)).get("resident"):
                self.keep_starting()
                if told != other.get("pid"):
                    told = other.get("pid")
                    self.tell(f"waiting, as process {told} is the resident sender of {spool}")
                time.sleep(POLL)

    def do_without(self, problem: str) -> None:
        """The spool can't be used."""
        if problem != self._does_without:
            self._does_without = problem
            self.tell(f"calls wait in memory until the spool can be used: {problem}")

    def expect(self, number: str) -> None:
        if self.sender:
            self.sender.book.expect(number)

    def send_at_once(self) -> None:
        if self.sender:
            self.sender.send_at_once()

    def follow(self, current: Settings) -> None:
        from ._doors import CannotListen

        self.log.file = current.log.path
        try:
            self.doors.open(current)
        except CannotListen as error:
            self.tell(str(error))

    def alive(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.systemd.notify("READY=1")
        self.systemd.alive()

    def addresses(self) -> list[str]:
        return self.doors.addresses()

    def leave(self) -> None:
        self.doors.leave()
