"""What stands in the spool's files, and what does not: nobody knows who wrote them."""

from __future__ import annotations

import json
import os
import posix
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from parts.table import each
from screenpop.call import Call
from screenpop.spool import records
from screenpop.spool.outbox import Outbox
from screenpop.spool.records import InvalidFile, Message, message_name

Plant = Callable[[Path], object]
CALL = Call(id="1700000000.000000-0123456789ab", time=1700000000.0, number="1")
MESSAGE = Message(CALL, "alice@example.org", "item-not-found")
NAMES = {"call": f"{CALL.id}.json", "message": MESSAGE.name}
RECORDS: dict[str, dict[str, object]] = {
    "call": CALL.record(),
    "message": {"call": CALL.record(), "to": MESSAGE.to, "reason": MESSAGE.reason},
}
READ: dict[str, Callable[[str], object]] = {"call": records.read_call, "message": records.read_message}
kinds = pytest.mark.parametrize("kind", ["call", "message"])


def write(path: Path, record: object) -> str:
    path.write_text(json.dumps(record))
    return str(path)


def test_a_message_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / MESSAGE.name
    path.write_bytes(MESSAGE.json())
    found = records.read_message(str(path))
    assert (found.to, found.reason, found.id, found.name) == (MESSAGE.to, MESSAGE.reason, MESSAGE.id, MESSAGE.name)
    assert found.call.record() == CALL.record()


def test_the_stanza_id_names_the_file_and_differs_for_each_recipient() -> None:
    assert message_name(MESSAGE.id) == MESSAGE.name
    assert records.call_id(MESSAGE.name) == records.call_id(f"{CALL.id}.json") == CALL.id
    assert Message(CALL, "bob@example.org").id != MESSAGE.id
    assert Message(Call(), "alice@example.org").id != MESSAGE.id
    assert Message(CALL, "alice@example.org").id == MESSAGE.id


@each("stanza_id", ["", "1", "../../x-01234567", "a/b-01234567", f"{'x' * 200}-01234567", "x-0123456", "x\n-01234567"])
def test_the_id_of_a_foreign_stanza_names_no_file(stanza_id: str) -> None:
    with pytest.raises(ValueError, match="is no id of a message"):
        message_name(stanza_id)


def socket_at(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is 108 bytes at most
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


HOSTILE: dict[str, Plant] = {
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(b"\0" * 100),
    "not UTF-8": lambda path: path.write_bytes(b'{"id": "\xff", "time": 1}'),
    "deep list": lambda path: path.write_bytes(b"[" * 100_000),
    "deep object": lambda path: path.write_bytes(b'{"a":' * 100_000),
    "huge number": lambda path: path.write_bytes(b"1" * 100_000),
    "list": lambda path: path.write_bytes(b"[]"),
    "no fields": lambda path: path.write_bytes(b"{}"),
    "null": lambda path: path.write_bytes(b"null"),
    "directory": lambda path: path.mkdir(),
    "FIFO": lambda path: os.mkfifo(path),
    "socket": socket_at,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@kinds
@pytest.mark.parametrize("plant", HOSTILE.values(), ids=HOSTILE)
def test_another_file_is_refused_with_the_reason(tmp_path: Path, kind: str, plant: Plant) -> None:
    path = tmp_path / NAMES[kind]
    plant(path)
    with pytest.raises(InvalidFile, match=r"^not a (call|message): "):
        READ[kind](str(path))


@kinds
def test_a_link_to_a_good_file_is_refused(tmp_path: Path, kind: str) -> None:
    """It may point anywhere, and the sender would move only the link."""
    (tmp_path / "elsewhere").mkdir()
    good = tmp_path / "elsewhere" / NAMES[kind]
    write(good, RECORDS[kind])
    (tmp_path / NAMES[kind]).symlink_to(good)
    with pytest.raises(InvalidFile, match="not a regular file"):
        READ[kind](str(tmp_path / NAMES[kind]))


@kinds
@pytest.mark.skipif(os.geteuid() != 0, reason="making a device: not root")
def test_a_device_is_refused(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / NAMES[kind])
    try:
        os.mknod(path, 0o20600, os.makedev(1, 5))  # /dev/zero
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError as error:
        pytest.skip(f"making a device: {error.strerror}")
    with pytest.raises(InvalidFile, match="not a regular file"):
        READ[kind](path)


@kinds
def test_half_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAMES[kind]
    path.write_text(json.dumps(RECORDS[kind])[:-20])
    with pytest.raises(InvalidFile):
        READ[kind](str(path))


@kinds
@pytest.mark.parametrize(
    "name", ["another.json", "core", "line\nfeed", os.fsdecode(b"\xff"), "x" * 255, f"{CALL.id}.json.old"]
)
def test_a_file_with_another_name_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(InvalidFile, match=r"its name should be 1700000000\.000000-0123456789ab") as refused:
        READ[kind](write(tmp_path / name, RECORDS[kind]))
    assert "\n" not in str(refused.value)


@each("call_id", ["../1", "a/b", "", "x" * 101, "a~b", "a b"])
def test_a_call_whose_id_is_no_file_name_is_refused(tmp_path: Path, call_id: str) -> None:
    """Its messages would be written elsewhere."""
    path = tmp_path / f"{os.path.basename(call_id)}.json"
    with pytest.raises(InvalidFile):
        records.read_call(write(path, {**CALL.record(), "id": call_id}))


@each("record", [{}, {"to": 1}, {"reason": None}, {"to": ["alice@example.org"]}, {"call": []}])
def test_a_message_with_wrong_fields_is_refused(tmp_path: Path, record: dict[str, object]) -> None:
    fields = RECORDS["message"]
    wrong = {**fields, **record} if record else {name: fields[name] for name in fields if name != "to"}
    with pytest.raises(InvalidFile, match=r"^not a message: "):
        records.read_message(write(tmp_path / MESSAGE.name, wrong))


def test_text_in_a_message_is_cleaned(tmp_path: Path) -> None:
    """It goes to a log and to terminals."""
    message = Message(CALL, "alice@example.org", "a\n\x1b[31mreason\u202e")
    found = records.read_message(write(tmp_path / message.name, json.loads(message.json())))
    assert found.reason == "a [31mreason"


@kinds
def test_a_file_that_somebody_has_taken_away_is_not_called_invalid(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FileNotFoundError):
        READ[kind](str(tmp_path / NAMES[kind]))


@kinds
def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, kind: str) -> None:
    with (tmp_path / NAMES[kind]).open("w") as file:
        file.truncate(10**12)
    with pytest.raises(InvalidFile, match=r"1000000000000 bytes$"):
        READ[kind](str(tmp_path / NAMES[kind]))


@kinds
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InvalidFile, match="Permission denied"):
        READ[kind](str(tmp_path / NAMES[kind]))


@kinds
def test_without_file_descriptors_a_file_is_not_called_invalid(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / NAMES[kind], RECORDS[kind])

    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        READ[kind](path)


def test_calls_and_messages_wait_and_what_was_sent_or_has_failed_does_not(tmp_path: Path) -> None:
    outbox = Outbox(str(tmp_path))
    assert records.waiting(outbox.path) == []
    outbox.put(CALL)
    for folder in ("queue", "sent", "failed"):
        message = Message(CALL, f"{folder}@example.org")
        (tmp_path / folder / message.name).write_bytes(message.json())
    assert records.waiting(outbox.path) == [f"{CALL.id}.json", Message(CALL, "queue@example.org").name]


def test_in_a_spool_of_somebody_else_nothing_waits_for_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Outbox(str(tmp_path)).put(CALL)
    monkeypatch.setattr(os, "geteuid", lambda: posix.geteuid() + 1)
    assert records.waiting(str(tmp_path)) == []
