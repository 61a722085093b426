"""The sender: what becomes of calls, on a box whose clock and XMPP server are played (tests/parts/world.py)."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from parts.world import ALICE, BOB, CAROL, START, Server, World, world
from screenpop.call import BOOT, Call, uptime
from screenpop.pop import message, routes
from screenpop.sender import housekeeping, process
from screenpop.spool import state
from screenpop.spool.options import SpoolOptions
from screenpop.spool.trigger import FLUSH, RETRY, Trigger
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.rooms import REFLECTION, NotJoined

__all__ = ["world"]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
CANCEL, WAIT = ("cancel", "item-not-found"), ("wait", "resource-constraint")


def unreachable(step: str = "connection") -> SessionError:
    return SessionError(step, "xmpp.example.org:5222: Connection refused", "is the server up?")


def refused_password() -> SessionError:
    error = SessionError("sign-in", "pbx@example.org by SCRAM-SHA-1: not-authorized", "look at jid and password")
    error.refused = True
    return error


def calls_every(world: World, interval: float, seconds: float, **known: Any) -> None:
    """From now on, numbered from 0."""
    for number in range(round(seconds / interval)):
        world.at(world.now + number * interval, lambda number=str(number): world.call(number, **known))  # type: ignore[misc]


def caller(text: str) -> str:
    """Of a message, without how late it is."""
    return text.split(" (")[0]


def breaks(server: Server, error: SessionError | None, at: str = "sign-in") -> None:
    server.error, server.error_at = error, at


# What becomes of a message


def test_a_message_that_the_server_confirms_is_in_sent_and_in_the_log(world: World) -> None:
    call = world.call("1")
    world.run()
    (stanza,) = world.server.taken
    assert (stanza.to, stanza.type, stanza.body) == (ALICE, "chat", "1")
    assert stanza.id == stanza.children["origin-id"].get("id") and stanza.id.startswith(call.id)
    assert (world.waiting(), world.sent(), world.failed()) == ([], [("1", ALICE)], [])
    assert world.log() == [f"{call.id} {ALICE} delivered"]


def test_messages_are_sent_in_the_order_of_their_calls_over_one_session(world: World) -> None:
    calls_every(world, 10, 60)
    world.run(60)
    assert world.server.texts() == ["0", "1", "2", "3", "4", "5"]
    assert len(world.server.sign_ins) == 1


def test_each_sender_of_a_spool_signs_in_with_the_same_resource(world: World) -> None:
    for _ in range(2):
        world.call()
        world.run()
    first, second = world.server.resources
    assert first == second and first.startswith("screen-pop-")


def test_each_recipient_gets_the_message(world: World) -> None:
    world.configure(to=f"{ALICE} & {CAROL}")
    world.call("1")
    world.call("2", to=f"{BOB}&{ALICE}&{ALICE}")
    world.run()
    assert Counter(world.server.pairs()) == Counter([("1", ALICE), ("1", CAROL), ("2", BOB), ("2", ALICE)])


def test_a_route_chooses_the_recipients_and_the_template(world: World) -> None:
    section = f"[support]\ntype = route\nextension = 300\nto = {CAROL}\nmessage = Support: {{caller}}\n"
    world.configure(more=f"[routes]\n_2XX = {BOB}\n{section}")
    world.call("1", extension="205")
    world.call("2", extension="s", dnid="300")
    world.call("3", extension="400")
    world.call("4", extension="300", to=BOB)
    world.run()
    assert sorted(world.server.pairs()) == [("1", BOB), ("3", ALICE), ("Support: 2", CAROL), ("Support: 4", BOB)]


@pytest.mark.parametrize("error_type", ["cancel", "auth", "modify", "continue", "?"])
def test_a_message_that_can_never_be_delivered_is_in_failed_with_the_reason(world: World, error_type: str) -> None:
    world.server.bounces[ALICE] = (error_type, "item-not-found: no\nsuch user")
    call = world.call()
    world.run(2 * MINUTE)
    assert (world.waiting(), world.sent()) == ([], [])
    assert world.failed() == [("1", ALICE, "item-not-found: no such user")]
    assert world.log() == [f"{call.id} {ALICE} failed: item-not-found: no such user"]
    assert len(world.server.taken) == 1


def test_a_message_that_can_be_delivered_later_is_sent_again_with_the_same_id(world: World) -> None:
    world.server.bounces[ALICE] = WAIT
    world.call()
    world.at(5, world.server.bounces.clear)
    world.run(MINUTE)
    assert (world.waiting(), world.sent()) == ([], [("1", ALICE)])
    assert len({stanza.id for stanza in world.server.taken}) == 1


def test_a_message_is_tried_again_after_as_long_as_it_has_waited_from_1_to_60_seconds_and_given_up(
    world: World,
) -> None:
    world.configure(more="give_up_after = 200")
    world.server.bounces[ALICE] = WAIT
    world.call()
    world.run(6 * MINUTE)
    assert world.server.times() == [0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244]
    assert world.failed() == [("1", ALICE, "given up after 244 s: resource-constraint")]


def test_one_recipients_failure_does_not_affect_another(world: World) -> None:
    world.server.bounces = {ALICE: CANCEL, BOB: WAIT}
    world.call("1", to=f"{ALICE}&{BOB}&{CAROL}")
    world.call("2", to=CAROL)
    world.at(10, world.server.bounces.clear)
    world.run(MINUTE)
    assert {pair: count for pair, count in Counter(world.server.pairs()).items() if count > 1} == {
        ("1", BOB): 6  # at 0, 1, 2, 4, 8 and 16 s
    }
    assert set(world.sent()) == {("1", BOB), ("1", CAROL), ("2", CAROL)}
    assert world.failed() == [("1", ALICE, "item-not-found")]
    assert sum("failed" in line for line in world.log()) == 1


def test_a_new_call_is_sent_while_an_older_message_is_put_off(world: World) -> None:
    world.configure(to=f"{ALICE} & {BOB}")
    world.server.bounces[BOB] = WAIT
    world.call("1", age=100)  # so BOB's message is tried again in 60 s only
    world.at(10, lambda: world.call("2", to=ALICE))
    world.run(20)
    assert Counter(world.server.told()) == {ALICE: 2, BOB: 1}
    assert world.server.times()[-1] == 10


@pytest.mark.parametrize("others", ["", f"&{BOB}"])
def test_a_recipient_that_is_no_address_fails_and_the_others_get_the_message(world: World, others: str) -> None:
    world.call("1", to=f"Alice Example{others}")
    world.run()
    assert world.server.told() == ([BOB] if others else [])
    ((number, recipient, reason),) = world.failed()
    assert (number, recipient) == ("1", "Alice Example") and "is not a JID" in reason
    assert world.waiting() == []


def test_empty_recipients_mean_the_configured_ones(world: World) -> None:
    """`${A}&${B}` in the dialplan is `&` when both are empty."""
    world.call("1", to="&")
    world.run()
    assert world.server.told() == [ALICE]


def test_a_late_message_says_so(world: World) -> None:
    world.call("1", age=120)
    world.run()
    (stanza,) = world.server.taken
    assert re.fullmatch(r"1 \(\d\d:\d\d, 2 minutes ago\)", stanza.body)
    assert "delay" not in stanza.children  # clients hide what has one that is older than their newest message


def test_a_message_is_late_only_after_the_configured_time(world: World) -> None:
    world.configure(more="late_after = 60")
    world.call("1", age=59)
    world.call("2", age=61)
    world.run()
    assert {stanza.body[0]: " ago)" in stanza.body for stanza in world.server.taken} == {"1": False, "2": True}


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_makes_no_message_late_and_gives_none_up(world: World, jump: float) -> None:
    world.configure(more="give_up_after = 600")
    breaks(world.server, unreachable())
    world.call("1")
    waited = world.call("2", age=120)
    world.clock_is_off_by = jump
    world.at(5, lambda: breaks(world.server, None))
    world.run(MINUTE)
    then = time.strftime("%H:%M", time.localtime(START + jump - 120))  # as the clock has it now
    assert set(world.server.texts()) == {"1", f"2 ({then}, 2 minutes ago)"}
    assert world.failed() == [] and waited.age() < 600


def test_a_call_that_came_while_no_sender_was_up_is_tried_however_old_it_is(world: World) -> None:
    world.call("1", age=30 * DAY)
    world.run()
    assert [caller(text) for text in world.server.texts()] == ["1"]
    assert world.failed() == []


# Rooms

SALES, SUPPORT = "room:sales@conference.example.org", "support@conference.example.org"


def test_a_message_to_a_room_has_the_type_groupchat_and_no_request_for_a_receipt(world: World) -> None:
    world.server.rooms = {SALES: None, SUPPORT: None}
    world.call("1", to=f"{SALES}&{SUPPORT}&{CAROL}", receipt=True, age=HOUR)
    world.run()
    told = {stanza.to: (stanza.type, sorted(stanza.children)) for stanza in world.server.taken}
    in_room = ("groupchat", ["body", "origin-id"])
    assert told == {
        "sales@conference.example.org": in_room,
        SUPPORT: in_room,
        CAROL: ("chat", ["body", "origin-id", "request"]),
    }
    assert set(world.sent()) == {("1", SALES), ("1", SUPPORT), ("1", CAROL)}


def test_a_room_gets_the_password_of_its_section(world: World) -> None:
    world.configure(more=f"[a]\ntype = room\nroom = {SUPPORT}\npassword = secret")
    world.server.rooms = {SALES: None, SUPPORT: None}
    world.call("1", to=f"{SALES}&{SUPPORT}")
    passwords: list[dict[str, str]] = []
    world.server.working = lambda: passwords.append(dict(world.server.session.rooms.passwords))  # type: ignore[union-attr]
    world.run()
    assert passwords == [{SALES: "", SUPPORT: "secret"}]


def test_people_get_their_messages_before_the_rooms_of_the_same_window(world: World) -> None:
    world.server.rooms = {SALES: None}
    world.call("1", to=f"{SALES}&{ALICE}")
    world.call("2", to=f"{SALES}&{ALICE}")
    world.run()
    sales = "sales@conference.example.org"
    assert world.server.pairs() == [("1", ALICE), ("2", ALICE), ("1", sales), ("2", sales)]
    assert world.server.windows == [4]


@pytest.mark.parametrize("error_type", ["auth", "cancel"])
def test_a_room_that_cant_be_entered_fails_with_the_reason(world: World, error_type: str) -> None:
    world.server.rooms = {SALES: NotJoined(error_type, "the room was destroyed")}
    world.call("1", to=f"{SALES}&{ALICE}")
    world.run(MINUTE)
    assert (world.sent(), world.waiting()) == ([("1", ALICE)], [])
    assert world.failed() == [("1", SALES, "the room was destroyed")]


def test_a_room_that_is_full_is_tried_again(world: World) -> None:
    world.server.rooms = {SALES: NotJoined("wait", "the room is full")}
    world.call("1", to=f"{SALES}&{ALICE}")
    world.at(5, lambda: world.server.rooms.update({SALES: None}))
    world.run(MINUTE)
    assert set(world.sent()) == {("1", ALICE), ("1", SALES)}
    (problem,) = world.problems()
    assert problem.endswith(f"{SALES}: the room is full")


def test_a_message_that_a_room_does_not_send_back_is_sent_again(world: World) -> None:
    support_is_slow(world, math.inf)
    world.call("1", to=f"{SUPPORT}&{ALICE}")
    world.at(REFLECTION + 1, world.server.slow_rooms.clear)
    world.run(MINUTE)
    assert set(world.sent()) == {("1", ALICE), ("1", SUPPORT)}
    assert Counter(world.server.told()) == {ALICE: 1, SUPPORT: 2}
    assert len({stanza.id for stanza in world.server.taken}) == 2
    assert world.problems() == [f"not sent yet, 1 waiting: {SUPPORT}: the room has not sent the message back"]


def support_is_slow(world: World, seconds: float) -> None:
    """It needs that long to send a message back."""
    world.server.rooms, world.server.slow_rooms = {SUPPORT: None}, {SUPPORT: seconds}


def test_other_calls_are_sent_and_confirmed_while_a_room_is_silent(world: World) -> None:
    support_is_slow(world, math.inf)
    world.call("1", to=f"{ALICE}&{SUPPORT}")
    seen: list[tuple[list[Any], list[Any]]] = []
    world.at(0.5, lambda: seen.append((world.sent(), world.waiting())))
    for second in (1, 2, 3):
        world.at(second, lambda number=str(second + 1): world.call(number))  # type: ignore[misc]
        world.at(second + 0.5, lambda: seen.append((world.sent(), world.waiting())))
    world.run(REFLECTION - 1)
    for number, (sent, waiting) in enumerate(seen, 1):
        assert sent == [(str(one), ALICE) for one in range(1, number + 1)]
        assert waiting == [("1", SUPPORT)]
    assert [stanza.at for stanza in world.server.taken if stanza.to == ALICE] == pytest.approx([0, 1, 2, 3], abs=0.01)


def test_a_room_that_is_slow_gets_each_message_once_and_in_their_order(world: World) -> None:
    support_is_slow(world, 2)
    calls_every(world, 0.5, 5, to=SUPPORT)
    world.at(3, lambda: world.ring(FLUSH))
    world.at(4, world.configure)
    world.run(MINUTE)
    assert world.server.pairs() == [(str(number), SUPPORT) for number in range(10)]
    assert len(world.sent()) == 10 and world.problems() == []


def test_a_room_that_returns_a_message_gets_it_again(world: World) -> None:
    support_is_slow(world, math.inf)
    call = world.call("1", to=SUPPORT)
    reason = ("cancel", "not-acceptable")
    world.at(1, lambda: world.server.sends_error(world.server.taken[0].id, SUPPORT, *reason))
    world.run(2)
    assert (world.failed(), world.waiting()) == ([("1", SUPPORT, "not-acceptable")], [])
    assert world.log() == [f"{call.id} {SUPPORT} failed: not-acceptable"]


def test_the_sender_stays_until_a_room_has_sent_the_message_back(world: World) -> None:
    world.configure(linger=0)
    support_is_slow(world, 2)
    world.call("1", to=SUPPORT)
    assert world.run(HOUR)
    assert world.sent() == [("1", SUPPORT)] and 2 <= world.now < 3


@pytest.mark.parametrize(("seconds", "is_sent"), [(2, True), (math.inf, False)])
def test_sigterm_waits_for_a_room_within_the_time_that_it_has(world: World, seconds: float, is_sent: bool) -> None:
    support_is_slow(world, seconds)
    world.call("1", to=SUPPORT)
    world.at(1, world.sigterm)
    world.at(1.5, lambda: world.call("2"))
    assert world.run(HOUR)
    assert world.now < REFLECTION + 1 < 8
    assert world.sent() == ([("1", SUPPORT)] if is_sent else [])
    assert world.waiting() == [("2", ""), *([] if is_sent else [("1", SUPPORT)])]
    assert len(world.server.taken) == 1 and world.server.session is None


@pytest.mark.parametrize("step", ["process", "keep-alive", "send"])
def test_what_a_room_has_not_sent_back_is_sent_again_after_the_end_of_the_session(world: World, step: str) -> None:
    support_is_slow(world, math.inf)
    call = world.call("1", to=SUPPORT)

    def ends() -> None:
        breaks(world.server, unreachable("session"), step)
        world.server.sends(lambda session: None)
        world.call("2")

    world.at(1, ends)
    world.at(1.1, lambda: breaks(world.server, None))
    world.at(1.1, world.server.slow_rooms.clear)
    world.run(MINUTE)
    assert Counter(map(caller, world.server.texts())) == {"1": 2, "2": 1}
    assert set(world.sent()) == {("1", SUPPORT), ("2", ALICE)}
    assert len({stanza.id for stanza in world.server.taken if stanza.id.startswith(call.id)}) == 1


def test_a_server_that_ends_the_session_for_a_message_to_a_room_gets_it_ever_more_rarely(world: World) -> None:
    world.configure(more="give_up_after = 200")
    support_is_slow(world, math.inf)
    world.call("1", to=SUPPORT)
    breaks(world.server, unreachable("session"), "keep-alive")
    world.run(6 * MINUTE)
    assert len(world.server.taken) == 10 and len(world.failed()) == 1


# Windows: messages that share a confirmation


def test_all_messages_are_sent_when_there_are_more_than_one_window_takes(world: World) -> None:
    world.server.bounces[BOB] = CANCEL
    for number in range(30):
        world.call(str(number), to=f"{ALICE}&{BOB}")
    world.run()
    assert Counter(world.server.told()) == {ALICE: 30, BOB: 30}
    assert (world.waiting(), len(world.sent())) == ([], 30)
    assert Counter(failed[1:] for failed in world.failed()) == {(BOB, "item-not-found"): 30}


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, [10, 20, 40, 50, 50]), (4.0, [10, 10, 10]), (6.0, [10, 5, 2, 1, 1])]
)
def test_a_window_has_as_many_messages_as_the_server_confirms_in_good_time(
    world: World, seconds: float, expected: list[int]
) -> None:
    def confirms_late() -> None:
        world.now += seconds
        if len(world.server.windows) == len(expected):
            seen.extend(world.server.windows)
            world.kill()

    seen: list[int] = []
    for number in range(sum(expected)):
        world.call(str(number))
    world.server.confirming = confirms_late
    world.run(HOUR)
    assert seen == expected


def test_a_server_that_confirms_only_two_in_time_gets_all_messages_in_smaller_windows(world: World) -> None:
    def confirms_two() -> None:
        breaks(world.server, unreachable() if world.server.windows[-1] > 2 else None, "confirm")

    world.server.confirming = confirms_two
    for number in range(12):
        world.call(str(number))
    world.run(5 * MINUTE)
    assert Counter(map(caller, world.server.texts())) == dict.fromkeys(map(str, range(12)), 1)


def test_calls_are_taken_in_while_the_server_handles_a_window(world: World) -> None:
    def comes() -> None:
        if not waiting:
            world.call("2")

    waiting: list[tuple[str, str]] = []
    world.call("1")
    world.server.confirming = comes
    world.server.working = lambda: waiting.extend(world.waiting())
    world.run()
    assert waiting[:2] == [("1", ALICE), ("2", ALICE)]


def test_messages_of_a_window_that_was_confirmed_are_not_sent_again_after_an_error(world: World) -> None:
    def fails_once() -> None:
        breaks(world.server, unreachable() if len(world.server.windows) == 2 else None, "confirm")

    world.server.confirming = fails_once
    for number in range(15):
        world.call(str(number))
    world.run(MINUTE)
    assert world.server.texts() == [str(number) for number in range(15)]
    assert world.server.windows[:2] == [10, 5]


def test_a_window_whose_confirmation_is_lost_is_sent_again_with_the_same_ids(world: World) -> None:
    breaks(world.server, unreachable(), "confirmation")
    world.call("1")
    world.call("2")
    world.at(0.5, lambda: breaks(world.server, None))
    world.run(MINUTE)
    ids = [stanza.id for stanza in world.server.taken]
    assert len(ids) == 4 and ids[:2] == ids[2:]


def test_an_error_stanza_before_a_lost_confirmation_counts(world: World) -> None:
    world.server.bounces[BOB] = CANCEL
    breaks(world.server, unreachable(), "confirmation")
    world.call("1", to=BOB)
    world.run(MINUTE)
    assert world.failed() == [("1", BOB, "item-not-found")]
    assert len(world.server.taken) == 1


# Fresh calls go first


def test_a_new_call_is_among_the_next_50_messages_when_200_late_calls_wait(world: World) -> None:
    def comes_in_the_third_window() -> None:
        if len(world.server.windows) == 3:
            world.call("new")
        elif len(world.server.windows) == 5:
            world.kill()

    for number in range(100):  # of some of these the sender before has made messages, and could not send them
        world.call(str(number), age=2000 - number)
    breaks(world.server, unreachable())
    world.run(5)
    breaks(world.server, None)
    for number in range(100, 200):
        world.call(str(number), age=2000 - number)
    assert world.files("queue") and world.files("new")
    world.server.confirming = comes_in_the_third_window
    world.run(MINUTE)
    assert world.server.texts().index("new") - sum(world.server.windows[:3]) < 50
    late = [int(caller(text)) for text in world.server.texts() if text != "new"]
    assert len(late) > 100 and late == sorted(late)


# The session fails


@pytest.mark.parametrize("step", ["sign-in", "send", "confirm"])
def test_a_session_error_keeps_all_messages_for_the_next_session(world: World, step: str) -> None:
    breaks(world.server, unreachable(), step)
    world.call("1")
    world.call("2")
    world.at(1.5, lambda: breaks(world.server, None))
    world.run(1.2)
    assert world.server.taken == [] and len(world.server.sign_ins) == 2
    assert world.waiting() == [("1", ALICE), ("2", ALICE)]
    assert world.problems() == [f"not sent yet, 2 waiting: {unreachable()}"]
    world.run(MINUTE)
    assert world.server.texts() == ["1", "2"]


def test_a_session_that_was_kept_and_fails_is_followed_by_a_new_one(world: World) -> None:
    world.call("1")
    world.at(10, lambda: breaks(world.server, unreachable(), "send"))
    world.at(10, lambda: world.call("2"))
    world.at(10.5, lambda: breaks(world.server, None))
    world.run(MINUTE)
    assert world.server.texts() == ["1", "2"]
    assert world.server.sign_ins == [0, 11]


def test_a_session_that_ends_between_calls_is_no_problem(world: World) -> None:
    world.call("1")
    world.at(10, lambda: breaks(world.server, unreachable(), "process"))
    world.at(10, lambda: world.server.sends_receipt("", ""))
    world.at(11, lambda: breaks(world.server, None))
    world.at(20, lambda: world.call("2"))
    world.run(MINUTE)
    assert world.server.pairs() == [("1", ALICE), ("2", ALICE)]
    assert world.server.sign_ins == [0, 20]
    assert world.problems() == [f"session ended: {unreachable()}"]


def test_a_session_that_is_found_dead_gets_no_message(world: World) -> None:
    """The machine was suspended, or nobody has listened for long."""

    def call_comes() -> None:
        breaks(world.server, unreachable(), "keep-alive")
        world.server.signing_in = lambda: breaks(world.server, None)
        world.call("2")

    world.call("1")
    world.at(10, call_comes)
    world.run(20)
    assert world.server.texts() == ["1", "2"] and world.server.windows == [1, 1]
    assert world.server.sign_ins == [0, 10]
    assert world.problems() == [f"session ended: {unreachable()}"]


def test_a_session_begins_once_where_the_server_has_redirected_the_one_before(world: World) -> None:
    def redirects() -> None:
        assert world.server.session
        world.server.session.redirected_to = "other.example.org:5222"
        breaks(world.server, unreachable(), "process")
        world.server.sends_receipt("", "")

    world.call("1")
    world.at(10, redirects)
    world.at(20, lambda: breaks(world.server, unreachable()))
    world.at(20, lambda: world.call("2"))
    world.run(22)
    assert world.server.redirections == ["", "other.example.org:5222", ""]


# Pauses of the session


def test_the_pause_after_a_connection_error_doubles_from_1_to_60_seconds(world: World) -> None:
    breaks(world.server, unreachable())
    world.call("1")
    world.run(250)
    assert world.server.sign_ins == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_the_pause_begins_anew_after_a_message_was_confirmed(world: World) -> None:
    breaks(world.server, unreachable())
    world.call("1")
    world.at(10, lambda: breaks(world.server, None))  # the attempt at 15 s succeeds
    world.at(20, lambda: breaks(world.server, unreachable(), "send"))
    world.at(20, lambda: world.call("2"))
    world.at(20.5, lambda: breaks(world.server, unreachable()))
    world.run(24)
    assert world.server.sign_ins == [0, 1, 3, 7, 15, 21, 23]


@pytest.mark.parametrize("step", ["send", "confirm"])
def test_the_pause_also_grows_when_the_server_signs_us_in_but_takes_no_message(world: World, step: str) -> None:
    breaks(world.server, unreachable(), step)
    world.call("1")
    world.run(130)
    assert world.server.sign_ins == [0, 1, 3, 7, 15, 31, 63, 123]


def test_pauses_vary_by_a_fifth(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the boxes of a server that comes back don't all return in the same moment."""
    monkeypatch.setattr(random, "uniform", random.Random(1).uniform)
    breaks(world.server, unreachable())
    world.call("1")
    world.run(15 * MINUTE)
    times = world.server.sign_ins
    pauses = [after - before for before, after in zip(times[6:], times[7:])]  # those of a minute
    assert len(pauses) > 10 and all(48 <= pause <= 72 for pause in pauses)
    assert max(pauses) - min(pauses) > 12


def test_pauses_of_messages_vary_by_a_fifth(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(1).uniform)
    world.server.bounces[ALICE] = WAIT
    world.call("1", age=HOUR)
    world.run(15 * MINUTE)
    times = world.server.times()
    pauses = [after - before for before, after in zip(times, times[1:])]
    assert len(pauses) > 10 and all(48 <= pause <= 72 for pause in pauses)
    assert max(pauses) - min(pauses) > 12


def test_a_new_call_shortens_the_pause_after_a_connection_error(world: World) -> None:
    breaks(world.server, unreachable())
    world.call("1")
    world.at(40, lambda: world.call("2"))  # the next attempt would be at 63 s
    world.run(41)
    assert world.server.sign_ins == [0, 1, 3, 7, 15, 31, 40]


def test_new_calls_make_at_most_one_attempt_a_second(world: World) -> None:
    breaks(world.server, unreachable())
    calls_every(world, 0.2, 6)
    world.run(6)
    assert len(world.server.sign_ins) >= 5
    assert all(after - before >= 1 for before, after in zip(world.server.sign_ins, world.server.sign_ins[1:]))


def test_a_server_that_ends_each_session_gets_at_most_one_sign_in_a_second(world: World) -> None:
    def ends_it() -> None:
        breaks(world.server, unreachable(), "process")
        world.server.sends_receipt("", "")

    world.server.signing_in = lambda: breaks(world.server, None)
    world.server.confirming = ends_it
    calls_every(world, 0.2, 6)
    world.run(10)
    assert len(world.sent()) == 30
    assert all(after - before >= 1 for before, after in zip(world.server.sign_ins, world.server.sign_ins[1:]))


def test_a_refused_sign_in_is_tried_once_a_minute_and_then_more_rarely_whatever_calls_come(world: World) -> None:
    breaks(world.server, refused_password())
    calls_every(world, 15, 15 * MINUTE)
    world.run(2200)
    assert world.server.sign_ins == [0, 60, 180, 420, 900, 1500, 2100]
    assert world.problems() == [f"not sent yet, 1 waiting: {refused_password()}"]
    assert len(world.files("queue")) == 60


def test_a_refused_sign_in_pauses_for_no_less_than_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(1).uniform)
    for run in range(5):
        breaks(world.server, refused_password())
        world.call(str(run))
        Path(world.outbox.path, "sender").unlink(missing_ok=True)  # else it would know of the pause before
        world.run(100)
    pauses = [after - before for before, after in zip(world.server.sign_ins[::2], world.server.sign_ins[1::2])]
    assert len(pauses) == 5 and min(pauses) >= 60


def test_a_sender_does_not_leave_during_the_pause_after_a_refused_sign_in(world: World) -> None:
    """Else the next call would start a sender that knows nothing of it and signs in at once."""
    world.configure(linger=0, more="give_up_after = 3")
    breaks(world.server, refused_password())
    world.call("1")
    world.at(61, lambda: world.call("2"))
    assert world.run(HOUR)
    assert world.server.sign_ins == [0, 60, 180] and 420 <= world.now < 421
    assert len(world.failed()) == 2


@pytest.mark.parametrize("meaning", [FLUSH, RETRY])
def test_flush_and_retry_end_the_pause_after_a_refused_sign_in(world: World, meaning: bytes) -> None:
    breaks(world.server, refused_password())
    world.call("1")
    world.at(100, lambda: world.ring(meaning))
    world.at(110, lambda: breaks(world.server, None))
    world.at(111, lambda: world.ring(meaning))
    world.run(120)
    assert world.server.sign_ins == [0, 60, 100, 111]
    assert world.sent() == [("1", ALICE)]


def test_a_changed_configuration_ends_the_pause_after_a_refused_sign_in(world: World) -> None:
    breaks(world.server, refused_password())
    world.call("1")
    world.at(302, lambda: world.configure(to=BOB))
    world.run(320)
    assert world.server.sign_ins[:3] == [0, 60, 180] and len(world.server.sign_ins) == 4
    assert 302 <= world.server.sign_ins[3] <= 307


def test_senders_that_are_killed_all_the_time_try_a_refused_sign_in_no_more_often_than_one(world: World) -> None:
    breaks(world.server, refused_password())
    world.call("1")
    for _ in range(round(HOUR / 20)):
        world.run(20)
    assert world.server.sign_ins[:2] == [0, 60]
    pauses = [after - before for before, after in zip(world.server.sign_ins, world.server.sign_ins[1:])]
    assert all(later >= min(1.9 * sooner, 600) for sooner, later in zip(pauses, pauses[1:])) and pauses[-1] >= 600
    assert state.read(world.outbox.path)["problem"] == str(refused_password())


@pytest.mark.parametrize("what", ["configuration", "flush", "no more", "nonsense"])
def test_the_next_sender_tries_at_once_what_has_changed(world: World, what: str) -> None:
    breaks(world.server, refused_password() if what != "no more" else unreachable())
    world.call("1")
    world.run(10)
    tried = len(world.server.sign_ins)
    if what == "configuration":
        world.configure(to=BOB)
    elif what == "flush":
        world.at(world.now, lambda: world.ring(FLUSH))
    elif what == "nonsense":
        known = state.read(world.outbox.path)
        for nonsense in (1, "x", {**known["refused"], "until": None}, {**known["refused"], "until": 1e9}):
            state.write(world.outbox.path, {**known, "refused": nonsense})
            world.run(1)
            tried += 1
            assert len(world.server.sign_ins) == tried
        return
    world.run(5)
    assert len(world.server.sign_ins) > tried


class Beside:
    """What is in the process of a resident sender beside it: nothing."""

    def follow(self, current: Any) -> None: ...

    def alive(self) -> None: ...

    def leave(self) -> None: ...

    def addresses(self) -> list[str]:
        return []


def test_a_resident_sender_whose_sessions_all_end_at_once_signs_in_once_a_minute(world: World) -> None:
    """As where two boxes have the same address, and each puts the other out."""

    def ends_it() -> None:
        breaks(world.server, None)
        world.at(world.now + 0.1, lambda: breaks(world.server, unreachable(), "process"))
        world.at(world.now + 0.1, lambda: world.server.sends_receipt("", ""))

    world.server.signing_in = ends_it
    world.at(1800.0, lambda: world.call("1"))
    world.run(HOUR, Beside())
    assert world.server.sign_ins[:5] == [0, 1, 3, 7, 15]
    assert 60 <= len(world.server.sign_ins) <= 80
    assert world.server.times()[0] <= 1801


def test_flush_makes_all_messages_due_at_once(world: World) -> None:
    world.server.bounces[ALICE] = WAIT
    world.call("1", age=HOUR)
    world.call("2", age=HOUR)
    rung: list[float] = []
    world.at(10, lambda: rung.append(uptime()))
    world.at(10, lambda: world.ring(FLUSH))
    world.run(20)
    assert world.server.times() == [0, 0, 10, 10]
    assert state.read(world.outbox.path)["tried"] >= rung[0]  # which the command waits for


# The log


def test_the_same_problem_is_logged_once_until_it_is_over(world: World) -> None:
    breaks(world.server, unreachable())
    calls_every(world, 10, 50)
    world.at(60, lambda: breaks(world.server, unreachable("TLS")))
    world.at(200, lambda: breaks(world.server, None))
    world.at(300, lambda: breaks(world.server, unreachable("TLS"), "send"))
    world.at(300, lambda: world.call("5"))
    world.run(400)
    assert world.problems() == [
        f"not sent yet, 1 waiting: {unreachable()}",
        f"not sent yet, 5 waiting: {unreachable('TLS')}",
        f"not sent yet, 1 waiting: {unreachable('TLS')}",
    ]


def test_two_problems_at_a_time_are_logged_once_each(world: World) -> None:
    world.configure(to=f"{ALICE}&{BOB}")
    world.server.bounces = {ALICE: WAIT, BOB: ("wait", "remote-server-timeout")}
    calls_every(world, 10, 50)
    world.run(300)
    assert len(world.problems()) == 2


# The configuration


def test_a_changed_configuration_is_used_with_a_new_session(world: World) -> None:
    def changes() -> None:
        text = (world.folder / "screen_pop.conf").read_text()
        text = text.replace("[pop]", "server = [::1]:5222\n[pop]").replace(ALICE, BOB)
        world.write_configuration(f"{text}[log]\nfile = {world.folder}/another.log\n")

    world.call("1")
    world.at(10, changes)
    world.at(20, lambda: world.call("2"))
    world.run(MINUTE)
    assert world.server.told() == [ALICE, BOB]
    assert [options.server for options in world.server.options] == [(), (("::1", 5222),)]
    assert len(world.log()) == 1
    assert len((world.folder / "another.log").read_text().splitlines()) == 1


@pytest.mark.parametrize("broken", [None, "[pop]\nto = nobody at all\n"], ids=["missing", "wrong"])
def test_calls_wait_for_a_usable_configuration_which_is_read_within_5_seconds(world: World, broken: str | None) -> None:
    def breaks_it() -> None:
        if broken is None:
            (world.folder / "screen_pop.conf").unlink()
        else:
            world.write_configuration(broken)
        world.call("2")

    world.call("1")
    world.at(20, breaks_it)
    world.at(40, lambda: world.call("3"))
    world.at(93, lambda: world.configure(to=BOB))
    world.run(90)
    assert world.server.sign_ins == [0] and world.waiting() == [("2", ""), ("3", "")]
    (problem,) = world.problems()
    assert problem.startswith(f"not sent yet, 1 waiting: {world.folder}/screen_pop.conf:")
    world.run(30)
    assert world.server.told() == [ALICE, BOB, BOB]
    assert 93 <= world.server.sign_ins[1] <= 98


@pytest.mark.parametrize("meaning", [FLUSH, RETRY])
def test_a_wrong_configuration_never_signs_in(world: World, meaning: bytes) -> None:
    (world.folder / "screen_pop.conf").unlink()
    calls_every(world, 1, MINUTE)
    world.at(30, lambda: world.ring(meaning))
    world.run(HOUR)
    assert world.server.sign_ins == []
    assert len(world.problems()) == 1


# Messages that are too old, and spools that are too full


def test_messages_that_are_too_old_are_given_up_with_the_reason_while_the_server_is_down(world: World) -> None:
    world.configure(more="give_up_after = 3600")
    breaks(world.server, unreachable())
    world.call("1")
    world.call("0", age=2 * HOUR)
    world.run()
    assert world.waiting() == [("1", ALICE)]
    assert world.failed() == [("0", ALICE, f"given up after 7200 s: {unreachable()}")]


@pytest.mark.parametrize("configured", [True, False])
def test_a_clock_that_is_set_back_keeps_no_message_from_being_given_up(world: World, configured: bool) -> None:
    breaks(world.server, unreachable())
    if not configured:
        (world.folder / "screen_pop.conf").unlink()
    world.clock_is_off_by = 30 * DAY
    world.call("1", age=DAY - 2 * MINUTE)
    world.clock_is_off_by = 0
    world.run(MINUTE)
    assert len(world.waiting()) == 1
    world.run(5 * MINUTE)
    assert world.waiting() == [] and len(world.failed()) == 1


def test_without_a_configuration_calls_are_given_up_after_a_day(world: World) -> None:
    (world.folder / "screen_pop.conf").unlink()
    world.call("1", age=DAY - 100)
    world.call("2", age=DAY + 100)
    world.run()
    assert world.waiting() == [("1", "")]
    ((number, recipient, reason),) = world.failed()
    assert (number, recipient) == ("2", "") and reason.startswith("given up after 86500 s: ")


def test_a_call_that_was_given_up_without_a_configuration_is_sent_by_retry(world: World) -> None:
    (world.folder / "screen_pop.conf").unlink()
    world.call("2", age=DAY + 100)
    world.run()
    world.configure(to=BOB)
    world.at(world.now + 5, lambda: world.ring(RETRY))
    world.run(10)
    assert world.server.told() == [BOB]
    assert world.failed() == []


def test_beyond_the_limit_the_oldest_go_to_failed_and_the_oldest_of_those_are_removed(world: World) -> None:
    world.configure(more="[spool]\ncalls = 3")
    breaks(world.server, unreachable())
    calls = [world.call(str(number)) for number in range(8)]
    world.run()
    assert world.waiting() == [("5", ALICE), ("6", ALICE), ("7", ALICE)]
    assert world.failed() == [(number, ALICE, f"the spool is full: {unreachable()}") for number in "234"]
    removed = [
        line.partition("~")[0] for line in world.log() if line.endswith("is removed from failed/, which is full")
    ]
    assert removed == [call.id for call in calls[:2]]


def test_failed_messages_stay_within_the_limit_while_all_else_is_well(world: World) -> None:
    world.configure(to=BOB, more="[spool]\ncalls = 3")
    world.server.bounces[BOB] = CANCEL
    for number in range(5):
        world.call(str(number))
    world.run()
    assert [number for number, _, _ in world.failed()] == ["2", "3", "4"]


def test_more_calls_than_the_limit_are_sent_when_they_can_be(world: World) -> None:
    world.configure(more="[spool]\ncalls = 3")
    for number in range(8):
        world.call(str(number))
    world.run()
    assert len(world.server.taken) == 8


def test_the_limits_hold_without_a_configuration(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpoolOptions.options()["calls"], "default", 2)
    (world.folder / "screen_pop.conf").unlink()
    for number in range(6):
        world.call(str(number))
    world.run()
    assert world.waiting() == [("4", ""), ("5", "")]
    assert [number for number, _, _ in world.failed()] == ["2", "3"]
    assert all(reason.startswith("the spool is full: ") for _, _, reason in world.failed())


def test_a_call_whose_messages_wait_in_memory_is_not_given_up_as_well(world: World) -> None:
    """A full disk keeps it in new/. It would be sent and be in failed/, and `retry` would send it again."""
    world.configure(more="[spool]\ncalls = 1")
    breaks(world.server, unreachable())
    calls = [world.call("1"), world.call("2")]
    world.disk_is_full = True
    world.at(MINUTE, lambda: setattr(world, "disk_is_full", False))
    world.at(MINUTE, lambda: breaks(world.server, None))
    world.run(2 * MINUTE)
    assert (len(world.server.taken), world.failed(), world.waiting()) == (2, [], [])
    results = [line for line in world.log() if line.startswith(tuple(call.id for call in calls))]
    assert results == [f"{call.id} {ALICE} delivered" for call in calls]


# sent/, and messages that come back after their confirmation


def test_sent_messages_are_kept_for_the_configured_time(world: World) -> None:
    world.configure(more="remember = 3600")
    world.call("late", age=2 * HOUR)
    world.call("0")
    world.at(1, lambda: setattr(world, "now", 1800.0))  # so much time has passed
    world.at(1800, lambda: world.call("1800"))
    world.at(1801, lambda: setattr(world, "now", 3610.0))
    world.at(3610, lambda: world.call("3610"))
    world.run(3620)
    assert world.sent() == [("1800", ALICE), ("3610", ALICE)]


def test_a_late_message_is_kept_as_long_from_when_it_was_sent(world: World) -> None:
    world.configure(more="remember = 3600")
    world.call("1", age=2 * HOUR)
    world.at(10, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, *CANCEL))
    world.run(MINUTE)
    assert world.failed() == [("1", ALICE, "item-not-found")]


def test_sent_messages_stay_within_the_limit(world: World) -> None:
    world.configure(more="[spool]\ncalls = 3")
    for number in range(5):
        world.call(str(number))
    world.run()
    assert world.sent() == [("2", ALICE), ("3", ALICE), ("4", ALICE)]


def test_sent_messages_stay_within_the_limit_of_their_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "SETTLED", 50)  # after so many the limit is applied
    world.configure(more="[spool]\ncalls = 1000000\nmegabytes = 1")
    for number in range(200):
        world.call(str(number), name="x" * 8000)
    world.run()
    files = [Path(world.outbox.path, "sent", name) for name in world.files("sent")]
    assert len(world.server.taken) == 200
    assert sum(file.stat().st_size for file in files) < 1_500_000


@pytest.mark.parametrize("restart", [False, True])
def test_a_message_that_comes_back_for_good_fails_after_all(world: World, restart: bool) -> None:
    first = world.call("1")
    if restart:
        world.run(5)
    world.at(10, lambda: world.call("2"))
    for seconds in (20, 30):  # only the first error counts
        world.at(seconds, lambda: world.server.sends_error(world.server.taken[0].id, ALICE, *CANCEL))
    world.run(MINUTE)
    assert world.failed() == [("1", ALICE, "item-not-found")] and world.sent() == [("2", ALICE)]
    assert [line for line in world.log() if first.id in line] == [
        f"{first.id} {ALICE} delivered",
        f"{first.id} {ALICE} failed: item-not-found",
    ]


@pytest.mark.parametrize("restart", [False, True])
def test_a_message_that_comes_back_to_be_tried_again_is_sent_after_a_pause(world: World, restart: bool) -> None:
    first = world.call("1")
    if restart:
        world.run(5)
    world.at(10, lambda: world.call("2"))
    world.at(20, lambda: world.server.sends_error(world.server.taken[0].id, "example.org", *WAIT))
    world.run(25)
    assert world.waiting() == [("1", ALICE)]
    world.run(MINUTE)
    assert [caller(text) for text in world.server.texts()] == ["1", "2", "1"]
    assert world.waiting() == [] and len(world.sent()) == 2
    assert f"{first.id} {ALICE} came back: resource-constraint" in world.log()


def test_a_domain_that_returns_each_message_late_is_tried_ever_more_rarely_until_it_is_given_up(world: World) -> None:
    world.configure(more="give_up_after = 100")
    world.server.late_bounces[ALICE] = ("wait", "remote-server-timeout")
    world.call("1")
    world.run(4 * MINUTE)
    assert world.server.times() == [0, 1, 2, 4, 8, 16, 32, 64, 124]
    assert world.failed() == [("1", ALICE, "given up after 124 s: remote-server-timeout")]
    assert f"not sent yet, 1 waiting: {ALICE}: remote-server-timeout" in world.problems()


@pytest.mark.parametrize("error", [WAIT, CANCEL], ids=lambda error: error[0])
def test_a_message_that_comes_back_while_others_of_its_call_are_in_flight_is_not_lost(
    world: World, error: tuple[str, str]
) -> None:
    def comes_back() -> None:
        assert world.server.session
        if len(world.server.windows) == 2:
            (late,) = (stanza for stanza in world.server.taken if stanza.to == CAROL)
            world.server.session.on_error(late.id, CAROL, *error)

    world.server.bounces[ALICE] = WAIT
    world.server.confirming = comes_back
    world.call("1", to=f"{ALICE}&{CAROL}")
    world.at(0.5, world.server.bounces.clear)
    world.run(10)
    if error == CANCEL:
        assert world.failed() == [("1", CAROL, "item-not-found")]
        assert Counter(world.server.told()) == {ALICE: 2, CAROL: 1}
    else:
        assert Counter(world.server.told()) == {ALICE: 2, CAROL: 2}
        assert Counter(world.sent()) == {("1", ALICE): 1, ("1", CAROL): 1}
    assert world.waiting() == []


def test_all_messages_of_a_call_that_come_back_have_their_reasons(world: World) -> None:
    def come_back() -> None:
        for stanza in world.server.taken:
            if stanza.to != BOB:
                world.server.sends_error(stanza.id, stanza.to, "cancel", f"no {stanza.to}")

    world.call("1", to=f"{ALICE}&{BOB}&{CAROL}")
    world.at(10, come_back)
    world.run(20)
    assert Counter(world.failed()) == {("1", ALICE, f"no {ALICE}"): 1, ("1", CAROL, f"no {CAROL}"): 1}
    assert world.sent() == [("1", BOB)]


def test_a_message_that_comes_back_takes_nothing_from_another_of_its_call_that_waits(world: World) -> None:
    def comes_back() -> None:
        (late,) = (stanza for stanza in world.server.taken if stanza.to == CAROL)
        world.server.sends_error(late.id, CAROL, *CANCEL)

    world.server.bounces[BOB] = WAIT
    world.call("1", age=HOUR, to=f"{CAROL}&{BOB}")
    world.at(10, comes_back)
    world.at(20, world.server.bounces.clear)
    world.run(2 * MINUTE)
    assert Counter(world.server.told()) == {CAROL: 1, BOB: 2}
    assert world.failed() == [("1", CAROL, "item-not-found")] and world.sent() == [("1", BOB)]


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
def test_only_the_recipient_and_the_servers_are_believed_about_a_message(
    world: World, sender_jid: str, error: bool, receipt: bool
) -> None:
    _, replies = world.call_that_is_waited_for(to=CAROL, receipt=True)
    world.at(10, lambda: world.server.sends_receipt(world.server.taken[0].id, sender_jid))
    world.at(20, lambda: world.server.sends_error(world.server.taken[0].id, sender_jid, *CANCEL))
    world.run(MINUTE)
    assert [reply for reply in replies.read() if "receipt" in reply] == ([{"receipt": sender_jid}] if receipt else [])
    assert bool(world.failed()) == error


@pytest.mark.parametrize("stanza_id", ["another", "../sent/1-00000000", f"{'1' * 300}-00000000", ""])
def test_an_error_or_receipt_for_what_was_never_sent_is_ignored(world: World, stanza_id: str) -> None:
    world.call("1")
    world.at(10, lambda: world.server.sends_error(stanza_id, ALICE, *CANCEL))
    world.at(20, lambda: world.server.sends_receipt(stanza_id, ALICE))
    world.run(MINUTE)
    assert world.failed() == [] and world.sent() == [("1", ALICE)]
    assert len(world.server.sign_ins) == 1


# RETRY


def test_retry_while_calls_come_loses_nothing_and_sends_nothing_twice(world: World) -> None:
    world.configure(to=f"{ALICE}&{BOB}")
    world.server.bounces[BOB] = CANCEL
    calls_every(world, 0.2, 10)
    for seconds in (2.0, 4.0, 6.0, 8.0):
        world.at(seconds, lambda: world.ring(RETRY))
    world.at(5.05, world.server.bounces.clear)

    def rings_in_the_middle_of_a_window() -> None:
        if len(world.server.windows) == 15:
            world.ring(RETRY)

    world.server.confirming = rings_in_the_middle_of_a_window
    world.run(20)
    everybody = Counter((str(number), to) for number in range(50) for to in (ALICE, BOB))
    assert Counter(world.sent()) == everybody
    assert (world.waiting(), world.failed(), world.files("tmp")) == ([], [], [])
    got = Counter(world.server.pairs())
    assert set(got) == set(everybody)
    assert all(count == 1 for (_, to), count in got.items() if to == ALICE)
    accepted = Counter(stanza.id for stanza in world.server.taken if stanza.to == BOB and stanza.at > 5.05)
    assert len(accepted) == 50 and set(accepted.values()) == {1}


def test_retry_sends_what_a_full_disk_lets_it_send(world: World) -> None:
    """A call that failed without a recipient has to be written anew; a message is only moved."""
    world.server.bounces[ALICE] = CANCEL
    world.call("1", age=3 * DAY)
    world.call("3")
    world.run(5)
    world.server.bounces.clear()
    conf = world.folder / "screen_pop.conf"
    conf.rename(f"{conf}.away")
    world.call("2", age=2 * DAY)
    world.run(1)
    Path(f"{conf}.away").rename(conf)
    assert [(number, recipient) for number, recipient, _ in world.failed()] == [("1", ALICE), ("2", ""), ("3", ALICE)]
    world.disk_is_full = True
    world.at(10, lambda: world.ring(RETRY))
    world.run(10)
    assert world.sent() == [("1", ALICE), ("3", ALICE)]
    assert any("No space left on device" in line for line in world.log())
    world.disk_is_full = False
    world.at(20, lambda: world.ring(RETRY))
    world.run(10)
    assert world.sent() == [("1", ALICE), ("2", ALICE), ("3", ALICE)]
    assert world.failed() == []


def test_retry_rung_while_the_sender_leaves_is_not_forgotten(world: World) -> None:
    def administrator_retries() -> None:
        world.server.closing = lambda: None
        world.server.bounces.clear()
        world.ring(RETRY)

    world.configure(linger=10)
    world.server.bounces[ALICE] = CANCEL
    world.server.closing = administrator_retries
    world.call("1")
    assert world.run(MINUTE)
    assert world.sent() == [("1", ALICE)]


def test_retry_does_not_send_to_what_is_no_address(world: World) -> None:
    """A server may close the stream for it, and all messages would wait for ever."""
    world.call("1", to="Alice Example")
    world.at(5, lambda: world.ring(RETRY))
    world.run(10)
    assert world.server.taken == [] and world.waiting() == []
    ((_, recipient, reason),) = world.failed()
    assert recipient == "Alice Example" and "is not a JID" in reason


# SIGTERM


def test_sigterm_finishes_the_window_in_flight_and_leaves_within_10_seconds(world: World) -> None:
    world.server.confirming = world.sigterm
    for number in range(25):
        world.call(str(number))
    assert world.run(HOUR)
    assert world.now < 1 and world.server.session is None
    assert len(world.sent()) == len(world.server.taken) == 10 and len(world.waiting()) == 15
    assert world.alarms and max(world.alarms) < 10
    world.server.confirming = lambda: None
    world.run()
    assert Counter(world.server.texts()) == Counter(map(str, range(25)))


def test_sigterm_while_a_window_fails_keeps_its_messages_for_the_next_sender(world: World) -> None:
    breaks(world.server, unreachable(), "confirm")
    world.server.confirming = world.sigterm
    world.call("1")
    assert world.run(HOUR)
    assert world.now < 1 and world.waiting() == [("1", ALICE)]


def test_sigterm_leaves_at_once_when_nothing_is_in_flight(world: World) -> None:
    world.call("1")
    world.at(100, world.sigterm)
    assert world.run(HOUR)
    assert round(world.now) == 100
    assert world.server.session is None and world.alarms == []


@pytest.mark.parametrize("error", [unreachable(), refused_password()], ids=lambda error: error.step)
def test_sigterm_leaves_at_once_during_a_pause(world: World, error: SessionError) -> None:
    breaks(world.server, error)
    world.call("1")
    world.at(100, world.sigterm)
    assert world.run(HOUR)
    assert round(world.now) == 100 and world.waiting() == [("1", ALICE)]


def test_sigterm_leaves_at_once_during_a_sign_in(world: World) -> None:
    world.server.signing_in = world.sigterm
    world.call("1")
    assert world.run(HOUR)
    assert world.now < 1 and len(world.waiting()) == 1


def test_a_second_sigterm_changes_nothing(world: World) -> None:
    def twice() -> None:
        world.sigterm()
        world.sigterm()

    world.server.confirming = twice
    world.server.closing = world.sigterm
    world.call("1")
    assert world.run(HOUR)
    assert world.sent() == [("1", ALICE)] and len(world.alarms) == 1
    assert state.read(world.outbox.path)["session"] is None
    world.at(world.now + 100, world.sigterm)
    world.call("2")
    world.server.confirming = lambda: None
    assert world.run(HOUR)
    assert state.read(world.outbox.path)["session"] is None


def test_state_says_that_no_session_is_left_after_sigterm(world: World) -> None:
    world.call("1")
    world.at(10, world.sigterm)
    world.run(MINUTE)
    assert state.read(world.outbox.path)["session"] is None


# What version 0.1 has left


def _released(world: World, folder: str, number: str, **outcomes: Any) -> str:
    """A call as version 0.1 wrote it: with what had become of it. Returns its id."""
    call_id = f"{START:017.6f}-{number:0>12}"
    record = {"id": call_id, "time": START, "boot": BOOT, "uptime": 1000.0, "event": "ringing", "number": number}
    Path(world.outbox.path, folder, f"{call_id}.json").write_text(json.dumps({**record, **outcomes}))
    return call_id


def test_calls_that_waited_in_the_format_of_version_0_1_are_sent(world: World) -> None:
    world.configure(to=f"{ALICE}&{BOB}")
    _released(world, "new", "1")
    _released(world, "new", "2", delivered=[ALICE])
    _released(world, "new", "3", to=f"{ALICE}&{BOB}&{CAROL}", delivered=[ALICE], failed={CAROL: "item-not-found"})
    world.run()
    assert Counter(world.server.pairs()) == Counter([("1", ALICE), ("1", BOB), ("2", BOB), ("3", BOB)])
    assert world.failed() == [("3", CAROL, "item-not-found")]
    assert world.waiting() == []


def test_calls_that_had_failed_in_the_format_of_version_0_1_are_sent_by_retry(world: World) -> None:
    _released(world, "failed", "1", to=f"{ALICE}&{BOB}&{CAROL}", delivered=[ALICE], failed={BOB: "x", CAROL: "y"})
    _released(world, "failed", "2", to=BOB, failed={"whoever is configured": "given up after 90000 s: no file"})
    Path(world.outbox.path, "failed", "1.ab.reason").write_text("not a call\n")
    world.run()
    assert world.server.taken == []
    world.at(10, lambda: world.ring(RETRY))
    world.run(20)
    assert Counter(world.server.pairs()) == {("1", BOB): 1, ("1", CAROL): 1, ("2", BOB): 1}


# A full disk, no file descriptors, and files that are gone or foreign


def test_a_full_disk_sends_nothing_twice_and_catches_up_when_there_is_room(world: World) -> None:
    def nothing_could_be_written() -> None:
        assert (world.sent(), world.files("queue")) == ([], [])
        assert world.waiting() == [("all", "")]  # BOB's message waits; the others' calls are done
        world.disk_is_full = False

    world.server.bounces = {BOB: WAIT, CAROL: CANCEL}
    world.disk_is_full = True
    world.call("all", to=f"{ALICE}&{BOB}&{CAROL}")
    calls_every(world, 1, 10)
    world.at(15.5, lambda: world.ring(FLUSH))
    world.at(30, nothing_could_be_written)
    world.at(40, world.server.bounces.clear)
    world.run(2 * MINUTE)
    assert Counter(world.server.told()) == {ALICE: 11, BOB: 8, CAROL: 1}
    assert len(world.sent()) == 12 and world.failed() == [("all", CAROL, "item-not-found")]
    assert world.waiting() == []
    full = f"not sent yet: {world.outbox.path}: No space left on device"
    assert [line for line in world.log() if "No space" in line] == [full]


def test_a_sender_stays_until_the_disk_has_what_it_has_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next sender would find the message in queue/ and send it again."""

    def becomes_read_only() -> None:
        read_only.setattr(os, "rename", refuse)
        breaks(world.server, None)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    world.configure(linger=0)
    breaks(world.server, unreachable())
    world.call("1")
    with monkeypatch.context() as read_only:
        world.at(0.5, becomes_read_only)
        world.at(MINUTE, read_only.undo)
        assert world.run(2 * MINUTE) and world.now >= MINUTE
    assert (world.waiting(), world.sent()) == ([], [("1", ALICE)])
    assert world.server.texts() == ["1"]


def test_on_a_full_disk_a_message_that_fails_is_moved_and_the_log_has_the_reason(world: World) -> None:
    world.server.bounces[ALICE] = WAIT
    call = world.call("1")
    world.at(10, lambda: setattr(world, "disk_is_full", True))
    world.at(10, lambda: world.server.bounces.update({ALICE: CANCEL}))
    world.run(MINUTE)
    assert [(number, recipient) for number, recipient, _ in world.failed()] == [("1", ALICE)]
    assert f"{call.id} {ALICE} failed: item-not-found" in world.log()
    assert world.waiting() == []


def out_of_descriptors(limit: pytest.MonkeyPatch | None = None) -> pytest.MonkeyPatch:
    """Until `undo()`. The log is still written, so that the test can read it (syslog needs no further descriptor)."""
    limit = limit or pytest.MonkeyPatch()
    real_open = os.open

    def too_many(path: Any, *others: Any) -> Any:
        if Path(path).suffix == ".log":
            return real_open(path, *others)
        raise OSError(24, "Too many open files")

    for name in ("open", "listdir", "scandir"):
        limit.setattr(os, name, too_many)
    return limit


def test_a_sender_without_file_descriptors_rests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the call can't be read, then new/ can't be listed any more."""
    real_open = os.open
    limit = pytest.MonkeyPatch()

    def too_many(path: Any, *others: Any) -> Any:
        if "/new/" in str(path):
            raise OSError(24, "Too many open files")
        return real_open(path, *others)

    limit.setattr(os, "open", too_many)
    world.call("1")
    world.at(0.5, lambda: out_of_descriptors(limit))
    world.at(100, limit.undo)
    world.run(200)
    assert [caller(text) for text in world.server.texts()] == ["1"]
    assert len(world.waits) < 100


def test_without_file_descriptors_the_sender_stays_and_goes_on_when_there_are_some(world: World) -> None:
    world.configure(linger=0)
    world.call("1")
    limit = out_of_descriptors()
    world.at(20, limit.undo)
    assert world.run(HOUR)
    assert world.server.texts() == ["1"] and 20 <= world.server.taken[0].at <= 26
    assert len(world.waits) < 50
    assert world.problems() == ["not sent yet: [Errno 24] Too many open files"]


def test_a_sender_without_file_descriptors_at_its_start_sends_what_the_one_before_has_left(world: World) -> None:
    world.configure(linger=0)
    world.server.bounces[ALICE] = WAIT
    world.call("1")
    world.run(0.5)
    world.server.bounces.clear()
    limit = out_of_descriptors()
    world.at(20, limit.undo)
    assert world.run(HOUR)
    assert world.sent() == [("1", ALICE)]


def test_a_sender_that_cannot_read_its_queue_at_first_does_not_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(folder: str) -> list[str]:
        if not folder.endswith("/queue"):
            return listdir(folder)
        monkeypatch.undo()
        raise OSError(24, "Too many open files")

    world.configure(linger=0)
    world.server.bounces[ALICE] = WAIT
    world.call("1")
    world.run(0.5)
    world.server.bounces.clear()
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", fails_once)
    assert world.run(HOUR)
    assert world.sent() == [("1", ALICE)]


def test_a_full_disk_at_the_start_stops_no_message(world: World) -> None:
    world.server.bounces[ALICE] = WAIT
    world.call("1")
    world.run(0.5)
    world.server.bounces.clear()
    _released(world, "failed", "2", failed={BOB: "item-not-found"})  # which the sender writes anew
    world.disk_is_full = True
    world.run(5)
    assert world.sent() == [("1", ALICE)]


@pytest.mark.parametrize("folder", ["new", "queue"])
@pytest.mark.parametrize("name", ["0.json", "0" * 255], ids=len)
def test_a_foreign_file_is_moved_to_failed_and_stops_no_call(world: World, folder: str, name: str) -> None:
    Path(world.outbox.path, folder, name).write_text('{"id": ')
    call = world.call("1")
    world.run()
    assert world.server.texts() == ["1"] and world.waiting() == []
    moved, reason = world.files("failed")
    assert moved.startswith(name[:200]) and reason == f"{moved}.reason"
    assert len(world.log()) == 2 and f"{call.id} {ALICE} delivered" in world.log()


@pytest.mark.parametrize("folder", ["new", "queue"])
def test_a_foreign_file_that_cannot_be_moved_holds_up_nothing(
    world: World, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(old: str, new: str) -> None:
        if ".bad" in old:
            raise PermissionError(1, "Operation not permitted")
        rename(old, new)

    rename = os.rename
    monkeypatch.setattr(os, "rename", refuse)
    Path(world.outbox.path, folder, ".bad").touch()
    world.call("1")
    world.run(MINUTE)
    assert world.server.texts() == ["1"] and world.server.sign_ins == [0]
    assert len(world.waits) < 100
    assert [line for line in world.problems() if "Operation not permitted" in line] == world.problems()
    assert len(world.problems()) == 1


def test_a_message_that_the_administrator_removes_is_not_sent(world: World) -> None:
    world.configure(linger=10)
    world.server.bounces[ALICE] = WAIT
    world.call("1", age=HOUR)
    world.call("2", to=BOB)
    world.at(10, lambda: os.unlink(Path(world.outbox.path, "queue", world.files("queue")[0])))
    assert world.run(2 * MINUTE)
    assert Counter(world.server.told()) == {ALICE: 1, BOB: 1}
    assert world.failed() == []


def test_a_call_that_is_removed_while_others_are_taken_in_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listdir_and_one_more(folder: str) -> list[str]:
        monkeypatch.undo()
        return [*os.listdir(folder), "0.json"]

    world.call("1")
    world.at(1, lambda: world.call("2"))
    world.at(1, lambda: monkeypatch.setattr(os, "listdir", listdir_and_one_more))
    world.run(10)
    assert world.server.texts() == ["1", "2"] and world.failed() == []


def test_folders_that_were_removed_are_made_again(world: World) -> None:
    for folder in ("new", "queue", "sent", "failed"):
        Path(world.outbox.path, folder).rmdir()
    world.run(5)
    world.server.bounces[BOB] = CANCEL
    for folder in ("queue", "sent", "failed"):
        Path(world.outbox.path, folder).rmdir()
    world.call("1", to=f"{ALICE}&{BOB}")
    world.run(5)
    assert world.sent() == [("1", ALICE)] and world.failed() == [("1", BOB, "item-not-found")]


def test_files_that_killed_doors_have_left_are_removed_after_an_hour(world: World) -> None:
    for name, age in (("old", HOUR + 10), ("young", HOUR - 10)):
        left = Path(world.outbox.path, "tmp", name)
        left.write_text("{")
        os.utime(left, (START - age, START - age))
    world.call("1")
    world.run()
    assert world.files("tmp") == ["young"]


def test_calls_that_were_left_in_memory_get_a_sender(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screenpop.spool.outbox.MEMORY", str(world.folder))
    spare = world.outbox.spare()
    world.call("1")
    world.run()
    assert spare.path not in world.started
    spare.put(Call(number="2"))
    world.call("3")
    world.run()
    assert world.started.count(spare.path) == 1


# A bug in this program


def test_a_bug_that_one_call_triggers_holds_up_no_other_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_a_bug(call: Call, *others: Any) -> str:
        return text(call, *others) if call.number != "2" else str(1 / 0)

    text = message.text
    monkeypatch.setattr(message, "text", has_a_bug)
    for number in "1234":
        world.call(number)
    world.run(MINUTE)
    assert world.server.texts() == ["1", "3", "4"] and world.waiting() == [("2", ALICE)]
    assert world.problems() == [f"not sent yet, 4 waiting: {ALICE}: ZeroDivisionError: division by zero"]


@pytest.mark.parametrize("broken", ["PlayedSession.send", "PlayedSession.confirm"])
def test_a_bug_in_the_session_loses_no_message(world: World, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(f"parts.world.{broken}", bug)
        world.call("1")
        world.run(MINUTE)
    assert world.server.sign_ins == [0, 1, 3, 7, 15, 31]
    assert world.problems() == ["not sent yet, 1 waiting: ZeroDivisionError: a bug"]
    world.run()
    assert world.sent() == [("1", ALICE)]


def test_a_bug_that_one_call_triggers_on_its_way_in_holds_up_no_other_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has_a_bug(call: Call, *others: Any) -> Any:
        if call.number != "2":
            return recipients(call, *others)
        tried.append(round(world.now))
        return 1 / 0

    tried: list[int] = []
    recipients = routes.recipients
    monkeypatch.setattr(routes, "recipients", has_a_bug)
    world.configure(more="give_up_after = 100")
    for number in "123":
        world.call(number)
    world.run(MINUTE)
    assert world.server.texts() == ["1", "3"] and world.waiting() == [("2", "")]
    assert world.problems() == ["not sent yet, 1 waiting: ZeroDivisionError: division by zero"]
    assert tried == [0, 1, 2, 4, 8, 16, 32]
    world.run(5 * MINUTE)
    assert world.waiting() == [] and tried == [0, 1, 2, 4, 8, 16, 32, 60, 120]  # at 60 by a new sender
    ((number, recipient, reason),) = world.failed()
    assert (number, recipient, reason) == ("2", "", "given up after 120 s: ZeroDivisionError: division by zero")
    monkeypatch.setattr(routes, "recipients", recipients)
    world.at(world.now, lambda: world.ring(RETRY))
    world.run(MINUTE)
    assert [caller(text) for text in world.server.texts()] == ["1", "3", "2"]


# What those learn who wait for a call


def replies_within(world: World, seconds: float, **known: Any) -> list[dict[str, Any]]:
    _, replies = world.call_that_is_waited_for(**known)
    world.run(seconds)
    return replies.read()


def test_a_delivery_is_reported(world: World) -> None:
    assert replies_within(world, 1) == [{"status": "DELIVERED"}]


def test_a_failure_is_reported(world: World) -> None:
    world.server.bounces[ALICE] = CANCEL
    assert replies_within(world, 1) == [{"status": "FAILED", "reason": f"{ALICE}: item-not-found"}]


def test_a_call_whose_recipients_are_all_no_addresses_is_reported_as_failed(world: World) -> None:
    (reply,) = replies_within(world, 1, to="Alice Example")
    assert reply["status"] == "FAILED" and reply["reason"].startswith("Alice Example: ")


def test_a_delivery_to_one_is_reported_with_the_reasons_of_the_others(world: World) -> None:
    world.server.bounces[ALICE] = CANCEL
    replies = replies_within(world, 1, to=f"{ALICE}&{BOB}")
    assert replies == [{"status": "DELIVERED", "reason": f"{ALICE}: item-not-found"}]


def test_why_a_message_is_not_delivered_yet_is_reported(world: World) -> None:
    world.server.bounces[ALICE] = WAIT
    assert replies_within(world, 0.5) == [{"status": "QUEUED", "reason": f"{ALICE}: resource-constraint"}]


def test_a_session_error_is_reported(world: World) -> None:
    breaks(world.server, unreachable())
    assert replies_within(world, 0.5) == [{"status": "QUEUED", "reason": str(unreachable())}]


def test_a_wrong_configuration_is_reported(world: World) -> None:
    world.write_configuration("[pop]\nto = nobody at all\n")
    (reply,) = replies_within(world, 0.5)
    assert reply["status"] == "QUEUED" and "screen_pop.conf" in reply["reason"]


def test_each_step_is_reported_to_the_test_command(world: World) -> None:
    replies = replies_within(world, 1, receipt=True)
    assert [reply.get("step") for reply in replies] == ["sender", "sign-in", "message", None]
    assert world.server.taken[0].children["request"].tag == "{urn:xmpp:receipts}request"


# How long the sender stays


def test_the_sender_leaves_when_no_call_has_come_for_the_configured_time(world: World) -> None:
    world.configure(linger=300)
    world.call("1")
    world.at(250, lambda: world.call("2"))
    assert world.run(HOUR)
    assert world.server.texts() == ["1", "2"] and round(world.now) == 550
    assert world.server.session is None


def test_the_sender_stays_as_long_as_a_message_waits(world: World) -> None:
    world.configure(linger=0)
    breaks(world.server, unreachable())
    world.call("1")
    world.at(1000, lambda: breaks(world.server, None))
    assert world.run(HOUR)
    assert [caller(text) for text in world.server.texts()] == ["1"] and 1000 <= world.now <= 1060


def test_a_call_that_comes_while_the_sender_leaves_is_sent(world: World) -> None:
    numbers = iter("12")

    def call_comes() -> None:
        for number in [next(numbers, "")]:
            if number:
                world.outbox.put(Call(number=number))  # its door has not rung yet

    world.configure(linger=0)
    world.server.closing = call_comes
    world.call("0")
    assert world.run(HOUR)
    assert world.server.texts() == ["0", "1", "2"] and world.now < 1


def test_the_sender_leaves_when_the_spool_has_another_one(world: World) -> None:
    others: list[Trigger] = []

    def another_comes() -> None:
        Path(world.outbox.path, "lock").unlink()
        Path(world.outbox.path, "trigger").unlink()
        other = Trigger.acquire(world.outbox.path)
        assert other
        others.append(other)
        world.call("1")

    world.at(10, another_comes)
    assert world.run(HOUR)
    assert world.now <= 15 and world.waiting() == [("1", "")] and world.server.sign_ins == []
    for other in others:
        other.close()
        os.close(other.lock)


def test_the_sender_leaves_when_the_spool_is_gone(world: World) -> None:
    spool = Path(world.outbox.path)
    world.call("1")
    world.at(10, lambda: spool.rename(f"{spool}-moved"))
    assert world.run(HOUR)
    assert world.now <= 15 and world.server.session is None
    assert not spool.exists()


def test_the_sender_wakes_at_most_every_5_seconds_while_it_is_idle(world: World) -> None:
    world.call("1")
    world.run(10 * MINUTE)
    assert len(world.waits) <= 120 + 1


@pytest.mark.parametrize("error", [unreachable(), refused_password()], ids=lambda error: error.step)
def test_the_sender_wakes_at_most_every_5_seconds_and_for_its_attempts_while_a_message_waits(
    world: World, error: SessionError
) -> None:
    breaks(world.server, error)
    world.call("1")
    world.run(10 * MINUTE)
    assert len(world.waits) <= 120 + len(world.server.sign_ins) + 1


def test_the_sender_tells_its_state(world: World) -> None:
    breaks(world.server, unreachable())
    call = world.call("1")
    world.run(0.5)
    told = state.read(world.outbox.path)
    assert (told["pid"], told["session"], told["last"]) == (os.getpid(), None, [])
    assert told["problem"] == str(unreachable())
    breaks(world.server, None)
    world.run(5)
    told = state.read(world.outbox.path)
    assert told["session"] == {"jid": "pbx@example.org/box", "host": "xmpp.example.org:5222 (STARTTLS)", "since": START}
    (last,) = told["last"]
    assert (last["call"], last["recipient"], last["outcome"]) == (call.id, ALICE, "delivered")
    assert told["problem"] == ""
    world.run(5)  # the next sender also knows the last deliveries
    assert state.read(world.outbox.path)["last"] == [last]


# Its process


def test_descriptors_that_were_inherited_by_mistake_are_closed() -> None:
    lost, kept = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
    process.close_all_but({int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - {lost})
    os.fstat(kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lost)
    os.close(kept)


SOURCE = "[crm]\ntype = sql\ndatabase = sqlite:////nowhere\nquery = SELECT :number\nname = name\n"


def test_a_source_whose_password_is_missing_holds_up_no_pop(world: World) -> None:
    world.configure(more=f"lookup_wait = 0\n{SOURCE}password_file = /nowhere/password\n")

    def problems() -> list[str]:
        return [line for line in world.log() if "[crm]" in line]

    world.call("1")
    world.at(1, lambda: problems() or world.wait_for_a_thread())  # type: ignore[func-returns-value]
    world.run(2)
    assert world.server.times() == [0]
    assert problems() == ["phone book [crm]: /nowhere/password: No such file or directory"]


@pytest.mark.parametrize("error", [RecursionError(), ValueError("embedded null byte")])
def test_a_bug_about_the_index_does_not_end_the_sender(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ticks = itertools.count()

    def fails(*_: object) -> None:
        if next(ticks) % 2:  # not each time, as the files are not looked at each time
            raise error

    monkeypatch.setattr("screenpop.phonebook.book.Book.tend_index", fails)
    world.call("1")
    world.run(MINUTE)
    assert world.server.texts() == ["1"]
    assert [line for line in world.log() if "phone book" in line] == [f"phone book: the index can't be made: {error!r}"]


def test_a_problem_of_the_index_is_logged_once_until_it_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    full, missing = "no index can be made: the disk is full", "[list] it is missing"
    builds = iter([[full], None, [full, missing], [missing], None, [], [full], [full]])
    monkeypatch.setattr("screenpop.phonebook.book.Book.tend_index", lambda *_: next(builds, None))
    world.call("1")
    world.run(MINUTE)
    assert list(builds) == []
    told = [line for line in world.log() if line.startswith("phone book: ")]
    assert told == [f"phone book: {problem}" for problem in (full, missing, full)]
