"""Accepted = delivered + queued + failed, whatever happens: the spool and the sender's loop, with a played server.

The machine does all that can happen to a box: calls from several doors, servers of all tempers, kills at any change of
a file, full disks, foreign files, what an administrator does. After each step each message is in exactly one folder.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parts.kernel import Kernel, Killed
from parts.world import World
from screenpop import log
from screenpop.call import Call
from screenpop.sender import connection, intake
from screenpop.spool import outbox, queue, records, state, trigger
from screenpop.spool.records import NO_RECIPIENT, Message
from screenpop.xmpp.errors import SessionError

PEOPLE = [f"{name}@example.org" for name in ("alice", "bob", "carol")]
TEMPERS = {"somebody takes messages": "", "somebody refuses messages": "cancel", "somebody is away": "wait"}
CHANGES = (
    *TEMPERS,
    *("the server goes", "the server comes back", "the connection will be lost", "the confirmation will be lost"),
    *("the disk is full", "the disk has room", "somebody leaves a file", "a day passes"),
    *("the configuration is right", "the configuration is wrong"),
    *("messages are given up at once", "limits are low"),
)
ACTIONS = ("call_two", "flush", "retry", "terminate", "the_last_comes_back")  # while a sender works
Pair = tuple[str, str]  # a call's id and a recipient


class Server:
    """It takes what it is sent, and answers by the temper that it has towards the recipient."""

    def __init__(self) -> None:
        self.tempers = dict.fromkeys(PEOPLE, "")
        self.taken: Counter[Pair] = Counter()  # stanza id and recipient, of what was not bounced at once
        self.is_down = False
        self.drops_after: int | None = None  # messages that it still takes before the connection is lost
        self.loses_confirmation = False
        self.late: list[tuple[str, str, str]] = []  # bounces to come: id, recipient, type
        self.meanwhile: list[Callable[[], object]] = []  # what happens at the next confirmations
        self.session: PlayedSession | None = None
        self.has_disturbed = False  # so that something may have to be sent again

    def error(self, what: str) -> SessionError:
        self.has_disturbed = True
        return SessionError("session", what, "look into its log")

    def __call__(self, options: Any, resource: str, on_step: Any, on_error: Any, *_: Any) -> PlayedSession:
        if self.is_down:
            raise self.error("refused")
        self.session = PlayedSession(self, on_error)
        return self.session


class PlayedSession:
    jid, host, since, redirected_to = "pbx@example.org/box", "example.org", 0.0, ""

    def __init__(self, server: Server, on_error: Any) -> None:
        self.server, self.on_error = server, on_error
        self.unconfirmed: list[Pair] = []
        self.reads, self.writes = os.pipe2(os.O_NONBLOCK)

    def fileno(self) -> int:
        return self.reads

    def send(self, xml: str) -> None:
        server = self.server
        if server.drops_after is not None:
            server.drops_after -= 1
            if server.drops_after < 0:
                server.drops_after = None
                raise server.error("connection reset")
        message = ET.fromstring(xml)
        self.unconfirmed.append((message.get("id", ""), message.get("to", "")))

    def confirm(self) -> None:
        server = self.server
        if server.is_down:
            raise server.error("it does not answer")
        for stanza_id, recipient in self.unconfirmed:
            if temper := server.tempers[recipient]:
                self.on_error(stanza_id, recipient, temper, "bounced")
            else:
                server.taken[stanza_id, recipient] += 1
        self.unconfirmed.clear()
        if server.meanwhile:
            server.meanwhile.pop(0)()
        self.process()
        if server.loses_confirmation:
            server.loses_confirmation = False
            raise server.error("connection reset")

    def process(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.reads, 100)
        while self.server.late:
            self.on_error(*self.server.late.pop(), "came back")

    def keep_alive(self) -> float:
        return 1000.0

    def close(self) -> None:
        self.server.session = None
        os.close(self.reads)
        os.close(self.writes)


class NothingLost(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patches = pytest.MonkeyPatch()
        self.world = World(self.folder, self.patches)
        self.server, self.sender_os, self.door_os = Server(), Kernel(), Kernel()
        self.world.server = self.server  # type: ignore[assignment]
        self.logged: list[str] = []
        self.patches.setattr(connection, "Session", self.server)
        self.patches.setattr(queue, "os", self.sender_os)
        self.patches.setattr(state, "os", self.sender_os)
        self.patches.setattr(outbox, "posix", self.door_os)
        self.patches.setattr(log.Log, "write", lambda log, text: self.logged.append(text))
        self.patches.setattr(signal, "alarm", lambda seconds: 0)
        self.patches.setattr(intake, "CALLS_AT_ONCE", 2)
        self.numbers = itertools.count()
        self.accepted: dict[str, Call] = {}
        self.undisturbed: set[str] = set()  # ids of calls that nothing has befallen which excuses a repeat
        self.was_in_sent: set[Pair] = set()
        self.disk_was_full = self.may_forget = False

    @initialize()
    def begin(self) -> None:
        self.configure(give_up=False, calls=100)

    def teardown(self) -> None:
        try:
            self.everything_is_sent_in_the_end()
        finally:
            self.patches.undo()
            shutil.rmtree(self.folder)

    def everything_is_sent_in_the_end(self) -> None:
        self.disk(full=False)
        self.server.is_down, self.server.drops_after, self.server.loses_confirmation = False, None, False
        self.server.tempers = dict.fromkeys(PEOPLE, "")
        self.server.late.clear()
        self.configure(give_up=False, calls=100)
        assert self.run_sender(10, when_idle=[self.flush])
        assert self.world.files("new") == self.world.files("queue") == []
        self.each_message_is_in_one_place()

    # What doors do

    @rule(
        recipients=st.lists(st.lists(st.sampled_from(PEOPLE), unique=True), min_size=1, max_size=4),
        kill_after=st.none() | st.integers(0, 4),
    )
    def calls(self, recipients: list[list[str]], kill_after: int | None) -> None:
        """By doors of which the last is killed, if any is."""
        for to in recipients[:-1]:
            self.call(to)
        self.call(recipients[-1], kill_after)

    def call_two(self) -> None:
        self.call(PEOPLE[:2])

    def call(self, to: list[str], kill_after: int | None = None) -> None:
        call = Call(number="1", to="&".join(to))
        call.id = f"{call.time:017.6f}-{next(self.numbers):012x}"  # in the same order each time
        self.door_os.changes_left = kill_after
        try:
            self.world.outbox.put(call)
            trigger.ring(self.world.outbox.path)
        except (Killed, OSError):
            if f"{call.id}.json" not in self.world.files("new"):
                return  # the dialplan was told FAILED, or nothing
        finally:
            self.door_os.changes_left = None
        self.accepted[call.id] = call
        self.undisturbed.add(call.id)

    # What happens to the server, the box and its administrator

    @rule(what=st.sampled_from(CHANGES), who=st.sampled_from(PEOPLE), count=st.integers(0, 3))
    def something_changes(self, what: str, who: str, count: int) -> None:
        if what in TEMPERS:
            self.server.tempers[who] = TEMPERS[what]
        elif what == "the server goes":
            self.server.is_down = True
        elif what == "the server comes back":
            self.server.is_down = False
        elif what == "the connection will be lost":
            self.server.drops_after = count
        elif what == "the confirmation will be lost":
            self.server.loses_confirmation = True
        elif what == "the disk is full":
            self.disk(full=True)
        elif what == "the disk has room":
            self.disk(full=False)
        elif what == "somebody leaves a file":
            folder, text = ("new", "queue")[count % 2], ("", "{", '{"id": "1"}', "[]")[count]
            Path(self.world.outbox.path, folder, f"{next(self.numbers)}.json").write_text(text)
        elif what == "the configuration is wrong":
            self.world.configure(to="@")
        elif what == "a day passes":
            self.may_forget = True
            self.world.now += 100_000
        else:
            give_up, calls = what == "messages are given up at once", 2 if what == "limits are low" else 100
            self.configure(give_up, calls)

    def configure(self, give_up: bool, calls: int) -> None:
        self.may_forget |= calls == 2
        more = f"give_up_after = {0 if give_up else 86400}\n[spool]\ncalls = {calls}"
        self.world.configure(to=PEOPLE[0], more=more, linger=1)

    def disk(self, full: bool) -> None:
        self.sender_os.full = self.door_os.full = full
        self.disk_was_full |= full

    @rule(data=st.data(), temper=st.sampled_from(["cancel", "wait"]))
    def a_message_will_come_back_late(self, data: st.DataObject, temper: str) -> None:
        """In the session of this sender, or of a later one."""
        if self.server.taken:
            self.comes_back(*data.draw(st.sampled_from(sorted(self.server.taken))), temper)

    def comes_back(self, stanza_id: str, recipient: str, temper: str) -> None:
        self.undisturbed.discard(stanza_id.rpartition("-")[0])
        self.server.late.append((stanza_id, recipient, temper))
        if self.server.session:
            os.write(self.server.session.writes, b"x")

    # What the sender does

    @rule(
        seconds=st.sampled_from([0, 1, 100]),
        kill_after=st.none() | st.integers(0, 40),
        meanwhile=st.lists(st.sampled_from(ACTIONS), max_size=3),
        when_idle=st.lists(st.sampled_from(ACTIONS), max_size=3),
    )
    def sender(self, seconds: int, kill_after: int | None, meanwhile: list[str], when_idle: list[str]) -> None:
        self.server.meanwhile = [getattr(self, name) for name in meanwhile]
        self.sender_os.changes_left = kill_after
        self.run_sender(seconds, [getattr(self, name) for name in when_idle])

    def run_sender(self, seconds: int, when_idle: list[Callable[[], object]]) -> bool:
        """A new sender, which knows only what is in the spool. Whether it has left by itself."""
        self.server.has_disturbed |= self.sender_os.full  # the one before could not write all that it knew
        for action in when_idle:
            self.world.at(self.world.now, action)
        self.world.waits.clear()
        try:
            return self.world.run(seconds)
        except Killed:
            self.server.has_disturbed = True
            if self.server.session:
                self.server.session.close()
            return False
        finally:
            self.sender_os.changes_left = None
            self.world.cancel_events()
            self.server.meanwhile.clear()

    def flush(self) -> None:
        trigger.ring(self.world.outbox.path, trigger.FLUSH)

    def retry(self) -> None:
        trigger.ring(self.world.outbox.path, trigger.RETRY)

    def terminate(self) -> None:
        signal.raise_signal(signal.SIGTERM)

    def the_last_comes_back(self) -> None:
        if self.server.taken:
            self.comes_back(*list(self.server.taken)[-1], "wait")

    # What must always hold

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        folders = {folder: set(self.world.files(folder)) for folder in ("new", "queue", "sent", "failed")}
        for call in self.accepted.values():
            is_new = f"{call.id}.json" in folders["new"]
            has_failed = Message(call, NO_RECIPIENT).name in folders["failed"]
            for to in call.to.split("&") if call.to else PEOPLE[:1]:
                message, pair = Message(call, to), (call.id, to)
                places = [folder for folder in ("queue", "sent", "failed") if message.name in folders[folder]]
                if "sent" in places:
                    assert (message.id, to) in self.server.taken
                    self.was_in_sent.add(pair)
                if is_new:  # and a sender that was killed may have taken it in halfway
                    assert "sent" not in places, (pair, places)
                elif has_failed:
                    assert places == [], (pair, places)
                else:
                    assert len(places) == 1 or (not places and self.was_removed(message, pair)), (pair, places)
                if places == ["failed"] and not self.disk_was_full:
                    assert records.read_message(f"{self.world.outbox.path}/failed/{message.name}").reason

    def was_removed(self, message: Message, pair: Pair) -> bool:
        """From sent/ or failed/, within their limits; what was sent on a full disk may never have been in sent/."""
        if any(f"{message.call.id}" in line and "is removed from failed/" in line for line in self.logged):
            return True
        was_sent = pair in self.was_in_sent or f"{message.call.id} {message.to} delivered" in "\n".join(self.logged)
        return was_sent and (self.may_forget or self.disk_was_full)

    @invariant()
    def nobody_gets_twice_what_nothing_has_befallen(self) -> None:
        if self.server.has_disturbed:
            self.undisturbed.clear()
            self.server.has_disturbed = False
        for (stanza_id, _), count in self.server.taken.items():
            assert count == 1 or stanza_id.rpartition("-")[0] not in self.undisturbed


TestNothingLost = NothingLost.TestCase
# The same examples in each run, so that a failure is the change's; HYPOTHESIS_EXAMPLES=5000 looks for more by chance.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
TestNothingLost.settings = settings(
    max_examples=EXAMPLES or 200, derandomize=not EXAMPLES, stateful_step_count=30, deadline=None
)
