"""The spool's format of version 0.1: what it has left in new/ and failed/ is still delivered."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from parts.kernel import Kernel, Killed
from parts.spool import calls, files, messages
from parts.world import ALICE, BOB, CAROL, World, world
from screenpop.call import Call
from screenpop.spool import files as files_module
from screenpop.spool import queue as queue_module
from screenpop.spool import released
from screenpop.spool.outbox import Outbox
from screenpop.spool.queue import Queue
from screenpop.xmpp.errors import SessionError

__all__ = ["world"]


def write(outbox: Outbox, folder: str, number: str = "1", **outcomes: Any) -> str:
    """A call as 0.1 has written it; the name of its file."""
    call = Call(number=number, to=f"{ALICE}&{BOB}&{CAROL}")
    record = {**call.record(), "delivered": [], "failed": {}, **outcomes}
    Path(outbox.path, folder, f"{call.id}.json").write_text(json.dumps(record))
    return f"{call.id}.json"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    made = Outbox(str(tmp_path / "spool"))
    made.make()
    return made


def test_a_failed_call_becomes_a_message_for_each_recipient_whom_it_has_not_reached(outbox: Outbox) -> None:
    write(outbox, "failed", delivered=[ALICE], failed={BOB: "item-not-found", CAROL: "gone"})
    released.convert_failed(Queue(outbox.path))
    found = {message.to: (message.call.number, message.reason) for message in messages(outbox, "failed")}
    assert found == {BOB: ("1", "item-not-found"), CAROL: ("1", "gone")}
    assert len(files(outbox, "failed")) == 2


def test_a_failed_call_without_a_reason_is_tried_from_the_beginning(outbox: Outbox) -> None:
    write(outbox, "failed")
    queue = Queue(outbox.path)
    released.convert_failed(queue)
    assert queue.retry() == []
    assert [call.number for call in calls(outbox)] == ["1"]
    assert files(outbox, "failed") == []


@pytest.mark.parametrize(
    "outcomes",
    [
        {"delivered": "alice", "failed": []},
        {"delivered": [1, None], "failed": {BOB: 1}},
        {"delivered": None, "failed": None},
    ],
)
def test_outcomes_that_are_none_are_passed_over(outbox: Outbox, outcomes: dict[str, Any]) -> None:
    assert released.outcomes(outcomes) == (set(), {})
    write(outbox, "failed", **outcomes)
    released.convert_failed(Queue(outbox.path))
    assert [message.call.number for message in messages(outbox, "failed")] == ["1"]


def test_foreign_files_and_messages_in_failed_stay_as_they_are(outbox: Outbox) -> None:
    write(outbox, "failed", failed={BOB: "item-not-found"})
    queue = Queue(outbox.path)
    released.convert_failed(queue)
    Path(outbox.path, "failed", "1700000000.000000-01.json").write_text("{}")
    Path(outbox.path, "failed", "1700000000.000000-02.json.0123.reason").write_text("not a call")
    before = {name: Path(outbox.path, "failed", name).read_text() for name in files(outbox, "failed")}
    released.convert_failed(queue)
    assert {name: Path(outbox.path, "failed", name).read_text() for name in files(outbox, "failed")} == before


def test_a_sender_that_is_killed_while_it_converts_a_call_loses_none(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    monkeypatch.setattr(queue_module, "os", kernel)
    monkeypatch.setattr(files_module, "os", kernel)
    name = write(outbox, "failed", failed={BOB: "item-not-found", CAROL: "gone"})
    for _ in kernel.kills():
        with contextlib.suppress(Killed):
            released.convert_failed(Queue(outbox.path))
        converted = name not in files(outbox, "failed")
        assert not converted or {found.to for found in messages(outbox, "failed")} == {BOB, CAROL}
    assert len(files(outbox, "failed")) == 2
    assert calls(outbox) == []


def test_a_full_disk_keeps_no_message_from_being_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has failed in version 0.1 can't be converted then, but the queue is sent."""
    world.server.error = SessionError("connection", "refused", "is the server up?")
    world.call("2")
    world.run()
    assert world.waiting() == [("2", ALICE)]
    world.server.error = None
    write(world.outbox, "failed", failed={BOB: "item-not-found"})
    kernel = Kernel()
    kernel.full = True
    monkeypatch.setattr(queue_module, "os", kernel)
    monkeypatch.setattr(files_module, "os", kernel)
    world.run()
    assert world.server.texts() == ["2"]
