"""Run the resident sender with its doors, FastAGI and HTTP; for systemd or another supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from ..spool import state, trigger
from . import _spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..doors.fastagi import Door
    from ..doors.http_server import HttpDoor
    from ..doors.options import Network
    from ..log import Log
    from ..settings import Settings
    from ..spool.outbox import Outbox
    from ..spool.queue import Queue
    from ..spool.trigger import Trigger

    Address = tuple[str, int]
    Permitted = Callable[[str], tuple[str, str]]

FREEPBX = "/etc/freepbx.conf"
POLL = 0.5  # seconds
RETRY = 5.0  # seconds until a spool that can't be used is tried again
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

    conf = settings.path_from_environment()
    process.prepare()
    descriptors.allow_enough()
    queue = Queue(path)
    service = Service(Outbox(path, queue.handed_over), Log(default_file()))
    try:
        service.wait_for_resident(path)
        service.open_doors(_current_settings(conf))  # first: without them, a sender that is up goes on
        taken = _take_over(queue, service, conf)
    except Failed as error:
        service.tell(str(error))
        service.close_doors()
        return 1
    sender = Sender(queue, taken, conf, service)
    sender.run()
    if not sender.leaving:
        service.tell(f"ending, as the spool {path} is gone or has another sender")
    service.close_doors()
    os._exit(0 if sender.leaving else 1)  # at once: threads may wait for others


def _current_settings(conf: str) -> Settings | None:
    from .. import config, settings

    try:
        return settings.load(conf)
    except config.ConfigError:  # the sender logs it; calls must be queued all the same
        return None


def _take_over(queue: Queue, service: Service, conf: str) -> Trigger:
    """As long as the spool can't be used, the doors send calls to the spool in memory. Raises Failed."""
    from ..spool.trigger import Trigger

    while True:
        try:
            queue.make()
            return Trigger.take_over(queue.path, service.keep_starting)
        except OSError as error:
            service.do_without(f"{queue.path}: {error.strerror}")
        service.open_doors(_current_settings(conf))
        service.alive()
        time.sleep(RETRY)


class Failed(Exception):
    """A door can't listen."""


class Service:
    """What the sender's process has beside it: the doors, and systemd, which is told how it goes."""

    def __init__(self, outbox: Outbox, log: Log) -> None:
        from ..sender.systemd import Systemd

        self.outbox, self.log, self.systemd = outbox, log, Systemd()
        self._doors: dict[str, tuple[Address, Any]] = {}  # by the names of their sections
        self._token = ""  # of the HTTP door
        self._does_without = self._lacks_fastagi = ""
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

    def open_doors(self, current: Settings | None) -> None:
        """As configured, or without a configuration by its defaults. Raises Failed."""
        from ..doors.options import FastagiOptions

        fastagi = current.fastagi if current else FastagiOptions({})
        self._token = current.http.token if current else ""
        limits = fastagi.allow, _permitted(current) if current and fastagi.allow else None
        is_of_freepbx = fastagi.is_default and os.path.exists(FREEPBX)
        listen, lacks = (None, "FreePBX uses port 4573") if is_of_freepbx else (fastagi.listen, "")
        try:
            self._open("fastagi", fastagi.listen, lambda address: self._fastagi_door(address, *limits))
        except Failed as error:
            if not fastagi.is_default:
                raise
            lacks = str(error)
        if lacks and lacks != self._lacks_fastagi:
            self.tell(f"{lacks}: there is no FastAGI until [fastagi] listen names another port")
        self._lacks_fastagi = lacks
        if "fastagi" in self._doors:
            self._doors["fastagi"][1].limit(*limits)
        self._open("http", current.http.listen if current else None, self._http_door)

    def _open(self, name: str, address: Address | None, make: Callable[[Address], Door | HttpDoor]) -> None:
        """Let the door listen at this address, if it does not yet. Raises Failed; then it stays as it was."""
        before, door = self._doors.get(name, (None, None))
        if address == before:
            return
        try:
            made = make(address) if address else None
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise Failed(f"[{name}] listen = {_written(address)}: {why}") from error
        if door:
            del self._doors[name]
            door.close()
        if made and address:
            self._doors[name] = address, made

    def _fastagi_door(self, address: Address, networks: Sequence[Network], permitted: Permitted | None) -> Door:
        from ..doors import fastagi

        door = fastagi.Door(address, self.outbox, self.log.write, networks, permitted)
        door.start()
        return door

    def _http_door(self, address: Address) -> HttpDoor:
        from ..doors.http import Application
        from ..doors.http_server import HttpDoor

        return HttpDoor(address, Application(self.outbox, lambda: self._token, self.log.write))

    def follow(self, current: Settings) -> None:
        self.log.file = current.log.path
        try:
            self.open_doors(current)
        except Failed as error:
            self.tell(str(error))

    def alive(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.systemd.notify("READY=1")
        self.systemd.alive()

    def doors(self) -> list[str]:
        return [f"{name} {_written(address)}" for name, (address, _) in self._doors.items()]

    def leave(self) -> None:
        """The calls that FastAGI has are answered while the sender waits for what is in flight."""
        for _, door in self._doors.values():
            door.leave()

    def close_doors(self) -> None:
        for _, door in self._doors.values():
            door.close()


def _permitted(current: Settings) -> Permitted:
    """Where others than this box may connect, the dialplan can only name recipients that the configuration has."""
    from ..pop.routes import permitted

    configured = [*current.routes.recipients(), *current.rooms]
    return lambda to: permitted(to, configured)


def _written(address: Address | None) -> str:
    host, port = address or ("", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
