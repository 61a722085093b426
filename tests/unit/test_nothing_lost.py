"""Accepted = delivered + queued + failed, whatever happens: outbox and sender, with an invented server.

The machine is all that can happen to a box: calls, servers of all tempers, kills at any change of a file, full disks,
foreign files, what an administrator does. After each step, every call that was accepted is in exactly one place.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from screenpop import log
from screenpop.call import Call
from screenpop.sender import delivery
from screenpop.sender.loop import Sender
from screenpop.spool import outbox
from screenpop.spool.outbox import Outbox
from screenpop.spool.trigger import Trigger
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.stanza import stanza_id

PEOPLE = [f"{name}@example.org" for name in ("alice", "bob", "carol")]
CHANGES = ("open", "write", "rename", "unlink")


class Killed(BaseException):
    """What `kill -9` is to the code: nothing after it runs."""


class Kernel:
    """The module os as the outbox sees it: it can kill the process at a change, or have a full disk."""

    def __init__(self) -> None:
        self.changes_left: int | None = None  # until the kill
        self.full = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._changing(name, real) if name in CHANGES else real

    def _changing(self, name: str, real: Any) -> Any:
        def change(*arguments: Any) -> Any:
            if self.changes_left is not None:
                self.changes_left -= 1
                if self.changes_left < 0:
                    raise Killed
            if self.full and name == "write":
                raise OSError(28, "No space left on device")
            return real(*arguments)

        return change


class Server:
    """It takes what it is sent, and answers by the temper that it has towards the recipient."""

    def __init__(self) -> None:
        self.tempers = dict.fromkeys(PEOPLE, "")
        self.taken: Counter[tuple[str, str]] = Counter()  # by stanza id and recipient
        self.kept: set[tuple[str, str]] = set()  # what of it did not come back
        self.drops_after: int | None = None  # messages that it still takes before the connection is lost
        self.is_down = False
        self.session: PlayedSession | None = None
        self.has_disturbed = False  # so that something may have to be sent again
        self.late: list[tuple[str, str, str]] = []  # what comes back with the next confirmation: id, recipient, type

    def trouble(self, what: str) -> SessionError:
        self.has_disturbed = True
        return SessionError("session", what, "look into its log")

    def __call__(self, config: Any, resource: str, on_step: Any, on_error: Any, *_: Any) -> PlayedSession:
        if self.is_down:
            raise self.trouble("refused")
        self.session = PlayedSession(self, config, on_error)
        return self.session


class PlayedSession:
    jid, host, since, redirected_to = "pbx@example.org/box", "example.org", 0.0, ""

    def __init__(self, server: Server, config: Any, on_error: Any) -> None:
        self.server, self.config, self.on_error = server, config, on_error
        self.unconfirmed: list[Any] = []

    def send(self, message: Any) -> None:
        server = self.server
        if server.drops_after is not None:
            server.drops_after -= 1
            if server.drops_after < 0:
                server.drops_after = None
                raise server.trouble("connection reset")
        server.taken[message.getID(), str(message.getTo())] += 1
        server.kept.add((message.getID(), str(message.getTo())))
        self.unconfirmed.append(message)

    def confirm(self) -> None:
        if self.server.is_down:
            raise self.server.trouble("it doesn't answer")
        for late in self.server.late:
            self.on_error(*late, "came back")  # who is killed before it is written down has never heard of it
            self.server.kept.discard(late[:2])
        self.server.late.clear()
        while self.unconfirmed:
            message = self.unconfirmed.pop(0)
            recipient = str(message.getTo())
            if temper := self.server.tempers[recipient]:
                self.server.kept.discard((message.getID(), recipient))
                self.server.has_disturbed |= temper == "wait"
                self.on_error(message.getID(), recipient, temper, "bounced")

    def close(self) -> None:
        self.server.session = None


class NothingLost(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.server, self.kernel = Server(), Kernel()
        self.patches: list[Any] = [
            mock.patch.object(delivery, "Session", self.server),
            mock.patch.object(outbox, "os", self.kernel),
            mock.patch.object(log.Log, "write", lambda log, text: self.logged.append(text)),
        ]
        for patch in self.patches:
            patch.start()
        self.logged: list[str] = []
        self.outbox = Outbox(str(self.folder / "outbox"))
        self.outbox.make()
        bell = Trigger.acquire(self.outbox.path)
        assert bell
        self.bell = bell
        self.accepted: dict[str, Call] = {}
        self.undisturbed: set[str] = set()  # ids of calls that nothing has befallen which excuses a repeat
        self.reasons_kept = True

    @initialize()
    def begin(self) -> None:
        self.configure(give_up=False, calls=100)
        self.new_sender()

    def teardown(self) -> None:
        try:
            self.all_ends_well()
        finally:
            for patch in self.patches:
                patch.stop()
            self.bell.close()
            os.close(self.bell.lock)
            shutil.rmtree(self.folder)

    def all_ends_well(self) -> None:
        """Once nothing is wrong any more, nothing waits any more."""
        self.kernel.changes_left, self.kernel.full = None, False
        self.server.is_down, self.server.drops_after = False, None
        self.server.tempers = dict.fromkeys(PEOPLE, "")
        self.new_sender()
        self.attempt()
        assert self.outbox.waiting() == []
        self.each_call_is_in_one_place()

    # what doors do

    @rule(to=st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True), kill_after=st.none() | st.integers(0, 4))
    def call(self, to: list[str], kill_after: int | None) -> None:
        call = Call(number="1", to="&".join(to))
        self.kernel.changes_left = kill_after
        try:
            self.outbox.put(call)
        except (Killed, OSError):
            if not self.is_in("new", call.id):
                return  # nothing was told, and nothing is there
        finally:
            self.kernel.changes_left = None
        self.accepted[call.id] = call
        self.undisturbed.add(call.id)

    @rule(text=st.sampled_from(["", "{", '{"id": "1"}', "[]"]))
    def somebody_leaves_a_file(self, text: str) -> None:
        (self.folder / "outbox" / "new" / f"{os.urandom(4).hex()}.json").write_text(text)

    # what the server does

    @rule(who=st.sampled_from(PEOPLE), temper=st.sampled_from(["", "cancel", "wait"]))
    def temper(self, who: str, temper: str) -> None:
        self.server.tempers[who] = temper

    @rule(is_down=st.booleans())
    def server_goes_or_comes(self, is_down: bool) -> None:
        self.server.is_down = is_down

    @rule(after=st.integers(0, 3))
    def connection_will_be_lost(self, after: int) -> None:
        self.server.drops_after = after

    @rule(data=st.data(), temper=st.sampled_from(["cancel", "wait"]), at_once=st.booleans())
    def one_comes_back_late(self, data: st.DataObject, temper: str, at_once: bool) -> None:
        if not self.server.session or not self.server.taken:
            return
        own_id, recipient = data.draw(st.sampled_from(sorted(self.server.taken)))
        self.server.has_disturbed = True
        if own_id not in self.sender.delivery.sent:
            return  # it was sent by one who has been killed since
        if at_once:
            self.server.kept.discard((own_id, recipient))
            self.server.session.on_error(own_id, recipient, temper, "came back")
        else:
            self.server.late.append((own_id, recipient, temper))

    # what the sender does

    @rule(kill_after=st.none() | st.integers(0, 12))
    def attempt(self, kill_after: int | None = None) -> None:
        self.sender._put_off_returned()
        self.kernel.changes_left = kill_after
        try:
            self.sender._attempt(self.outbox.waiting())
        except Killed:
            self.kernel.changes_left = None
            self.server.has_disturbed = True
            self.new_sender()
        finally:
            self.kernel.changes_left = None

    @rule()
    def new_sender(self) -> None:
        """One that knows only what is written, and gets nothing back of what another has sent."""
        self.server.late.clear()
        self.server.has_disturbed |= self.kernel.full
        self.sender = Sender(self.outbox, self.bell, self.folder / "screen_pop.conf")

    # what the administrator does, and the disk

    @rule(give_up=st.booleans(), calls=st.sampled_from([2, 100]))
    def configure(self, give_up: bool, calls: int) -> None:
        (self.folder / "screen_pop.conf").write_text(
            f"[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = {PEOPLE[0]}\n"
            f"give_up_after = {0 if give_up else 86400}\n[outbox]\ncalls = {calls}\n[log]\nfile = /dev/null\n"
        )

    @rule()
    def retry(self) -> None:
        if not self.kernel.full:
            self.server.has_disturbed = True
            self.outbox.retry()

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.kernel.full = full
        if full:
            self.reasons_kept = False

    # what is always so

    def is_in(self, folder: str, call_id: str) -> bool:
        return (self.folder / "outbox" / folder / f"{call_id}.json").exists()

    @invariant()
    def each_call_is_in_one_place(self) -> None:
        for call in self.accepted.values():
            queued, failed = self.is_in("new", call.id), self.is_in("failed", call.id)
            assert not (queued and failed)
            if failed and self.reasons_kept:
                record = json.loads((self.folder / "outbox" / "failed" / f"{call.id}.json").read_text())
                assert record["failed"]
            if not queued and not failed and not self.has_been_removed(call):
                for to in call.to.split("&"):
                    assert (stanza_id(call, to), to) in self.server.kept or self.has_been_logged(call, to)

    def has_been_removed(self, call: Call) -> bool:
        """Beyond the limit of failed/."""
        return any("is removed from failed/" in line and call.id in line for line in self.logged)

    def has_been_logged(self, call: Call, to: str) -> bool:
        """What comes back late while the disk is full is told nowhere else."""
        return any(f"{call.id} {to} failed: came back" in line for line in self.logged)

    @invariant()
    def nobody_gets_twice_what_nothing_has_befallen(self) -> None:
        if self.server.has_disturbed:
            self.undisturbed.clear()
            self.server.has_disturbed = False
        for (own_id, _), count in self.server.taken.items():
            if any(own_id.startswith(call_id) for call_id in self.undisturbed):
                assert count == 1


TestNothingLost = NothingLost.TestCase
# The same ones in each run, so that a failure is the change's; HYPOTHESIS_EXAMPLES=5000 looks for more by chance.
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
TestNothingLost.settings = settings(
    max_examples=EXAMPLES or 200, derandomize=not EXAMPLES, stateful_step_count=30, deadline=None
)
