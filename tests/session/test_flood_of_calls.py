"""1,000 calls of one caller, beside others, and 1,000 that end at once: with a real sender, server and client."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from parts.pbx import Pbx
from parts.recipient import Recipient
from parts.waiting import eventually
from screenpop.call import Call
from screenpop.spool import trigger
from screenpop.spool.records import SUMMARY

CALLER = "+15551234567"
SHOWN = "+1 555-123-4567"
OTHERS = [f"+1555765{which:04}" for which in range(50)]


def calls(pbx: Pbx, numbers: list[str]) -> None:
    """As a door queues them."""
    for number in numbers:
        pbx.outbox.put(Call(number=number, extension="123"))
    trigger.ring(pbx.outbox.path)


def stays(pbx: Pbx) -> None:
    """The sender."""


def ends(pbx: Pbx) -> None:
    pid = eventually(pbx.sender)  # the process that was started may not have its name yet
    assert pid
    os.kill(pid, signal.SIGTERM)
    pbx.wait_for_sender_to_leave()


def is_killed(pbx: Pbx) -> None:
    eventually(pbx.sender)
    pbx.kill_sender()


@pytest.mark.parametrize("sender", [stays, ends, is_killed])
def test_ten_calls_of_a_thousand_are_shown_and_all_of_the_others(
    pbx: Pbx, alice: Recipient, sender: Callable[[Pbx], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in pbx.env.items():
        monkeypatch.setenv(name, value)  # for the senders that are started here
    for part in range(10):
        calls(pbx, [*[CALLER] * 100, *OTHERS[part::10]])
        if part in (0, 4, 8):
            sender(pbx)
    pbx.wait_until(lambda: all(name.endswith(SUMMARY) for name in pbx.waiting()))
    assert re.search(rf"^flood +since .* {re.escape(CALLER)}: 990 more calls to alice@", pbx.screen_pop("status"), re.M)
    pbx.screen_pop("flush")
    alice.sync()
    texts = Counter({message.id: message.body for message in alice.messages}.values())  # a kill may repeat one
    assert texts.pop(f"Call from {SHOWN} to 123") == 10
    assert texts.pop(f"{SHOWN} called 990 more times in 1 minute") == 1
    assert len(texts) == sum(texts.values()) == len(OTHERS)
    assert "OK: 0 waiting" in pbx.screen_pop("status") and "flood " not in pbx.screen_pop("status")


def test_a_dialplan_that_waits_for_a_call_that_is_counted_goes_on_at_once(pbx: Pbx, alice: Recipient) -> None:
    pbx.configure(flood_limit=1)
    results = [pbx.call(CALLER, variables={"SCREEN_POP_WAIT": "60"}) for _ in range(2)]
    assert [result.variables["SCREEN_POP_STATUS"] for result in results] == ["DELIVERED", "QUEUED"]
    assert results[1].verbose and "its caller calls too often: the call is counted" in results[1].verbose[-1]
    assert alice.wait_for_message().body.startswith("Call from")


def test_a_thousand_calls_that_end_at_once_are_each_corrected_once(
    pbx: Pbx, alice: Recipient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in pbx.env.items():
        monkeypatch.setenv(name, value)
    made = [Call(number=f"+1212{2000000 + which}", extension="201") for which in range(1000)]
    for call in made:
        pbx.outbox.put(call)
    trigger.ring(pbx.outbox.path)
    pbx.wait_until_sent()
    for call in made:
        pbx.outbox.put(Call(event="answered", follows=call.id, peer=f"phone{call.number}"))
    trigger.ring(pbx.outbox.path)
    pbx.wait_until_sent()
    alice.sync()
    firsts, lasts = alice.messages[:1000], alice.messages[1000:]
    assert sorted(number_in(first.body) for first in firsts) == [call.number for call in made]
    numbers = {first.id: number_in(first.body) for first in firsts}
    corrected = {re.findall(r"<replace [^>]*id=.([\w.-]+)", last.xml)[0]: last.body for last in lasts}
    assert len(lasts) == len(corrected) == 1000 and corrected.keys() == numbers.keys()
    assert all(body.endswith(f" to 201: answered by phone{numbers[one]}") for one, body in corrected.items())


def number_in(body: str) -> str:
    return "+" + re.sub(r"\D", "", body.partition("+")[2].partition(" to ")[0])
