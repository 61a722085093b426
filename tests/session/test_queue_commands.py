"""`screen-pop status` and `screen-pop flush`, with real senders and a real server."""

from __future__ import annotations

import json
import os
import select
import signal
from pathlib import Path
from typing import Any

from parts.certificates import Authority, Certificate
from parts.pbx import DOMAIN, Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.spool import messages
from screenpop.call import Call
from screenpop.spool import state

WAITING = {"SCREEN_POP_WAIT": "20"}


def status(pbx: Pbx, expected: int = 0) -> dict[str, Any]:
    """Of the first outbox."""
    found = json.loads(pbx.screen_pop("status", "--json", status=expected))
    assert found["stuck"] == bool(expected)
    of_first: dict[str, Any] = found["outboxes"][0]
    return of_first


def queue(pbx: Pbx, number: str, age: float = 0.0, **known: Any) -> Call:
    """A call for which no sender was rung."""
    call = Call(number=number, **known)
    call.time -= age
    call.id = f"{call.time:017.6f}-{number.strip('+')}"
    call.uptime -= age
    pbx.outbox.put(call)
    return call


def test_of_an_outbox_in_which_nothing_was_yet(pbx: Pbx) -> None:
    assert pbx.screen_pop("status").startswith("OK: 0 waiting; 0 failed\n")
    found = status(pbx)
    assert (found["stuck"], found["sender"], found["waiting"]["count"], found["failed"], found["last"]) == (
        False,
        None,
        0,
        [],
        [],
    )


def test_the_sender_its_session_and_the_last_deliveries(pbx: Pbx, alice: Recipient, prosody: Prosody) -> None:
    pbx.call(variables=WAITING)
    pbx.wait_until(lambda: state.read(pbx.outbox.path).get("last"))
    found = status(pbx)
    assert found["sender"]["pid"] == pbx.sender()
    assert found["sender"]["session"]["jid"] == alice.wait_for_message().from_jid
    assert found["sender"]["session"]["host"] == f"{prosody.host}:{prosody.port} (STARTTLS)"
    (last,) = found["last"]
    assert (last["recipient"], last["outcome"]) == (prosody.jid("alice"), "delivered")
    said = pbx.screen_pop("status")
    assert f"sender     process {pbx.sender()}, since 2" in said
    assert f"signed in  pbx@{DOMAIN}/screen-pop-" in said
    assert f"{last['call']} alice@{DOMAIN} delivered {last['ms']} ms" in said


def test_what_waits_is_stuck_once_it_is_late(pbx: Pbx) -> None:
    queue(pbx, "1")
    assert status(pbx)["waiting"]["count"] == 1
    queue(pbx, "2", age=120)
    found = status(pbx, 1)
    assert found["stuck"] and found["waiting"]["count"] == 2
    said = pbx.screen_pop("status", status=1)
    assert said.startswith("STUCK: 2 waiting, the oldest came 2 minutes ago; 0 failed\n")
    assert "sender     none; the next call or screen-pop flush starts one" in said


def test_why_it_waits(pbx: Pbx) -> None:
    pbx.configure(password="wrong", late_after=0)
    pbx.call(variables={"SCREEN_POP_WAIT": "1"})
    said = pbx.screen_pop("status", status=1)
    assert "signed in  no" in said
    assert "sign-in: pbx@" in said and "does not accept this name and password" in said


def test_flush_sends_what_no_sender_was_up_for(pbx: Pbx, alice: Recipient) -> None:
    assert pbx.screen_pop("flush") == f"nothing is waiting in {pbx.outbox.path}\n"
    for number in range(3):
        queue(pbx, str(number))
    assert pbx.screen_pop("flush") == "3 sent, 0 failed, 0 still waiting\n"
    assert [alice.wait_for_message().body for _ in range(3)] == [f"Call from {number} to ?" for number in range(3)]


def test_what_cron_runs_starts_a_sender_for_what_waits_and_prints_nothing(pbx: Pbx, alice: Recipient) -> None:
    assert pbx.screen_pop("flush", "--start") == ""
    assert pbx.sender() is None
    queue(pbx, "1")
    assert pbx.screen_pop("flush", "--start") == ""
    assert alice.wait_for_message().body == "Call from 1 to ?"


def test_flush_counts_the_messages_that_tell_of_a_later_event(pbx: Pbx, alice: Recipient) -> None:
    queue(pbx, "1")
    pbx.screen_pop("flush")
    call = alice.wait_for_message()
    pbx.configure(password="wrong")
    (popped,) = messages(pbx.outbox, "sent")
    queue(pbx, "1", event="missed", follows=popped.call.id)
    assert "0 sent, 0 failed, 1 still waiting" in pbx.screen_pop("flush", status=1)
    pbx.configure()
    assert "1 sent, 0 failed, 0 still waiting" in pbx.screen_pop("flush")
    assert alice.wait_for_message().body.startswith("Missed call from 1") and call.body == "Call from 1 to ?"


def test_flush_ends_the_pause_of_a_sender(
    authority: Authority, certificate: Certificate, tmp_path: Path, new_server_folder: Path
) -> None:
    server = Prosody(new_server_folder, certificate, offline=True)
    with Pbx(tmp_path, server, authority.ca_file) as pbx:
        pbx.call(variables={"SCREEN_POP_WAIT": "5"})
        assert "1 still waiting\nconnection: " in pbx.screen_pop("flush", status=1)
        sender = pbx.sender()
        with server:
            assert pbx.screen_pop("flush") == "1 sent, 0 failed, 0 still waiting\n"
            assert pbx.sender() == sender


def test_what_has_failed_stays_stuck_until_it_is_put_back(pbx: Pbx, alice: Recipient) -> None:
    nobody = f"nobody@{DOMAIN}"
    queue(pbx, "+1555", name="Bob\x1b[31m", to=f"{nobody}&alice@{DOMAIN}")
    Path(pbx.outbox.path, "new", "foreign").write_text("no call")
    assert "0 sent, 2 failed, 0 still waiting" in pbx.screen_pop("flush", status=1)
    found = status(pbx, 1)
    reasons = {reason for one in found["failed"] for reason in one["reasons"].values()}
    assert any(reason.startswith("service-unavailable") for reason in reasons)
    assert any(reason.startswith("not a call") for reason in reasons)
    said = pbx.screen_pop("status", status=1)
    assert f"+1555: {nobody}: service-unavailable" in said and "\x1b" not in said
    assert alice.wait_for_message().body == 'Call from "Bob [31m", +1555 to ?'
    assert pbx.screen_pop("status", "--retry", status=1) == "1 put back\n0 sent, 1 failed, 0 still waiting\n"
    alice.sync()
    assert len(alice.messages) == 1  # who had it, gets it once


def test_a_failed_message_about_a_withheld_number(pbx: Pbx) -> None:
    queue(pbx, "", to=f"nobody@{DOMAIN}")
    pbx.screen_pop("flush", status=1)
    assert f".json: nobody@{DOMAIN}: service-unavailable" in pbx.screen_pop("status", status=1)


def test_what_waits_in_memory_is_told_and_sent_too(pbx: Pbx, alice: Recipient) -> None:
    queue(pbx, "1")
    pbx.spare.make()
    pbx.spare.put(Call(number="2"))
    assert [one["waiting"]["count"] for one in json.loads(pbx.screen_pop("status", "--json"))["outboxes"]] == [1, 1]
    assert pbx.screen_pop("flush") == "1 sent, 0 failed, 0 still waiting\n" * 2
    assert {alice.wait_for_message().body for _ in range(2)} == {"Call from 1 to ?", "Call from 2 to ?"}


def test_a_sender_that_was_killed_is_not_shown_as_being_up(pbx: Pbx, alice: Recipient) -> None:
    pbx.call(variables=WAITING)
    alice.wait_for_message()
    pbx.kill_sender()
    assert status(pbx)["sender"] is None


def test_a_flush_whose_sender_is_killed_says_so(pbx: Pbx) -> None:
    pbx.configure(password="wrong")
    pbx.call(variables={"SCREEN_POP_WAIT": "1"})
    sender = pbx.sender()
    assert sender
    os.kill(sender, signal.SIGSTOP)
    trigger = os.open(f"{pbx.outbox.path}/trigger", os.O_RDONLY | os.O_NONBLOCK)
    with pbx.start_screen_pop("flush") as flush:
        assert select.select([trigger], [], [], 30)[0]  # rung
        os.close(trigger)
        os.kill(sender, signal.SIGKILL)
        assert flush.wait() == 1
