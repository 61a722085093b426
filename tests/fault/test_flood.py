"""One caller who calls again and again: what is shown and what is counted, on a played box (tests/parts/world.py)."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.world import ALICE, BOB, START, World, world
from screenpop import config, settings
from screenpop.call import Call, tie
from screenpop.commands import status
from screenpop.pop import flood
from screenpop.spool.trigger import FLUSH, RETRY
from screenpop.xmpp.errors import SessionError

__all__ = ["world"]

MINUTE, HOUR = 60.0, 3600.0
CALLER = "+15551234567"
SHOWN = "+1 555-123-4567"
DOWN = SessionError("connection", "xmpp.example.org:5222: Connection refused", "is the server up?")


def calls(world: World, count: int, every: float = 0.0, number: str = CALLER, **known: Any) -> list[Call]:
    """From now on. Those that come at once are returned."""
    if not every:
        return [world.call(number, **known) for _ in range(count)]
    for which in range(count):
        world.at(world.now + which * every, lambda: world.call(number, **known))
    return []


def more(count: int, minutes: int = 1, caller: str = SHOWN) -> str:
    return f"{caller} called {count} more time{'s' * (count > 1)} in {minutes} minute{'s' * (minutes > 1)}"


def told(world: World, to: str = ALICE) -> Counter[str]:
    """The texts that somebody has got, without how late they are."""
    return Counter(one.body.split(" (")[0] for one in world.server.taken if one.to == to)


def in_all(texts: Counter[str]) -> int:
    """How many calls these texts tell of."""
    counts = [re.search(r"called (\d+) more", text) for text in texts.elements()]
    return sum(int(found[1]) if found else 1 for found in counts)


# The rule


TIMES = st.lists(st.floats(0, 200) | st.integers(0, 200).map(float), max_size=60)


@given(times=TIMES, most=st.integers(1, 5))
def test_of_one_caller_no_minute_has_more_messages_than_allowed(times: list[float], most: int) -> None:
    rule = flood.Rule()
    allowed = [when for when in sorted(times) if rule.allows(("1", ALICE), when, most)]
    for first in allowed:
        assert sum(first <= when < first + MINUTE for when in allowed) <= most


@given(times=TIMES, most=st.integers(1, 5))
def test_what_is_not_allowed_has_as_many_messages_as_allowed_within_a_minute(times: list[float], most: int) -> None:
    rule, allowed = flood.Rule(), list[float]()
    for when in times:
        if rule.allows(("1", ALICE), when, most):
            allowed.append(when)
        else:
            assert sum(abs(when - one) < MINUTE for one in allowed) >= most


def test_different_callers_and_recipients_are_never_limited() -> None:
    rule = flood.Rule()
    pairs = [(str(number), to) for number in range(2 * flood.CALLERS) for to in (ALICE, BOB)]
    assert all(rule.allows(pair, 0.0, 1) for pair in pairs)


def test_a_caller_among_thousands_is_limited_as_if_alone() -> None:
    rule = flood.Rule()
    allowed = 0
    for when in range(20):
        allowed += rule.allows(("1", ALICE), float(when), 10)
        assert all(rule.allows((f"{when}-{number}", ALICE), float(when), 10) for number in range(100))
    assert allowed == 10


# What people get


def test_of_a_thousand_calls_ten_are_shown_and_the_others_are_told_in_one_line(world: World) -> None:
    for which in range(20):
        world.at(which * 9, lambda: calls(world, 50))
    for which in range(50):
        world.at(which * 3, lambda number=f"+1555765{which:04}": world.call(number))  # type: ignore[misc]
    world.run(10 * MINUTE)
    texts = told(world)
    assert (texts[SHOWN], texts[more(990, 3)], len(texts), sum(texts.values())) == (10, 1, 52, 61)
    assert world.waiting() == [] and world.failed() == []
    (last,) = (one.at for one in world.server.taken if one.body == more(990, 3))
    assert last == pytest.approx(19 * 9 + MINUTE, abs=1)


def test_one_more_call_is_told_as_well(world: World) -> None:
    calls(world, 11)
    world.run(2 * MINUTE)
    assert told(world) == {SHOWN: 10, more(1): 1}


def test_ten_calls_a_minute_are_no_flood(world: World) -> None:
    calls(world, 100, every=6.1)
    world.run(20 * MINUTE)
    assert told(world) == {SHOWN: 100}


def test_a_caller_whose_number_is_written_in_several_ways_is_one(world: World) -> None:
    for number in (CALLER, "15551234567", "+1 555-123-4567", "0015551234567", "1 (555) 123-4567"):
        calls(world, 4, number=number)
    world.run(2 * MINUTE)
    assert in_all(told(world)) == 20 and sum(told(world).values()) == 11


def test_callers_whose_numbers_have_the_same_digits_among_letters_are_different_ones(world: World) -> None:
    numbers = ["alice1", "alice-1", "1-bob", "()", "-"]
    for number in numbers:
        calls(world, 9, number=number)
    world.run(2 * MINUTE)
    assert sum(told(world).values()) == 9 * len(numbers)


def test_each_recipient_has_a_limit_of_its_own(world: World) -> None:
    calls(world, 8, to=ALICE)
    calls(world, 8, to=f"{ALICE}&{BOB}")
    world.run(2 * MINUTE)
    assert told(world) == {SHOWN: 10, more(6): 1}
    assert told(world, BOB) == {SHOWN: 8}


def test_after_the_flood_calls_are_shown_again(world: World) -> None:
    calls(world, 20)
    world.at(2 * MINUTE, lambda: calls(world, 5))
    world.run(HOUR)
    assert told(world) == {SHOWN: 15, more(10): 1}


def test_people_hear_every_five_minutes_of_a_flood_that_goes_on(world: World) -> None:
    calls(world, 500, every=2)
    world.run(20 * MINUTE)
    assert in_all(told(world)) == 500 and told(world)[SHOWN] == 40
    summaries = [one.at for one in world.server.taken if "more" in one.body]
    assert summaries == pytest.approx([320, 640, 960, 1060], abs=2)


def test_a_flood_of_very_many_calls_is_told_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "MOST_CALLS", 50)
    calls(world, 65)
    world.run(10 * MINUTE)
    assert told(world) == {SHOWN: 10, more(50): 1, more(5): 1}


@pytest.mark.parametrize("known", [{"number": "", "withheld": True}, {"number": ""}])
def test_callers_without_a_number_are_different_callers(world: World, known: dict[str, Any]) -> None:
    calls(world, 100, **known)
    world.run(5 * MINUTE)
    assert sum(told(world).values()) == len(world.sent()) == 100


@pytest.mark.parametrize(("option", "shown"), [("no", 50), ("0", 50), ("3", 3)])
def test_the_limit_is_an_option(world: World, option: str, shown: int) -> None:
    world.configure(more=f"flood_limit = {option}")
    calls(world, 50)
    world.run(2 * MINUTE)
    assert told(world)[SHOWN] == shown and in_all(told(world)) == 50


def test_what_is_no_limit_is_a_complaint(world: World) -> None:
    world.configure(more="flood_limit = -1")
    with pytest.raises(config.ConfigError, match="flood_limit: '-1' should be a number"):
        settings.load(f"{world.folder}/screen_pop.conf")


def test_the_calls_of_the_test_command_are_not_limited(world: World) -> None:
    calls(world, 30, receipt=True)
    world.run(2 * MINUTE)
    assert told(world) == {SHOWN: 30}


def test_the_summary_has_the_name_and_is_in_the_language(world: World) -> None:
    world.configure(more="language = de")
    calls(world, 12, name="Ann Example")
    world.run(2 * MINUTE)
    assert told(world) == {
        f"Ann Example, {SHOWN}": 10,
        f"Ann Example, {SHOWN} hat in 1 Minute noch 2 Mal angerufen": 1,
    }


# The summary is a message like any other


def test_a_summary_that_is_refused_is_in_failed_and_can_be_sent_again(world: World) -> None:
    calls(world, 20)
    world.at(30, lambda: world.server.bounces.update({ALICE: ("cancel", "item-not-found")}))
    world.run(2 * MINUTE)
    assert world.failed() == [(CALLER, ALICE, "item-not-found")]
    world.server.bounces.clear()
    world.at(world.now, lambda: world.ring(RETRY))
    world.run(1)
    assert told(world)[more(10)] == 2 and world.failed() == []


def test_a_summary_that_could_not_be_sent_in_time_says_when_the_flood_was(world: World) -> None:
    calls(world, 20)
    world.server.error_at = "confirm"
    world.at(30, lambda: setattr(world.server, "error", DOWN))
    world.at(HOUR, lambda: setattr(world.server, "error", None))
    world.run(2 * HOUR)
    (text,) = (one.body for one in world.server.taken if "more" in one.body)
    assert re.fullmatch(
        rf"{re.escape(more(10))} \({time.strftime('%H:%M', time.localtime(START))}, \d+ \w+ ago\)", text
    )


def test_a_summary_that_is_sent_in_time_is_not_late(world: World) -> None:
    calls(world, 20)
    world.run(2 * MINUTE)
    assert world.server.texts()[-1] == more(10)


def test_a_call_during_the_last_attempt_to_send_a_summary_is_in_another(world: World) -> None:
    """It could not be added to what the server may have taken already."""
    calls(world, 20)
    world.server.error_at = "confirm"
    world.at(30, lambda: setattr(world.server, "error", DOWN))
    world.at(90, lambda: calls(world, 20))
    world.at(100, lambda: setattr(world.server, "error", None))
    world.run(10 * MINUTE)
    assert told(world) == {SHOWN: 20, more(10): 2}


def test_flush_sends_a_summary_at_once(world: World) -> None:
    calls(world, 20)
    world.at(30, lambda: world.ring(FLUSH))
    world.at(35, lambda: calls(world, 5))
    world.run(5 * MINUTE)
    assert told(world) == {SHOWN: 10, more(10): 1, more(5): 1}
    assert 30 in [round(one.at) for one in world.server.taken]


# The later events of such calls


@pytest.mark.parametrize("restart", [False, True])
def test_the_ends_of_calls_that_were_shown_are_told_and_those_of_the_others_are_not(
    world: World, restart: bool
) -> None:
    world.configure(message="{event}", more="message_missed = {event}")
    made = calls(world, 100)
    for end in (10.0, 2 * MINUTE):  # while the flood goes on, and after it
        world.at(end, lambda: [world.call(CALLER, event="missed", follows=call.id) for call in made])
    if restart:
        world.run(5)
        world.at(20, lambda: world.call("1", event="answered", follows=made[-1].id))  # of the phone that has answered
    world.run(HOUR)
    corrections = Counter("replace" in one.children for one in world.server.taken)
    assert corrections == {True: 10, False: 11}
    assert told(world) == {"Call": 10, "Missed call": 10, more(90): 1}


def test_the_end_of_a_call_is_told_to_those_to_whom_it_was_shown(world: World) -> None:
    calls(world, 10, to=ALICE)
    last = world.call(CALLER, to=f"{ALICE}&{BOB}")
    world.at(10, lambda: world.call(CALLER, event="answered", follows=last.id, peer="bob"))
    world.run(2 * MINUTE)
    assert told(world) == {SHOWN: 10, more(1): 1}
    assert sum(told(world, BOB).values()) == 2


def test_ends_of_calls_whose_ringing_is_not_wanted_are_limited(world: World) -> None:
    world.configure(more="events = missed\nmessage_missed = missed {number}")
    made = calls(world, 100)
    for which, call in enumerate(made):
        world.at(10 + which / 10, lambda call=call: world.call(CALLER, event="missed", follows=call.id))  # type: ignore[misc]
    world.run(5 * MINUTE)
    assert told(world) == {f"missed {SHOWN}": 10, more(90): 1}


def test_ends_of_calls_that_are_not_known_are_limited(world: World) -> None:
    calls(world, 100, event="missed", follows="1700000000.000000-0123456789ab")
    world.run(5 * MINUTE)
    assert sum(told(world).values()) == 11 and in_all(told(world)) == 100


@pytest.mark.parametrize("tied", [False, True])
def test_the_ends_that_come_after_a_restart_are_not_told_either(world: World, tied: bool) -> None:
    """The summary has been sent by then."""
    made = [world.call(CALLER, tie=f"{which:016x}" if tied else "") for which in range(15)]
    world.run(5 * MINUTE)
    for call in made:
        known = {"tie": tie(call.id)} if tied else {"follows": call.id}
        world.at(world.now, lambda known=known: world.call(CALLER, event="missed", **known))  # type: ignore[misc]
    world.run(MINUTE)
    assert Counter("replace" in one.children for one in world.server.taken) == {True: 10, False: 11}


def test_a_call_whose_sender_tries_again_is_counted_once(world: World) -> None:
    ties = [f"{which:016x}" for which in range(20)]
    for known in ties:
        world.call(CALLER, tie=known)
    world.at(5, lambda: [world.call(CALLER, tie=known) for known in ties])
    world.run(5 * MINUTE)
    assert told(world) == {SHOWN: 10, more(10): 1}


def test_what_ties_a_call_that_was_counted_may_be_used_again_for_another(world: World) -> None:
    world.configure(message="{event}", more="message_missed = {event}")
    calls(world, 10)
    world.call(CALLER, tie="0" * 16)
    world.at(5 * MINUTE, lambda: world.call(CALLER, tie="0" * 16))
    world.at(6 * MINUTE, lambda: world.call(CALLER, tie="0" * 16, event="missed"))
    world.run(10 * MINUTE)
    assert told(world) == {"Call": 11, more(1): 1, "Missed call": 1}


def test_calls_that_are_over_before_they_could_be_shown_are_shown_with_their_end(world: World) -> None:
    world.configure(more="message_missed = missed {number}")
    world.server.error = DOWN
    made = calls(world, 15)
    world.at(5, lambda: [world.call(CALLER, event="missed", follows=call.id) for call in made])
    world.at(10, lambda: setattr(world.server, "error", None))
    world.run(5 * MINUTE)
    assert told(world) == {f"missed {SHOWN}": 10, more(5): 1}


# Those who wait for the call


def test_a_door_that_waits_for_a_call_that_is_counted_is_answered_at_once(world: World) -> None:
    world.configure(more="flood_limit = 1")
    _, shown = world.call_that_is_waited_for()
    world.now += 0.001  # so that this is the second one
    _, counted = world.call_that_is_waited_for()
    world.run()
    assert [reply["status"] for reply in shown.read()] == ["DELIVERED"]
    (reply,) = counted.read()
    assert (reply["status"], reply["is_final"]) == ("QUEUED", True)
    assert reply["reason"] == "its caller calls too often: the call is counted"


def test_a_door_waits_for_those_to_whom_the_call_is_shown(world: World) -> None:
    world.configure(more="flood_limit = 1")
    world.call("1", to=ALICE)
    _, replies = world.call_that_is_waited_for(to=f"{ALICE}&{BOB}")
    world.run(2 * MINUTE)
    assert [reply["status"] for reply in replies.read()] == ["DELIVERED"]


# Restarts, late calls


def test_a_restart_of_the_sender_changes_nothing(world: World) -> None:
    calls(world, 198, every=0.5)
    for end in (2.5, 4.5, 10, 11, 12, 50):
        world.run(end - world.now)
    world.run(10 * MINUTE)
    texts = told(world)
    assert (texts[SHOWN], texts[more(188, 2)], sum(texts.values())) == (10, 1, 11)


def test_a_flood_that_was_over_before_the_restart_is_told_at_once(world: World) -> None:
    calls(world, 20)
    world.run()
    (name,) = (one for one in world.files("queue") if one.endswith("~more.json"))
    os.utime(f"{world.outbox.path}/queue/{name}", (START, START))
    world.now += 2 * MINUTE
    world.run()
    assert told(world) == {SHOWN: 10, more(10): 1}


def test_a_sender_that_is_killed_before_a_counted_call_has_left_new_counts_it_once(world: World) -> None:
    made = calls(world, 15)
    world.run(1)
    for call in made[10:12]:
        world.outbox.put(call)  # again, as if it had never been removed
    world.run(5 * MINUTE)
    assert told(world) == {SHOWN: 10, more(5): 1}


def test_such_a_call_is_not_shown_either_when_there_is_no_limit_any_more(world: World) -> None:
    world.configure(more="flood_limit = 1")
    calls(world, 1)
    counted = world.call(CALLER)
    world.run(1)
    assert told(world) == {SHOWN: 1}
    world.configure(more="flood_limit = 0")
    world.outbox.put(counted)  # as the kill has left it
    world.run(200)
    assert told(world) == {SHOWN: 1, more(1): 1}


def test_a_sender_that_is_killed_between_two_recipients_forgets_none(world: World) -> None:
    made = [world.call(CALLER, tie=f"{which:016x}") for which in range(11)]
    world.run(1)
    made[10].to = f"{ALICE}&{BOB}"
    world.outbox.put(made[10])  # again: it had been counted for the first one only
    world.run(5 * MINUTE)
    assert (told(world), told(world, BOB)) == ({SHOWN: 10, more(1): 1}, {SHOWN: 1})


def test_two_summaries_of_one_caller_that_wait_are_both_sent_by_the_next_sender(world: World) -> None:
    world.server.error = DOWN
    calls(world, 20)
    world.at(5, lambda: world.ring(FLUSH))
    world.at(10, lambda: calls(world, 5))
    world.run(20)
    world.server.error = None
    world.run(2 * MINUTE)
    assert told(world) == {SHOWN: 10, more(10): 1, more(5): 1} and world.waiting() == []


def test_late_calls_are_limited_by_their_own_time(world: World) -> None:
    """After an outage: three calls an hour are no flood, although they are sent at once."""
    for hour in range(8):
        for _ in range(3):
            world.call(CALLER, age=(hour + 1) * HOUR)
    for which in range(200):
        world.call("+15557654321", age=3 * HOUR - which / 10)
    world.run(10 * MINUTE)
    texts = told(world)
    assert (texts[SHOWN], texts["+1 555-765-4321"], texts[more(190, 1, "+1 555-765-4321")]) == (24, 10, 1)
    assert sum(texts.values()) == 35


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_during_a_flood_changes_nothing(world: World, jump: float) -> None:
    calls(world, 8)
    world.at(1, lambda: setattr(world, "clock_is_off_by", jump))
    world.at(2, lambda: calls(world, 8))
    world.run(5 * MINUTE)
    assert told(world) == {SHOWN: 10, more(6): 1}


@pytest.mark.parametrize("until", [20, 5 * MINUTE])
def test_a_full_disk_loses_no_count(world: World, until: float) -> None:
    def fills() -> None:
        calls(world, 5)
        world.disk_is_full = True

    calls(world, 20)
    world.at(10, fills)
    world.at(until, lambda: setattr(world, "disk_is_full", False))
    world.run(10 * MINUTE)
    assert told(world) == {SHOWN: 10, more(15): 1}
    assert world.waiting() == [] and len(world.sent()) == 11


@pytest.mark.parametrize("counted", [["1"], {"a": 1}, 1, True])
def test_a_summary_that_somebody_has_damaged_is_moved_away(world: World, counted: object) -> None:
    calls(world, 20)
    world.run()
    (name,) = (one for one in world.files("queue") if one.endswith("~more.json"))
    path = f"{world.outbox.path}/queue/{name}"
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**record, "counted": counted}, file)
    world.run()
    assert world.files("queue") == [] and any("what it counts are not calls" in line for line in world.log())


# What the administrator sees


def test_status_shows_a_flood_that_goes_on_and_nothing_is_stuck(world: World) -> None:
    calls(world, 300)
    world.run(50)
    report = status.examine(world.outbox.path)
    assert (report["waiting"]["count"], report["stuck"]) == (0, False)
    said = [text for label, text in status.lines(report) if label.startswith("flood")]
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(START))
    assert said == [f"since {began} {CALLER}: 290 more calls to {ALICE} are counted"]


def test_the_log_has_a_line_at_the_begin_and_the_end_of_a_flood(world: World) -> None:
    made = calls(world, 300)
    world.at(30, lambda: world.call(CALLER))
    world.run(5 * MINUTE)
    first = f"{made[10].id} {ALICE}"
    assert [line for line in world.log() if not line.endswith("delivered")] == [
        f"{first} flood: more than 10 calls of this caller within a minute",
        f"{first} flood: 291 more calls within 30 s",
    ]
    assert [line for line in world.log() if line.endswith("delivered")] == [
        *(f"{call.id} {ALICE} delivered" for call in made[:10]),
        f"{first} delivered",
    ]
