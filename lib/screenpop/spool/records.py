"""What stands in the spool's files, read by the sender and by the commands. Nothing here writes.

A call (new/) is the JSON object of `Call.json`; its file is named by its id. A message (queue/, sent/, failed/) is a
call and one recipient; its file is named by both, so that writing it twice leaves one file.
"""

from __future__ import annotations

import json
import os
import re
import stat
from functools import lru_cache

from ..call import Call
from ..text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

LARGEST = 2_097_152  # bytes of a file that is read
NO_RECIPIENT = ""  # of a call that failed before it was known who is told
SUMMARY = "~more.json"  # the end of the name of a message that sums up calls


_encode = json.JSONEncoder(ensure_ascii=False).encode
_MESSAGE_ID = re.compile(r"([\w.-]{1,100})-([0-9a-f]{8})(?:-(2|more))?")


@lru_cache(maxsize=100)
def _hash(recipient: str) -> str:
    import hashlib  # here: `screen-pop status` starts faster without it

    return hashlib.sha256(recipient.encode("utf-8", "replace")).hexdigest()[:8]


class InvalidFile(ValueError):
    """A file that is no call or no message, and why."""


class Message:
    """One call for one recipient.

    `contact`: the fields that the phone book has of the caller; None without a phone book.
    `outcome`: the event that ended the call, if the message tells of it.
    `is_second`: the call's first message has been sent, and this one tells of its outcome.
    `is_silent`: nobody wants to be told of this event; the message is kept for those that follow.
    `answered`: the event that says so, if the message itself does not.
    `counted`: the ids of the calls that the message sums up, if it does that (sender/floods.py). `call` is then the
    first of them, and `outcome` the last, or what became of it.
    `id` is the stanza's id: the same for each attempt, so a repeat can be recognised.
    """

    def __init__(
        self,
        call: Call,
        to: str,
        reason: str = "",
        contact: dict[str, str] | None = None,
        outcome: Call | None = None,
        is_second: bool = False,
        is_silent: bool = False,
        counted: Iterable[str] = (),
        answered: Call | None = None,
    ) -> None:
        self.call, self.to, self.reason, self.contact = call, to, reason, contact
        self.outcome, self.is_second, self.is_silent = outcome, is_second, is_silent
        self.answered = answered
        self.counted = dict.fromkeys(counted)
        recipient = _hash(to)
        self.first_id = f"{call.id}-{recipient}"  # of the call's first message to this recipient
        more = "2" if is_second else "more" if counted else ""
        self.id = f"{self.first_id}-{more}" if more else self.first_id
        self.name = f"{call.id}~{recipient}~{more}.json" if more else f"{call.id}~{recipient}.json"

    @property
    def event(self) -> Call:
        """What the message tells: it is as old as this."""
        return self.outcome or self.call

    def json(self) -> bytes:
        record = {
            "call": self.call.record(),
            "to": self.to,
            "reason": self.reason,
            "contact": self.contact,
            "outcome": self.outcome and self.outcome.record(),
            "is_second": self.is_second,
            "is_silent": self.is_silent,
            "answered": self.answered and self.answered.record(),
            "counted": " ".join(self.counted),  # as a list, 5,000 of them take 1 ms longer
        }
        return _encode(record).encode("utf-8", "ignore")


def message_name(stanza_id: str) -> str:
    """The file name of the message with this stanza id. Raises ValueError when no message has such an id."""
    found = _MESSAGE_ID.fullmatch(stanza_id)
    if not found:
        raise ValueError(f"{stanza_id!r} is no id of a message")
    return f"{found[1]}~{found[2]}{f'~{found[3]}' if found[3] else ''}.json"


def call_id(name: str) -> str:
    """The id of the call, of a file name of a call or of a message."""
    return name.partition("~")[0].removesuffix(".json")


def waiting(spool: str) -> list[str]:
    """The file names of the calls and messages that wait; none where there is no such spool of ours. Raises OSError."""
    try:
        if os.lstat(spool).st_uid != os.geteuid():
            return []
        return sorted(name for folder in ("new", "queue") for name in os.listdir(f"{spool}/{folder}"))
    except FileNotFoundError:
        return []


def failed(spool: str) -> list[str]:
    """The file names in failed/. Raises OSError."""
    try:
        return sorted(name for name in os.listdir(f"{spool}/failed") if not name.endswith(".reason"))
    except FileNotFoundError:
        return []


def failed_messages(spool: str) -> list[str]:
    """Those of them that can be sent again: messages, and calls of version 0.1 (released.py), but no foreign files."""
    return [name for name in failed(spool) if name.endswith(".json")]


def read_call(path: str) -> Call:
    """Raises InvalidFile; FileNotFoundError and OSError when it can't be known what the file is."""
    return call_from(read(path), path)


def call_from(record: Any, path: str) -> Call:
    """Raises InvalidFile."""
    try:
        call = Call.from_record(record)
    except ValueError as error:
        raise InvalidFile(f"not a call: {error}") from error
    if os.path.basename(path) != f"{call.id}.json" or not re.fullmatch(r"[\w.-]{1,100}", call.id):
        raise InvalidFile(f"not a call: its name should be {clean(call.id)}.json")
    return call


def read_message(path: str) -> Message:
    """Raises InvalidFile; FileNotFoundError and OSError when it can't be known what the file is."""
    record = read(path)
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in ("to", "reason")):
        raise InvalidFile("not a message: it has no recipient")
    try:
        call = Call.from_record(record.get("call"))
        outcome = Call.from_record(record["outcome"]) if record.get("outcome") else None
        answered = Call.from_record(record["answered"]) if record.get("answered") else None
    except ValueError as error:
        raise InvalidFile(f"not a message: {error}") from error
    message = Message(
        call,
        clean(record["to"], limit=8192),
        clean(record["reason"], limit=1000),
        _fields(record.get("contact")),
        outcome,
        is_second=record.get("is_second") is True,
        is_silent=record.get("is_silent") is True,
        counted=_ids(record.get("counted")),
        answered=answered,
    )
    if os.path.basename(path) != message.name:
        raise InvalidFile(f"not a message: its name should be {clean(message.name)}")
    return message


def _fields(record: object) -> dict[str, str] | None:
    """Raises InvalidFile."""
    if record is None:
        return None
    if not isinstance(record, dict) or not all(isinstance(value, str) for value in record.values()):
        raise InvalidFile("not a message: what is known of the caller is not text")
    return {clean(name): clean(value, limit=1000) for name, value in record.items()}


def _ids(record: object) -> list[str]:
    """Raises InvalidFile."""
    if record is None:
        return []
    if not isinstance(record, str):
        raise InvalidFile("not a message: what it counts are not calls")
    return record.split()


def read(path: str) -> Any:
    """The JSON value in a file. Raises InvalidFile and OSError."""
    try:
        return json.loads(content(path))
    except InvalidFile:
        raise
    except (ValueError, RecursionError) as error:  # some texts of these errors are for programmers
        raise InvalidFile("not a call: not valid JSON") from error


def content(path: str) -> bytes:
    """The bytes of a regular file; nothing else is followed or waited for. Raises InvalidFile and OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise InvalidFile(f"not a call: {error.strerror}") from error
    except OSError as error:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # a symbolic link, a socket
            raise InvalidFile("not a call: not a regular file") from error
        raise
    try:
        state = os.fstat(file)
        if not stat.S_ISREG(state.st_mode):
            raise InvalidFile("not a call: not a regular file")
        if state.st_size > LARGEST:
            raise InvalidFile(f"not a call: {state.st_size} bytes")
        return os.read(file, state.st_size)
    finally:
        os.close(file)
