"""The trigger: one sender for any number of rings, and no ring is lost between two senders."""

from __future__ import annotations

import contextlib
import json
import os
import posix
import select
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screenpop.spool import trigger
from screenpop.spool.outbox import Outbox
from screenpop.spool.trigger import CALL, FLUSH, Trigger, ring


class Starter:
    """Stands in for `start_sender`. As the new process would, it keeps the descriptors that it is given."""

    def __init__(self) -> None:
        self.started: list[tuple[int, ...]] = []
        self.kept: list[int] = []

    def __call__(self, outbox: str, *descriptors: int) -> int:
        self.started.append(descriptors)
        self.kept += map(os.dup, descriptors)
        return 0

    def leave(self) -> None:
        while self.kept:
            os.close(self.kept.pop())


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    starter = Starter()
    monkeypatch.setattr(trigger, "start_sender", starter)
    yield starter
    starter.leave()


@pytest.fixture
def outbox(tmp_path: Path) -> str:
    made = Outbox(str(tmp_path))
    made.make()
    return made.path


def take(outbox: str) -> Trigger:
    sender = Trigger.acquire(outbox)
    assert sender
    return sender


def leave(sender: Trigger) -> None:
    """What the end of the process does."""
    sender.close()
    os.close(sender.lock)


def descriptors() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def is_rung(fifo: Trigger | int) -> bool:
    return bool(select.select([fifo], [], [], 0)[0])


def test_many_rings_start_one_sender(outbox: str, starter: Starter) -> None:
    for _ in range(5):
        ring(outbox)
    assert len(starter.started) == 1


def test_many_rings_at_once_start_one_sender(outbox: str, starter: Starter) -> None:
    together = threading.Barrier(20)

    def door() -> None:
        together.wait()
        ring(outbox)

    doors = [threading.Thread(target=door) for _ in range(20)]
    for thread in doors:
        thread.start()
    for thread in doors:
        thread.join()
    assert len(starter.kept) == 2
    assert starter.started.count(()) == len(starter.started) - 1  # which will find that they are too many


def test_the_next_ring_after_a_sender_has_left_starts_another(outbox: str, starter: Starter) -> None:
    ring(outbox)
    starter.leave()
    ring(outbox)
    assert len(starter.started) == 2


def test_the_sender_that_is_started_has_the_lock_and_hears_the_next_ring(outbox: str, starter: Starter) -> None:
    ring(outbox)
    assert trigger._lock(outbox) is None
    sender = Trigger(outbox, *starter.kept)
    assert sender.read() == CALL  # for which it was started
    ring(outbox, FLUSH)
    assert sender.read() == FLUSH
    starter.leave()
    lock = trigger._lock(outbox)
    assert lock is not None
    os.close(lock)


def test_the_door_keeps_nothing_open(outbox: str, starter: Starter) -> None:
    before = descriptors()
    ring(outbox)
    starter.leave()
    assert descriptors() == before


def test_a_sender_that_cant_be_started_leaves_the_lock_to_the_next(
    outbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError("no more processes")

    monkeypatch.setattr(trigger, "start_sender", fail)
    with pytest.raises(OSError, match="no more processes"):
        ring(outbox)
    lock = trigger._lock(outbox)
    assert lock is not None
    os.close(lock)


def test_all_rings_are_read_at_once(outbox: str, starter: Starter) -> None:
    sender = take(outbox)
    for _ in range(3):
        ring(outbox)
    assert is_rung(sender)
    sender.read()
    assert not is_rung(sender)
    sender.read()  # nobody rang: no wait
    assert starter.started == []
    leave(sender)


def test_a_fifo_that_is_full_holds_no_door(outbox: str, starter: Starter) -> None:
    sender = take(outbox)
    for _ in range(17):
        try:
            os.write(sender.fifo, b"\n" * 4096)
        except BlockingIOError:
            break
    else:
        pytest.fail("the FIFO is not full")
    ring(outbox)
    assert starter.started == []
    leave(sender)


class Patience(SimpleNamespace):
    """Stands in for the module `time`: something happens while the door sleeps."""

    def __init__(self, naps: int, then: object) -> None:
        super().__init__()
        self.naps, self.then = naps, then

    def sleep(self, seconds: float) -> None:
        self.naps -= 1
        if self.naps == 0:
            assert callable(self.then)
            self.then()


def test_a_ring_while_the_sender_leaves_starts_the_next_one_with_the_lock(
    outbox: str, starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = take(outbox)
    sender.close()
    monkeypatch.setattr(trigger, "time", Patience(3, lambda: os.close(sender.lock)))
    ring(outbox)
    assert [len(arguments) for arguments in starter.started] == [2]
    assert trigger._lock(outbox) is None


def test_a_ring_while_the_sender_decides_to_stay_reaches_it(
    outbox: str, starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = take(outbox)
    sender.close()
    monkeypatch.setattr(trigger, "time", Patience(3, sender.reopen))
    ring(outbox)
    assert starter.started == []
    assert is_rung(sender)
    leave(sender)


def test_a_door_doesnt_wait_long_for_a_sender_that_takes_its_time_to_leave(
    outbox: str, starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = take(outbox)
    sender.close()
    monkeypatch.setattr(trigger, "time", Patience(0, None))
    ring(outbox)
    assert starter.started == [()]  # it waits for the lock itself
    os.close(sender.lock)


def test_a_closed_trigger_is_not_rung_but_the_lock_is_held(outbox: str) -> None:
    sender = take(outbox)
    assert trigger._write(outbox, CALL)
    sender.close()
    assert not trigger._write(outbox, CALL)
    assert trigger._lock(outbox) is None
    sender.reopen()
    assert trigger._write(outbox, CALL)
    leave(sender)


def test_the_next_sender_waits_until_the_one_that_leaves_has_left(outbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = take(outbox)
    leaving.close()
    monkeypatch.setattr(trigger, "time", Patience(3, lambda: os.close(leaving.lock)))
    sender = take(outbox)
    assert trigger._lock(outbox) is None
    leave(sender)


def test_a_sender_too_many_rings_for_the_one_that_is_up(outbox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    up = take(outbox)
    monkeypatch.setattr(trigger, "time", Patience(1, lambda: pytest.fail("it waits")))
    assert Trigger.acquire(outbox) is None
    assert is_rung(up)
    leave(up)


def test_a_regular_file_in_place_of_the_trigger_swallows_no_ring(outbox: str, starter: Starter) -> None:
    """As one that comes out of a backup."""
    Path(outbox, "trigger").write_text("")
    ring(outbox)
    assert [len(arguments) for arguments in starter.started] == [2]
    ring(outbox)
    assert is_rung(starter.kept[1])


@pytest.mark.parametrize("what", ["lock", "trigger", "lock and trigger"])
def test_a_sender_whose_files_were_removed_makes_them_again(outbox: str, starter: Starter, what: str) -> None:
    sender = take(outbox)
    for name in what.split(" and "):
        Path(outbox, name).unlink()
    assert sender.renew()
    ring(outbox)
    assert is_rung(sender)
    assert trigger._lock(outbox) is None
    assert starter.started == []
    leave(sender)


def test_a_regular_file_in_place_of_its_trigger_is_replaced(outbox: str) -> None:
    sender = take(outbox)
    Path(outbox, "trigger").unlink()
    Path(outbox, "trigger").write_text("")
    assert sender.renew()
    assert trigger._write(outbox, CALL)
    assert is_rung(sender)
    leave(sender)


def test_a_sender_whose_files_were_removed_gives_way_to_one_that_has_come_since(outbox: str) -> None:
    sender = take(outbox)
    Path(outbox, "lock").unlink()
    Path(outbox, "trigger").unlink()
    other = take(outbox)
    assert not sender.renew()
    assert other.renew()
    leave(sender)
    leave(other)


def test_a_sender_whose_outbox_is_gone_leaves(outbox: str) -> None:
    sender = take(outbox)
    Path(outbox).rename(f"{outbox}-moved")
    assert not sender.renew()
    leave(sender)


def test_keeping_costs_no_descriptors(outbox: str) -> None:
    sender = take(outbox)
    before = descriptors()
    for _ in range(3):
        Path(outbox, "lock").unlink()
        Path(outbox, "trigger").unlink()
        assert sender.renew()
    assert len(descriptors()) == len(before)
    leave(sender)


def test_asking_for_a_sender_rings_nothing(outbox: str) -> None:
    assert not trigger.has_sender(outbox)
    sender = take(outbox)
    assert trigger.has_sender(outbox)
    assert not is_rung(sender)
    leave(sender)


def test_ringing_where_no_outbox_is_says_so(tmp_path: Path, starter: Starter) -> None:
    with pytest.raises(FileNotFoundError):
        ring(str(tmp_path / "missing"))
    assert starter.started == []


PROBE = """
def main(arguments):
    with open(arguments[0], "w") as file:
        json.dump(state, file)
import json, os, signal, sys
names = [name for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)]
state = {
    "process": os.getpid(),
    "session": os.getsid(0),
    "descriptors": {name: os.readlink("/proc/self/fd/" + name) for name in names},
    "ignored": [name for name in ("SIGHUP", "SIGTERM") if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN],
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "path": sys.path,
    "outbox": os.environ.get("SCREEN_POP_SPOOL"),
}
"""


def started(folder: Path, monkeypatch: pytest.MonkeyPatch, *kept: int) -> dict[str, Any]:
    """What a process sees that `start_sender` has started, and its process id as `child`."""
    (folder / "screenpop" / "sender").mkdir(parents=True)
    for package in ("screenpop", "screenpop/sender"):
        (folder / package / "__init__.py").touch()
    (folder / "screenpop" / "sender" / "process.py").write_text(PROBE)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    child = trigger.start_sender(str(folder / "told"), *kept)
    assert os.waitpid(child, 0)[1] == 0
    state: dict[str, Any] = json.loads((folder / "told").read_text())
    for descriptor in descriptors():
        with contextlib.suppress(OSError):  # what the tests were started with goes to every child
            if descriptor > 2 and os.get_inheritable(descriptor) and descriptor not in kept:
                del state["descriptors"][str(descriptor)]
    return {**state, "child": child}


def test_a_started_sender_is_detached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(posix.environ, b"SCREEN_POP_SPOOL", os.fsencode(tmp_path / "outbox"))
    kept = os.open("/dev/full", os.O_WRONLY)
    state = started(tmp_path, monkeypatch, kept)
    os.close(kept)
    assert state["process"] == state["session"] == state["child"]
    # standard input, output and error; what it was given; nothing else
    assert state["descriptors"] == {"0": os.devnull, "1": os.devnull, "2": os.devnull, str(kept): "/dev/full"}
    assert state["outbox"] == str(tmp_path / "outbox")


def test_a_started_sender_looks_for_no_module_where_it_happens_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may be anybody's folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = started(tmp_path, monkeypatch)["path"]
    assert path[0] == str(tmp_path)
    assert not {"", ".", str(here)} & set(path)


def test_a_started_sender_can_be_told_to_end_whatever_the_door_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGHUP, signal.SIGTERM)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        state = started(tmp_path, monkeypatch)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before:
            signal.signal(number, handler)
    assert (state["ignored"], state["blocked"]) == ([], 0)
