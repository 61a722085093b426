"""A box whose clock and XMPP server are played: the sender and its spool are real, and hours pass in milliseconds.

    world.at(5, lambda: world.call("1"))     # a call comes after five seconds
    world.run(60)                            # what the sender does within a minute
    assert world.server.texts() == ["1"]

Each `run` is a new sender, which knows only what is in the spool. When its time is over it is killed.
"""

from __future__ import annotations

import contextlib
import errno
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

from parts.waiting import PATIENCE
from screenpop.call import Call
from screenpop.sender import connection, loop
from screenpop.spool import trigger
from screenpop.spool.outbox import Outbox
from screenpop.spool.queue import Queue
from screenpop.spool.replies import Replies
from screenpop.spool.trigger import Trigger
from screenpop.xmpp.errors import UNCONFIRMED, SessionError
from screenpop.xmpp.rooms import REFLECTION, NotJoined

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.net"
START = 1_700_000_000.0  # when the world begins, in seconds since the epoch
BUSY = 100_000  # times that the sender may look at the clock before it has to wait


class TimeIsOver(BaseException):
    """The sender is killed: the test has seen enough."""


class Stanza:
    """A message that the server has got, and when, in seconds since the world began."""

    def __init__(self, xml: str, at: float) -> None:
        element = ET.fromstring(xml)
        self.to, self.type, self.id = element.get("to", ""), element.get("type", ""), element.get("id", "")
        self.body = element.findtext("{*}body") or ""
        self.children = {child.tag.rpartition("}")[2]: child for child in element}
        self.at = at


class Server:
    """Plays `Session`, and the server behind it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sign_ins: list[float] = []  # when each was tried
        self.resources: list[str] = []
        self.redirections: list[str] = []  # the host at which each session was to begin
        self.options: list[Any] = []
        self.taken: list[Stanza] = []
        self.windows: list[int] = []  # how many messages shared each confirmation
        self.bounces: dict[str, tuple[str, str]] = {}  # by recipient: type and reason, before the confirmation
        self.slow_rooms: dict[str, float] = {}  # seconds until they send a message back
        self.late_bounces: dict[str, tuple[str, str]] = {}  # the same, after it
        self.error: SessionError | None = None
        self.error_at = "sign-in"  # or "send", "confirm", "confirmation" (it has taken them), "process", "keep-alive"
        self.signing_in: Callable[[], object] = lambda: None  # what happens during a sign-in
        self.confirming: Callable[[], object] = lambda: None  # and before the server takes a window
        self.working: Callable[[], object] = lambda: None  # and while it handles a window
        self.closing: Callable[[], object] = lambda: None  # and while a session is closed
        self.rooms: dict[str, NotJoined | None] = {}  # recipients that are rooms; why one can't be entered
        self.session: PlayedSession | None = None

    def __call__(
        self,
        options: Any,
        resource: str,
        on_step: Any,
        on_error: Any,
        on_receipt: Any,
        redirected_to: str,
        on_host: Any,
    ) -> PlayedSession:
        if self.session:
            pytest.fail("the session before was not closed")
        self.sign_ins.append(round(self.world.now, 3))
        self.resources.append(resource)
        self.options.append(options)
        self.redirections.append(redirected_to)
        self.signing_in()
        self.raise_at("sign-in")
        on_step("sign-in", "by nobody")
        self.session = PlayedSession(self, on_error, on_receipt)
        return self.session

    def raise_at(self, step: str) -> None:
        if self.error and self.error_at == step:
            raise self.error

    def texts(self) -> list[str]:
        return [stanza.body for stanza in self.taken]

    def told(self) -> list[str]:
        return [stanza.to for stanza in self.taken]

    def pairs(self) -> list[tuple[str, str]]:
        return [(stanza.body, stanza.to) for stanza in self.taken]

    def times(self) -> list[float]:
        return [round(stanza.at, 3) for stanza in self.taken]

    def sends_error(self, stanza_id: str, sender: str, error_type: str, reason: str) -> None:
        """For a message that it confirmed before."""
        self.sends(lambda session: session.on_error(stanza_id, sender, error_type, reason))

    def sends_receipt(self, stanza_id: str, sender: str) -> None:
        self.sends(lambda session: session.on_receipt(stanza_id, sender))

    def sends(self, what: Callable[[PlayedSession], None]) -> None:
        assert self.session
        self.session.incoming.append(what)
        os.write(self.session.writes, b"x")


class PlayedRooms:
    """Plays `Rooms`."""

    def __init__(self, session: PlayedSession) -> None:
        self.session, self.server = session, session.server
        self.passwords: dict[str, str] = {}  # by recipient, of those that were prepared
        self.expected: set[str] = set()  # stanza ids that are not confirmed

    def prepare(self, recipient: str, password: str) -> None:
        self.passwords[recipient] = password

    def enter(self, recipient: str) -> bool:
        assert recipient in self.passwords
        if error := self.server.rooms.get(recipient):
            raise error
        return recipient in self.server.rooms

    def expect(self, stanza_id: str, recipient: str) -> None:
        self.expected.add(stanza_id)


class PlayedSession:
    jid, host, since = "pbx@example.org/box", "xmpp.example.org:5222 (STARTTLS)", START

    def __init__(self, server: Server, on_error: Any, on_receipt: Any) -> None:
        self.server, self.on_error, self.on_receipt = server, on_error, on_receipt
        self.redirected_to = ""
        self.rooms = PlayedRooms(self)
        self.unconfirmed: list[Stanza] = []
        self.deadlines: dict[str, tuple[float, str]] = {}  # of messages to rooms, by stanza id, with the room
        self.incoming: list[Callable[[PlayedSession], None]] = []
        self.reads, self.writes = os.pipe()

    def fileno(self) -> int:
        return self.reads

    def _must_be_open(self) -> None:
        if self.server.session is not self:
            pytest.fail("the session was closed before")

    def send(self, xml: str) -> None:
        self._must_be_open()
        self.server.raise_at("send")
        stanzas = re.findall("<message .*?</message>", xml, re.DOTALL)
        self.unconfirmed += [Stanza(stanza, self.server.world.now) for stanza in stanzas]

    def confirm(self, meanwhile: Callable[[], object]) -> None:
        self._must_be_open()
        server = self.server
        server.windows.append(len(self.unconfirmed))
        server.confirming()
        meanwhile()
        server.working()
        server.raise_at("confirm")
        while self.unconfirmed:
            stanza = self.unconfirmed.pop(0)
            server.taken.append(stanza)
            if stanza.to in server.bounces:
                self.rooms.expected.discard(stanza.id)
                self.on_error(stanza.id, stanza.to, *server.bounces[stanza.to])
            elif stanza.id in self.rooms.expected:
                self._is_in_room(stanza)
            elif stanza.to in server.late_bounces:
                server.sends_error(stanza.id, stanza.to, *server.late_bounces[stanza.to])
        server.raise_at("confirmation")

    def _is_in_room(self, stanza: Stanza) -> None:
        """It is sent back at once, later, or never."""
        now, seconds = self.server.world.now, self.server.slow_rooms.get(stanza.to, 0.0)
        if not seconds:
            self.rooms.expected.discard(stanza.id)
            return
        self.deadlines[stanza.id] = now + REFLECTION, stanza.to
        if seconds < REFLECTION:
            self.server.world.at(now + seconds, lambda: self._sends_back(stanza))

    def _sends_back(self, stanza: Stanza) -> None:
        if self.server.session is self:
            self.server.sends(lambda session: session.rooms.expected.discard(stanza.id))

    def awaited(self) -> set[str]:
        return self.rooms.expected

    def keep_alive(self) -> float:
        self._must_be_open()
        self.server.raise_at("keep-alive")
        now, waiting = self.server.world.now, [one for one in self.deadlines if one in self.rooms.expected]
        for stanza_id in waiting:
            deadline, room = self.deadlines[stanza_id]
            if deadline <= now:
                self.rooms.expected.discard(stanza_id)
                self.on_error(stanza_id, room, UNCONFIRMED, "the room has not sent the message back")
        return min((self.deadlines[one][0] - now for one in waiting if one in self.rooms.expected), default=1000.0)

    def process(self, seconds: float) -> None:
        self._must_be_open()
        if seconds and not self.server.world.readable([self], seconds):
            return
        os.read(self.reads, 1)
        self.server.raise_at("process")
        self.incoming.pop(0)(self)

    def close(self) -> None:
        self._must_be_open()
        self.server.closing()
        self.server.session = None
        os.close(self.reads)
        os.close(self.writes)


class World:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0  # seconds since the world began
        self.clock_is_off_by = 0.0  # seconds, of the wall clock, when somebody has set it
        self.disk_is_full = False
        self.started: list[str] = []  # spools for which a sender would have been started
        self.waits: list[float] = []  # for how long the sender wanted to wait, each time
        self.alarms: list[int] = []  # seconds after which the sender would have been ended by SIGALRM
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self._end = 0.0
        self._looks_at_clock = 0
        self._replies: list[Replies] = []
        self._watched: list[Any] = []  # what the sender waits for
        self._os_write = os.write
        self.server = Server(self)
        self.sender: loop.Sender | None = None  # the present one
        self.outbox = Outbox(str(folder / "spool"))
        self.outbox.make()
        monkeypatch.setenv("AST_LOG_DIR", str(folder))
        monkeypatch.setattr(connection, "Session", self.server)
        monkeypatch.setattr(loop, "readable", self.readable)
        monkeypatch.setattr(os, "write", self._write)
        monkeypatch.setattr(signal, "alarm", self.alarms.append)
        monkeypatch.setattr(random, "uniform", lambda least, most: 1.0)
        monkeypatch.setattr(time, "monotonic", self._monotonic)
        monkeypatch.setattr(time, "clock_gettime", lambda clock: 1000.0 + self.now)
        monkeypatch.setattr(time, "time", lambda: START + self.now + self.clock_is_off_by)
        monkeypatch.setattr(time, "sleep", self._sleep)
        monkeypatch.setattr(trigger, "start_sender", lambda spool, *descriptors: self.started.append(spool))
        self.configure()

    # What happens to the box

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        """This happens that many seconds after the world began, or as soon as the sender waits after that."""
        heapq.heappush(self._events, (seconds, next(self._numbers), event))

    def configure(self, to: str = ALICE, more: str = "", message: str = "{caller}", linger: float = 3600) -> None:
        """`more`: further lines of [pop], and then sections."""
        self.write_configuration(
            "[xmpp]\njid = pbx@example.org\npassword = secret\n"
            f"[pop]\nto = {to}\nmessage = {message}\nlinger = {linger:.0f}\n{more}\n"
        )

    def write_configuration(self, text: str) -> None:
        written = self.folder / "written"
        written.write_text(text)
        os.utime(written, (0, next(self._numbers)))  # two changes within one tick of the disk's clock are two
        written.replace(self.folder / "screen_pop.conf")

    def call(self, number: str = "1", age: float = 0.0, **known: Any) -> Call:
        """A call comes; or came `age` seconds ago, when no sender could be started."""
        self.now += 0.000_001  # no two calls come in the same moment
        call = Call(number=number, **known)
        if age:
            call.time -= age
            call.uptime -= age
            call.id = f"{call.time:017.6f}-{os.urandom(6).hex()}"
        return self.queue(call)

    def queue(self, call: Call) -> Call:
        self.outbox.put(call)
        trigger.ring(self.outbox.path)
        return call

    def queue_over_fastagi(self, call: Call) -> Call:
        """By a door in the sender's process."""
        assert self.sender
        Outbox(self.outbox.path, self.sender.queue.handed_over).put(call)
        self.sender.send_at_once()
        trigger.ring(self.outbox.path)
        return call

    def call_that_is_waited_for(self, **known: Any) -> tuple[Call, Replies]:
        """A door or a command reads the replies about this call."""
        call = Call(number="1", **known)
        self._replies.append(Replies(self.outbox, call))
        return self.queue(call), self._replies[-1]

    def ring(self, meaning: bytes) -> None:
        trigger.ring(self.outbox.path, meaning)

    def sigterm(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def kill(self) -> None:
        raise TimeIsOver

    # What the sender does

    def run(self, seconds: float = 0.0, service: Any = None) -> bool:
        """A new sender, for that long; 0: until it first waits. Returns whether it has left by itself.

        `service`: what a resident one has beside it.
        """
        self._end = self.now + seconds
        taken = Trigger.acquire(self.outbox.path)
        assert taken
        before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGHUP)}
        try:
            self.sender = loop.Sender(Queue(self.outbox.path), taken, f"{self.folder}/screen_pop.conf", service)
            self.sender.run()
            return True
        except TimeIsOver:
            if self.server.session:
                self.server.session.close()
            return False
        finally:
            self.sender = None
            for signum, handler in before.items():
                signal.signal(signum, handler)
            os.close(taken.lock)
            with contextlib.suppress(OSError):  # a sender that has left has closed it
                os.close(taken.fifo)

    def wait_for_a_thread(self) -> None:
        """Until it has something for the sender, while the played time stands still."""
        assert any(select.select(self._watched, [], [], PATIENCE))

    def readable(self, files: list[Any], timeout: float) -> list[Any]:
        """What can be read; if nothing, time passes until something can be."""
        self.waits.append(timeout)
        self._watched = files
        until = max(self.now + timeout, self.now + 0.000_001)
        while not (ready := select.select(files, [], [], 0)[0]):
            if not self._events or self._events[0][0] > min(until, self._end):
                self._pass_to(min(until, self._end))
                if until > self._end:
                    raise TimeIsOver
                break
            when, _, event = heapq.heappop(self._events)
            self._pass_to(when)
            event()
        return ready

    def _pass_to(self, when: float) -> None:
        if when > self.now:
            self.now, self._looks_at_clock = when, 0

    def _monotonic(self) -> float:
        self._looks_at_clock += 1
        if self._looks_at_clock > BUSY:
            pytest.fail("the sender never rests")
        return self.now

    def _sleep(self, seconds: float) -> None:
        self._pass_to(self.now + seconds)

    def _write(self, descriptor: int, data: bytes) -> int:
        if self.disk_is_full and os.readlink(f"/proc/self/fd/{descriptor}").startswith(self.outbox.path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._os_write(descriptor, data)

    # What can be seen afterwards

    def files(self, folder: str) -> list[str]:
        return sorted(os.listdir(f"{self.outbox.path}/{folder}"))

    def records(self, folder: str) -> list[dict[str, Any]]:
        """The JSON objects of the calls in new/, or of the messages in queue/, sent/ or failed/."""
        return [json.loads(Path(self.outbox.path, folder, name).read_text()) for name in self.files(folder)]

    def waiting(self) -> list[tuple[str, str]]:
        """Number and recipient of each message that waits; the recipient of a call in new/ is empty."""
        new = [(record["number"], "") for record in self.records("new")]
        return [*new, *((record["call"]["number"], record["to"]) for record in self.records("queue"))]

    def sent(self) -> list[tuple[str, str]]:
        """Number and recipient of each message in sent/."""
        return [(record["call"]["number"], record["to"]) for record in self.records("sent")]

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

    def problems(self) -> list[str]:
        """What the log says of why something waits, or of a session that has ended."""
        return [line for line in self.log() if line.startswith(("not sent yet", "session ended"))]

    def close(self) -> None:
        for replies in self._replies:
            replies.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patches:
        made = World(tmp_path, patches)
        yield made
        made.close()
