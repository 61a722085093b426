"""The doors' half of the spool: a call is there whole or not at all."""

from __future__ import annotations

import os
import posix
import stat
from pathlib import Path

import pytest

from parts.spool import calls, files
from screenpop.call import Call
from screenpop.spool import outbox as outbox_module
from screenpop.spool.outbox import FOLDERS, Outbox, path_from_environment
from screenpop.spool.replies import Replies


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    made = Outbox(str(tmp_path / "spool"))
    made.make()
    return made


def test_a_call_that_was_put_is_read_as_it_was(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path / "not" / "there" / "yet"))
    call = Call(number="+15551234567", name="Zoë \\ \"'", to="alice@example.org", receipt=True)
    outbox.put(call)
    assert files(outbox, "new") == [f"{call.id}.json"]
    (found,) = calls(outbox)
    assert found.record() == call.record()
    assert files(outbox, "tmp") == []


def test_a_call_that_is_put_again_is_there_once(outbox: Outbox) -> None:
    call = Call(number="1")
    outbox.put(call)
    outbox.put(call)
    assert files(outbox, "new") == [f"{call.id}.json"]
    assert files(outbox, "tmp") == []


def test_a_name_in_tmp_tells_nothing_of_the_call(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is random, so two processes that write the same call do not write one file."""
    call, seen = Call(number="1"), set()
    write = posix.write

    def look(file: int, data: bytes) -> int:
        seen.update(files(outbox, "tmp"))
        return write(file, data)

    monkeypatch.setattr(posix, "write", look)
    outbox.put(call)
    outbox.put(call)
    assert len(seen) == 2 and not any(call.id in name for name in seen)


def test_nothing_is_left_when_the_disk_is_full(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(posix, "write", full)
        with pytest.raises(OSError, match="No space left"):
            outbox.put(Call(number="1"))
    assert [files(outbox, folder) for folder in FOLDERS] == [[]] * 5


def test_a_sender_in_the_same_process_is_handed_what_stands_in_the_spool(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: dict[str, Call] = {}
    outbox = Outbox(outbox.path, handed_over)
    call, lost = Call(number="1"), Call(number="2")
    outbox.put(call)
    with monkeypatch.context() as patched:
        patched.setattr(posix, "write", lambda descriptor, data: os.write(-1, data))
        with pytest.raises(OSError):
            outbox.put(lost)
    assert handed_over == {f"{call.id}.json": call}
    assert list(handed_over) == files(outbox, "new")
    for number in range(outbox_module.HANDED_OVER + 10):  # a sender that does not come for them
        outbox.put(Call(number=str(number)))
    assert len(handed_over) == outbox_module.HANDED_OVER


def test_a_call_is_written_whole_even_if_the_system_takes_it_in_pieces(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = posix.write
    monkeypatch.setattr(posix, "write", lambda descriptor, data: write(descriptor, data[:10]))
    call = Call(number="1", name="x" * 100)
    outbox.put(call)
    (found,) = calls(outbox)
    assert found.record() == call.record()


def test_a_call_that_is_removed_while_it_is_written_is_written_again(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender tidies tmp/ up when somebody sets the clock to an hour later just then."""
    write = posix.write

    def write_and_tidy(file: int, data: bytes) -> int:
        monkeypatch.setattr(posix, "write", write)
        for path in Path(outbox.path, "tmp").iterdir():
            path.unlink()
        return write(file, data)

    monkeypatch.setattr(posix, "write", write_and_tidy)
    outbox.put(Call(number="1"))
    assert [call.number for call in calls(outbox)] == ["1"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_the_spool_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    outbox, call = Outbox(str(tmp_path / "spool")), Call(number="1")
    before = os.umask(umask)
    try:
        outbox.put(call)
        replies = Replies(outbox, call)
    finally:
        os.umask(before)
    folder = tmp_path / "spool"
    assert [mode(folder / name) for name in ("", *FOLDERS)] == [0o700] * 6
    assert mode(folder / "new" / f"{call.id}.json") == 0o600
    assert mode(Path(replies.path)) == 0o600
    replies.close()


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, "/var/spool/asterisk/screen_pop"),
        ({"AST_SPOOL_DIR": "/srv/spool"}, "/srv/spool/screen_pop"),
        ({"AST_SPOOL_DIR": "/srv/spool", "SCREEN_POP_SPOOL": "/srv/pops"}, "/srv/pops"),
        ({"SCREEN_POP_SPOOL": "/srv/pops/"}, "/srv/pops"),
        ({"SCREEN_POP_SPOOL": "pops"}, f"{os.getcwd()}/pops"),
    ],
)
def test_where_the_spool_is(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], path: str) -> None:
    for name in ("AST_SPOOL_DIR", "SCREEN_POP_SPOOL"):
        monkeypatch.delitem(posix.environ, name.encode(), raising=False)
    for name, value in environment.items():
        monkeypatch.setitem(posix.environ, name.encode(), value.encode())
    assert path_from_environment() == path


def test_calls_are_in_their_order_on_a_board_whose_clock_begins_in_1970(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, now in enumerate((95.0, 105.0, 1795000000.0)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        outbox.put(Call(number=str(number)))
    assert [call.number for call in calls(outbox)] == ["0", "1", "2"]


def test_the_spool_in_memory_is_this_users_and_this_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY", str(tmp_path))
    outbox = Outbox("/var/spool/asterisk/screen_pop")
    spare = outbox.spare()
    assert spare.path == f"{tmp_path}/screen_pop-{os.geteuid()}-var-spool-asterisk-screen_pop"
    assert mode(Path(spare.path)) == 0o700
    assert len(os.path.basename(Outbox("/x" * 500).spare_path)) < 255
