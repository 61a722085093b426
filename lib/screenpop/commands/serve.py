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
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..doors.fastagi import Door
    from ..doors.http_server import HttpDoor
    from ..doors.options import FastagiOptions, HttpOptions, Network
    from ..log import Log
    from ..sender.loop import Sender
    from ..settings import Settings
    from ..spool.outbox import Outbox
    from ..spool.queue import Queue
    from ..spool.trigger import Trigger

    Address = tuple[str, int]
    Permitted = Callable[[str], tuple[str, str]]

FREEPBX = "/etc/freepbx.conf"
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
    service.sender = sender
    sender.run()
    if not sender.leaving:
        service.tell(f"ending, as the spool {path} is gone or has another sender")
    service.close_doors()
    os._exit(0 if sender.leaving else 1)  # at once: threads may wait for others


class Known:
    """What a configuration with errors says of the doors. None: there is an error in that section."""

    def __init__(self, fastagi: FastagiOptions | None, http: HttpOptions | None) -> None:
        self.fastagi, self.http = fastagi, http


def _current_settings(conf: str) -> Settings | Known:
    from .. import config, settings
    from ..doors.options import FastagiOptions, HttpOptions

    try:
        return settings.load(conf)
    except config.ConfigError as error:  # the sender logs it; calls must be queued all the same
        if isinstance(error.__cause__, FileNotFoundError):
            return Known(FastagiOptions({}), HttpOptions({}))
        right: Any = error.right
        return Known(right.get("fastagi"), right.get("http"))


def _take_over(queue: Queue, service: Service, conf: str) -> Trigger:
    """As long as the spool can't be used, the doors send calls to the spool in memory. Raises Failed."""
    from ..spool.trigger import Trigger

    began = time.monotonic()
    while True:
        try:
            queue.make()
            return Trigger.take_over(queue.path, service.keep_starting)
        except OSError as error:
            if error.errno == errno.EROFS and time.monotonic() - began > READ_ONLY_FOR:
                raise Failed(f"ending, as {queue.path} is still read-only") from error
            service.do_without(f"{queue.path}: {error.strerror}")
        service.open_doors(_current_settings(conf))
        service.alive()
        time.sleep(RETRY)


class Failed(Exception):
    """A door can't listen, or the spool can't be written."""


class _Open:
    """A door that listens. `limits`: the arguments of its `limit`, if it has any."""

    def __init__(self, address: Address, limits: tuple[Any, ...], door: Any) -> None:
        self.address, self.limits, self.door = address, limits, door


class Service:
    """What the sender's process has beside it: the doors, and systemd, which is told how it goes."""

    def __init__(self, outbox: Outbox, log: Log) -> None:
        from ..sender.systemd import Systemd

        self.outbox, self.log, self.systemd = outbox, log, Systemd()
        self._doors: dict[str, _Open] = {}  # by the names of their sections
        self._token = ""  # of the HTTP door
        self._does_without = self._lacks_fastagi = ""
        self._is_ready = False
        self.sender: Sender | None = None

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

    def open_doors(self, current: Settings | Known) -> None:
        """As configured; where that isn't known, nothing changes. A door that can't listen at its new address stays at
        its old one, with its old limits. Raises Failed when all doors have been tried.
        """
        wanted, lacks = self._wanted(current)
        moved = {}
        for name, (address, limits) in wanted.items():
            if before := self._doors.get(name):
                if address != before.address:
                    moved[name] = self._doors.pop(name)
                elif limits:
                    before.door.limit(*limits)
                    before.limits = limits
        ports = {address[1] for address, _ in wanted.values() if address}
        closed = {name for name, before in moved.items() if before.address[1] in ports}
        for name in closed:  # all of them first: a new address may need the port of an old one
            moved[name].door.close()
        problems = []
        for name, (address, limits) in wanted.items():
            if address and name not in self._doors:
                try:
                    self._open(name, address, limits)
                except Failed as error:
                    if name == "fastagi" and current.fastagi and current.fastagi.is_default:
                        lacks = str(error)
                    elif name in closed:
                        problems.append(f"{error}{self._open_again(name, moved[name])}")
                    elif name in moved:  # its calls don't notice anything
                        self._doors[name] = moved.pop(name)
                        problems.append(f"{error}{_stays(self._doors[name])}")
                    else:
                        problems.append(str(error))
        for name in moved.keys() - closed:
            moved[name].door.close()
        if lacks and lacks != self._lacks_fastagi:
            self.tell(f"{lacks}: there is no FastAGI until [fastagi] listen names another port")
        if current.fastagi:
            self._lacks_fastagi = lacks
        if problems:
            raise Failed("; ".join(problems))

    def _wanted(self, current: Settings | Known) -> tuple[dict[str, tuple[Address | None, tuple[Any, ...]]], str]:
        """The address of each door and its limits, by the name of its section; and why there is no FastAGI."""
        wanted: dict[str, tuple[Address | None, tuple[Any, ...]]] = {}
        is_of_freepbx = False
        if fastagi := current.fastagi:
            is_of_freepbx = fastagi.is_default and os.path.exists(FREEPBX)
            limits = fastagi.allow, _permitted(current) if fastagi.allow else None
            wanted["fastagi"] = None if is_of_freepbx else fastagi.listen, limits
        if current.http:
            self._token = current.http.token
            wanted["http"] = current.http.listen, ()
        return wanted, "FreePBX uses port 4573" if is_of_freepbx else ""

    def _open(self, name: str, address: Address, limits: tuple[Any, ...]) -> None:
        """Let the door listen at this address. Raises Failed."""
        try:
            door = self._fastagi_door(address, *limits) if name == "fastagi" else self._http_door(address)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise Failed(f"[{name}] listen = {_written(address)}: {why}") from error
        self._doors[name] = _Open(address, limits, door)

    def _open_again(self, name: str, before: _Open) -> str:
        """Let a door that has been closed listen at its old address. Returns what is to be told of that."""
        try:
            self._open(name, before.address, before.limits)
        except Failed as error:
            return f"; it is closed, as it can't be opened again: {error}"
        return _stays(before)

    def _fastagi_door(self, address: Address, networks: Sequence[Network], permitted: Permitted | None) -> Door:
        from ..doors import fastagi

        door = fastagi.Door(address, self.outbox, self.log.write, networks, permitted, sender=self)
        door.start()
        return door

    def _http_door(self, address: Address) -> HttpDoor:
        from ..doors.http import Application
        from ..doors.http_server import HttpDoor

        return HttpDoor(address, Application(self.outbox, lambda: self._token, self.log.write))

    def expect(self, number: str) -> None:
        if self.sender:
            self.sender.book.expect(number)

    def send_at_once(self) -> None:
        if self.sender:
            self.sender.send_at_once()

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
        return [f"{name} {_written(one.address)}" for name, one in sorted(self._doors.items())]

    def leave(self) -> None:
        """The calls that FastAGI has are answered while the sender waits for what is in flight."""
        for one in self._doors.values():
            one.door.leave()

    def close_doors(self) -> None:
        for one in self._doors.values():
            one.door.close()


def _permitted(current: Settings | Known) -> Permitted:
    """Where others than this box may connect, the dialplan can only name recipients that the configuration has; none
    while it has errors.
    """
    from ..pop.routes import permitted

    configured = [] if isinstance(current, Known) else [*current.routes.recipients(), *current.rooms]
    return lambda to: permitted(to, configured)


def _stays(door: _Open) -> str:
    return f"; it stays at {_written(door.address)}, as it was"


def _written(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
