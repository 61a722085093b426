"""Commands and signals beside a sender that works, and an upgrade from version 0.1: nothing is lost or sent twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

from parts.pbx import DOMAIN, Pbx
from parts.recipient import Recipient
from parts.spool import files, messages
from screenpop.call import Call
from screenpop.spool.records import Message

ALICE, NOBODY = f"alice@{DOMAIN}", f"nobody@{DOMAIN}"
WAITING = {"SCREEN_POP_WAIT": "30"}


def has_failed(pbx: Pbx, number: str, to: str = ALICE) -> Message:
    """A message that was given up before."""
    message = Message(Call(number=number), to, "given up after 86401 s: no route to host")
    Path(pbx.outbox.path, "failed", message.name).write_bytes(message.json())
    return message


def arrived(alice: Recipient, count: int) -> Counter[str]:
    """How often each caller's number came to alice, when she has got that many messages and no more come."""
    while len(alice.messages) < count:
        alice.wait_for_message()
    alice.sync()
    return Counter(message.body.split(" to ")[0].rpartition(" ")[2] for message in alice.messages)


def wait_until_more_are_sent_than(pbx: Pbx, count: int) -> None:
    pbx.wait_until(lambda: len(files(pbx.outbox, "sent")) > count)


def test_retries_beside_a_sender_while_ten_calls_a_second_come_in(pbx: Pbx, alice: Recipient) -> None:
    """Those to nobody fail again each time; what was delivered must not be put back with them."""
    before = [f"+1{number:03}" for number in range(300)]
    for number in before:
        has_failed(pbx, number)
    called = [f"+2{number:03}" for number in range(60)]
    statuses = []

    def doors() -> None:
        for number in called:
            result = pbx.call(number, f"{ALICE}&{NOBODY}", calleridname="")
            statuses.append(result.variables["SCREEN_POP_STATUS"])

    caller = threading.Thread(target=doors)
    caller.start()
    retries = 0
    while caller.is_alive():
        assert "put back" in pbx.screen_pop("status", "--retry", status=1)
        retries += 1
    caller.join()
    assert statuses == ["QUEUED"] * len(called) and retries > 1
    assert "0 still waiting" in pbx.screen_pop("status", "--retry", status=1)
    assert arrived(alice, len(before) + len(called)) == dict.fromkeys([*before, *called], 1)
    assert [files(pbx.outbox, folder) for folder in ("tmp", "new", "queue")] == [[], [], []]
    assert sorted(message.call.number for message in messages(pbx.outbox, "sent")) == [*before, *called]
    failed = messages(pbx.outbox, "failed")
    assert sorted((message.call.number, message.to) for message in failed) == [(number, NOBODY) for number in called]
    assert all(message.reason.startswith("service-unavailable") for message in failed)


def test_senders_that_are_terminated_in_a_backlog_repeat_nothing(pbx: Pbx, alice: Recipient) -> None:
    """As eight upgrades: each ends the sender, and the next call starts another one."""
    count, times = 3000, 8
    waiting = [f"+1{number:06}" for number in range(count)]
    for number in waiting:
        pbx.outbox.put(Call(number=number))
    called = [f"+2{number:06}" for number in range(times)]
    for done, number in enumerate(called, start=1):
        assert pbx.call(number, calleridname="").variables["SCREEN_POP_STATUS"] == "QUEUED"
        wait_until_more_are_sent_than(pbx, done * count // (times + 2))
        sender = pbx.sender()
        assert sender and pbx.waiting()
        os.kill(sender, signal.SIGTERM)
        subprocess.run(["flock", "--timeout", "10", f"{pbx.outbox.path}/lock", "true"], check=True)
        assert pbx.sender() is None
    pbx.call("+3", calleridname="")
    assert arrived(alice, count + times + 1) == dict.fromkeys([*waiting, *called, "+3"], 1)
    pbx.wait_until_sent()
    assert len(files(pbx.outbox, "sent")) == count + times + 1
    assert files(pbx.outbox, "failed") == []
    pbx.wait_until(lambda: not files(pbx.outbox, "tmp"))  # where the sender writes its state now and then


def written_by_0_1(pbx: Pbx, folder: str, number: str, **outcomes: object) -> None:
    call = Call(number=number, to=f"{ALICE}&{NOBODY}")
    record = {**call.record(), "delivered": [], "failed": {}, **outcomes}
    Path(pbx.outbox.path, folder, f"{call.id}.json").write_text(json.dumps(record))


def test_what_version_0_1_has_left_is_delivered_after_an_upgrade(pbx: Pbx, alice: Recipient) -> None:
    for folder in ("queue", "sent"):  # 0.1 had only the others
        Path(pbx.outbox.path, folder).rmdir()
    written_by_0_1(pbx, "new", "+1", failed={NOBODY: "item-not-found"})
    written_by_0_1(pbx, "new", "+2", delivered=[ALICE])
    written_by_0_1(pbx, "failed", "+3", delivered=[NOBODY], failed={ALICE: "given up after 86401 s"})
    written_by_0_1(pbx, "failed", "+4", delivered=[ALICE], failed={NOBODY: "item-not-found"})
    assert pbx.screen_pop("status", "--retry", status=1).splitlines()[0] == "2 put back"
    assert arrived(alice, 2) == {"+1": 1, "+3": 1}
    pbx.wait_until_sent()
    assert {(message.call.number, message.to) for message in messages(pbx.outbox, "failed")} == {
        *(("+1", NOBODY), ("+2", NOBODY), ("+4", NOBODY))
    }
