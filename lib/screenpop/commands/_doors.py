"""The doors of `screen-pop serve`: FastAGI and HTTP listen where the configuration says, and move when it changes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..doors.fastagi import Door, Sender
    from ..doors.http_server import HttpDoor
    from ..doors.options import FastagiOptions, HttpOptions, Network
    from ..settings import Settings
    from ..spool.outbox import Outbox

    Address = tuple[str, int]
    Permitted = Callable[[str], tuple[str, str]]

FREEPBX = "/etc/freepbx.conf"


class Known:
    """What a configuration with errors says of the doors. None: there is an error in that section."""

    def __init__(self, fastagi: FastagiOptions | None, http: HttpOptions | None) -> None:
        self.fastagi, self.http = fastagi, http


def configured(conf: str) -> Settings | Known:
    """What the configuration in this file says; if it has errors, what it says of the doors."""
    from .. import config, settings
    from ..doors.options import FastagiOptions, HttpOptions

    try:
        return settings.load(conf)
    except config.ConfigError as error:  # the sender logs it; calls must be queued all the same
        if isinstance(error.__cause__, FileNotFoundError):
            return Known(FastagiOptions({}), HttpOptions({}))
        right: Any = error.right
        return Known(right.get("fastagi"), right.get("http"))


class CannotListen(Exception):
    """A door can't listen at its address."""


class _Open:
    """A door that listens. `limits`: the arguments of its `limit`, if it has any."""

    def __init__(self, address: Address, limits: tuple[Any, ...], door: Any) -> None:
        self.address, self.limits, self.door = address, limits, door


class Doors:
    """`tell`: for what the administrator should know. `log`: for what clients do. `sender`: that of the outbox, in this
    process.
    """

    def __init__(
        self, outbox: Outbox, tell: Callable[[str], object], log: Callable[[str], None], sender: Sender | None = None
    ) -> None:
        self._outbox, self._tell, self._log, self._sender = outbox, tell, log, sender
        self._doors: dict[str, _Open] = {}  # by the names of their sections
        self._token = ""  # of the HTTP door
        self._lacks_fastagi = ""

    def open(self, current: Settings | Known) -> None:
        """As configured; where that isn't known, nothing changes. A door that can't listen at its new address stays at
        its old one, with its old limits. Raises CannotListen when all doors have been tried.
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
                except CannotListen as error:
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
            self._tell(f"{lacks}: there is no FastAGI until [fastagi] listen names another port")
        if current.fastagi:
            self._lacks_fastagi = lacks
        if problems:
            raise CannotListen("; ".join(problems))

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
        """Let the door listen at this address. Raises CannotListen."""
        try:
            door = self._fastagi_door(address, *limits) if name == "fastagi" else self._http_door(address)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise CannotListen(f"[{name}] listen = {_written(address)}: {why}") from error
        self._doors[name] = _Open(address, limits, door)

    def _open_again(self, name: str, before: _Open) -> str:
        """Let a door that has been closed listen at its old address. Returns what is to be told of that."""
        try:
            self._open(name, before.address, before.limits)
        except CannotListen as error:
            return f"; it is closed, as it can't be opened again: {error}"
        return _stays(before)

    def _fastagi_door(self, address: Address, networks: Sequence[Network], permitted: Permitted | None) -> Door:
        from ..doors import fastagi

        door = fastagi.Door(address, self._outbox, self._log, networks, permitted, sender=self._sender)
        door.start()
        return door

    def _http_door(self, address: Address) -> HttpDoor:
        from ..doors.http import Application
        from ..doors.http_server import HttpDoor

        return HttpDoor(address, Application(self._outbox, lambda: self._token, self._log))

    def addresses(self) -> list[str]:
        """Where each of them listens, with its name."""
        return [f"{name} {_written(one.address)}" for name, one in sorted(self._doors.items())]

    def leave(self) -> None:
        """The calls that FastAGI has are answered while the sender waits for what is in flight."""
        for one in self._doors.values():
            one.door.leave()

    def close(self) -> None:
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
