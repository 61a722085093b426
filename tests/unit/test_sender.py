"""The sender: what becomes of the calls in the outbox. The XMPP session is played."""

from __future__ import annotations

import json
import os
import random
import re
import select
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screenpop.call import Call
from screenpop.pop import message
from screenpop.sender import delivery, loop, process
from screenpop.sender.loop import Sender
from screenpop.spool import trigger
from screenpop.spool.options import SpoolOptions
from screenpop.spool.outbox import Outbox
from screenpop.spool.replies import Replies
from screenpop.spool.trigger import FLUSH, Trigger, ring
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.options import XmppOptions
from screenpop.xmpp.stanza import stanza_id

ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.net"


class Server:
    """Plays `Session`, and the server behind it."""

    def __init__(self) -> None:
        self.sign_ins: list[tuple[XmppOptions, str]] = []
        self.went: list[str] = []  # where it was told to sign in
        self.sessions: list[PlayedSession] = []
        self.taken: list[Any] = []  # stanzas
        self.bounces: dict[str, tuple[str, str]] = {}  # recipient: type and reason, as long as it is in here
        self.trouble: SessionError | None = None
        self.trouble_at = "sign-in"

    def __call__(
        self, config: XmppOptions, resource: str, on_step: Any, on_error: Any, on_receipt: Any, elsewhere: str
    ) -> PlayedSession:
        self.sign_ins.append((config, resource))
        self.went.append(elsewhere)
        self.raise_at("sign-in")
        on_step("sign-in", "by nobody")
        self.sessions.append(PlayedSession(self, config, on_error, on_receipt))
        return self.sessions[-1]

    def raise_at(self, step: str) -> None:
        if self.trouble and self.trouble_at == step:
            raise self.trouble

    def told(self) -> list[str]:
        return [str(stanza.getTo()) for stanza in self.taken]

    def texts(self) -> list[str]:
        return [stanza.getBody() for stanza in self.taken]


class PlayedSession:
    jid, host, since = "pbx@example.org/box", "xmpp.example.org:5222 (STARTTLS)", 1700000000.0
    elsewhere = ""

    def __init__(self, server: Server, config: XmppOptions, on_error: Any, on_receipt: Any) -> None:
        self.server, self.config, self.on_error, self.on_receipt = server, config, on_error, on_receipt
        self.unconfirmed: list[Any] = []
        self.is_open = True
        self.reads, self.writes = os.pipe()

    def fileno(self) -> int:
        return self.reads

    def send(self, message: Any) -> None:
        assert self.is_open
        self.server.raise_at("send")
        self.unconfirmed.append(message)

    def confirm(self) -> None:
        self.server.raise_at("confirm")
        while self.unconfirmed:
            message = self.unconfirmed.pop(0)
            recipient = str(message.getTo())
            self.server.taken.append(message)
            if recipient in self.server.bounces:
                self.on_error(message.getID(), recipient, *self.server.bounces[recipient])

    def keep_alive(self) -> float:
        self.server.raise_at("keep_alive")
        return 1000.0

    def process(self) -> None:
        os.read(self.reads, 1)
        self.server.raise_at("process")

    def close(self) -> None:
        assert self.is_open
        self.is_open = False


def taken(outbox: Outbox) -> Trigger:
    bell = Trigger.acquire(outbox.path)
    assert bell
    return bell


class Box:
    """An outbox with its sender, a configuration and a log."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.configure()
        self.outbox = Outbox(str(folder / "outbox"))
        self.outbox.make()
        self.bell = taken(self.outbox)
        self.begin()

    def begin(self) -> None:
        """A new sender, that knows nothing of the one before."""
        self.sender = Sender(self.outbox, self.bell, self.folder / "screen_pop.conf")

    def configure(self, to: str = ALICE, more: str = "") -> None:
        (self.folder / "screen_pop.conf").write_text(
            "[xmpp]\njid = pbx@example.org\npassword = secret\n"
            f"[pop]\nto = {to}\nmessage = {{caller}}\nlinger = 0\n{more}\n"
        )

    def queue(self, number: str, age: float = 0.0, **known: Any) -> Call:
        call = Call(number=number, **known)
        call.time -= age
        call.uptime -= age
        self.outbox.put(call)
        return call

    def attempt(self) -> None:
        self.sender._attempt(self.outbox.waiting())

    def waiting(self) -> list[str]:
        """The numbers of the calls that wait."""
        return [self.outbox.read(name).number for name in self.outbox.waiting()]

    def failed(self, call: Call) -> dict[str, str]:
        """Why it has failed, for each recipient; out of the file that the administrator reads."""
        record = json.loads(Path(self.outbox.path, "failed", f"{call.id}.json").read_text(encoding="utf-8"))
        reasons: dict[str, str] = record["failed"]
        return reasons

    def log(self) -> list[str]:
        """The lines, without stamps and milliseconds."""
        try:
            lines = (self.folder / "screen_pop.log").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [re.sub(r" \d+ ms$", "", line.partition("] ")[2]) for line in lines]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(delivery, "Session", server)
    return server


@pytest.fixture
def box(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setenv("AST_LOG_DIR", str(tmp_path))
    made = Box(tmp_path, server)
    yield made
    os.close(made.bell.lock)
    for session in server.sessions:
        os.close(session.reads)
        os.close(session.writes)


def unreachable(step: str = "connection") -> SessionError:
    return SessionError(step, "xmpp.example.org:5222: Connection refused", "is the server up?")


# One attempt


def test_a_call_that_the_server_takes_is_gone_and_logged(box: Box) -> None:
    call = box.queue("1")
    box.attempt()
    (stanza,) = box.server.taken
    assert (str(stanza.getTo()), stanza.getType(), stanza.getBody()) == (ALICE, "chat", "1")
    assert stanza.getID() == stanza.getTagAttr("origin-id", "id") == stanza_id(call, ALICE)
    assert not box.outbox.is_waiting(call) and not box.outbox.failed(call)
    assert box.log() == [f"{call.id} {ALICE} delivered"]


def test_calls_go_in_their_order_over_one_session_with_the_resource_of_the_outbox(box: Box) -> None:
    for number in range(3):
        box.queue(str(number))
    box.attempt()
    box.queue("3")
    box.attempt()
    assert box.server.texts() == ["0", "1", "2", "3"]
    assert [resource for _, resource in box.server.sign_ins] == [box.outbox.resource()]


@pytest.mark.parametrize("bound", [(loop, "BATCH"), (delivery, "UNCONFIRMED")], ids=lambda bound: bound[1])
def test_more_messages_than_go_together_are_all_sent(box: Box, monkeypatch: pytest.MonkeyPatch, bound: Any) -> None:
    module, name = bound
    monkeypatch.setattr(module, name, 3)
    box.sender.delivery.together = 3
    box.server.bounces[BOB] = ("cancel", "item-not-found")
    calls = [box.queue(str(number), to=f"{ALICE}&{BOB}") for number in range(10)]
    box.attempt()
    assert box.server.texts() == [str(number) for number in range(10) for _ in range(2)]
    assert box.waiting() == []
    assert all(box.failed(call) == {BOB: "item-not-found"} for call in calls)


def test_no_more_messages_are_under_way_than_are_confirmed_together(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "UNCONFIRMED", 3)
    box.sender.delivery.together = 3
    under_way = []
    confirm = PlayedSession.confirm

    def count(session: PlayedSession) -> None:
        under_way.append(len(session.unconfirmed))
        confirm(session)

    monkeypatch.setattr(PlayedSession, "confirm", count)
    for number in range(4):
        box.queue(str(number), to=f"{ALICE}&{BOB}")
    box.attempt()
    assert under_way == [3, 3, 2]


def test_what_was_confirmed_before_a_trouble_is_not_sent_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "UNCONFIRMED", 3)
    box.sender.delivery.together = 3
    for number in range(2):
        box.queue(str(number), to=f"{ALICE}&{BOB}")
    confirm = PlayedSession.confirm
    box.server.trouble_at = "confirm"

    def confirm_once(session: PlayedSession) -> None:
        confirm(session)
        box.server.trouble = unreachable()

    monkeypatch.setattr(PlayedSession, "confirm", confirm_once)
    box.attempt()
    assert box.waiting() == ["1"]
    box.server.trouble = None
    box.attempt()
    assert list(zip(box.server.texts(), box.server.told())) == [("0", ALICE), ("0", BOB), ("1", ALICE), ("1", BOB)]


def test_a_server_that_confirms_only_a_few_in_time_gets_them_in_ever_smaller_parts(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box.server, "trouble", unreachable())
    confirm = PlayedSession.confirm

    def confirm_a_few(session: PlayedSession) -> None:
        box.server.trouble_at = "confirm" if len(session.unconfirmed) > 2 else "never"
        confirm(session)

    monkeypatch.setattr(PlayedSession, "confirm", confirm_a_few)
    box.server.trouble_at = "never"
    for number in range(30):
        box.queue(str(number))
    attempts = 0
    while box.waiting():
        box.attempt()
        attempts += 1
        assert attempts < 30


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, [10, 20, 40, 50, 50]), (4.0, [10, 10, 10]), (6.0, [10, 5, 2, 1, 1])]
)
def test_as_many_go_together_as_are_confirmed_in_good_time(
    box: Box, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[int]
) -> None:
    clock = Clock()
    monkeypatch.setattr(delivery, "time", clock)
    confirm, together = PlayedSession.confirm, []

    def confirm_late(session: PlayedSession) -> None:
        together.append(len(session.unconfirmed))
        clock.now += seconds
        confirm(session)

    monkeypatch.setattr(PlayedSession, "confirm", confirm_late)
    for number in range(200):
        box.queue(str(number))
    monkeypatch.setattr(loop, "BATCH", 200)
    box.attempt()
    assert together[: len(expected)] == expected
    assert len(box.server.taken) == 200


def test_each_recipient_is_told(box: Box) -> None:
    box.configure(to=f"{ALICE} & {CAROL}")
    box.queue("1")
    box.queue("2", to=f"{BOB}&{ALICE}")
    box.attempt()
    assert list(zip(box.server.texts(), box.server.told())) == [("1", ALICE), ("1", CAROL), ("2", BOB), ("2", ALICE)]


@pytest.mark.parametrize("kind", ["cancel", "auth", "modify", "continue", "?"])
def test_a_pop_that_never_can_be_delivered_has_failed_with_the_reason(box: Box, kind: str) -> None:
    box.server.bounces[ALICE] = (kind, "item-not-found: no\nsuch user")
    call = box.queue("1")
    box.attempt()
    assert box.waiting() == []
    assert box.failed(call) == {ALICE: "item-not-found: no such user"}
    assert box.log() == [f"{call.id} {ALICE} failed: item-not-found: no such user"]


def test_a_pop_that_can_be_delivered_later_waits_for_that(box: Box) -> None:
    box.server.bounces[ALICE] = ("wait", "resource-constraint")
    call = box.queue("1")
    box.attempt()
    assert box.waiting() == ["1"]
    assert box.sender.next_attempt > 0
    del box.server.bounces[ALICE]
    box.attempt()
    assert box.waiting() == []
    assert [stanza.getID() for stanza in box.server.taken] == [stanza_id(call, ALICE)] * 2  # a repeat can be recognised


def test_one_recipients_failure_is_no_others(box: Box) -> None:
    box.server.bounces = {ALICE: ("cancel", "item-not-found"), BOB: ("wait", "resource-constraint")}
    call = box.queue("1", to=f"{ALICE}&{BOB}&{CAROL}")
    other = box.queue("2", to=CAROL)
    box.attempt()
    assert box.waiting() == ["1"]
    assert f"{other.id} {CAROL} delivered" in box.log()
    del box.server.bounces[BOB], box.server.taken[:]
    box.attempt()
    assert box.server.told() == [BOB]  # and nobody a second time
    assert box.failed(call) == {ALICE: "item-not-found"}
    assert box.log().count(f"{call.id} {ALICE} failed: item-not-found") == 1
    assert box.log().count(f"{call.id} {CAROL} delivered") == 1


def test_a_recipient_that_is_no_address_has_failed_and_the_others_are_told(box: Box) -> None:
    call = box.queue("1", to=f"Alice Example&{BOB}")
    box.attempt()
    assert box.server.told() == [BOB]
    assert list(box.failed(call)) == ["Alice Example"]
    assert "is not a JID" in box.failed(call)["Alice Example"]


def test_a_call_whose_recipients_are_all_no_addresses_has_failed(box: Box) -> None:
    call = box.queue("1", to="Alice Example")
    box.attempt()
    assert (box.waiting(), box.server.taken) == ([], [])
    assert list(box.failed(call)) == ["Alice Example"]


def test_recipients_that_are_empty_lose_no_pop(box: Box) -> None:
    """`${A}&${B}` in the dialplan is `&` when both are empty."""
    box.queue("1", to="&")
    box.attempt()
    assert box.server.told() == [ALICE]


def test_a_late_pop_says_so(box: Box) -> None:
    box.outbox.put(Call(id="1", time=Call().time - 120, number="1"))
    box.attempt()
    (stanza,) = box.server.taken
    assert re.fullmatch(r"1 \(\d\d:\d\d, 2 minutes ago\)", stanza.getBody())
    assert stanza.getTag("delay", namespace="urn:xmpp:delay")


def test_a_pop_is_late_only_after_the_configured_time(box: Box) -> None:
    box.configure(more="late_after = 60")
    box.queue("1", age=59)
    box.queue("2", age=61)
    box.attempt()
    assert [" ago)" in text for text in box.server.texts()] == [False, True]
    assert [bool(stanza.getTag("delay")) for stanza in box.server.taken] == [False, True]


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_is_set_makes_no_pop_late_and_gives_none_up(
    box: Box, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    box.configure(more="give_up_after = 600")
    box.queue("1")
    waited = box.queue("2", age=120)
    was = time.time
    monkeypatch.setattr(time, "time", lambda: was() + jump)
    box.server.trouble = unreachable()
    box.attempt()
    assert box.waiting() == ["1", "2"]
    box.server.trouble = None
    box.attempt()
    then = time.strftime("%H:%M", time.localtime(time.time() - waited.age()))  # as the clock has it now
    assert box.server.texts() == ["1", f"2 ({then}, 2 minutes ago)"]


@pytest.mark.parametrize("name", ["0.json", "0" * 255], ids=len)
def test_what_is_no_call_stops_no_call(box: Box, name: str) -> None:
    Path(box.outbox.path, "new", name).write_text('{"id": ')
    call = box.queue("1")
    box.attempt()
    assert box.outbox.waiting() == []
    assert box.server.texts() == ["1"]
    assert len(box.log()) == 2
    assert f"{call.id} {ALICE} delivered" in box.log()


def test_a_call_that_somebody_took_away_is_passed_over(box: Box) -> None:
    gone = box.queue("1")
    box.queue("2")
    names = box.outbox.waiting()
    box.outbox.remove(gone)
    box.sender._attempt(names)
    assert box.server.texts() == ["2"]


# SessionError


@pytest.mark.parametrize("step", ["sign-in", "send", "confirm"])
def test_trouble_keeps_all_calls_and_the_next_attempt_begins_a_session(box: Box, step: str) -> None:
    box.server.trouble, box.server.trouble_at = unreachable(), step
    box.queue("1")
    box.queue("2")
    box.attempt()
    assert box.waiting() == ["1", "2"]
    assert not any(session.is_open for session in box.server.sessions)
    assert box.log() == [f"not sent yet, 2 waiting: {unreachable()}"]
    box.server.trouble = None
    box.attempt()
    assert box.waiting() == []
    assert box.server.texts() == ["1", "2"]


def test_trouble_with_a_session_that_was_kept_loses_nothing(box: Box) -> None:
    box.queue("1")
    box.attempt()
    box.server.trouble, box.server.trouble_at = unreachable(), "send"
    box.queue("2")
    box.attempt()
    assert box.waiting() == ["2"]
    box.server.trouble = None
    box.attempt()
    assert box.server.texts() == ["1", "2"]
    assert len(box.server.sessions) == 2


def test_a_trouble_is_logged_once_until_it_is_another_or_over(box: Box) -> None:
    box.queue("1")
    for trouble in (unreachable(), unreachable(), unreachable("TLS"), None, unreachable("TLS")):
        box.server.trouble = trouble
        box.attempt()
        if trouble is None:
            box.sender.delivery.close()
            box.queue("2")
    steps = [line.split(": ")[1] if line.startswith("not sent") else line.split()[2] for line in box.log()]
    assert steps == ["connection", "TLS", "delivered", "TLS"]


class Clock(SimpleNamespace):
    """Stands in for the module `time`: the seconds since the epoch go on, the others stand still."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return Call().time


def test_the_pause_between_attempts_grows_to_a_minute_and_begins_anew_after_success(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "time", Clock())
    monkeypatch.setattr(random, "uniform", lambda least, most: 1.0)
    box.server.trouble = unreachable()
    box.queue("1")
    pauses = []
    for _ in range(9):
        box.attempt()
        pauses.append(box.sender.next_attempt - 1000.0)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    box.server.trouble = None
    box.attempt()
    box.server.trouble = unreachable()
    box.sender.delivery.close()
    box.queue("2")
    box.attempt()
    assert box.sender.next_attempt == 1001.0


def test_pauses_differ_from_box_to_box(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that comes back isn't met by all of them at once."""
    monkeypatch.setattr(loop, "time", Clock())
    box.server.trouble = unreachable()
    box.queue("1")
    pauses = set()
    for _ in range(5):
        box.sender.pause = 10.0
        box.attempt()
        pauses.add(box.sender.next_attempt - 1000.0)
    assert len(pauses) > 1
    assert all(8 <= pause <= 12 for pause in pauses)


def test_the_doorbell_ends_the_pause(box: Box) -> None:
    box.server.trouble = unreachable()
    box.queue("1")
    box.attempt()
    ring(box.outbox.path)
    box.sender._wait(60)
    # but no more than one attempt a second: a caller must not make us an attacker of the server
    assert box.sender.next_attempt <= box.sender.last_attempt + loop.FIRST_PAUSE
    assert box.sender.pause == loop.FIRST_PAUSE
    box.sender.next_attempt = box.sender.last_attempt + 30
    ring(box.outbox.path)
    box.sender._wait(60)
    assert box.sender.next_attempt == box.sender.last_attempt + loop.FIRST_PAUSE
    assert not select.select([box.bell], [], [], 0)[0]


def test_a_new_call_is_sent_while_a_refused_one_waits_and_repeats_nothing(box: Box) -> None:
    box.configure(to=f"{ALICE} & {BOB}")
    box.server.bounces[BOB] = ("wait", "resource-constraint")
    for number in ("1", "2", "3"):
        box.queue(number)
        box.sender._attempt(box.sender._due(box.outbox.waiting(), box.sender.last_attempt))
    assert box.server.told() == [ALICE, BOB] * 3
    assert box.sender._due(box.outbox.waiting(), box.sender.last_attempt) == []
    assert len(box.sender._due(box.outbox.waiting(), box.sender.next_attempt)) == 3


def test_what_can_be_neither_read_nor_moved_holds_up_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(box.outbox.path, "new", ".bad").touch()

    def refuse(name: str, reason: str) -> None:
        raise PermissionError(1, "Operation not permitted", name)

    monkeypatch.setattr(box.outbox, "reject", refuse)
    box.queue("1")
    box.attempt()
    assert box.server.told() == [ALICE]
    assert box.sender._due(box.outbox.waiting(), box.sender.last_attempt) == []  # and it is not tried in a circle
    assert any("Operation not permitted" in line for line in box.log())


def test_a_connection_that_is_lost_between_calls_is_no_trouble(box: Box) -> None:
    box.queue("1")
    box.attempt()
    (session,) = box.server.sessions
    box.server.trouble, box.server.trouble_at = unreachable(), "process"
    os.write(session.writes, b"\0")
    box.sender._wait(60)
    assert not session.is_open
    box.queue("2")
    box.attempt()
    assert box.server.texts() == ["1", "2"]
    assert len(box.server.sessions) == 2
    assert not any("not sent" in line for line in box.log())


def test_calls_that_are_too_old_are_given_up_with_the_reason_even_if_the_server_is_down(box: Box) -> None:
    box.configure(to=f"{ALICE} & {BOB}", more="give_up_after = 3600")
    box.server.trouble = unreachable()
    box.queue("1")
    box.attempt()
    old = Call(id="0", time=Call().time - 7200, number="0", delivered=[BOB])
    box.outbox.put(old)
    box.attempt()
    assert box.waiting() == ["1"]
    ((recipient, reason),) = box.failed(old).items()
    assert recipient == ALICE
    assert re.fullmatch(f"given up after 720[0-9] s: {re.escape(str(unreachable()))}", reason)


def test_a_call_that_is_never_accepted_is_given_up_as_well(box: Box) -> None:
    box.server.bounces[ALICE] = ("wait", "resource-constraint")
    old = Call(id="0", time=Call().time - 90000, number="0")
    box.outbox.put(old)
    box.attempt()
    assert box.waiting() == []
    assert box.failed(old)[ALICE].endswith(f"{ALICE}: resource-constraint")


def test_a_call_that_no_sender_was_up_for_is_tried_however_old_it_is(box: Box) -> None:
    box.outbox.put(Call(id="0", time=1.0, number="0"))
    box.attempt()
    assert len(box.server.taken) == 1
    assert box.waiting() == []


def test_a_full_disk_keeps_the_call_and_repeats_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(call: Call) -> None:
        raise OSError(28, "No space left on device")

    box.server.bounces[BOB] = ("wait", "resource-constraint")
    box.queue("1", to=f"{ALICE}&{BOB}")
    with monkeypatch.context() as patched:
        patched.setattr(box.outbox, "put", full)
        box.attempt()
    assert box.waiting() == ["1"]
    assert "No space left on device" in box.log()[-1]
    box.attempt()
    assert box.server.told() == [ALICE, BOB, BOB]  # what can't be written down is known all the same


# The configuration


def test_a_change_is_picked_up_with_a_new_session(box: Box) -> None:
    box.queue("1")
    box.attempt()
    box.configure(to=f"{BOB} & {CAROL}", more=f"[xmpp]\nserver = [::1]:5222\n[log]\nfile = {box.folder}/another.log")
    box.queue("2")
    box.attempt()
    assert box.server.told() == [ALICE, BOB, CAROL]
    assert [session.is_open for session in box.server.sessions] == [False, True]
    assert [options.server for options, _ in box.server.sign_ins] == [(), (("::1", 5222),)]
    assert len(box.log()) == 1
    assert len((box.folder / "another.log").read_text().splitlines()) == 2


@pytest.mark.parametrize("spoil", ["missing", "mistyped"])
def test_calls_wait_for_a_configuration_that_can_be_used(box: Box, spoil: str) -> None:
    box.queue("1")
    box.attempt()
    if spoil == "missing":
        (box.folder / "screen_pop.conf").unlink()
    else:
        box.configure(to="nobody at all")
    box.queue("2")
    box.attempt()
    assert box.waiting() == ["2"]
    assert f"not sent yet, 1 waiting: {box.folder}/screen_pop.conf:" in box.log()[-1]
    box.configure(to=BOB)
    box.attempt()
    assert box.server.told() == [ALICE, BOB]


# What comes back later


def test_a_pop_that_comes_back_late_has_failed_after_all(box: Box) -> None:
    call = box.queue("1")
    box.attempt()
    (session,) = box.server.sessions
    session.on_error(stanza_id(call, ALICE), ALICE, "cancel", "remote-server-not-found")
    assert box.failed(call) == {ALICE: "remote-server-not-found"}
    assert box.log() == [f"{call.id} {ALICE} delivered", f"{call.id} {ALICE} failed: remote-server-not-found"]


def test_a_pop_comes_back_once(box: Box) -> None:
    call = box.queue("1")
    box.attempt()
    for _ in range(2):
        box.server.sessions[0].on_error(stanza_id(call, ALICE), ALICE, "cancel", "remote-server-not-found")
    assert len(box.log()) == 2


def test_what_comes_back_late_to_be_tried_again_is_tried_after_a_pause(box: Box) -> None:
    call = box.queue("1")
    box.attempt()
    box.server.sessions[0].on_error(stanza_id(call, ALICE), "example.org", "wait", "remote-server-timeout")
    box.sender._put_off_returned()
    assert box.waiting() == ["1"]
    assert box.sender._due(box.outbox.waiting(), box.sender.last_attempt) == []
    box.sender._attempt(box.sender._due(box.outbox.waiting(), box.sender.next_attempt))
    assert box.server.told() == [ALICE, ALICE] and box.waiting() == []


def test_a_domain_that_gives_everything_back_is_tried_ever_more_rarely_and_given_up(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, most: 1.0)
    monkeypatch.setattr(loop, "time", clock := Clock())
    box.configure(more="give_up_after = 100")
    call = box.queue("1")
    pauses: list[int] = []
    while box.waiting():
        box.attempt()
        box.server.sessions[0].on_error(stanza_id(call, ALICE), "example.org", "wait", "remote-server-timeout")
        box.sender._put_off_returned()
        pause = box.sender.next_attempt - clock.now
        pauses.append(round(pause))
        for known in box.sender.delivery.calls.values():
            known.uptime -= pause
    assert pauses == [1, 1, 2, 4, 8, 16, 32, 60, 60]
    assert box.failed(call)[ALICE].endswith(f"s: {ALICE}: remote-server-timeout")
    assert "not sent yet, 1 waiting: alice@example.org: remote-server-timeout" in box.log()


@pytest.mark.parametrize("kind", ["wait", "cancel"])
def test_what_comes_back_while_the_rest_of_its_call_is_under_way_is_not_lost(
    box: Box, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    box.server.bounces[ALICE] = ("wait", "resource-constraint")
    call = box.queue("1", to=f"{ALICE}&{CAROL}")
    box.attempt()
    box.server.bounces.clear()
    confirm = PlayedSession.confirm

    def come_back_first(session: PlayedSession) -> None:
        session.on_error(stanza_id(call, CAROL), CAROL, kind, "came back")
        confirm(session)

    monkeypatch.setattr(PlayedSession, "confirm", come_back_first)
    box.attempt()
    monkeypatch.setattr(PlayedSession, "confirm", confirm)
    if kind == "cancel":
        assert box.failed(call) == {CAROL: "came back"}
    else:
        assert box.waiting() == ["1"]
        box.sender._put_off_returned()
        box.attempt()
        assert box.server.told() == [ALICE, CAROL, ALICE, CAROL]
    assert box.waiting() == []


def test_what_comes_back_of_a_call_that_was_put_back_is_known_of_that(box: Box) -> None:
    box.server.bounces[ALICE] = ("cancel", "item-not-found")
    call = box.queue("1", to=f"{ALICE}&{CAROL}")
    box.attempt()
    assert box.outbox.retry() == 1
    box.server.bounces[ALICE] = ("wait", "resource-constraint")
    box.attempt()
    box.server.sessions[0].on_error(stanza_id(call, CAROL), CAROL, "cancel", "gone")
    box.server.bounces.clear()
    box.attempt()
    assert box.failed(call) == {CAROL: "gone"}


def test_all_that_come_back_late_have_their_reasons(box: Box) -> None:
    call = box.queue("1", to=f"{ALICE}&{BOB}&{CAROL}")
    box.attempt()
    for recipient in (ALICE, CAROL):
        box.server.sessions[0].on_error(stanza_id(call, recipient), recipient, "cancel", f"no {recipient}")
    assert box.failed(call) == {ALICE: f"no {ALICE}", CAROL: f"no {CAROL}"}
    assert [line for line in box.log() if "failed" in line] == [
        f"{call.id} {recipient} failed: no {recipient}" for recipient in (ALICE, CAROL)
    ]


def test_one_that_comes_back_late_takes_nothing_from_another_that_still_waits(box: Box) -> None:
    box.server.bounces[BOB] = ("wait", "resource-constraint")
    call = box.queue("1", to=f"{CAROL}&{BOB}")
    box.attempt()
    assert box.waiting() == ["1"]
    box.server.sessions[0].on_error(stanza_id(call, CAROL), CAROL, "cancel", "remote-server-not-found")
    assert box.waiting() == ["1"]
    box.server.bounces.clear()
    box.attempt()
    assert box.server.told() == [CAROL, BOB, BOB]
    assert box.failed(call) == {CAROL: "remote-server-not-found"}


@pytest.mark.parametrize(
    ("sender_jid", "error", "receipt"),
    [
        (CAROL, True, True),
        (f"{CAROL}/phone", True, True),
        ("Carol@EXAMPLE.net", True, True),
        ("example.net", True, False),  # the recipient's server
        ("example.org", True, False),  # our own server,
        ("pbx@example.org", True, False),  # for our account,
        ("", False, False),  # from='', which is nobody
        ("@/", False, False),
        (ALICE, False, False),
        ("carol@example.org", False, False),
        ("dave@example.net", False, False),
        ("evil.example.net", False, False),
        ("pbx@example.org/box", False, False),
        ("dave@example.com/carol@example.net", False, False),
        ("no address", False, False),
    ],
)
def test_only_the_recipient_and_the_servers_say_what_became_of_a_pop(
    box: Box, sender_jid: str, error: bool, receipt: bool
) -> None:
    call = box.queue("1", to=CAROL, receipt=True)
    answers = Replies(box.outbox, call)
    box.attempt()
    (session,) = box.server.sessions
    answers.read()
    session.on_receipt(stanza_id(call, CAROL), sender_jid)
    box.outbox.tell(call, status="that is all")
    assert answers.read()[:-1] == ([{"receipt": sender_jid}] if receipt else [])
    session.on_error(stanza_id(call, CAROL), sender_jid, "cancel", "gone")
    assert bool(box.outbox.failed(call)) == error
    answers.close()


def test_an_answer_to_what_was_never_sent_is_nobodys(box: Box) -> None:
    call = box.queue("1")
    box.attempt()
    (session,) = box.server.sessions
    session.on_error("another", ALICE, "cancel", "forged")
    session.on_receipt("another", ALICE)
    assert not box.outbox.failed(call)


def test_what_is_remembered_of_old_pops_has_an_end(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "REMEMBERED", 3)
    calls = []
    for number in range(5):
        calls.append(box.queue(str(number)))
        box.attempt()
    for call in calls:
        box.server.sessions[0].on_error(stanza_id(call, ALICE), ALICE, "cancel", "late")
    assert [bool(box.outbox.failed(call)) for call in calls] == [False, False, True, True, True]


def test_a_batch_is_remembered_whole_until_it_is_confirmed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "REMEMBERED", 3)
    box.server.bounces[ALICE] = ("cancel", "item-not-found")
    calls = [box.queue(str(number)) for number in range(10)]
    box.attempt()
    assert all(box.failed(call) for call in calls)


# What is told to whoever waits


def statuses(box: Box, **known: Any) -> list[dict[str, Any]]:
    """The answers that somebody gets who waits for a call, after one attempt."""
    call = box.queue("1", **known)
    answers = Replies(box.outbox, call)
    box.attempt()
    told = answers.read()
    answers.close()
    return told


def test_whoever_waits_is_told_of_delivery(box: Box) -> None:
    assert statuses(box) == [{"status": "DELIVERED"}]


def test_whoever_waits_is_told_of_failure(box: Box) -> None:
    box.server.bounces[ALICE] = ("cancel", "item-not-found")
    assert statuses(box) == [{"status": "FAILED", "reason": f"{ALICE}: item-not-found"}]


def test_delivered_to_one_is_delivered_with_the_reasons_of_the_others(box: Box) -> None:
    box.server.bounces[ALICE] = ("cancel", "item-not-found")
    told = statuses(box, to=f"{ALICE}&{BOB}")
    assert told == [{"status": "DELIVERED", "reason": f"{ALICE}: item-not-found"}]


def test_whoever_waits_is_told_why_it_isnt_delivered_yet(box: Box) -> None:
    box.server.bounces[ALICE] = ("wait", "resource-constraint")
    assert statuses(box) == [{"status": "QUEUED", "reason": f"{ALICE}: resource-constraint"}]


def test_whoever_waits_is_told_of_trouble(box: Box) -> None:
    box.server.trouble = unreachable()
    assert statuses(box) == [{"status": "QUEUED", "reason": str(unreachable())}]


def test_whoever_tests_is_told_of_each_step(box: Box) -> None:
    told = statuses(box, receipt=True)
    assert [answer.get("step") for answer in told] == ["sender", "sign-in", "message", None]
    assert box.server.taken[0].getTag("request", namespace="urn:xmpp:receipts")


# The whole of it


def test_it_sends_what_waits_and_leaves_after_its_time(box: Box) -> None:
    box.queue("1")
    box.queue("2")
    box.sender.run()
    assert box.server.texts() == ["1", "2"]
    assert not box.server.sessions[0].is_open
    box.bell.reopen()  # it had been closed


def test_a_call_that_comes_while_it_leaves_is_sent(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    close = box.bell.close
    numbers = iter("12")

    def close_late() -> None:
        number = next(numbers, None)
        if number:
            box.queue(number)
        close()

    monkeypatch.setattr(box.bell, "close", close_late)
    box.queue("0")
    box.sender.run()
    assert box.server.texts() == ["0", "1", "2"]


def test_it_stays_as_long_as_a_call_waits(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        box.sender.next_attempt = 0.0
        if len(waits) == 3:
            box.server.trouble = None

    monkeypatch.setattr(box.sender, "_wait", wait)
    box.server.trouble = unreachable()
    box.queue("1")
    box.sender.run()
    assert len(waits) == 3
    assert box.server.texts() == ["1"]


def test_it_stays_for_the_configured_time_after_the_last_call(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        if not waits:
            box.queue("2")
        waits.append(seconds)
        clock.now += 250.0

    monkeypatch.setattr(box.sender, "_wait", wait)
    (box.folder / "screen_pop.conf").write_text(
        (box.folder / "screen_pop.conf").read_text().replace("linger = 0", "linger = 300")
    )
    box.queue("1")
    box.sender.run()
    assert waits == [300.0, 300.0, 50.0]
    assert box.server.texts() == ["1", "2"]


def test_it_leaves_when_the_outbox_has_another_sender(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.queue("1")
    Path(box.outbox.path, "lock").unlink()
    Path(box.outbox.path, "trigger").unlink()
    other = taken(box.outbox)
    box.sender.run()
    box.attempt()
    assert box.waiting() == ["1"] and box.server.taken == []
    other.close()
    os.close(other.lock)


def test_it_leaves_when_the_outbox_is_gone(box: Box) -> None:
    Path(box.outbox.path).rename(f"{box.outbox.path}-moved")
    box.sender.run()
    Path(f"{box.outbox.path}-moved").rename(box.outbox.path)


def test_without_file_descriptors_it_stays_and_goes_on_when_there_are_some(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, waits = box.outbox.waiting, []

    def too_many() -> list[str]:
        raise OSError(24, "Too many open files")

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            monkeypatch.setattr(box.outbox, "waiting", waiting)

    box.queue("1")
    monkeypatch.setattr(box.outbox, "waiting", too_many)
    monkeypatch.setattr(box.sender, "_wait", wait)
    box.sender.run()
    assert box.server.texts() == ["1"]
    assert len(waits) == 3 and min(waits) >= loop.FIRST_PAUSE
    assert box.log()[0] == "not sent yet, all waiting: [Errno 24] Too many open files"


def test_what_killed_doors_have_left_is_tidied_up(box: Box) -> None:
    left = Path(box.outbox.path, "tmp", "1.json")
    left.write_text("{")
    os.utime(left, (1.0, 1.0))
    box.queue("1")
    box.sender.run()
    assert not left.exists()
    box.bell.reopen()


def test_calls_that_were_left_in_memory_get_a_sender(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rung: list[str] = []
    monkeypatch.setattr("screenpop.spool.outbox.MEMORY", str(tmp_path))
    monkeypatch.setattr(trigger, "ring", rung.append)
    spare = box.outbox.spare()
    box.sender._tidy()
    assert rung == []
    spare.put(Call(number="1"))
    box.begin()
    box.sender._tidy()
    assert rung == [spare.path]


def test_beyond_its_limit_the_oldest_of_the_outbox_go_to_failed_and_the_oldest_of_those_are_removed(box: Box) -> None:
    box.configure(more="[outbox]\ncalls = 3")
    box.server.trouble = unreachable()
    calls = [box.queue(str(number)) for number in range(8)]
    box.attempt()
    assert box.waiting() == ["5", "6", "7"]
    assert [name for name, _ in box.outbox.all_failed()] == [f"{call.id}.json" for call in calls[2:5]]
    assert box.failed(calls[4]) == {ALICE: f"the outbox is full: {unreachable()}"}
    assert [line for line in box.log() if "removed" in line] == [
        f"{call.id}.json is removed from failed/, which is full" for call in calls[:2]
    ]


def test_what_has_failed_stays_within_the_limit_even_if_all_else_is_well(box: Box) -> None:
    box.configure(to=BOB, more="[outbox]\ncalls = 3")
    box.server.bounces[BOB] = ("cancel", "item-not-found")
    calls = [box.queue(str(number)) for number in range(5)]
    box.sender.run()
    assert [name for name, _ in box.outbox.all_failed()] == [f"{call.id}.json" for call in calls[2:]]
    box.bell.reopen()


def test_more_calls_than_the_limit_are_sent_when_they_can_be(box: Box) -> None:
    box.configure(more="[outbox]\ncalls = 3")
    for number in range(8):
        box.queue(str(number))
    box.attempt()
    assert len(box.server.taken) == 8


def test_the_limit_holds_without_a_configuration(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpoolOptions, "calls", 1)
    (box.folder / "screen_pop.conf").unlink()
    calls = [box.queue("1"), box.queue("2", to=BOB), box.queue("3")]
    box.attempt()
    assert box.waiting() == ["3"]
    ((recipient, reason),) = box.outbox.read(f"{calls[1].id}.json", "failed").failed.items()
    assert recipient == BOB and reason.startswith("the outbox is full: ")


def test_a_flush_tries_all_at_once_whatever_the_pause(box: Box) -> None:
    box.server.bounces[ALICE] = ("wait", "resource-constraint")
    box.queue("1")
    box.attempt()
    assert box.sender._due(box.outbox.waiting(), box.sender.last_attempt) == []
    ring(box.outbox.path, FLUSH)
    box.sender._wait(60)
    assert len(box.sender._due(box.outbox.waiting(), box.sender.last_attempt)) == 1


def test_a_session_that_is_dead_is_not_used(box: Box) -> None:
    box.queue("1")
    box.attempt()
    box.server.trouble, box.server.trouble_at = unreachable(), "keep_alive"
    box.queue("2")
    box.sender.run()
    assert box.server.texts() == ["1", "2"]
    assert [session.is_open for session in box.server.sessions] == [False, False]
    assert f"session ended: {unreachable()}" in box.log()
    box.bell.reopen()


def test_a_session_begins_where_the_one_before_was_sent_to_and_if_that_fails_where_it_always_does(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.queue("1")
    box.attempt()
    monkeypatch.setattr(PlayedSession, "elsewhere", "other.example.org:5222")
    box.sender.delivery.close()
    box.server.trouble = unreachable()
    box.queue("2")
    for _ in range(2):
        box.attempt()
    assert box.server.went == ["", "other.example.org:5222", ""]


def test_it_says_how_it_is(box: Box) -> None:
    box.sender._say()
    said = box.outbox.said()
    assert (said["pid"], said["session"], said["last"]) == (os.getpid(), None, [])
    call = box.queue("1")
    box.attempt()
    box.sender._say()
    said = box.outbox.said()
    assert said["session"]["jid"] == PlayedSession.jid and said["session"]["host"] == PlayedSession.host
    (last,) = said["last"]
    assert (last["call"], last["recipient"], last["outcome"]) == (call.id, ALICE, "delivered")
    box.begin()  # and the next one knows of the last deliveries
    box.sender._say()
    assert box.outbox.said()["last"] == [last]


def test_a_mistake_in_the_program_ends_no_sender(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(session: PlayedSession, message: Any) -> None:
        raise ZeroDivisionError("a mistake")

    box.queue("1")
    with monkeypatch.context() as patched:
        patched.setattr(PlayedSession, "send", mistake)
        box.attempt()
    assert box.waiting() == ["1"]
    assert box.log() == ["not sent yet, 1 waiting: ZeroDivisionError: a mistake"]
    box.attempt()
    assert box.waiting() == []


def test_a_mistake_in_the_program_holds_up_none_but_the_call_that_it_is_made_with(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = message.text

    def mistake(call: Call, *others: Any) -> str:
        return said(call, *others) if call.number != "2" else str(1 / 0)

    monkeypatch.setattr(message, "text", mistake)
    for number in "1234":
        box.queue(number)
    box.attempt()
    assert box.waiting() == ["2"]
    assert set(box.server.texts()) == {"1", "3", "4"}
    assert "not sent yet, 1 waiting: ZeroDivisionError: division by zero" in box.log()


def test_without_a_configuration_calls_are_given_up_after_a_day(box: Box) -> None:
    (box.folder / "screen_pop.conf").unlink()
    box.queue("1", age=86300)
    old = box.queue("2", age=86500)
    box.attempt()
    assert box.waiting() == ["1"]
    ((_, reason),) = box.failed(old).items()
    assert reason.startswith("given up after 8650")


def test_folders_that_were_removed_are_made_again(box: Box) -> None:
    Path(box.outbox.path, "new").rmdir()
    Path(box.outbox.path, "failed").rmdir()
    box.sender.run()
    box.bell.reopen()
    call = box.queue("1", to="nobody at all")
    Path(box.outbox.path, "failed").rmdir()
    box.attempt()
    assert box.waiting() == [] and box.failed(call)


def test_it_tidies_up_once_an_hour(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    tidied: list[float] = []
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(box.outbox, "tidy", lambda: tidied.append(clock.now))
    for _ in range(9):
        box.sender._tidy()
        clock.now += 1000
    assert tidied == [1000.0, 5000.0, 9000.0]


def test_nothing_that_was_inherited_by_mistake_stays_open(box: Box) -> None:
    lost, kept = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
    process.close_all_but({int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - {lost})
    os.fstat(kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lost)
    os.close(kept)
