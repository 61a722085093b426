"""Run the resident sender, which signs in before the first call; for systemd or another supervisor."""

from __future__ import annotations

import os
import sys

from ..spool import state
from . import _spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..log import Log
    from ..settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM comes; or ends with status 1 if another sender has the spool. Raises OSError."""
    path = _spool.path()
    from .. import settings
    from ..log import Log, default_file
    from ..sender import process
    from ..sender.loop import Sender
    from ..spool.queue import Queue
    from ..spool.trigger import Trigger

    conf = settings.path_from_environment()
    process.prepare()
    queue = Queue(path)
    queue.make()
    log = Log(default_file())
    service = Service(log)
    trigger = Trigger.take_over(path, lambda: service.wait_for(path))
    sender = Sender(queue, trigger, conf, service)
    sender.run()
    if not sender.leaving:
        log.write(f"service: ending, as another sender has the spool {path}")
    os._exit(0 if sender.leaving else 1)  # at once: threads may wait for others


class Service:
    """What the sender's process has beside it."""

    def __init__(self, log: Log) -> None:
        from ..sender.systemd import Systemd

        self.log, self.systemd = log, Systemd()
        self._waits_for: object = None
        self._is_ready = False

    def wait_for(self, spool: str) -> None:
        """Another sender has the spool; one that was started for a call leaves soon."""
        other = state.read(spool)
        if other.get("resident") and self._waits_for != other.get("pid"):
            self._waits_for = other.get("pid")
            text = f"service: waiting, as process {self._waits_for} is the resident sender of {spool}"
            print(text, file=sys.stderr, flush=True)
            self.log.write(text)

    def follow(self, current: Settings) -> None:
        self.log.file = current.log.path

    def alive(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.systemd.notify("READY=1")
        self.systemd.alive()

    def doors(self) -> list[str]:
        return []
