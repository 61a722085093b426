"""The later events of a call: what becomes of its messages, on a played box (tests/parts/world.py)."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from parts.world import ALICE, BOB, CAROL, START, Stanza, World, world
from screenpop.call import Call
from screenpop.commands import status
from screenpop.pop.message import text
from screenpop.spool import trigger
from screenpop.xmpp.errors import SessionError

__all__ = ["world"]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
DOWN = SessionError("connection", "xmpp.example.org:5222: Connection refused", "is the server up?")


@pytest.fixture(autouse=True)
def templates(world: World) -> None:
    configure(world)


def configure(world: World, to: str = ALICE, more: str = "") -> None:
    world.configure(to=to, more=more, message="{event} from {caller} to {extension}")


def event(world: World, *calls: Call, **known: Any) -> Call:
    """What the door queues at the end of a call that popped."""
    follows = "&".join(call.id for call in calls)
    handler = {"event": "answered", "extension": "ended", "context": "screen_pop"}
    return world.call(**{"number": "1", **handler, "follows": follows, **known})


def replaced(stanza: Stanza) -> str:
    return stanza.children["replace"].get("id", "") if "replace" in stanza.children else ""


def told(world: World) -> list[tuple[str, str]]:
    """Text and recipient of each message that the server has got; of a correction, with a mark before it."""
    return [(f"{'corrected: ' * bool(replaced(one))}{one.body}", one.to) for one in world.server.taken]


def test_the_end_of_a_call_corrects_its_message_once_and_for_the_same_recipients(world: World) -> None:
    call = world.call("1", to=f"{ALICE}&{BOB}", extension="201")
    world.at(200, lambda: event(world, call, peer="bob", talked=192.0))
    world.at(300, lambda: event(world, call, event="missed"))
    world.run(6 * MINUTE)
    assert Counter(told(world)) == {
        ("Call from 1 to 201", ALICE): 1,
        ("Call from 1 to 201", BOB): 1,
        ("corrected: Call from 1 to 201: answered by bob, 3 min 12 s", ALICE): 1,
        ("corrected: Call from 1 to 201: answered by bob, 3 min 12 s", BOB): 1,
    }
    first, second = (one for one in world.server.taken if one.to == ALICE)
    assert replaced(second) == first.id != second.id
    assert (second.type, set(second.children)) == ("chat", {"body", "origin-id", "replace"})
    assert len(set(world.server.resources)) == 1


def test_each_of_two_calls_at_once_is_corrected_by_its_own_end(world: World) -> None:
    one, two = world.call("1", extension="201"), world.call("2", extension="201")
    world.at(10, lambda: event(world, two, event="missed"))
    world.at(20, lambda: event(world, one, peer="bob"))
    world.run(MINUTE)
    assert told(world)[2:] == [
        (f"corrected: {missed('2', two, 10)}", ALICE),
        ("corrected: Call from 1 to 201: answered by bob", ALICE),
    ]
    assert [replaced(one) for one in world.server.taken[2:]] == [one.id for one in reversed(world.server.taken[:2])]


def missed(number: str, call: Call, seconds: int) -> str:
    return text(call, f"Missed call from {number} to 201, {{time}}, rang {seconds} s")


def test_a_channel_that_popped_twice_has_both_messages_corrected(world: World) -> None:
    one, two = world.call("1", extension="201"), world.call("1", extension="202", to=BOB)
    world.at(10, lambda: event(world, one, two, peer="bob"))
    world.run(MINUTE)
    assert told(world)[2:] == [
        ("corrected: Call from 1 to 201: answered by bob", ALICE),
        ("corrected: Call from 1 to 202: answered by bob", BOB),
    ]


def test_a_call_that_is_over_before_its_message_could_be_sent_is_one_message(world: World) -> None:
    world.server.error = DOWN
    call = world.call("1", extension="201")
    world.at(5, lambda: event(world, call, event="answered", peer="alice"))
    world.at(9, lambda: event(world, call, event="answered", peer="alice", talked=4.0))
    world.at(15, lambda: setattr(world.server, "error", None))
    world.run(MINUTE)
    assert told(world) == [("Call from 1 to 201: answered by alice, 4 s", ALICE)]
    assert world.server.taken[0].id.startswith(call.id)


def test_an_event_that_comes_before_its_call_is_taken_in_waits_for_it(world: World) -> None:
    call = world.call("1", extension="201")
    event(world, call, peer="bob")
    world.run(MINUTE)
    assert told(world) == [("Call from 1 to 201: answered by bob", ALICE)]


def test_an_event_that_comes_while_its_message_is_being_confirmed_corrects_it(world: World) -> None:
    def ends() -> None:
        if len(world.server.windows) == 1:
            event(world, call, peer="bob")

    call = world.call("1", extension="201")
    world.server.confirming = ends
    world.run(MINUTE)
    assert told(world) == [
        ("Call from 1 to 201", ALICE),
        ("corrected: Call from 1 to 201: answered by bob", ALICE),
    ]


def test_an_event_of_a_call_that_a_room_has_not_sent_back_yet_waits_for_that(world: World) -> None:
    room = "support@conference.example.org"
    world.server.rooms, world.server.slow_rooms = {room: None}, {room: 2.0}
    call = world.call("1", to=room, extension="201")
    world.at(1, lambda: event(world, call, peer="bob"))
    world.run(MINUTE)
    assert told(world) == [
        ("Call from 1 to 201", room),
        ("corrected: Call from 1 to 201: answered by bob", room),
    ]
    assert 2 <= world.server.times()[1] < 2.1


@pytest.mark.parametrize(("step", "times"), [("confirm", 1), ("confirmation", 2)])
def test_a_message_whose_confirmation_is_lost_is_repeated_as_it_was_before_its_correction(
    world: World, step: str, times: int
) -> None:
    """The server may have taken it."""

    def ends() -> None:
        if len(world.server.windows) == 1:
            event(world, call, peer="bob")
        world.server.error, world.server.error_at = (DOWN, step) if len(world.server.windows) == 1 else (None, "")

    call = world.call("1", extension="201")
    world.server.confirming = ends
    world.run(MINUTE)
    assert told(world) == [
        *[("Call from 1 to 201", ALICE)] * times,
        ("corrected: Call from 1 to 201: answered by bob", ALICE),
    ]
    assert len({one.id for one in world.server.taken}) == 2
    assert world.waiting() == []


def test_so_is_one_that_a_room_has_not_sent_back_before_the_session_ended(world: World) -> None:
    room = "support@conference.example.org"
    world.server.rooms, world.server.slow_rooms = {room: None}, {room: math.inf}
    call = world.call("1", to=room, extension="201")

    def ends() -> None:
        event(world, call, peer="bob")
        world.server.error, world.server.error_at = DOWN, "process"
        world.server.sends(lambda session: None)

    world.at(1, ends)
    world.at(1.1, world.server.slow_rooms.clear)
    world.at(1.1, lambda: setattr(world.server, "error", None))
    world.run(MINUTE)
    assert told(world) == [
        *[("Call from 1 to 201", room)] * 2,
        ("corrected: Call from 1 to 201: answered by bob", room),
    ]
    assert len({one.id for one in world.server.taken}) == 2


def test_so_is_one_that_a_silent_room_may_have_shown(world: World) -> None:
    room = "support@conference.example.org"
    world.server.rooms, world.server.slow_rooms = {room: None}, {room: math.inf}
    call = world.call("1", to=room, extension="201")
    world.at(2, lambda: event(world, call, peer="bob"))
    world.at(8, world.server.slow_rooms.clear)
    world.run(2 * MINUTE)
    assert told(world) == [
        *[("Call from 1 to 201", room)] * 2,
        ("corrected: Call from 1 to 201: answered by bob", room),
    ]
    assert len({one.id for one in world.server.taken}) == 2


def test_a_correction_is_in_the_template_of_its_calls_route_and_in_the_language(world: World) -> None:
    configure(
        world,
        more="language = de\nmessage_busy = {number} {outcome}\n"
        "[sales]\ntype = route\nextension = 201\nto = carol@example.net\nmessage_missed = VERPASST {number} {rang}\n",
    )
    calls = [world.call(number, extension="201") for number in "123"]
    for call, what in zip(calls, ("missed", "busy", "answered")):
        world.at(5, lambda call=call, what=what: event(world, call, event=what, number="", peer="bob"))  # type: ignore[misc]
    world.run(MINUTE)
    corrections = sorted(told(world)[3:])
    assert corrections == [
        ("corrected: " + text(calls[1], "2 {time}, besetzt"), CAROL),
        ("corrected: Anruf von 3 an 201: angenommen von bob", CAROL),
        ("corrected: VERPASST 1 5 s", CAROL),
    ]
    assert all(line.endswith(f"{CAROL} delivered") for line in world.log())  # the log stays English


def test_a_restart_between_the_loss_and_the_repetition_changes_nothing(world: World) -> None:
    world.server.error, world.server.error_at = DOWN, "confirm"
    call = world.call("1", extension="201")
    world.server.confirming = lambda: event(world, call, peer="bob")
    world.run()
    world.server.error, world.server.confirming = None, lambda: None
    world.run()
    assert told(world) == [
        ("Call from 1 to 201", ALICE),
        ("corrected: Call from 1 to 201: answered by bob", ALICE),
    ]


def test_what_comes_back_after_its_confirmation_was_lost_is_sent_with_the_outcome(world: World) -> None:
    call = world.call("1", extension="201")
    world.server.error, world.server.error_at = DOWN, "confirm"

    def comes_back() -> None:
        world.server.error = None
        world.server.bounces[ALICE] = ("wait", "resource-constraint")

    world.at(0.5, comes_back)
    world.at(10, lambda: event(world, call, peer="bob"))
    world.at(11, world.server.bounces.clear)
    world.run(MINUTE)
    assert told(world)[0] == ("Call from 1 to 201", ALICE)
    assert told(world)[-1] == ("Call from 1 to 201: answered by bob", ALICE)


@pytest.mark.parametrize("follows", ["", "1700000000.000000-0123456789ab", "../../etc/passwd", "&&", "x" * 500])
def test_the_end_of_a_call_that_is_not_known_is_a_message_of_its_own(world: World, follows: str) -> None:
    world.call("1", event="missed", follows=follows, extension="ended", context="screen_pop", dnid="100")
    world.run(MINUTE)
    assert [(body[:26], to) for body, to in told(world)] == [("Missed call from 1 to 100,", ALICE)]


def test_a_message_that_was_forgotten_is_not_corrected_but_told_anew(world: World) -> None:
    configure(world, more="remember = 60")
    call = world.call("1", extension="201")
    world.run(MINUTE)
    world.now += 2 * HOUR
    world.call("2", extension="201")
    world.run(MINUTE)
    event(world, call, number="1", peer="bob", dnid="201")
    world.run(MINUTE)
    assert told(world)[2:] == [("Call from 1 to 201: answered by bob", ALICE)]


def test_a_call_that_nobody_could_be_told_has_no_correction(world: World) -> None:
    world.server.bounces[BOB] = ("cancel", "item-not-found")
    call = world.call("1", to=f"{ALICE}&{BOB}&nobody@", extension="201")
    world.at(10, lambda: event(world, call, peer="bob"))
    world.run(MINUTE)
    assert told(world)[2:] == [("corrected: Call from 1 to 201: answered by bob", ALICE)]
    assert sorted(to for _, to, _ in world.failed()) == [BOB, "nobody@"]


def test_a_correction_that_bounces_is_a_failed_message(world: World) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    world.server.bounces[ALICE] = ("cancel", "item-not-found")
    event(world, call)
    world.run(MINUTE)
    event(world, call, event="missed")
    world.run(MINUTE)
    assert world.failed() == [("1", ALICE, "item-not-found")]
    assert len(world.server.taken) == 2


def test_a_correction_that_comes_back_later_is_sent_again(world: World) -> None:
    call = world.call("1", extension="201")
    world.at(10, lambda: event(world, call))
    world.at(20, lambda: world.server.sends_error(world.server.taken[1].id, ALICE, "wait", "resource-constraint"))
    world.run(6 * MINUTE)
    assert [replaced(one) != "" for one in world.server.taken] == [False, True, True]
    assert world.server.taken[1].id == world.server.taken[2].id


def test_a_sender_that_is_killed_between_pop_and_end_changes_nothing(world: World) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    world.run(0.5)
    event(world, call, peer="bob")
    world.run(MINUTE)
    assert told(world)[1:] == [("corrected: Call from 1 to 201: answered by bob", ALICE)]
    assert len(set(world.server.resources)) == 1


def test_the_events_that_nobody_wants_are_not_told(world: World) -> None:
    configure(world, more="events = missed, busy")
    one, two = world.call("1", extension="201"), world.call("2", extension="201")
    world.at(10, lambda: event(world, one, peer="bob"))
    world.at(10, lambda: event(world, two, event="busy"))
    world.at(20, lambda: event(world, event="answered"))
    world.run(MINUTE)
    assert told(world) == [(text(two, "Call from 2 to 201, {time}, busy"), ALICE)]
    assert not world.waiting() and not world.failed()


def test_an_event_with_its_own_recipients_is_told_to_these(world: World) -> None:
    call = world.call("1", to=f"{ALICE}&{BOB}", extension="201")
    world.at(10, lambda: event(world, call, peer="bob", to=f"{BOB}&{CAROL}&nobody at all"))
    world.at(20, lambda: event(world, call, peer="bob", talked=15.0))
    world.run(MINUTE)
    answered = "Call from 1 to 201: answered by bob"
    assert Counter(told(world)[:2]) == {("Call from 1 to 201", ALICE): 1, ("Call from 1 to 201", BOB): 1}
    assert Counter(told(world)[2:4]) == {(f"corrected: {answered}", BOB): 1, (answered, CAROL): 1}
    assert Counter(told(world)[4:]) == {
        (f"corrected: {answered}, 15 s", ALICE): 1,
        (f"corrected: {answered}, 15 s", CAROL): 1,
    }
    ids = {one.to: one.id for one in world.server.taken[:4] if not replaced(one)}
    assert all(replaced(one) == ids[one.to] for one in world.server.taken if replaced(one))
    ((_, recipient, reason),) = world.failed()
    assert recipient == "nobody at all" and "is not a JID" in reason


def test_an_event_for_others_is_told_once_although_the_sender_is_killed_while_it_takes_it_in(world: World) -> None:
    call = world.call("1", extension="201")
    world.run()
    copy = Path(world.outbox.path, "new", f"{event(world, call, peer='bob', to=CAROL).id}.json")
    text = copy.read_bytes()
    for _ in range(2):
        world.run()
        copy.write_bytes(text)
    world.run()
    assert told(world) == [("Call from 1 to 201", ALICE), ("Call from 1 to 201: answered by bob", CAROL)]


def test_events_can_be_messages_of_their_own(world: World) -> None:
    configure(world, more="corrections = no")
    call = world.call("1", extension="201")
    world.at(10, lambda: event(world, call, peer="bob"))
    world.run(MINUTE)
    assert told(world) == [("Call from 1 to 201", ALICE), ("Call from 1 to 201: answered by bob", ALICE)]
    assert len({one.id for one in world.server.taken}) == 2


def test_a_hundred_calls_that_end_at_once_are_each_corrected_once(world: World) -> None:
    calls = [world.call(str(number), extension="201") for number in range(100)]
    world.run(MINUTE)
    for call in calls:
        event(world, call, number="0", peer="bob")
    world.run(MINUTE)
    corrections = Counter(replaced(one) for one in world.server.taken[100:])
    assert corrections == Counter(one.id for one in world.server.taken[:100])
    assert all(
        one.body == f"Call from {number} to 201: answered by bob" for number, one in enumerate(world.server.taken[100:])
    )


def test_a_withheld_number_stays_withheld(world: World) -> None:
    call = world.call("", withheld=True, extension="201")
    world.at(1, lambda: event(world, call, number="+15551234567", peer="bob"))
    world.run(MINUTE)
    assert told(world)[1:] == [("corrected: Call from number withheld to 201: answered by bob", ALICE)]


def test_on_a_full_disk_the_correction_is_sent_from_memory(world: World) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    event(world, call, peer="bob")
    world.disk_is_full = True
    world.at(30, lambda: setattr(world, "disk_is_full", False))
    world.run(6 * MINUTE)
    assert told(world)[1:] == [("corrected: Call from 1 to 201: answered by bob", ALICE)]
    assert world.waiting() == [] and len(world.files("sent")) == 2


def test_a_correction_that_a_full_disk_did_not_keep_is_followed_by_no_other(world: World) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    event(world, call, peer="bob")
    world.disk_is_full = True
    world.run(5)  # then it is killed
    world.disk_is_full = False
    event(world, call, event="missed")
    world.run(MINUTE)
    corrections = world.server.taken[1:]
    assert {one.body for one in corrections} == {"Call from 1 to 201: answered by bob"}
    assert len({one.id for one in corrections}) == 1
    assert len(world.files("sent")) == 2 and not world.waiting()


def test_a_door_that_waits_for_an_event_is_told(world: World) -> None:
    call = world.call("1", extension="201", to=CAROL)
    world.run(1)
    _, replies = world.call_that_is_waited_for(event="answered", follows=call.id)
    world.run(1)
    assert [reply["status"] for reply in replies.read() if "status" in reply] == ["DELIVERED"]


def test_a_message_that_comes_back_after_its_correction_is_not_shown_after_it(world: World) -> None:
    call = world.call("1", extension="201")
    world.at(10, lambda: event(world, call, peer="bob"))
    world.at(20, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, "wait", "resource-constraint"))
    world.run(6 * MINUTE)
    assert told(world)[1:] == [("corrected: Call from 1 to 201: answered by bob", ALICE)]
    assert f"{call.id} {ALICE} not sent again: the outcome of the call has been told" in world.log()
    assert not world.waiting() and len(world.sent()) == 2


def test_nor_one_that_has_failed_and_is_to_be_sent_again(world: World) -> None:
    call = world.call("1", extension="201")
    world.at(10, lambda: event(world, call, peer="bob"))
    world.at(20, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, "cancel", "item-not-found"))
    world.at(30, lambda: world.ring(trigger.RETRY))
    world.run(6 * MINUTE)
    assert told(world)[1:] == [("corrected: Call from 1 to 201: answered by bob", ALICE)]
    assert not world.waiting() and not world.failed()


def test_both_can_fail_and_be_sent_again(world: World) -> None:
    call = world.call("1", extension="201")
    world.at(10, lambda: event(world, call, peer="bob"))
    world.at(20, lambda: world.server.sends_error(world.server.taken[1].id, ALICE, "cancel", "item-not-found"))
    world.at(21, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, "cancel", "item-not-found"))
    world.at(30, lambda: world.ring(trigger.RETRY))
    world.run(6 * MINUTE)
    assert told(world)[2:] == told(world)[:2]
    assert not world.waiting() and not world.failed()


def test_on_a_full_disk_the_outcome_of_a_call_that_waits_in_memory_is_not_lost(world: World) -> None:
    def ends() -> None:
        world.disk_is_full = False  # there is room for a moment
        event(world, call, peer="bob")
        world.disk_is_full = True

    configure(world, more="late_after = 600")
    world.server.error = DOWN
    call = world.call("1", extension="201")
    world.disk_is_full = True
    world.at(5, ends)
    world.at(15, lambda: setattr(world, "disk_is_full", False))
    world.run(30)
    world.server.error = None
    world.run(6 * MINUTE)
    assert told(world) == [("Call from 1 to 201: answered by bob", ALICE)]


def test_a_correction_that_bounces_while_the_disk_is_full_has_failed(world: World) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    event(world, call, peer="bob")
    world.server.bounces[ALICE] = ("cancel", "item-not-found")
    world.disk_is_full = True
    world.at(30, lambda: setattr(world, "disk_is_full", False))
    world.run(6 * MINUTE)
    assert world.failed() == [("1", ALICE, "item-not-found")]
    assert not world.waiting() and len(world.server.taken) == 2


def test_an_event_that_is_read_before_its_call_tells_the_name_of_the_caller(world: World) -> None:
    call = world.call("1", age=40, extension="201", cidname="Alice")
    event(world, call, number="201", cidname="Bob", peer="bob")  # on the channel that has answered
    world.run(MINUTE)
    assert told(world)[-1] == ("corrected: Call from Alice, 1 to 201: answered by bob", ALICE)


def test_calls_that_end_together_keep_the_name_of_each_caller(world: World) -> None:
    one = world.call("1", extension="201", cidname="Alice")
    two = world.call("2", extension="201", cidname="Bob")
    world.run(1)
    event(world, one, two, peer="bob")
    world.run(MINUTE)
    assert [body for body, _ in told(world)[2:]] == [
        "corrected: Call from Alice, 1 to 201: answered by bob",
        "corrected: Call from Bob, 2 to 201: answered by bob",
    ]


def test_an_event_that_a_killed_sender_had_taken_in_does_not_correct_the_message_that_tells_it(world: World) -> None:
    world.server.error = DOWN
    call = world.call("1", extension="201")
    world.run(1)
    ended = event(world, call, peer="bob")
    world.run(1)
    world.server.error = None
    world.run(1)
    world.queue(ended)  # the sender was killed before it could remove it
    world.run(MINUTE)
    assert told(world) == [("Call from 1 to 201: answered by bob", ALICE)]


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_the_clock_is_set_between_pop_and_end(world: World, seconds: float) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    world.clock_is_off_by = seconds
    world.at(20, lambda: event(world, call, event="missed"))
    world.run(MINUTE)
    assert told(world)[1:] == [(f"corrected: {missed('1', call, 20)}", ALICE)]


def test_the_clock_is_set_back_between_two_events_of_a_call_that_waits(world: World) -> None:
    world.server.error = DOWN
    call = world.call("1", extension="201")
    event(world, call, peer="bob")
    world.run(1)
    world.clock_is_off_by = -HOUR
    event(world, call, peer="bob", talked=4.0)
    world.run(1)
    world.server.error = None
    world.run(MINUTE)
    assert told(world) == [("Call from 1 to 201: answered by bob, 4 s", ALICE)]


def test_events_that_follow_themselves_or_each_other_are_told(world: World) -> None:
    one, two, three = (Call(time=START + n, number=str(n), event="missed", extension="201") for n in (1, 2, 3))
    one.follows, two.follows, three.follows = one.id, three.id, two.id
    for call in (one, two, three):
        world.queue(call)
    world.run(MINUTE)
    said = [body.partition(" to ")[0] for body, _ in told(world)]
    assert said == ["Missed call from 1", "Missed call from 3", "corrected: Missed call from 3"]
    assert not world.waiting()


def test_a_door_that_waits_for_an_event_that_nobody_wants_does_not_wait_for_long(world: World) -> None:
    configure(world, more="events = missed")
    call, pop = world.call_that_is_waited_for()
    world.run(1)
    _, end = world.call_that_is_waited_for(event="answered", follows=call.id)
    world.run(1)
    assert [reply["status"] for replies in (pop, end) for reply in replies.read()] == ["DELIVERED", "DELIVERED"]
    assert not world.server.taken


def test_the_command_test_is_shown_whatever_people_want_to_be_told(world: World) -> None:
    configure(world, more="events = missed")
    _, replies = world.call_that_is_waited_for(receipt=True, extension="test")
    world.run(1)
    assert told(world) == [("Call from 1 to test", ALICE)]
    assert [reply["status"] for reply in replies.read() if "status" in reply] == ["DELIVERED"]


def test_a_correction_that_has_just_been_queued_is_not_stuck(world: World) -> None:
    call = world.call("1", extension="201")
    world.run(1)
    world.now += HOUR
    world.server.error = DOWN
    event(world, call, peer="bob")
    world.run(1)
    report = status.examine(world.outbox.path)
    assert (report["waiting"]["count"], report["stuck"]) == (1, False)


def test_a_message_that_has_failed_is_sent_again_with_the_outcome(world: World) -> None:
    world.server.bounces[ALICE] = ("cancel", "item-not-found")
    call = world.call("1", extension="201")
    world.at(10, lambda: event(world, call, peer="bob"))
    world.at(20, world.server.bounces.clear)
    world.at(30, lambda: world.ring(trigger.RETRY))
    world.run(6 * MINUTE)
    assert told(world)[1:] == [("Call from 1 to 201: answered by bob", ALICE)]
    assert not world.waiting() and not world.failed()
