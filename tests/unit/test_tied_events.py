"""Events whose sender has an id of its own for the call (the HTTP door, `screen-pop send`), on a played box."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults

import pytest

from parts.world import ALICE, BOB, World, world
from screenpop.call import Call
from screenpop.doors.fields import call_from
from screenpop.doors.http import Application
from screenpop.xmpp.errors import SessionError

__all__ = ["world"]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
TOKEN = "0123456789abcdef"
DOWN = SessionError("connection", "xmpp.example.org:5222: Connection refused", "is the server up?")


@pytest.fixture(autouse=True)
def templates(world: World) -> None:
    configure(world)


def configure(world: World, more: str = "") -> None:
    answered = "message_answered = Call from {number}: {outcome}"
    world.configure(message="{event} from {number}", more=f"{answered}\n{more}")


def comes(world: World, **fields: str) -> Callable[[], Call]:
    """An event that the door queues, for `World.at`."""
    return comes_to(world, "", **fields)


def comes_to(world: World, to: str, **fields: str) -> Callable[[], Call]:
    """One for these recipients."""

    def come() -> Call:
        world.now += 0.000_001  # no two come in the same moment
        return world.queue(call_from({"ani": "1", "id": "leg 1", **fields}, to))

    return come


def told(world: World) -> list[str]:
    """The text of each message that the server has got; of a correction, with a mark before it."""
    return [f"{'corrected: ' * ('replace' in one.children)}{one.body}" for one in world.server.taken]


def test_the_events_of_one_call_are_one_message_and_one_correction(world: World) -> None:
    world.at(1, comes(world))
    world.at(200, comes(world, event="answered", peer="bob", duration="192"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1", "corrected: Call from 1: answered by bob, 3 min 12 s"]
    assert world.server.taken[1].children["replace"].get("id") == world.server.taken[0].id


def test_a_later_event_needs_nothing_but_the_id(world: World) -> None:
    world.at(1, comes(world))
    world.at(20, lambda: world.queue(call_from({"id": "leg 1", "event": "ended"})))
    world.run(6 * MINUTE)
    assert told(world)[1].startswith("corrected: Missed call from 1 to ?, ")


@pytest.mark.parametrize("wanted", ["missed", "ringing, missed"])
@pytest.mark.parametrize("is_down", [False, True], ids=["server up", "server down"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["one sender", "another sender"])
def test_a_call_that_was_answered_is_not_missed_though_nobody_wants_to_be_told_of_the_answer(
    world: World, wanted: str, is_down: bool, is_killed: bool
) -> None:
    configure(world, f"events = {wanted}")
    world.server.error = DOWN if is_down else None
    comes(world)()
    if is_killed:
        world.run(1)
    comes(world, event="answered")()
    if is_killed:
        world.run(1)
    comes(world, event="ended")()
    world.at(2, lambda: setattr(world.server, "error", None))
    world.run(6 * MINUTE)
    assert told(world) == (["Call from 1"] if "ringing" in wanted else [])
    assert not world.waiting() and not world.failed()


def test_nor_is_it_missed_if_only_another_one_was_told_of_the_answer(world: World) -> None:
    world.at(1, comes_to(world, f"{ALICE}&{BOB}"))
    world.at(9, comes_to(world, BOB, event="answered"))
    world.at(20, comes(world, event="ended"))
    world.run(6 * MINUTE)
    answered = "corrected: Call from 1: answered"
    assert [told for told, one in zip(told(world), world.server.taken) if one.to == BOB] == ["Call from 1", answered]
    alices = [told for told, one in zip(told(world), world.server.taken) if one.to == ALICE]
    assert alices == ["Call from 1", f"{answered}, 11 s"]


def test_the_calls_own_id_serves_as_well(world: World) -> None:
    """What the door answers, or `send` prints, where its caller gave no id."""
    for fields in ({"ani": "1"}, {"ani": "2", "id": "leg 1"}):
        call = world.queue(call_from(fields))
        world.run(1)
        world.queue(call_from({"id": call.id, "event": "answered"}))
        world.run(1)
    answered = "corrected: Call from {}: answered"
    assert told(world) == ["Call from 1", answered.format(1), "Call from 2", answered.format(2)]


def test_calls_with_other_ids_are_other_calls(world: World) -> None:
    for which in range(3):
        world.queue(call_from({"ani": str(which), "id": f"leg {which}"}))
    world.at(9, lambda: world.queue(call_from({"ani": "1", "id": "leg 1", "event": "answered"})))
    world.run(6 * MINUTE)
    assert told(world)[3:] == ["corrected: Call from 1: answered"]


def test_the_same_id_in_another_session_is_another_call(world: World) -> None:
    world.at(1, comes(world, session="one"))
    world.at(2, comes(world, session="two", ani="2"))
    world.at(9, comes(world, session="one", event="answered"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1", "Call from 2", "corrected: Call from 1: answered"]


def test_a_call_that_is_sent_twice_is_told_once(world: World) -> None:
    world.at(1, comes(world))
    world.at(1, comes(world))
    world.at(31, comes(world))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1"]


def test_a_call_that_is_sent_twice_while_the_server_is_down_is_told_once(world: World) -> None:
    world.server.error = DOWN
    for _ in range(3):
        comes(world)()
    world.run(1)
    comes(world)()
    world.server.error = None
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1"]


def test_the_second_call_is_told_although_a_restarted_system_gives_it_the_id_of_the_first(world: World) -> None:
    world.at(1, comes(world))
    world.at(200, comes(world, ani="2"))
    world.at(300, comes(world, ani="2", event="answered"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1", "Call from 2", "corrected: Call from 2: answered"]


def test_a_later_event_that_is_sent_twice_is_told_once(world: World) -> None:
    world.at(1, comes(world))
    for when in (20, 20, 90):
        world.at(when, comes(world, event="answered"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1", "corrected: Call from 1: answered"]


def test_an_event_of_an_unknown_call_is_a_message_of_its_own_once(world: World) -> None:
    world.at(1, comes(world, event="answered"))
    world.at(2, comes(world, event="answered"))
    world.at(3, comes(world))  # the events came in the wrong order
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1: answered"]


def test_an_unknown_call_whose_end_says_more_is_corrected(world: World) -> None:
    world.at(1, comes(world, event="answered"))
    world.at(40, comes(world, event="ended"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1: answered", "corrected: Call from 1: answered, 39 s"]


@pytest.mark.parametrize("kills", [False, True], ids=["", "the sender is killed between"])
def test_of_events_that_come_while_the_server_is_down_the_outcome_is_right(world: World, kills: bool) -> None:
    """`ended` alone would be a missed call: what came before tells that it was answered."""
    world.server.error = DOWN
    comes(world)()
    if kills:
        world.run(1)
    world.now += 10
    comes(world, event="answered", peer="bob")()
    if kills:
        world.run(1)
    world.now += 100
    comes(world, event="ended")()
    world.server.error = None
    world.run(6 * MINUTE)
    assert re.search("Call from 1: answered by bob, 1 min 4[01] s$", told(world)[-1])
    assert not any("issed" in text for text in told(world))


def test_all_events_that_wait_are_taken_in_by_their_time(world: World) -> None:
    """The later ones don't overtake the first, which waits for nobody's answer."""
    for event in ("ringing", "answered", "ended"):
        comes(world, event=event)()
        world.now += 5
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1: answered, 5 s"]


@pytest.mark.parametrize("last", ["ended", "missed"])
def test_a_call_that_nobody_answers_is_missed(world: World, last: str) -> None:
    world.at(1, comes(world))
    world.at(31, comes(world, event=last))
    world.run(6 * MINUTE)
    _, second = told(world)
    assert second.startswith("corrected: Missed call from 1 to ?, ") and second.endswith("rang 30 s")


def test_busy_and_voicemail_are_told_as_such(world: World) -> None:
    for event in ("busy", "voicemail"):
        comes(world, id=event)()
        world.run(1)
        comes(world, id=event, event=event)()
        world.run(1)
    assert [text.rpartition(", ")[2] for text in told(world)[1::2]] == ["busy", "voicemail"]


def test_the_recipients_of_the_call_are_those_of_its_later_events(world: World) -> None:
    world.queue(call_from({"ani": "1", "id": "x"}, to=f"{ALICE}&{BOB}"))
    world.at(9, lambda: world.queue(call_from({"ani": "1", "id": "x", "event": "missed"})))
    world.run(6 * MINUTE)
    assert sorted(world.server.told()) == [ALICE, ALICE, BOB, BOB]


def test_after_a_restart_the_call_is_found_by_its_id_for_as_long_as_it_is_remembered(world: World) -> None:
    comes(world)()
    world.run(1)
    world.now += HOUR
    comes(world, event="answered")()
    world.run(1)
    world.now += 2 * DAY
    world.call("2")
    world.run(1)
    comes(world, event="answered")()
    world.run(1)
    assert told(world) == ["Call from 1", "corrected: Call from 1: answered", "Call from 2", "Call from 1: answered"]


def test_a_call_of_which_nobody_wants_to_be_told_is_followed_and_not_repeated(world: World) -> None:
    configure(world, "events = answered")
    world.at(1, comes(world))
    world.at(2, comes(world))
    world.at(9, comes(world, event="answered"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1: answered"]


@pytest.mark.parametrize(
    "given", ["../../etc/passwd", "x" * 100_000, "\x00\n\r", "ä" * 500, "~2.json", "&&&", "-", "${EXTEN}", "0" * 16]
)
def test_a_hostile_id_ties_the_events_of_its_call_and_nothing_else(world: World, given: str) -> None:
    comes(world, id="innocent", ani="2")()
    world.run(1)
    comes(world, id=given)()
    world.run(1)
    comes(world, id=given, event="answered")()
    world.run(1)
    assert told(world)[0] == "Call from 2" and "Call from 2: answered" not in " ".join(told(world))
    assert told(world)[-1].endswith("Call from 1: answered")
    assert not world.failed() and not world.waiting()


def test_many_events_with_one_id_are_one_message_and_one_correction(world: World) -> None:
    for which in range(150):
        comes(world, event=("ringing", "answered", "ended", "missed")[which % 4])()
    world.run(6 * MINUTE)
    assert ["corrected" in text for text in told(world)] == [False, True]
    assert not world.waiting() and not world.failed()


def test_a_sender_that_was_killed_before_it_had_kept_a_silent_call_for_all_does_so_again(world: World) -> None:
    configure(world, "events = answered")
    call = world.queue(call_from({"ani": "1", "id": "x"}, to=f"{ALICE}&{BOB}"))
    world.run(1)
    Path(world.outbox.path, "sent", world.files("sent")[0]).unlink()
    world.queue(call)  # it had not left new/ yet
    world.run(1)
    world.queue(call_from({"id": "x", "event": "answered"}))
    world.run(1)
    assert sorted(world.server.told()) == [ALICE, BOB]


def test_an_id_that_is_used_again_shows_no_name_of_the_call_before(world: World) -> None:
    world.configure(message="{name}")
    for name in ("Alice", "Bob"):
        world.queue(Call(number="1", tie="0" * 16, cidname=name))
        world.run(MINUTE)
        world.now += HOUR
    assert told(world) == ["Alice", "Bob"]


def test_a_late_call_is_taken_in_before_its_fresh_event(world: World) -> None:
    """Fresh calls go before late ones, but an event doesn't overtake its call."""

    def come() -> None:
        late = call_from({"ani": "1", "id": "leg 1"})
        late.time, late.uptime = late.time - 60, late.uptime - 60
        late.id = f"{late.time:017.6f}{late.id[17:]}"
        world.queue(late)
        comes(world, event="answered")()

    world.at(1, comes(world, id="another", ani="2"))
    world.at(100, come)
    world.run(HOUR)
    said = [re.sub(r" \(.*\)", " (late)", text) for text in told(world)]
    assert said[1:] == ["Call from 1 (late)", "corrected: Call from 1: answered"]


# What CCXML's processor adds to each request: the connection and the session (W3C CCXML 1.0 appendix K.4)


def from_ccxml(world: World, **fields: str) -> Callable[[], None]:
    """A request to the HTTP door, for `World.at`. Its call has no other id."""
    application = Application(world.outbox, lambda: TOKEN, print)

    def send() -> None:
        world.now += 0.000_001
        environ: dict[str, Any] = {"QUERY_STRING": urlencode({"token": TOKEN, "ani": "1", **fields})}
        setup_testing_defaults(environ)
        statuses: list[str] = []
        application(environ, lambda status, headers: statuses.append(status))
        assert statuses == ["200 OK"]

    return send


def test_requests_of_one_connection_are_one_message_and_its_correction(world: World) -> None:
    world.at(1, from_ccxml(world, connectionid="c1"))
    world.at(20, from_ccxml(world, connectionid="c1", event="answered"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1", "corrected: Call from 1: answered"]


def test_the_same_connection_in_two_sessions_is_two_calls(world: World) -> None:
    world.at(1, from_ccxml(world, connectionid="c1", sessionid="s1"))
    world.at(2, from_ccxml(world, connectionid="c1", sessionid="s2", ani="2"))
    world.at(20, from_ccxml(world, connectionid="c1", sessionid="s1", event="answered"))
    world.run(6 * MINUTE)
    assert told(world) == ["Call from 1", "Call from 2", "corrected: Call from 1: answered"]
