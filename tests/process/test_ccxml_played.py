"""What docs/ccxml/screen_pop.ccxml sends during a call: Node plays it."""

from __future__ import annotations

import pytest

from parts import ccxml
from parts.ccxml import DOCUMENT, NotAvailable
from screenpop.doors.fields import NAMES, call_from

ALERTING = {"connectionid": "c1", "connection": {"remote": "sip:+15551234567@192.0.2.1", "local": "201"}}


def play(*events: tuple[float, str]) -> list[tuple[str, str, str, float]]:
    """Event, number, extension and duration of each request of a call that comes at the time 1000 s."""
    named = [(at, name, ALERTING if name == "connection.alerting" else {}) for at, name in events]
    try:
        requests = ccxml.requests(DOCUMENT, [(1000, "connection.alerting", ALERTING), *named])
    except NotAvailable as why:
        pytest.skip(str(why))
    assert {one["name"] for one in requests} == {"screen_pop"} and {one["id"] for one in requests} == {"c1"}
    assert {one["token"] for one in requests} == {"change me"}
    found = [call_from({name: value for name, value in one.items() if name in NAMES}) for one in requests]
    return [(call.event, call.number, call.extension, call.talked) for call in found]


RINGING = ("ringing", "+15551234567", "201", -1.0)
MISSED = ("missed", "+15551234567", "201", -1.0)


@pytest.mark.parametrize("event", ["connection.failed", "connection.disconnected"])
def test_a_call_that_is_not_connected_is_missed(event: str) -> None:
    assert play((1002, "send.successful"), (1020, event), (1021, "send.successful"), (1022, event)) == [RINGING, MISSED]


def test_a_call_that_is_connected_ends_with_its_duration() -> None:
    events = [(1001, "screen_pop.queued"), (1008, "connection.connected"), (1200.5, "connection.disconnected")]
    assert play(*events) == [RINGING, ("answered", "+15551234567", "201", 192.5)]


def test_an_error_changes_nothing_for_the_call() -> None:
    events = [(1001, "error.send.failed"), (1008, "connection.connected"), (1010, "error.send")]
    assert play(*events, (1018, "connection.disconnected"))[1] == ("answered", "+15551234567", "201", 10.0)
