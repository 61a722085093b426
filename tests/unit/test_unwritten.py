"""What is still to be written while messages are sent, fail, come back or are corrected: nothing is lost or doubled."""

from __future__ import annotations

from typing import Any

import pytest

from parts.world import ALICE, BOB, World, world
from screenpop.call import Call
from screenpop.sender import results
from screenpop.spool import trigger
from screenpop.spool.queue import Queue
from screenpop.xmpp.rooms import NotJoined

__all__ = ["world"]

ROOM = "room@conference.example.org"
ONLY_MISSED = "events = ringing, missed"


def configure(world: World, to: str = ALICE, more: str = "") -> None:
    world.configure(to=to, more=more, message="{event} from {caller}")


def event(world: World, call: Call, event: str) -> Call:
    return world.call("1", event=event, extension="ended", context="screen_pop", follows=call.id)


def doubled(world: World) -> set[str]:
    """The messages that are in two folders."""
    folders = [set(world.files(folder)) for folder in ("queue", "sent", "failed")]
    return {name for name in set().union(*folders) if sum(name in folder for folder in folders) > 1}


def is_missed(world: World) -> bool:
    return any(text.startswith("Missed") for text in world.server.texts())


def test_a_kill_loses_no_event_that_was_taken_in_with_its_call(world: World) -> None:
    configure(world, to=f"{ALICE}&{ROOM}")
    world.server.rooms = {ROOM: NotJoined("cancel", "no such room")}
    world.call("0")

    def comes_and_ends() -> None:
        event(world, world.call("1"), "missed")
        world.server.confirming = world.kill

    world.at(10, comes_and_ends)
    world.run(100)
    world.server.confirming = lambda: None
    world.run(100)
    assert is_missed(world)


def test_nor_does_one_on_a_full_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Queue.sent

    def then_killed(queue: Queue, message: Any) -> None:
        sent(queue, message)
        if message.call.number == "1":
            world.kill()

    def comes_and_ends() -> None:
        world.disk_is_full = True
        event(world, world.call("1"), "missed")

    configure(world)
    world.call("0")
    world.at(10, comes_and_ends)
    with monkeypatch.context() as patched:
        patched.setattr(Queue, "sent", then_killed)
        world.run(100)
    world.disk_is_full = False
    world.run(100)
    assert world.server.texts()[-1].startswith("Missed")


def test_a_message_that_fails_while_its_answer_is_noted_has_failed(world: World) -> None:
    configure(world, to=ROOM, more=ONLY_MISSED)
    world.server.rooms = {ROOM: NotJoined("wait", "not now")}
    call = world.call("1")

    def is_answered() -> None:
        world.server.rooms = {ROOM: NotJoined("cancel", "no such room")}
        world.ring(trigger.FLUSH)
        event(world, call, "answered")

    world.at(1.5, is_answered)
    world.run(10)
    assert not doubled(world) and not world.waiting()
    assert [reason for _, _, reason in world.failed()] == ["no such room"]


@pytest.mark.parametrize(("kind", "folder"), [("cancel", "failed"), ("wait", "sent")])
def test_a_message_that_comes_back_while_its_answer_can_not_be_noted(world: World, kind: str, folder: str) -> None:
    def is_answered() -> None:
        world.disk_is_full = True
        event(world, call, "answered")

    configure(world, more=ONLY_MISSED)
    call = world.call("1")
    world.at(5, is_answered)
    world.at(6, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, kind, "came back"))
    world.at(6.1, lambda: setattr(world, "disk_is_full", False))
    world.at(100, lambda: event(world, call, "ended"))
    world.run(200)
    assert not doubled(world) and len(world.files(folder)) == 1
    assert not is_missed(world)


def test_a_message_that_is_sent_again_while_its_answer_is_noted(world: World) -> None:
    def is_answered() -> None:
        world.disk_is_full = True
        world.server.bounces.clear()
        event(world, call, "answered")

    def has_room() -> None:
        world.disk_is_full = False
        world.ring(trigger.RETRY)

    configure(world, more=ONLY_MISSED)
    world.server.bounces[ALICE] = ("cancel", "item-not-found")
    call = world.call("1")
    world.at(5, is_answered)
    world.at(6, has_room)
    world.run(100)
    assert world.failed() == [] and len(world.files("sent")) == 1


def test_a_correction_that_comes_back_on_a_full_disk_is_sent_once_more(world: World) -> None:
    def is_missed() -> None:
        world.disk_is_full = True
        event(world, call, "missed")

    configure(world)
    call = world.call("1")
    world.at(5, is_missed)
    world.at(10, lambda: world.server.sends_error(world.server.taken[1].id, ALICE, "wait", "not now"))
    world.at(100, lambda: setattr(world, "disk_is_full", False))
    world.run(200)
    assert not doubled(world) and not world.waiting() and len(world.files("sent")) == 2
    world.run(200)
    assert len(world.server.texts()) == 3


@pytest.mark.parametrize("to", [ALICE, f"{ALICE}&{BOB}"])
def test_an_outcome_that_is_told_after_the_message_has_failed_on_a_full_disk_has_not_failed(
    world: World, to: str
) -> None:
    def comes() -> None:
        world.disk_is_full = True
        world.server.bounces[ALICE] = ("cancel", "item-not-found")
        calls.append(world.call("1"))

    def is_missed() -> None:
        world.server.bounces.clear()
        event(world, calls[0], "missed")

    calls: list[Call] = []
    configure(world, to=to)
    world.call("0")
    world.at(5, comes)
    world.at(10, is_missed)
    world.at(15, lambda: setattr(world, "disk_is_full", False))
    world.run(100)
    assert world.server.texts()[-1].startswith("Missed") and not doubled(world) and not world.failed()


def test_sigterm_while_a_result_is_written_repeats_nothing(world: World) -> None:
    settle = results.Results.settle

    def terminated(self: Any, *arguments: Any) -> None:
        patched.undo()
        world.sigterm()
        settle(self, *arguments)

    patched = pytest.MonkeyPatch()
    patched.setattr(results.Results, "settle", terminated)
    world.call("1")
    world.run(100)
    world.run(100)
    assert len(world.server.taken) == 1


@pytest.mark.parametrize("which", ["the correction", "the message"])
def test_what_was_sent_on_a_full_disk_is_known_to_the_events_that_follow(world: World, which: str) -> None:
    configure(world)
    calls: list[Call] = []

    def comes() -> None:
        world.disk_is_full = which == "the message"
        calls.append(world.call("1"))

    def is_answered() -> None:
        world.disk_is_full = True
        event(world, calls[0], "answered")

    world.at(1, comes)
    world.at(5, is_answered)
    world.at(20, lambda: event(world, calls[0], "missed"))
    world.run(100)
    assert len(world.server.taken) == 2 and not is_missed(world)
    assert world.server.taken[1].id == f"{world.server.taken[0].id}-2"


def test_a_message_that_came_back_is_not_sent_with_a_later_outcome_after_its_correction(world: World) -> None:
    configure(world)
    call = world.call("1")
    world.at(5, lambda: event(world, call, "answered"))
    world.at(10, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, "wait", "later"))
    world.at(10.2, lambda: event(world, call, "missed"))
    world.run(100)
    assert len(world.server.taken) == 2 and not is_missed(world)
