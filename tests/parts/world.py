"""A box whose clock and XMPP server are played: the sender and its spool are real, and hours pass in milliseconds.

    world.at(5, lambda: world.call("1"))     # a call comes after five seconds
    world.run(60)                            # what the sender does within a minute
    assert world.server.texts() == ["1"]

Each `run` is a new sender, which knows only what is in the spool; the one before it was killed when its time was over.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import random
import re
import select
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from screenpop.call import Call
from screenpop.sender import connection, loop
from screenpop.spool import trigger
from screenpop.spool.outbox import Outbox
from screenpop.spool.queue import Queue
from screenpop.spool.trigger import Trigger
from screenpop.xmpp.errors import SessionError

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.net"
START = 1_700_000_000.0
BUSY = 10_000  # rounds of the sender's loop within one moment


class TimeIsOver(BaseException):
    """The sender is killed: the test has seen enough."""


class Stanza:
    """A message as the server has got it, and when (seconds since the world began)."""

    def __init__(self, xml: str, at: float) -> None:
        element = ET.fromstring(xml)
        self.to, self.type, self.id = element.get("to", ""), element.get("type", ""), element.get("id", "")
        self.body = element.findtext("{*}body") or ""
        self.xml, self.at = xml, at


class Server:
    """Plays `Session`, and the server behind it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sign_ins: list[float] = []  # when each was tried
        self.resources: list[str] = []
        self.redirections: list[str] = []  # where each session was told to begin
        self.options: list[Any] = []
        self.taken: list[Stanza] = []
        self.bounces: dict[str, tuple[str, str]] = {}  # recipient: type and reason, as long as it is in here
        self.error: SessionError | None = None
        self.error_at = "sign-in"  # or "send", "confirm", "process", "keep_alive"
        self.windows: list[int] = []  # how many messages shared each confirmation
        self.confirming: Callable[[], None] = lambda: None  # what happens while the server confirms
        self.session: PlayedSession | None = None

    def __call__(
        self, options: Any, resource: str, on_step: Any, on_error: Any, on_receipt: Any, redirected_to: str
    ) -> PlayedSession:
        self.sign_ins.append(self.world.now)
        self.resources.append(resource)
        self.options.append(options)
        self.redirections.append(redirected_to)
        self.raise_at("sign-in")
        on_step("sign-in", "by nobody")
        assert self.session is None, "the session before was not closed"
        self.session = PlayedSession(self, on_error, on_receipt)
        return self.session

    def raise_at(self, step: str) -> None:
        if self.error and self.error_at == step:
            raise self.error

    def texts(self) -> list[str]:
        return [stanza.body for stanza in self.taken]

    def told(self) -> list[str]:
        return [stanza.to for stanza in self.taken]

    def sends_error(self, stanza_id: str, sender: str, error_type: str, reason: str) -> None:
        """Of a message that it had confirmed before."""
        assert self.session
        self.session.tell(lambda session: session.on_error(stanza_id, sender, error_type, reason))

    def sends_receipt(self, stanza_id: str, sender: str) -> None:
        assert self.session
        self.session.tell(lambda session: session.on_receipt(stanza_id, sender))


class PlayedSession:
    jid, host, since = "pbx@example.org/box", "xmpp.example.org:5222 (STARTTLS)", START

    def __init__(self, server: Server, on_error: Any, on_receipt: Any) -> None:
        self.server, self.on_error, self.on_receipt = server, on_error, on_receipt
        self.elsewhere = ""
        self.unconfirmed: list[Stanza] = []
        self.incoming: list[Callable[[PlayedSession], None]] = []
        self.reads, self.writes = os.pipe()

    def fileno(self) -> int:
        return self.reads

    def tell(self, what: Callable[[PlayedSession], None]) -> None:
        self.incoming.append(what)
        os.write(self.writes, b"x")

    def send(self, xml: str) -> None:
        assert self.server.session is self
        self.server.raise_at("send")
        self.unconfirmed.append(Stanza(xml, self.server.world.now))

    def confirm(self) -> None:
        self.server.windows.append(len(self.unconfirmed))
        self.server.confirming()
        self.server.raise_at("confirm")
        while self.unconfirmed:
            stanza = self.unconfirmed.pop(0)
            self.server.taken.append(stanza)
            if stanza.to in self.server.bounces:
                self.on_error(stanza.id, stanza.to, *self.server.bounces[stanza.to])

    def keep_alive(self) -> float:
        self.server.raise_at("keep_alive")
        return 1000.0

    def process(self) -> None:
        os.read(self.reads, 1)
        self.server.raise_at("process")
        if self.incoming:
            self.incoming.pop(0)(self)

    def close(self) -> None:
        assert self.server.session is self
        self.server.session = None
        os.close(self.reads)
        os.close(self.writes)


class World:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0  # seconds since the world began
        self.clock_is_off_by = 0.0  # the wall clock, when somebody has set it
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.server = Server(self)
        self.outbox = Outbox(str(folder / "spool"))
        self.outbox.make()
        self.started: list[str] = []  # spools for which a sender would have been started
        self.waits: list[float] = []  # for how long the sender wanted to wait, each time
        monkeypatch.setenv("AST_LOG_DIR", str(folder))
        monkeypatch.setattr(connection, "Session", self.server)
        monkeypatch.setattr(loop, "select", self)
        monkeypatch.setattr(random, "uniform", lambda least, most: 1.0)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "clock_gettime", lambda clock: 1000.0 + self.now)
        monkeypatch.setattr(time, "time", lambda: START + self.now + self.clock_is_off_by)
        monkeypatch.setattr(trigger, "start_sender", lambda spool, *descriptors: self.started.append(spool))
        self.configure()

    # What the box does

    def configure(self, to: str = ALICE, more: str = "", message: str = "{caller}", linger: float = 3600) -> None:
        """`more`: further lines of [pop], and then sections."""
        written = self.folder / "written"
        written.write_text(
            "[xmpp]\njid = pbx@example.org\npassword = secret\n"
            f"[pop]\nto = {to}\nmessage = {message}\nlinger = {linger:.0f}\n{more}\n"
        )
        written.replace(self.folder / "screen_pop.conf")

    def call(self, number: str = "1", age: float = 0.0, **known: Any) -> Call:
        """A call comes; or came, `age` seconds ago, when no sender could be started."""
        call = Call(number=number, **known)
        if age:
            call.time -= age
            call.uptime -= age
            call.id = f"{call.time:017.6f}-{os.urandom(6).hex()}"
        self.outbox.put(call)
        trigger.ring(self.outbox.path)
        return call

    def ring(self, meaning: bytes) -> None:
        trigger.ring(self.outbox.path, meaning)

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        """Something happens that many seconds after the world began."""
        heapq.heappush(self.events, (seconds, next(self._numbers), event))  # type: ignore[arg-type]

    # What the sender does

    def run(self, seconds: float = 0.0) -> bool:
        """A new sender, for that long; 0: until it first waits with nothing left to do at once. Whether it has left."""
        self.end = self.now + seconds
        taken = Trigger.acquire(self.outbox.path)
        assert taken
        before = signal.getsignal(signal.SIGTERM)
        self.sender = loop.Sender(Queue(self.outbox.path), taken, self.folder / "screen_pop.conf")
        try:
            self.sender.run()
            return True
        except TimeIsOver:
            if self.server.session:
                self.server.session.close()
            return False
        finally:
            signal.signal(signal.SIGTERM, before)
            os.close(taken.lock)
            with contextlib.suppress(OSError):  # one that has left has closed it
                os.close(taken.fifo)

    def select(self, reading: list[Any], writing: list[Any], other: list[Any], timeout: float) -> Any:
        """In place of the module `select`: what can be read now, else time passes, up to the next event."""
        self.waits.append(timeout)
        assert len(self.waits) < BUSY, "the sender never rests"
        ready = select.select(reading, writing, other, 0)
        if any(ready):
            return ready
        then = self.now + timeout
        if self.events and self.events[0][0] <= min(then, self.end):
            when, _, event = heapq.heappop(self.events)
            self.now = max(self.now, when)
            event()
            return select.select(reading, writing, other, 0)
        if then > self.end or not self.end:
            self.now = max(self.now, self.end)
            raise TimeIsOver
        self.now = max(then, self.now + 0.000_001)
        return [], [], []

    # What is to be seen

    def files(self, folder: str) -> list[str]:
        return sorted(os.listdir(f"{self.outbox.path}/{folder}"))

    def records(self, folder: str) -> list[dict[str, Any]]:
        """The messages in queue/, sent/ or failed/."""
        return [json.loads(Path(self.outbox.path, folder, name).read_text()) for name in self.files(folder)]

    def waiting(self) -> list[tuple[str, str]]:
        """Number and recipient of each message that waits; the recipient of a call in new/ is empty."""
        new = [json.loads(Path(self.outbox.path, "new", name).read_text()) for name in self.files("new")]
        return [(call["number"], "") for call in new] + [
            (record["call"]["number"], record["to"]) for record in self.records("queue")
        ]

    def failed(self) -> list[tuple[str, str, str]]:
        """Number, recipient and reason of each message that has failed."""
        return [(record["call"]["number"], record["to"], record["reason"]) for record in self.records("failed")]

    def log(self) -> list[str]:
        """The lines, without stamps and milliseconds."""
        try:
            lines = (self.folder / "screen_pop.log").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [re.sub(r" \d+ ms$", "", line.partition("] ")[2]) for line in lines]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patches:
        yield World(tmp_path, patches)
