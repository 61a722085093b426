"""The sender's half of the spool: each message is in exactly one folder, also after kills and on a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parts.kernel import Kernel, Killed
from parts.spool import calls, files, messages
from parts.world import ALICE, BOB, World, world
from screenpop.call import Call
from screenpop.spool import files as files_module
from screenpop.spool import queue as queue_module
from screenpop.spool import state
from screenpop.spool.outbox import FOLDERS, Outbox
from screenpop.spool.queue import Queue
from screenpop.spool.records import NO_RECIPIENT, InvalidFile, Message

__all__ = ["world"]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(queue_module, "os", kernel)
    monkeypatch.setattr(files_module, "os", kernel)
    return kernel


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    made = Outbox(str(tmp_path / "spool"))
    made.make()
    return made


@pytest.fixture
def queue(outbox: Outbox) -> Queue:
    return Queue(outbox.path)


def put(outbox: Outbox, number: str = "1") -> Call:
    call = Call(number=number)
    outbox.put(call)
    return call


def queued(outbox: Outbox, queue: Queue, to: str = ALICE, number: str = "1") -> Message:
    """A message in queue/."""
    call = put(outbox, number)
    message = Message(call, to)
    queue.accept(f"{call.id}.json", [message])
    queue.catch_up()
    return message


def where(outbox: Outbox, message: Message) -> list[str]:
    return [folder for folder in ("queue", "sent", "failed") if message.name in files(outbox, folder)]


# Each step


def test_a_call_becomes_a_message_for_each_recipient(outbox: Outbox, queue: Queue) -> None:
    call = put(outbox)
    assert queue.new_calls() == [f"{call.id}.json"]
    waiting, failed = [Message(call, ALICE), Message(call, BOB)], Message(call, "not a jid", "it is no JID")
    queue.accept(f"{call.id}.json", waiting, [failed])
    queue.catch_up()
    assert [files(outbox, folder) for folder in ("tmp", "new", "sent")] == [[], [], []]
    assert {message.to for message in messages(outbox, "queue")} == {ALICE, BOB}
    assert [(message.to, message.reason) for message in messages(outbox, "failed")] == [("not a jid", "it is no JID")]
    assert queue.new_calls() == []
    assert queue.messages() == sorted(message.name for message in waiting)
    assert queue.load(waiting[0].name).call.record() == call.record()


def test_the_oldest_is_first(outbox: Outbox, queue: Queue) -> None:
    ids = [f"17000000{number:02}.000000-{'ab'[number % 2]}" for number in range(20)]
    for name in sorted(ids, reverse=True):
        outbox.put(Call(id=name, time=1.0))
    assert queue.new_calls() == [f"{name}.json" for name in ids]
    for call in reversed(calls(outbox)):
        queue.accept(f"{call.id}.json", [Message(call, ALICE)])
    assert [name.partition("~")[0] for name in queue.messages()] == ids


def test_a_message_that_was_sent_is_kept(outbox: Outbox, queue: Queue) -> None:
    message = queued(outbox, queue)
    queue.sent(message)
    assert where(outbox, message) == ["sent"]
    found = queue.find_sent(message.id)
    assert found and found.call.record() == message.call.record() and found.to == ALICE


def test_a_message_that_has_failed_has_its_reason_in_it(outbox: Outbox, queue: Queue) -> None:
    message = queued(outbox, queue)
    message.reason = "item-not-found"
    queue.failed(message)
    assert where(outbox, message) == ["failed"]
    assert [found.reason for found in messages(outbox, "failed")] == ["item-not-found"]


@pytest.mark.parametrize("full", [False, True])
def test_a_message_that_came_back_fails_with_its_reason(
    outbox: Outbox, queue: Queue, kernel: Kernel, full: bool
) -> None:
    """On a full disk it has none, but the log has."""
    message = queued(outbox, queue)
    queue.sent(message)
    message.reason = "item-not-found"
    kernel.full = full
    queue.failed(message, "sent")
    assert where(outbox, message) == ["failed"]
    assert [found.reason for found in messages(outbox, "failed")] == ["" if full else "item-not-found"]


def test_a_message_that_came_back_is_queued_again(outbox: Outbox, queue: Queue) -> None:
    message = queued(outbox, queue)
    queue.sent(message)
    queue.send_again(message)
    assert where(outbox, message) == ["queue"]
    assert queue.find_sent(message.id) is None


@pytest.mark.parametrize("stanza_id", ["", "1", "../queue/x-01234567", "x" * 300 + "-01234567"])
def test_no_message_is_found_by_the_id_of_a_foreign_stanza(outbox: Outbox, queue: Queue, stanza_id: str) -> None:
    assert queue.find_sent(stanza_id) is None


def test_a_spoilt_file_in_sent_is_not_found(outbox: Outbox, queue: Queue) -> None:
    message = queued(outbox, queue)
    queue.sent(message)
    Path(outbox.path, "sent", message.name).write_text("{")
    assert queue.find_sent(message.id) is None


def test_what_cannot_be_loaded(outbox: Outbox, queue: Queue) -> None:
    with pytest.raises(FileNotFoundError):
        queue.load("nothing.json")
    Path(outbox.path, "queue", "foreign").write_text("{}")
    with pytest.raises(InvalidFile):
        queue.load("foreign")


def test_folders_that_were_removed_are_made_again(outbox: Outbox, queue: Queue) -> None:
    Path(outbox.path, "queue").rmdir()
    message = queued(outbox, queue)
    assert where(outbox, message) == ["queue"]
    for folder in ("tmp", "new", "sent", "failed"):
        Path(outbox.path, folder).rmdir()
    queue.sent(message)
    assert where(outbox, message) == ["sent"]
    assert queue.new_calls() == []
    assert queue.trouble == ""


def test_a_message_that_somebody_has_taken_away_is_passed_over(outbox: Outbox, queue: Queue) -> None:
    message = queued(outbox, queue)
    Path(outbox.path, "queue", message.name).unlink()
    queue.sent(message)
    assert where(outbox, message) == []
    assert queue.trouble == ""


# Retry


def test_what_has_failed_is_queued_again(outbox: Outbox, queue: Queue) -> None:
    messages = [queued(outbox, queue, number=number) for number in "12"]
    for message in messages:
        queue.failed(message)
    assert sorted(queue.retry()) == sorted(message.name for message in messages)
    assert [where(outbox, message) for message in messages] == [["queue"], ["queue"]]
    assert queue.retry() == []


def test_a_call_that_failed_before_its_recipients_were_known_is_new_again(outbox: Outbox, queue: Queue) -> None:
    call = put(outbox)
    queue.accept(f"{call.id}.json", [], [Message(call, NO_RECIPIENT, "given up")])
    queue.catch_up()
    assert files(outbox, "new") == []
    assert queue.retry() == []
    assert [found.record() for found in calls(outbox)] == [call.record()]
    assert files(outbox, "failed") == []


def test_a_foreign_file_stays_in_failed(outbox: Outbox, queue: Queue) -> None:
    Path(outbox.path, "new", "foreign").write_text("no call")
    queue.reject("new", "foreign", "not a call: because")
    before = files(outbox, "failed")
    assert queue.retry() == []
    assert files(outbox, "failed") == before


# Foreign files


@pytest.mark.parametrize("folder", ["new", "queue"])
@pytest.mark.parametrize("name", ["core", "line\nfeed", os.fsdecode(b"\xff"), "x" * 255])
def test_a_foreign_file_is_moved_away_with_its_reason_beside_it(
    outbox: Outbox, queue: Queue, folder: str, name: str
) -> None:
    Path(outbox.path, folder, name).write_text("foreign")
    queue.reject(folder, name, "not a call: because")
    assert files(outbox, folder) == []
    moved, reason = files(outbox, "failed")
    assert reason == f"{moved}.reason"
    assert Path(outbox.path, "failed", moved).read_text() == "foreign"
    assert Path(outbox.path, "failed", reason).read_text() == "not a call: because\n"


def test_foreign_files_of_one_name_are_all_moved_away(outbox: Outbox, queue: Queue) -> None:
    for _ in range(2):
        Path(outbox.path, "new", "folder", "folder").mkdir(parents=True)
        queue.reject("new", "folder", "not a call")
    assert len(files(outbox, "failed")) == 4


def test_a_foreign_file_is_moved_away_on_a_full_disk(outbox: Outbox, queue: Queue, kernel: Kernel) -> None:
    Path(outbox.path, "new", "foreign").touch()
    kernel.full = True
    queue.reject("new", "foreign", "not a call")
    assert files(outbox, "new") == []
    assert len(files(outbox, "failed")) == 1
    assert files(outbox, "tmp") == []


@pytest.mark.parametrize("foreign", ["{id}.json~", "{id}~12345678.json", "{id}"])
def test_a_foreign_file_in_new_removes_no_messages(outbox: Outbox, queue: Queue, foreign: str) -> None:
    message = queued(outbox, queue)
    Path(outbox.path, "new", foreign.format(id=message.call.id)).write_text("a backup of an editor")
    Queue(outbox.path).recover()
    assert where(outbox, message) == ["queue"]


def test_a_kill_while_old_messages_are_forgotten_leaves_none_without_its_correction(
    outbox: Outbox, queue: Queue, kernel: Kernel
) -> None:
    """With a later event, the correction would be made again."""
    firsts = [Message(Call(number=str(number)), ALICE) for number in range(10)]
    for kept in range(20):
        for first in firsts:
            for message in (first, Message(first.call, ALICE, is_second=True)):
                Path(outbox.path, "sent", message.name).touch()
        kernel.changes_left = kept
        with contextlib.suppress(Killed):
            queue.forget_sent_before(first.call.time + 1000)
        kernel.changes_left = None
        left = files(outbox, "sent")
        assert len(left) == 20 - kept
        assert all(f"{name.removesuffix('.json')}~2.json" in left for name in left if not name.endswith("~2.json"))


def test_a_kill_leaves_no_half_written_file_in_failed(outbox: Outbox, kernel: Kernel) -> None:
    """Commands read it there."""
    call = put(outbox)
    for _ in kernel.kills():
        with contextlib.suppress(Killed):
            queue = Queue(outbox.path)
            queue.accept(f"{call.id}.json", [], [Message(call, ALICE, "it is no address")])
            queue.catch_up()
        assert {found.reason for found in messages(outbox, "failed")} <= {"it is no address"}
    assert len(files(outbox, "failed")) == 1


def test_a_foreign_file_is_moved_away_when_failed_is_missing(outbox: Outbox, queue: Queue) -> None:
    Path(outbox.path, "failed").rmdir()
    Path(outbox.path, "new", "foreign").touch()
    queue.reject("new", "foreign", "not a call")
    assert files(outbox, "new") == [] and len(files(outbox, "failed")) == 2


# A full disk


def test_a_call_on_a_full_disk_can_be_sent_and_is_written_later(outbox: Outbox, queue: Queue, kernel: Kernel) -> None:
    call = put(outbox)
    message = Message(call, ALICE)
    kernel.full = True
    queue.accept(f"{call.id}.json", [message])
    queue.catch_up()
    assert (files(outbox, "new"), files(outbox, "queue"), files(outbox, "tmp")) == ([f"{call.id}.json"], [], [])
    assert queue.trouble == f"{outbox.path}: No space left on device"
    assert queue.new_calls() == []  # or it would be taken in again
    assert queue.load(message.name).to == ALICE
    queue.catch_up()
    assert queue.trouble and where(outbox, message) == []
    kernel.full = False
    queue.catch_up()
    assert queue.trouble == ""
    assert files(outbox, "new") == []
    assert where(outbox, message) == ["queue"]


def test_a_call_that_was_sent_on_a_full_disk_is_not_sent_again_by_the_next_sender(
    outbox: Outbox, queue: Queue, kernel: Kernel
) -> None:
    call = put(outbox)
    message = Message(call, ALICE)
    kernel.full = True
    queue.accept(f"{call.id}.json", [message])
    queue.sent(message)
    assert files(outbox, "new") == []  # which also makes room
    kernel.full = False
    queue.catch_up()
    assert where(outbox, message) == ["sent"]


def test_what_becomes_of_a_message_on_a_full_disk_is_written_in_its_order(
    outbox: Outbox, queue: Queue, kernel: Kernel
) -> None:
    call = put(outbox)
    told, wrong = Message(call, ALICE), Message(call, BOB)
    kernel.full = True
    queue.accept(f"{call.id}.json", [told, wrong])
    wrong.reason = "item-not-found"
    queue.failed(wrong)
    queue.sent(told)
    assert files(outbox, "new") == [f"{call.id}.json"]  # what has failed must not be lost
    kernel.full = False
    queue.catch_up()
    assert files(outbox, "new") == []
    assert (where(outbox, told), where(outbox, wrong)) == (["sent"], ["failed"])
    assert [found.reason for found in messages(outbox, "failed")] == ["item-not-found"]


def test_one_call_that_cannot_be_written_holds_up_no_other(
    outbox: Outbox, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = queued(outbox, queue, number="1"), queued(outbox, queue, number="2")
    rename = os.rename

    def refuse(source: str, target: str) -> None:
        if first.name in source:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        queue.sent(first)
        queue.sent(second)
        assert queue.trouble == f"{outbox.path}: Input/output error"
        assert (where(outbox, first), where(outbox, second)) == (["queue"], ["sent"])
    queue.catch_up()
    assert where(outbox, first) == ["sent"]


# Limits


def test_the_oldest_are_beyond_a_limit_by_their_number_or_their_bytes(outbox: Outbox, queue: Queue) -> None:
    for number in range(5):
        Path(outbox.path, "new", f"{number}.json").write_bytes(b"x" * 100)
    assert queue.oldest_beyond("new", 5, 500) == []
    assert queue.oldest_beyond("new", 3, 500) == ["0.json", "1.json"]
    assert queue.oldest_beyond("new", 5, 499) == ["0.json"]
    assert queue.oldest_beyond("new", 4, 200) == ["0.json", "1.json", "2.json"]


def test_what_is_in_failed_is_removed_whatever_it_is(outbox: Outbox, queue: Queue) -> None:
    Path(outbox.path, "failed", "file").touch()
    Path(outbox.path, "failed", "folder", "folder").mkdir(parents=True)
    for name in ("file", "folder", "nothing"):
        queue.forget("failed", name)
    assert files(outbox, "failed") == []


def test_what_was_confirmed_before_a_time_is_removed(outbox: Outbox, queue: Queue) -> None:
    for seconds in (95.0, 105.0, 1_700_000_000.0, 1_700_000_001.0):
        call = Call(id=f"{seconds:017.6f}-0123456789ab", time=seconds)
        outbox.put(call)
        queue.accept(f"{call.id}.json", [Message(call, ALICE)])
        queue.sent(message := Message(call, ALICE))
        os.utime(f"{outbox.path}/sent/{message.name}", (seconds, seconds))
    queue.forget_sent_before(1_700_000_000.5)
    assert [message.call.time for message in messages(outbox, "sent")] == [1_700_000_001.0]


def test_what_was_left_in_tmp_is_removed_when_it_is_old(outbox: Outbox, queue: Queue) -> None:
    tmp = Path(outbox.path, "tmp")
    for name in ("old", "new"):
        (tmp / name).write_text("{")
    os.mkfifo(tmp / "old.replies")
    (tmp / "old.folder").mkdir()  # nothing of ours
    for path in tmp.glob("old*"):
        os.utime(path, (1.0, 1.0))
    queue.tidy()
    assert files(outbox, "tmp") == ["new", "old.folder"]


# Kills


@pytest.mark.parametrize("recipients", [[ALICE, BOB], [NO_RECIPIENT]])
def test_a_sender_that_is_killed_while_it_takes_a_call_in_leaves_the_call_or_all_messages(
    outbox: Outbox, kernel: Kernel, recipients: list[str]
) -> None:
    call = put(outbox)
    waiting = [Message(call, to) for to in recipients if to]
    failed = [Message(call, "" if NO_RECIPIENT in recipients else "not a jid", "because")]
    for _ in kernel.kills():
        with contextlib.suppress(Killed):
            queue = Queue(outbox.path)
            queue.accept(f"{call.id}.json", waiting, failed)
            queue.catch_up()
        kernel.changes_left = None
        Queue(outbox.path).recover()
        found = [len(files(outbox, folder)) for folder in ("new", "queue", "failed")]
        assert found in ([1, 0, 0], [0, len(waiting), 1])
    assert found == [0, len(waiting), 1]


def test_what_a_sender_did_before_it_was_killed_can_be_undone_again_after_a_kill(
    outbox: Outbox, kernel: Kernel
) -> None:
    call, other = put(outbox), queued(outbox, Queue(outbox.path), number="2")
    for message in (Message(call, ALICE), Message(call, BOB)):
        for folder in ("queue", "failed"):
            Path(outbox.path, folder, message.name).write_bytes(message.json())
    for _ in kernel.kills():
        with contextlib.suppress(Killed):
            Queue(outbox.path).recover()
        assert len(calls(outbox)) == 1
    assert (files(outbox, "queue"), files(outbox, "failed")) == ([other.name], [])


def test_a_sender_takes_in_from_the_beginning_what_the_one_before_it_had_taken_in_halfway(world: World) -> None:
    call = Call(number="1", to=f"{ALICE}&{BOB}")
    world.outbox.put(call)
    for folder, to in (("queue", ALICE), ("failed", NO_RECIPIENT)):
        message = Message(call, to)
        Path(world.outbox.path, folder, message.name).write_bytes(message.json())
    world.run()
    assert sorted(world.server.told()) == [ALICE, BOB]
    assert [world.files(folder) for folder in ("new", "queue", "failed")] == [[], [], []]


STEPS: dict[str, tuple[str, Callable[[Queue, Message], object], str]] = {
    "sent": ("queue", lambda queue, message: queue.sent(message), "sent"),
    "failed": ("queue", lambda queue, message: queue.failed(message), "failed"),
    "failed later": ("sent", lambda queue, message: queue.failed(message, "sent"), "failed"),
    "send again": ("sent", lambda queue, message: queue.send_again(message), "queue"),
    "retry": ("failed", lambda queue, message: queue.retry(), "queue"),
}


@pytest.mark.parametrize(("folder", "step", "target"), STEPS.values(), ids=STEPS)
def test_a_sender_that_is_killed_leaves_each_message_in_one_folder(
    outbox: Outbox, kernel: Kernel, folder: str, step: Callable[[Queue, Message], object], target: str
) -> None:
    message = queued(outbox, Queue(outbox.path))
    Path(outbox.path, "queue", message.name).rename(f"{outbox.path}/{folder}/{message.name}")
    message.reason = "item-not-found"
    for _ in kernel.kills():
        with contextlib.suppress(Killed):
            step(Queue(outbox.path), message)
        assert where(outbox, message) in ([folder], [target])
        (found,) = messages(outbox, where(outbox, message)[0])
        assert found.reason == "item-not-found" or target != "failed" or where(outbox, message) == [folder]
    assert where(outbox, message) == [target]


def test_sigterm_at_any_moment_leaves_nothing_in_tmp(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    create = files_module.create

    def terminated(path: str, data: bytes) -> None:
        create(path, data)
        raise SystemExit

    monkeypatch.setattr(files_module, "create", terminated)
    with pytest.raises(SystemExit):
        state.write(outbox.path, {"pid": 1})
    assert files(outbox, "tmp") == []


def test_a_sender_that_is_killed_while_it_makes_a_failed_call_new_loses_nothing(outbox: Outbox, kernel: Kernel) -> None:
    call = put(outbox)
    failed = Message(call, NO_RECIPIENT, "given up")
    queue = Queue(outbox.path)
    queue.accept(f"{call.id}.json", [], [failed])
    queue.catch_up()
    for _ in kernel.kills():
        with contextlib.suppress(Killed):
            Queue(outbox.path).retry()
        kernel.changes_left = None
        Queue(outbox.path).recover()
        assert len(files(outbox, "new") + files(outbox, "failed")) == 1
    assert len(calls(outbox)) == 1


def test_a_sender_that_is_killed_while_it_moves_a_foreign_file_does_not_lose_it(outbox: Outbox, kernel: Kernel) -> None:
    Path(outbox.path, "new", "foreign").write_text("foreign")
    for _ in kernel.kills():
        with contextlib.suppress(Killed, FileNotFoundError):  # it has been moved by then
            Queue(outbox.path).reject("new", "foreign", "not a call")
        found = [*Path(outbox.path, "new").glob("foreign*"), *Path(outbox.path, "failed").glob("foreign*")]
        assert [path.read_text() for path in found if path.suffix != ".reason"] == ["foreign"]
    assert [len(files(outbox, folder)) for folder in FOLDERS] == [0, 0, 0, 0, 1]
