"""The outbox: a call is there whole or not at all, and what is no call stops nobody."""

from __future__ import annotations

import json
import os
import posix
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from screenpop.call import Call
from screenpop.spool.outbox import Broken, Outbox, path_from_environment
from screenpop.spool.replies import Replies


def calls(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_call_that_was_put_is_read_as_it_was(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path / "not" / "there" / "yet"))
    call = Call(number="+15551234567", name="Zoë \\ \"'", to="alice@example.org", receipt=True)
    outbox.put(call)
    assert outbox.waiting() == [f"{call.id}.json"]
    assert outbox.is_waiting(call) and outbox.failed(call) is None
    assert outbox.read(f"{call.id}.json").record() == call.record()
    assert calls(Path(outbox.path, "tmp")) == []


def test_the_oldest_call_is_first(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    ids = [f"17000000{number:02}.000000-{'ab'[number % 2]}" for number in range(20)]
    for name in sorted(ids, reverse=True):
        outbox.put(Call(id=name, time=1.0))
    assert outbox.waiting() == [f"{name}.json" for name in ids]


def test_a_call_that_is_put_again_is_there_once_with_what_is_known_by_now(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    call = Call(number="1")
    outbox.put(call)
    call.delivered = ["alice@example.org"]
    outbox.put(call)
    (name,) = outbox.waiting()
    assert outbox.read(name).delivered == ["alice@example.org"]


def test_a_call_that_was_removed_is_gone(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    call = Call(number="1")
    outbox.put(call)
    outbox.remove(call)
    outbox.remove(call)  # somebody else was faster
    assert not outbox.is_waiting(call)
    assert [calls(tmp_path / folder) for folder in ("tmp", "new", "failed")] == [[], [], []]


def test_a_failed_call_keeps_its_reasons(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    call = Call(number="1")
    outbox.put(call)
    call.failed = {"alice@example.org": "item-not-found"}
    outbox.fail(call)
    assert not outbox.is_waiting(call)
    assert json.loads((tmp_path / "failed" / f"{call.id}.json").read_text()) == call.record()
    failed = outbox.failed(call)
    assert failed and failed.record() == call.record()


def test_nothing_is_left_in_tmp_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(posix, "write", full)
        with pytest.raises(OSError, match="No space left"):
            outbox.put(Call(number="1"))
    assert [calls(tmp_path / folder) for folder in ("tmp", "new")] == [[], []]


def test_a_call_fails_on_a_full_disk_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, call = Outbox(str(tmp_path)), Call(number="1")
    outbox.put(call)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(posix, "write", full)
        outbox.fail(call)
    assert not outbox.is_waiting(call)
    assert outbox.failed(call)


def test_a_call_is_written_whole_even_if_the_system_takes_it_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = posix.write
    monkeypatch.setattr(posix, "write", lambda descriptor, data: write(descriptor, data[:10]))
    outbox = Outbox(str(tmp_path))
    call = Call(number="1", name="x" * 100)
    outbox.put(call)
    assert outbox.read(f"{call.id}.json").record() == call.record()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_outbox_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    outbox, call = Outbox(str(tmp_path / "outbox")), Call(number="1")
    before = os.umask(umask)
    try:
        outbox.put(call)
        outbox.resource()
        answers = Replies(outbox, call)
        outbox.fail(call)
    finally:
        os.umask(before)
    folder = tmp_path / "outbox"
    assert [mode(folder / name) for name in ("", "tmp", "new", "failed")] == [0o700] * 4
    assert mode(folder / "failed" / f"{call.id}.json") == 0o600
    assert mode(Path(answers.path)) == 0o600
    answers.close()


Plant = Callable[[Path], object]
NAME = "1700000000.000000-0123456789ab.json"
WHOLE = json.dumps(Call(id=NAME[:-5], time=1700000000.0, number="1").record()).encode()


def socket_at(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is 108 bytes at most
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        (NAME, lambda path: path.write_bytes(WHOLE[:-20])),
        (NAME, lambda path: path.write_bytes(b"")),
        (NAME, lambda path: path.write_bytes(b"\0" * 100)),
        (NAME, lambda path: path.write_bytes(b'{"id": "\xff", "time": 1}')),
        (NAME, lambda path: path.write_bytes(b"[" * 100_000)),
        (NAME, lambda path: path.write_bytes(b'{"a":' * 100_000)),
        (NAME, lambda path: path.write_bytes(b"[]")),
        (NAME, lambda path: path.write_bytes(b"{}")),
        (NAME, lambda path: path.mkdir()),
        (NAME, lambda path: os.mkfifo(path)),
        (NAME, socket_at),
        (NAME, lambda path: path.symlink_to("nowhere")),
        (NAME, lambda path: path.symlink_to(path)),
        ("another.json", lambda path: path.write_bytes(WHOLE)),
        ("core", lambda path: path.write_bytes(b"\x7fELF")),
        ("line\nfeed", lambda path: path.write_bytes(b"")),
        (os.fsdecode(b"\xff"), lambda path: path.write_bytes(b"")),
        ("x" * 255, lambda path: path.write_bytes(b"")),
    ],
    ids=[
        *("half-written", "empty", "zeros", "not UTF-8", "deep list", "deep object", "list", "no fields"),
        *("directory", "FIFO", "socket", "dangling link", "link to itself"),
        *("another call's name", "foreign", "name of two lines", "name that is not UTF-8", "longest name"),
    ],
)
def test_what_is_no_call_is_found_out_and_moved_away_with_its_reason(tmp_path: Path, name: str, plant: Plant) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    plant(tmp_path / "new" / name)
    with pytest.raises(Broken) as broken:
        outbox.read(name)
    outbox.reject(name, str(broken.value))
    assert outbox.waiting() == []
    there = calls(tmp_path / "failed")
    (reason,) = [other for other in there if other.endswith(".reason")]
    assert len(there) == 2
    assert (tmp_path / "failed" / reason).read_text(encoding="utf-8") == f"{broken.value}\n"
    assert str(broken.value).startswith("not a call: ")


def test_what_was_rejected_before_doesnt_keep_another_of_its_name_from_it(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    for _ in range(2):
        (tmp_path / "new" / "folder").mkdir()
        (tmp_path / "new" / "folder" / "file").touch()
        outbox.reject("folder", "not a call")
        assert outbox.waiting() == []


def test_a_call_that_somebody_took_away_is_not_called_broken(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    with pytest.raises(FileNotFoundError):
        outbox.read(NAME)


def test_answers_come_to_whoever_waits_for_this_call(tmp_path: Path) -> None:
    outbox, call, other = Outbox(str(tmp_path)), Call(number="1"), Call(number="2")
    outbox.make()
    answers, others = Replies(outbox, call), Replies(outbox, other)
    outbox.tell(call, status="QUEUED", reason="line 1\nline 2")
    outbox.tell(call, status="DELIVERED")
    outbox.tell(other, step="sign-in", ms=1.5)
    assert answers.read() == [{"status": "QUEUED", "reason": "line 1\nline 2"}, {"status": "DELIVERED"}]
    assert others.read() == [{"step": "sign-in", "ms": 1.5}]
    answers.close()
    others.close()
    assert calls(tmp_path / "tmp") == []


def test_an_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    outbox, call = Outbox(str(tmp_path)), Call(number="1")
    outbox.make()
    answers = Replies(outbox, call)
    for piece, expected in ((b'{"status": ', []), (b'"FAILED"}', []), (b"\n", [{"status": "FAILED"}])):
        os.write(answers.fileno(), piece)
        assert answers.read() == expected
    answers.close()


def test_telling_is_no_matter_when_nobody_waits(tmp_path: Path) -> None:
    outbox, call = Outbox(str(tmp_path)), Call(number="1")
    outbox.make()
    outbox.tell(call, status="DELIVERED")
    os.mkfifo(outbox.reply_fifo(call))  # of somebody who was killed
    outbox.tell(call, status="DELIVERED")


def test_telling_doesnt_wait_for_somebody_who_doesnt_read(tmp_path: Path) -> None:
    outbox, call = Outbox(str(tmp_path)), Call(number="1")
    outbox.make()
    answers = Replies(outbox, call)
    for _ in range(100):
        outbox.tell(call, reason="x" * 4000)
    assert answers.read()
    answers.close()


def test_the_resource_is_made_once_and_differs_from_box_to_box(tmp_path: Path) -> None:
    here, there = Outbox(str(tmp_path / "here")), Outbox(str(tmp_path / "there"))
    here.make()
    there.make()
    made = here.resource()
    assert made.startswith("screen-pop-")
    assert Outbox(here.path).resource() == made
    assert there.resource() != made


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n"])
def test_a_resource_that_a_power_cut_spoilt_is_made_again(tmp_path: Path, content: bytes) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    (tmp_path / "resource").write_bytes(content)
    made = outbox.resource()
    assert made.startswith("screen-pop-")
    assert outbox.resource() == made


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
def test_where_the_outbox_is(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], path: str) -> None:
    for name in ("AST_SPOOL_DIR", "SCREEN_POP_SPOOL"):
        monkeypatch.delitem(posix.environ, name.encode(), raising=False)
    for name, value in environment.items():
        monkeypatch.setitem(posix.environ, name.encode(), value.encode())
    assert path_from_environment() == path


def test_what_was_left_in_tmp_is_removed_when_it_is_old(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    tmp = tmp_path / "tmp"
    for name in ("old.json", "new.json"):
        (tmp / name).write_text("{")
    os.mkfifo(tmp / "old.answer")
    (tmp / "old.folder").mkdir()  # nothing of ours
    for path in tmp.glob("old.*"):
        os.utime(path, (1.0, 1.0))
    outbox.tidy()
    assert calls(tmp) == ["new.json", "old.folder"]


def test_a_call_that_is_tidied_away_while_it_is_written_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is set to an hour later just then."""
    outbox = Outbox(str(tmp_path))
    outbox.make()
    write = posix.write

    def write_and_tidy(file: int, data: bytes) -> int:
        monkeypatch.setattr(posix, "write", write)
        for path in (tmp_path / "tmp").iterdir():
            path.unlink()
        return write(file, data)

    monkeypatch.setattr(posix, "write", write_and_tidy)
    call = Call(number="1")
    outbox.put(call)
    assert outbox.read(f"{call.id}.json").number == "1"


def test_a_file_that_is_too_large_for_a_call_is_not_read(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    with (tmp_path / "new" / "1.json").open("w") as file:
        file.truncate(10**12)
    with pytest.raises(Broken, match=r"^not a call: 1000000000000 bytes$"):
        outbox.read("1.json")


def test_the_oldest_are_beyond_a_limit_by_their_number_or_their_bytes(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    for number in range(5):
        (tmp_path / "new" / f"{number}.json").write_bytes(b"x" * 100)
    assert outbox.beyond("new", 5, 500) == []
    assert outbox.beyond("new", 3, 500) == ["0.json", "1.json"]
    assert outbox.beyond("new", 5, 499) == ["0.json"]
    assert outbox.beyond("new", 4, 200) == ["0.json", "1.json", "2.json"]


def test_what_is_in_failed_is_removed_whatever_it_is(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    outbox.make()
    (tmp_path / "failed" / "file").write_text("")
    (tmp_path / "failed" / "folder" / "folder").mkdir(parents=True)
    for name in ("file", "folder"):
        outbox.forget(name)
    assert list(outbox.all_failed()) == []


def test_what_has_failed_is_put_back_without_its_reasons_but_not_to_whom_it_was_delivered(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    call = Call(number="1", delivered=["bob@example.org"], failed={"alice@example.org": "item-not-found"})
    outbox.put(call)
    outbox.fail(call)
    (tmp_path / "new" / "foreign").write_text("no call")
    outbox.reject("foreign", "not a call: because")
    ((_, found), (name, reason)) = outbox.all_failed()
    assert isinstance(found, Call) and found.failed == call.failed
    assert name.startswith("foreign.") and reason == "not a call: because\n"
    assert outbox.retry() == 1
    again = outbox.read(f"{call.id}.json")
    assert (again.failed, list(again.delivered)) == ({}, ["bob@example.org"])
    assert [one for one, _ in outbox.all_failed()] == [name]


def test_a_call_that_is_put_back_is_in_no_two_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(str(tmp_path))
    call = Call(number="1", failed={"alice@example.org": "item-not-found"})
    outbox.put(call)
    outbox.fail(call)

    def is_killed(call: Call) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "put", is_killed)
    with pytest.raises(KeyboardInterrupt):
        outbox.put_back(call)
    assert outbox.is_waiting(call) and not outbox.failed(call)


def test_calls_are_in_their_order_on_a_board_whose_clock_begins_in_1970(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(str(tmp_path))
    for number, now in enumerate((95.0, 105.0, 1795000000.0)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        outbox.put(Call(number=str(number)))
    assert [outbox.read(name).number for name in outbox.waiting()] == ["0", "1", "2"]


@pytest.mark.parametrize("content", [b"", b"[]", b"no JSON", b"\xff", b"[" * 100_000])
def test_what_a_sender_says_of_itself_is_read_back_or_is_nothing(tmp_path: Path, content: bytes) -> None:
    outbox = Outbox(str(tmp_path))
    assert outbox.said() == {}
    outbox.make()
    outbox.say({"pid": 1})
    assert outbox.said() == {"pid": 1}
    (tmp_path / "sender").write_bytes(content)
    assert outbox.said() == {}


def test_every_outbox_has_a_spare_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screenpop.spool.outbox.MEMORY", str(tmp_path / "memory"))
    (tmp_path / "memory").mkdir()
    outbox = Outbox("/var/spool/asterisk/screen_pop")
    assert outbox.spare_path == f"{tmp_path}/memory/screen_pop-{os.geteuid()}-var-spool-asterisk-screen_pop"
    assert outbox.and_spare() == [outbox]
    spare = outbox.spare()
    assert mode(Path(spare.path)) == 0o700
    assert [one.path for one in outbox.and_spare()] == [outbox.path, spare.path]
    assert len(os.path.basename(Outbox("/x" * 500).spare_path)) < 255
