"""The FIFO by which the sender replies to the door or command that waits for a call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parts.spool import files, tell
from screenpop.call import Call
from screenpop.sender import replies as sender
from screenpop.spool.outbox import Outbox
from screenpop.spool.records import Message
from screenpop.spool.replies import Replies


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    made = Outbox(str(tmp_path / "spool"))
    made.make()
    return made


def expecting(outbox: Outbox, *calls: Call) -> sender.Replies:
    """The sender's side, which has taken these calls in, each with one message."""
    replies = sender.Replies()
    for call in calls:
        replies.expect(outbox.reply_fifo(call.id), call, [message(call)])
    return replies


def message(call: Call) -> Message:
    return Message(call, "alice@example.org")


def test_a_reply_comes_to_the_door_that_waits_for_this_call(outbox: Outbox) -> None:
    call, other = Call(number="1"), Call(number="2")
    door, other_door = Replies(outbox, call), Replies(outbox, other)
    replies = expecting(outbox, call, other)
    replies.result(message(call), "LATER", "line 1\nline 2")
    replies.result(message(call), "SENT", "")
    replies.put_off("no route to host")
    assert door.read() == [
        {"status": "QUEUED", "reason": "alice@example.org: line 1\nline 2"},
        {"status": "DELIVERED"},
    ]
    assert other_door.read() == [{"status": "QUEUED", "reason": "no route to host"}]
    door.close()
    other_door.close()
    assert files(outbox, "tmp") == []


def test_a_reply_in_pieces_is_put_together(outbox: Outbox) -> None:
    door = Replies(outbox, Call(number="1"))
    for piece, expected in ((b'{"status": ', []), (b'"FAILED"}', []), (b"\n", [{"status": "FAILED"}])):
        os.write(door.fileno(), piece)
        assert door.read() == expected
    door.close()


def test_the_first_call_of_all_can_be_waited_for(tmp_path: Path) -> None:
    outbox, call = Outbox(str(tmp_path / "not" / "there")), Call(number="1")
    door = Replies(outbox, call)
    tell(outbox, call, status="DELIVERED")
    assert door.read() == [{"status": "DELIVERED"}]
    door.close()


def test_the_sender_goes_on_when_the_door_has_gone(outbox: Outbox) -> None:
    gone, killed = Call(number="1"), Call(number="2")
    door = Replies(outbox, gone)
    os.mkfifo(outbox.reply_fifo(killed.id))  # whose reader was killed
    replies = expecting(outbox, gone, killed)
    door.close()
    for call in (gone, killed):
        replies.result(message(call), "SENT", "")
    assert files(outbox, "tmp") == [f"{killed.id}.replies"]


def test_the_sender_does_not_wait_for_a_door_that_does_not_read(outbox: Outbox) -> None:
    call = Call(number="1")
    door = Replies(outbox, call)
    replies = expecting(outbox, call)
    for _ in range(100):
        replies.put_off("x" * 4000)
    assert door.read()
    door.close()
