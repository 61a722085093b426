"""Accepted = delivered + queued + failed, whatever happens: the spool and the sender's loop, with a played server.

The machine does all that can happen to a box: calls from several doors, servers with all kinds of faults, kills at any
change of a file, full disks, foreign files, an administrator's commands. After each step each message is in exactly
one folder, or its call is counted in a summary, of a caller who calls too often.
"""

from __future__ import annotations

import itertools
import os
import posix
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parts import world
from parts.kernel import Kernel, Killed
from parts.world import ALICE, BOB, CAROL, World
from screenpop import log
from screenpop.call import Call
from screenpop.sender import connection, intake
from screenpop.spool import files, outbox, queue, records, trigger
from screenpop.spool.records import NO_RECIPIENT, SUMMARY, Message
from screenpop.xmpp.errors import SessionError

PEOPLE = [ALICE, BOB, CAROL]
Pair = tuple[str, str]  # a call's id and a recipient
TEMPERS = {"somebody takes messages": "", "somebody refuses messages": "cancel", "somebody is away": "wait"}
ERRORS = {
    "the server is well": "",
    "the server is down": "sign-in",
    "connections end while messages are sent": "send",
    "connections end before messages are taken": "confirm",
    "connections end before messages are confirmed": "confirmation",
}
CHANGES = (
    *(*TEMPERS, *ERRORS, "the disk is full", "the disk has room", "somebody leaves a file", "a day passes"),
    *("the configuration is right", "the configuration is wrong", "limits are low", "messages are given up at once"),
    "nobody wants to be told of answers",
)
LIMIT = 2  # messages of one caller within a minute
ACTIONS = (
    "call_two",
    "call_over_fastagi",
    "one_calls_often",
    "the_last_ends",
    "flush",
    "retry",
    "terminate",
    "the_last_comes_back",
)  # while a sender works


class Server(world.Server):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.delivered: Counter[Pair] = Counter()  # by stanza id and recipient
        self.numbers: dict[str, str] = {}  # the callers' numbers by call id
        self.summed_up: set[Pair] = set()  # calls that were told in a summary
        self.corrections: dict[Pair, str] = {}  # their texts
        self.events: dict[str, set[str]] = {}  # by call id: what happened to the call
        self.has_disturbed = False  # so that something may have to be sent again
        self.meanwhile: list[Callable[[], object]] = []  # what happens at the next confirmations
        self.late: list[tuple[str, str, str]] = []  # what comes back in a later session: stanza id, recipient, type

    def raise_at(self, step: str) -> None:
        if step == "confirmation":
            for one in self.taken:
                if one.to not in self.bounces:
                    self.is_right(one)
                    self.delivered[one.id, one.to] += 1
                    self.summed_up |= counted(self.world, "queue", records.message_name(one.id))
            self.taken.clear()
            for stanza_id, recipient, temper in self.late:
                self.sends_error(stanza_id, recipient, temper, "came back")
            self.late.clear()
            if self.meanwhile:
                self.meanwhile.pop(0)()
        self.has_disturbed |= bool(self.error) and self.error_at == step
        super().raise_at(step)

    def is_right(self, stanza: world.Stanza) -> None:
        """It tells of its own call; a correction is for a message that the same recipient has got, and is repeated only
        as it was.
        """
        call = call_of(stanza.id)
        assert stanza.body.startswith(self.numbers[call] + " "), (stanza.id, stanza.body)
        what = re.fullmatch(r"\S+ (?:(answered)|(\d\d:\d\d(?:, rang .*)?)|calls)(?: \(.* ago\))?", stanza.body)
        assert what or stanza.id.endswith("-more"), stanza.body
        happened = "answered" if what and what[1] else "missed" if what and what[2] else ""
        assert not happened or happened in self.events[call], (stanza.body, self.events[call])
        if "replace" in stanza.children:
            replaced = stanza.children["replace"].get("id", "")
            assert stanza.id == f"{replaced}-2" and (replaced, stanza.to) in self.delivered
            text = stanza.body.partition(" (")[0]  # without how late it is
            assert self.corrections.setdefault((stanza.id, stanza.to), text) == text


def counted(world: World, folder: str, name: str) -> set[Pair]:
    """The calls that this message sums up, if it does that; on a full disk it may not be there."""
    path = Path(world.outbox.path, folder, name)
    if not name.endswith(SUMMARY) or not path.exists():
        return set()
    summary = records.read_message(str(path))
    return {(call, summary.to) for call in summary.counted}


def call_of(stanza_id: str) -> str:
    return records.call_id(records.message_name(stanza_id))


class NothingLost(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.patches = pytest.MonkeyPatch()
        self.world = World(Path(self.folder), self.patches)
        self.world.server = self.server = Server(self.world)
        self.sender_os, self.door_os = Kernel(os), Kernel(posix)
        self.logged: list[str] = []
        self.patches.setattr(connection, "Session", self.server)
        self.patches.setattr(queue, "os", self.sender_os)
        self.patches.setattr(files, "os", self.sender_os)
        self.patches.setattr(outbox, "posix", self.door_os)
        self.patches.setattr(log.Log, "write", lambda log, text: self.logged.append(text))
        self.patches.setattr(intake, "CALLS_AT_ONCE", 2)
        self.numbers = itertools.count()
        self.accepted: dict[str, Call] = {}
        self.ended: set[str] = set()  # ids of calls of which a later event was accepted
        self.of_others: list[Call] = []  # events of calls that this box does not know
        self.undisturbed: set[str] = set()  # ids of calls that nothing has befallen which excuses a repeat
        self.disk_was_full = self.may_forget = self.may_ignore = False

    @initialize()
    def begin(self) -> None:
        self.configure()

    def teardown(self) -> None:
        try:
            self.everything_is_sent_in_the_end()
        finally:
            self.patches.undo()
            shutil.rmtree(self.folder)

    def everything_is_sent_in_the_end(self) -> None:
        for what in ("the disk has room", "the server is well", "the configuration is right"):
            self.something_changes(what, ALICE, 0)
        for who in PEOPLE:
            self.something_changes("somebody takes messages", who, 0)
        self.server.late.clear()
        assert self.run_sender(10, [self.flush])
        assert self.world.waiting() == []
        self.each_message_is_in_one_place()
        self.each_end_is_told()

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

    @rule(count=st.integers(1, 5), to=st.lists(st.sampled_from(PEOPLE), unique=True))
    def one_calls_often(self, count: int = 3, to: Sequence[str] = (ALICE, BOB)) -> None:
        for _ in range(count):
            self.call(to, number="often")

    @rule(data=st.data(), event=st.sampled_from(["answered", "missed"]), kill_after=st.none() | st.integers(0, 4))
    def calls_end(self, data: st.DataObject, event: str, kill_after: int | None) -> None:
        """One or two; some more than once, and some while they are still to be shown."""
        if self.accepted:
            ids = st.lists(st.sampled_from(sorted(self.accepted)), min_size=1, max_size=2, unique=True)
            self.event(data.draw(ids), event, kill_after)

    @rule(event=st.sampled_from(["answered", "missed"]), kill_after=st.none() | st.integers(0, 4))
    def a_call_of_another_box_ends(self, event: str, kill_after: int | None) -> None:
        call = Call(event=event, follows="1600000000.000000-0123456789ab")
        if self.put(call, kill_after):
            self.of_others.append(call)

    def event(self, follows: list[str], event: str, kill_after: int | None = None) -> None:
        for call in follows:
            self.server.events[call].add(event)
        if self.put(Call(event=event, follows="&".join(follows)), kill_after):
            self.ended.update(follows)

    def call(
        self, to: Sequence[str], kill_after: int | None = None, number: str = "", is_over_fastagi: bool = False
    ) -> None:
        call = Call(number=number, to="&".join(to))
        if self.put(call, kill_after, is_over_fastagi):
            self.accepted[call.id] = call
            self.undisturbed.add(call.id)

    def put(self, call: Call, kill_after: int | None, is_over_fastagi: bool = False) -> bool:
        """Whether the call is accepted."""
        number = next(self.numbers)
        call.id = f"{call.time:017.6f}-{number:012x}"  # in the same order each time
        call.number = self.server.numbers[call.id] = call.number or f"{number:04}"
        self.server.events[call.id] = {call.event}
        self.door_os.changes_left = kill_after
        try:
            (self.world.queue_over_fastagi if is_over_fastagi else self.world.queue)(call)
        except (Killed, OSError):
            if f"{call.id}.json" not in self.world.files("new"):
                return False  # the dialplan was told FAILED, or nothing
        finally:
            self.door_os.changes_left = None
        return True

    # What happens to the server, the box and its administrator

    @rule(what=st.sampled_from(CHANGES), who=st.sampled_from(PEOPLE), number=st.integers(0, 3))
    def something_changes(self, what: str, who: str, number: int) -> None:
        if what in TEMPERS:
            self.server.bounces.pop(who, None)
            if TEMPERS[what]:
                self.server.bounces[who] = (TEMPERS[what], "bounced")
        elif what in ERRORS:
            self.server.error = SessionError("session", what, "look into its log") if ERRORS[what] else None
            self.server.error_at = ERRORS[what]
        elif what.startswith("the disk"):
            self.sender_os.full = self.door_os.full = what == "the disk is full"
            self.disk_was_full |= self.sender_os.full
        elif what == "somebody leaves a file":
            folder, text = ("new", "queue")[number % 2], ("", "{", '{"id": "1"}', "[]")[number]
            Path(self.world.outbox.path, folder, f"{next(self.numbers)}.json").write_text(text)
        elif what == "a day passes":
            self.may_forget = True
            self.world.now += 100_000
        elif what == "the configuration is wrong":
            self.world.configure(to="@")
        elif what == "nobody wants to be told of answers":
            self.may_ignore = True
            self.configure(events="ringing, missed")
        elif what == "limits are low":
            self.may_forget = True
            self.configure(calls=2)
        else:
            self.configure(give_up_after=0 if what == "messages are given up at once" else 86400)

    def configure(
        self, give_up_after: int = 86400, calls: int = 10_000, events: str = "ringing, answered, missed"
    ) -> None:
        more = f"events = {events}\ngive_up_after = {give_up_after}\n[spool]\ncalls = {calls}"
        more = f"flood_limit = {LIMIT}\n{more}"
        templates = [f"message_{event} = {{number}} {{outcome}}" for event in ("answered", "missed")]
        self.world.configure(to=ALICE, more="\n".join([*templates, more]), message="{number} calls", linger=1)

    @rule(data=st.data(), temper=st.sampled_from(["cancel", "wait"]))
    def a_message_will_come_back_late(self, data: st.DataObject, temper: str) -> None:
        """In the session of a later sender."""
        if self.server.delivered:
            stanza_id, recipient = data.draw(st.sampled_from(sorted(self.server.delivered)))
            self.comes_back(stanza_id)
            self.server.late.append((stanza_id, recipient, temper))

    def comes_back(self, stanza_id: str) -> None:
        self.undisturbed.discard(call_of(stanza_id))

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
        self.when_idle = when_idle
        for _ in when_idle:
            self.world.at(self.world.now, self.next_action)
        try:
            return self.world.run(seconds)
        except Killed:
            self.server.has_disturbed = True
            if self.server.session:
                self.server.session.close()
            return False
        finally:
            self.sender_os.changes_left = None
            self.when_idle = []
            self.server.meanwhile = []

    def next_action(self) -> None:
        if self.when_idle:  # else it was meant for a sender that was killed before
            self.when_idle.pop(0)()

    def call_two(self) -> None:
        self.call([ALICE, BOB])

    def call_over_fastagi(self) -> None:
        self.call([BOB], is_over_fastagi=True)

    def the_last_ends(self) -> None:
        if self.accepted:
            self.event([max(self.accepted)], "answered")

    def flush(self) -> None:
        self.world.ring(trigger.FLUSH)

    def retry(self) -> None:
        self.world.ring(trigger.RETRY)

    def terminate(self) -> None:
        self.world.sigterm()

    def the_last_comes_back(self) -> None:
        if self.server.delivered and self.server.session:
            stanza_id, recipient = list(self.server.delivered)[-1]
            self.comes_back(stanza_id)
            self.server.sends_error(stanza_id, recipient, "wait", "came back")

    # What must always hold

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        folders = {folder: set(self.world.files(folder)) for folder in ("new", "queue", "sent", "failed")}
        summaries = [counted(self.world, folder, name) for folder in folders for name in folders[folder]]
        told_together = Counter(pair for summary in summaries for pair in summary)
        for call in self.accepted.values():
            is_new = f"{call.id}.json" in folders["new"]
            has_failed = Message(call, NO_RECIPIENT).name in folders["failed"]
            for to in call.to.split("&") if call.to else [ALICE]:
                message, pair = Message(call, to), (call.id, to)
                places = [folder for folder in ("queue", "sent", "failed") if message.name in folders[folder]]
                if pair in told_together:
                    assert call.number == "often" and told_together[pair] == 1
                    assert places in ([], ["queue"] if is_new else [])
                    continue
                if "sent" in places:
                    assert (message.id, to) in self.server.delivered
                if is_new:  # and a sender that was killed may have taken it in halfway
                    assert "sent" not in places, (pair, places)
                elif has_failed:
                    assert places == [], (pair, places)
                else:
                    assert len(places) == 1 or (not places and self.was_removed(message)), (pair, places)
                if places == ["failed"] and not self.disk_was_full:
                    assert records.read_message(f"{self.world.outbox.path}/failed/{message.name}").reason

    def each_end_is_told(self) -> None:
        """By the message itself, if it was still waiting, or by its correction."""
        for call in (self.accepted[one] for one in self.ended):
            for to in call.to.split("&") if call.to else [ALICE]:
                first, second = Message(call, to), Message(call, to, is_second=True)
                untold = self.may_forget or self.disk_was_full or self.may_ignore
                if first.name in self.world.files("sent") and not untold:
                    told = records.read_message(f"{self.world.outbox.path}/sent/{first.name}")
                    places = [one for one in ("sent", "failed") if second.name in self.world.files(one)]
                    assert told.outcome or len(places) == 1, (first.name, places)

        for call in self.of_others:
            names = {Message(call, ALICE).name, Message(call, NO_RECIPIENT).name}  # the latter if it was given up
            places = [one for one in ("sent", "failed") if names.intersection(self.world.files(one))]
            assert len(places) == 1 or self.may_forget or self.disk_was_full or self.may_ignore, (call.id, places)

    def was_removed(self, message: Message) -> bool:
        """From sent/ or failed/, within their limits; what was sent on a full disk may never have been in sent/."""
        if any(line.startswith(message.call.id) and "is removed from failed/" in line for line in self.logged):
            return True
        if message.call.number == "often" and self.its_summary_was_removed((message.call.id, message.to)):
            return True
        return (message.id, message.to) in self.server.delivered and (self.may_forget or self.disk_was_full)

    def its_summary_was_removed(self, pair: Pair) -> bool:
        if any(f"{SUMMARY} is removed from failed/" in line for line in self.logged):
            return True
        told = (to for stanza_id, to in self.server.delivered if stanza_id.endswith("-more"))
        return (self.may_forget and pair in self.server.summed_up) or (self.disk_was_full and pair[1] in told)

    @invariant()
    def nobody_gets_twice_what_nothing_has_befallen(self) -> None:
        if self.server.has_disturbed:
            self.undisturbed.clear()
            self.server.has_disturbed = False
        for (stanza_id, _), count in self.server.delivered.items():
            assert count == 1 or call_of(stanza_id) not in self.undisturbed


TestNothingLost = NothingLost.TestCase
# The same examples in each run, so that a failure is the change's; HYPOTHESIS_EXAMPLES=5000 looks for more by chance.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
TestNothingLost.settings = settings(
    max_examples=EXAMPLES or 200, derandomize=not EXAMPLES, stateful_step_count=30, deadline=None
)
