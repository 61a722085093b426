"""The sender's state and the spool's resource."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from parts.spool import files
from screenpop.spool import state
from screenpop.spool.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    made = Outbox(str(tmp_path / "spool"))
    made.make()
    return made


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000])
def test_a_state_is_read_as_it_was_written_and_anything_else_is_empty(outbox: Outbox, content: bytes) -> None:
    assert state.read(outbox.path) == {}
    state.write(outbox.path, {"pid": 1, "problem": "Zoë"})
    assert state.read(outbox.path) == {"pid": 1, "problem": "Zoë"}
    assert files(outbox, "tmp") == []
    Path(outbox.path, "sender").write_bytes(content)
    assert state.read(outbox.path) == {}


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["FIFO", "link"])
def test_a_state_that_is_no_file_is_empty_and_holds_up_nobody(outbox: Outbox, plant: Callable[[Path], None]) -> None:
    """`status` as root reads the spools of other users in memory."""
    plant(Path(outbox.path, "sender"))
    assert state.read(outbox.path) == {}


def test_a_state_that_cannot_be_written_stays_as_it_was(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write(outbox.path, {"pid": 1})

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    state.write(outbox.path, {"pid": 2})
    assert state.read(outbox.path) == {"pid": 1}
    assert files(outbox, "tmp") == []


def test_the_resource_is_made_once_and_differs_from_spool_to_spool(outbox: Outbox, tmp_path: Path) -> None:
    other = Outbox(str(tmp_path / "other"))
    other.make()
    made = state.resource(outbox.path)
    assert made.startswith("screen-pop-")
    assert state.resource(outbox.path) == made
    assert state.resource(other.path) != made


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n"])
def test_a_resource_that_a_power_cut_spoilt_is_made_again(outbox: Outbox, content: bytes) -> None:
    Path(outbox.path, "resource").write_bytes(content)
    made = state.resource(outbox.path)
    assert made.startswith("screen-pop-")
    assert state.resource(outbox.path) == made


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_can_enter_the_spool_where_they_are(outbox: Outbox, umask: int) -> None:
    before = os.umask(umask)
    try:
        state.write(outbox.path, {"pid": 1})
        state.resource(outbox.path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(outbox.path).stat().st_mode) == 0o700
