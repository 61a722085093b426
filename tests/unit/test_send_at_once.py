"""FastAGI's thread sends a call itself while the sender only waits: nothing is lost, repeated or reordered by that."""

from __future__ import annotations

import os

import pytest

from parts.world import ALICE, BOB, PlayedSession, Stanza, World, world
from screenpop.call import Call
from screenpop.phonebook import numbers
from screenpop.sender.delivery import TOGETHER
from screenpop.spool.outbox import Outbox
from screenpop.xmpp.errors import SessionError

__all__ = ["numbers", "world"]  # `numbers`: the sender doesn't have to import it

ROOM = "room@conference.example.org"
HOUR = 3600.0


def sent(world: World) -> list[Stanza]:
    """What the server has, and has not confirmed yet."""
    assert world.server.session
    return world.server.session.unconfirmed


def comes(world: World, number: str = "1", to: str = "") -> None:
    world.now += 0.000_001
    world.queue_over_fastagi(Call(number=number, to=to))


def before_it_wakes(world: World, number: str = "1", to: str = "") -> list[str]:
    """Who has got the message when the door has queued the call, and the sender's own thread has not run since."""
    found: list[str] = []
    world.call("0")

    def call() -> None:
        comes(world, number, to)
        found.extend(stanza.to for stanza in sent(world))

    world.at(10, call)
    world.run(100)
    return found


def test_it_is_sent_before_the_sender_wakes_and_confirmed_by_that(world: World) -> None:
    assert before_it_wakes(world) == [ALICE]
    assert world.server.texts() == ["0", "1"]
    assert world.sent() == [("0", ALICE), ("1", ALICE)] and world.waiting() == []


def test_each_recipient_gets_it(world: World) -> None:
    assert sorted(before_it_wakes(world, to=f"{ALICE}&{BOB}")) == [ALICE, BOB]
    assert sorted(world.server.pairs()) == [("0", ALICE), ("1", ALICE), ("1", BOB)]


def test_of_very_many_recipients_only_those_whom_the_kernel_takes_at_once(world: World) -> None:
    """The door must not wait for a server that doesn't read."""
    everybody = [f"{number}@example.org" for number in range(30)]
    assert len(before_it_wakes(world, to="&".join(everybody))) == TOGETHER
    assert sorted(world.server.told()[1:]) == sorted(everybody) and world.waiting() == []


def test_rooms_and_other_domains_are_asked_by_the_sender(world: World) -> None:
    world.server.rooms = {ROOM: None}
    assert before_it_wakes(world, to=f"{ROOM}&{BOB}") == [BOB]
    assert world.server.pairs() == [("0", ALICE), ("1", BOB), ("1", ROOM)]
    assert world.waiting() == []


def test_a_caller_who_calls_too_often_is_counted(world: World) -> None:
    world.configure(more="flood_limit = 1")
    world.call("0")
    world.at(10, lambda: comes(world, "1"))
    world.at(11, lambda: comes(world, "1"))
    world.run(300)
    assert world.server.texts() == ["0", "1", "1 called 1 more time in 1 minute"]


@pytest.mark.parametrize("busy", ["signing_in", "confirming", "working"])
def test_a_sender_at_work_sends_it_itself(world: World, busy: str) -> None:
    seen: list[int] = []

    def call() -> None:
        setattr(world.server, busy, lambda: None)
        before = len(world.server.session.unconfirmed) if world.server.session else 0
        comes(world)
        seen.append((len(sent(world)) if world.server.session else 0) - before)

    setattr(world.server, busy, call)
    world.call("0")
    world.run(100)
    assert seen == [0]
    assert world.server.texts() == ["0", "1"]


def test_several_calls_are_sent_by_the_sender_in_one_window(world: World) -> None:
    world.call("0")

    def call() -> None:
        assert world.sender
        Outbox(world.outbox.path, world.sender.queue.handed_over).put(Call(number="1"))
        comes(world, "2")
        assert sent(world) == []

    world.at(10, call)
    world.run(100)
    assert sorted(world.server.texts()) == ["0", "1", "2"]
    assert world.server.windows == [1, 2]


def test_a_second_call_waits_until_the_first_is_confirmed(world: World) -> None:
    world.call("0")

    def call_twice() -> None:
        comes(world, "1")
        comes(world, "2")
        assert [stanza.body for stanza in sent(world)] == ["1"]

    world.at(10, call_twice)
    world.run(100)
    assert world.server.texts() == ["0", "1", "2"] and world.waiting() == []


def test_a_call_that_another_door_is_still_writing_is_not_touched(world: World) -> None:
    """It is handed over before its file is in new/."""
    world.call("0")
    other = Call(number="1")

    def write_and_call() -> None:
        assert world.sender
        world.sender.queue.handed_over[f"{other.id}.json"] = other
        world.sender.send_at_once()
        assert sent(world) == []
        world.queue(other)

    world.at(10, write_and_call)
    world.run(100)
    assert world.server.texts() == ["0", "1"] and world.waiting() == []


def test_not_while_the_next_number_may_take_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one takes 0.5 s with places."""
    monkeypatch.setattr(numbers, "place", lambda number: "Boston, MA")
    world.configure(more="places = yes")
    assert before_it_wakes(world) == []
    assert world.server.texts() == ["0", "1"] and world.waiting() == []


def test_not_where_another_sender_can_have_the_spool(world: World) -> None:
    world.call("0")

    def remove_lock_and_call() -> None:
        os.unlink(f"{world.outbox.path}/lock")
        comes(world)
        assert sent(world) == []

    world.at(10, remove_lock_and_call)
    world.run(100)
    assert world.server.texts() == ["0", "1"] and world.waiting() == []


def test_what_follows_a_call_is_sent_by_the_sender(world: World) -> None:
    first = world.call("0")

    def end() -> None:
        world.queue_over_fastagi(Call(event="missed", follows=first.id))
        assert sent(world) == []

    world.at(10, end)
    world.run(100)
    assert len(world.server.texts()) == 2 and world.server.texts()[1].startswith("Missed call")


def test_an_event_right_behind_the_call_corrects_it(world: World) -> None:
    world.call("0")

    def come_and_end() -> None:
        world.now += 0.000_001
        call = world.queue_over_fastagi(Call(number="1"))
        world.call(event="missed", follows=call.id)

    world.at(10, come_and_end)
    world.run(100)
    assert world.server.texts()[:2] == ["0", "1"] and world.server.texts()[2].startswith("Missed call from 1")
    assert "replace" in world.server.taken[2].children


def test_a_changed_configuration_is_read_first(world: World) -> None:
    world.call("0")

    def change_and_call() -> None:
        world.configure(to=BOB)
        comes(world)

    world.at(10, change_and_call)
    world.run(100)
    assert world.server.pairs() == [("0", ALICE), ("1", BOB)]


def test_a_configuration_that_changes_before_it_is_confirmed_repeats_nothing(world: World) -> None:
    world.call("0")

    def call_and_change() -> None:
        comes(world)
        world.configure(to=BOB)

    world.at(10, call_and_change)
    world.run(100)
    assert world.server.pairs() == [("0", ALICE), ("1", ALICE)] and world.waiting() == []


def test_what_was_not_confirmed_before_a_kill_is_sent_again_as_the_same(world: World) -> None:
    world.call("0")

    def call_and_die() -> None:
        comes(world)
        found.append(sent(world)[0].id)
        world.kill()

    found: list[str] = []
    world.at(10, call_and_die)
    world.run(100)
    assert world.waiting() == [("1", "")]
    world.run(100)
    assert [stanza.id for stanza in world.server.taken][1:] == found


@pytest.mark.parametrize("step", ["confirm", "confirmation", "process", "keep-alive"])
def test_a_session_that_dies_before_it_is_confirmed(world: World, step: str) -> None:
    """The message is sent over the next session, as it was."""
    world.call("0")

    def call_and_end() -> None:
        comes(world)
        world.server.error, world.server.error_at = SessionError("session", "it has ended", "look into its log"), step
        world.server.sends(lambda session: None)

    def mend() -> None:
        world.server.error = None

    world.at(10, call_and_end)
    world.at(10.5, mend)
    world.run(100)
    ids = [stanza.id for stanza in world.server.taken if stanza.body == "1"]
    assert ids == [ids[0]] * (2 if step == "confirmation" else 1)
    assert world.sent() == [("0", ALICE), ("1", ALICE)] and world.waiting() == []


def test_after_a_message_that_was_sent_in_part_nothing_else_is_sent_over_this_session(world: World) -> None:
    """The server may only have been slow to read. What follows would be taken for the rest of that message."""
    world.call("0")

    def call() -> None:
        world.server.error, world.server.error_at = SessionError("message", "it doesn't read", "look"), "send"
        comes(world, "1")
        world.server.error = None
        comes(world, "2")
        assert sent(world) == []

    world.at(10, call)
    world.run(100)
    assert world.server.sign_ins == [0, 10]
    assert world.server.texts() == ["0", "1", "2"] and world.waiting() == []


def test_nor_after_a_bug(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.call("0")

    def call() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(PlayedSession, "send", lambda *_: 1 / 0)
            comes(world)

    world.at(10, call)
    world.run(100)
    assert world.server.sign_ins == [0, 10]
    assert world.server.texts() == ["0", "1"] and world.waiting() == []


def test_what_was_sent_long_ago_is_forgotten(world: World) -> None:
    world.configure(more="remember = 7200", linger=24 * HOUR)
    world.call("0")
    for hour in range(1, 6):
        world.at(hour * 1.1 * HOUR, lambda: comes(world))
    world.run(6 * HOUR)
    assert len(world.server.texts()) == 6 and len(world.files("sent")) == 2


@pytest.mark.parametrize("step", ["send", "keep-alive"])
def test_a_dead_session_is_left_to_the_sender(world: World, step: str) -> None:
    world.call("0")

    def end_and_call() -> None:
        world.server.error, world.server.error_at = SessionError("session", "it has ended", "look into its log"), step
        comes(world)
        assert sent(world) == []
        world.server.error = None

    world.at(10, end_and_call)
    world.run(100)
    assert world.server.texts() == ["0", "1"] and world.waiting() == []


def test_sigterm_right_behind_it_waits_for_the_confirmation(world: World) -> None:
    world.call("0")

    def call_and_end() -> None:
        comes(world)
        world.sigterm()

    world.at(10, call_and_end)
    assert world.run(100)
    assert world.server.texts() == ["0", "1"]
    assert world.sent() == [("0", ALICE), ("1", ALICE)] and world.waiting() == []


def test_sigterm_before_it_leaves_it_to_the_next_sender(world: World) -> None:
    world.call("0")

    def end_and_call() -> None:
        world.sigterm()
        comes(world)
        assert sent(world) == []

    world.at(10, end_and_call)
    assert world.run(100)
    assert world.waiting() == [("1", "")]
