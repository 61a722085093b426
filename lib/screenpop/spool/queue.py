"""The sender's half of the spool. Only the holder of the lock (trigger.py) writes here.

    new/     calls, as doors have written them (outbox.py)
    queue/   messages: a call and one recipient, with all that is needed to send and to re-send it
    sent/    the same files after the server's confirmation, so that the call's later events can correct them
    failed/  the same files, each with its reason

A message moves from folder to folder by rename(2), so a kill at any instruction leaves it in exactly one of them.
A message whose call is still in new/ may be incomplete, and counts only when the call has left new/ (`recover`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from ..call import Call, tie
from . import files
from .outbox import Outbox
from .records import NO_RECIPIENT, SUMMARY, InvalidFile, Message, call_id, message_name, read_message

FRESH = 2000  # messages that are kept in memory until they are first loaded
MESSAGES = ("queue", "failed", "sent")  # the folders with messages
STALE = 3600.0  # seconds after which nobody writes to a file in tmp/ any more


class _Noted(NamedTuple):
    """A message that is to be written to this folder. `is_sent`: it was sent, and is written after its call has left
    new/ (`Queue.sent`).
    """

    folder: str
    message: Message
    is_sent: bool = False


class Queue:
    """A call is accepted in memory, so that its messages can be sent at once, and is written by `catch_up`. What a full
    disk prevents is done in its order as soon as there is room. So no message is sent twice because its result could
    not be written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.trouble = ""  # why the disk is behind; empty when it is not
        self.handed_over: dict[str, Call] = {}  # by name: of doors in this process, the same as in new/ (outbox.py)
        self._owed: dict[str, list[Callable[[], None]]] = {}  # by the id of the event: what is still to be done
        self._noted: dict[str, _Noted] = {}  # by name: what the disk doesn't have yet
        self._fresh: dict[str, Message] = {}  # by name: accepted and not loaded yet, so that they needn't be read again
        self._by_call: dict[str, list[str]] | None = None  # names of first messages by call id; read when first needed
        self._tied: dict[str, str] = {}  # the newest of these calls by what ties its events (call.py)

    @property
    def is_behind(self) -> bool:
        """Whether something is still to be done on the disk, which only this process knows."""
        return bool(self._owed)

    def make(self) -> None:
        """Make the folders that are missing. Raises OSError."""
        Outbox(self.path).make()

    def recover(self) -> None:
        """Remove the messages of calls that are still in new/: a sender was killed while it took them in, gave them up
        or made them new. They are taken in from the beginning. A summary stays, as it counts other calls, too. Raises
        OSError.
        """
        calls = set(self._names("new"))
        for folder in ("queue", "failed"):
            for name in self._names(folder):
                if "~" in name and f"{call_id(name)}.json" in calls and not name.endswith(SUMMARY):
                    self.forget(folder, name)

    def is_new(self, call: str) -> bool:
        """Whether the call with this id has not been taken in yet."""
        return call not in self._owed and os.path.lexists(f"{self.path}/new/{call}.json")

    def new_calls(self) -> list[str]:
        """The names in new/, the oldest call first. Raises OSError."""
        names = self._names("new")
        return sorted(name for name in names if call_id(name) not in self._owed) if self._owed else sorted(names)

    def messages(self) -> list[str]:
        """The names in queue/, the oldest call first. Raises OSError."""
        noted = [name for name, one in self._noted.items() if one.folder == "queue"]
        return sorted({*self._names("queue"), *noted})

    def _names(self, folder: str) -> list[str]:
        try:
            return os.listdir(f"{self.path}/{folder}")
        except FileNotFoundError:
            self.make()
            return []

    def accept(
        self, name: str, waiting: Iterable[Message], failed: Iterable[Message] = (), silent: Iterable[Message] = ()
    ) -> None:
        """A call in new/ becomes messages. `catch_up` writes them. The next sender undoes what is done before a kill
        (`recover`), and sends what was sent before it again, with the same ids.
        """
        for folder, messages in (("queue", waiting), ("failed", failed), ("sent", silent)):
            for message in messages:
                self._fresh.pop(message.name, None)
                if folder == "queue" and len(self._fresh) < FRESH:
                    self._fresh[message.name] = message
                if self._by_call is not None:
                    self._index(self._by_call, message.name)
                self.write_later(call_id(name), folder, message)
        self._owed.setdefault(call_id(name), []).append(lambda: files.remove(f"{self.path}/new/{name}"))

    def write_later(self, event: str, folder: str, message: Message) -> None:
        """`catch_up` writes the message to this folder, before the event with this id leaves new/."""
        self._noted[message.name] = _Noted(folder, message)
        self._owed.setdefault(event, []).append(lambda: self._write_message(event, message))

    def first_messages(self, calls: Collection[str]) -> list[tuple[str, Message]]:
        """The messages of these calls that an event of theirs may follow, each with its folder. Raises OSError.

        `calls`: ids, or what ties the events of a call (call.py): the newest such call is meant, as some systems use an
        id again after a restart.
        """
        if not calls:  # so the index is not made where no call has later events
            return []
        if self._by_call is None:
            self._by_call, self._tied = {}, {}
            for name in {*self._noted, *(name for folder in MESSAGES for name in self._names(folder))}:
                self._index(self._by_call, name)
        ids = dict.fromkeys(self._tied.get(call, call) for call in calls)
        names = [name for id in ids for name in self._by_call.get(id, ())]
        return [found for found in map(self._find, names) if found]

    def _index(self, by_call: dict[str, list[str]], name: str) -> None:
        if name.count("~") != 1 or not name.endswith(".json"):  # no first message
            return
        id = call_id(name)
        names = by_call.setdefault(id, [])
        if name not in names:
            names.append(name)
        if tied := tie(id):
            self._tied[tied] = max(id, self._tied.get(tied, ""))

    def _find(self, name: str) -> tuple[str, Message] | None:
        if noted := self._noted.get(name):
            return noted.folder, noted.message
        if name in self._fresh:
            return "queue", self._fresh[name]
        for folder in MESSAGES:
            try:
                return folder, read_message(f"{self.path}/{folder}/{name}")
            except (FileNotFoundError, InvalidFile):
                continue
        return None

    def has_second(self, first: Message, folders: Iterable[str] = MESSAGES) -> bool:
        """Whether there is a message already that tells of the outcome."""
        second = f"{first.name[: -len('.json')]}~2.json"
        return second in self._noted or any(os.path.lexists(f"{self.path}/{one}/{second}") for one in folders)

    def replace_failed(self, name: str, messages: Iterable[Message]) -> None:
        """Messages take the place of a file in failed/. Raises OSError."""
        for message in messages:
            self._write(f"failed/{message.name}", message.json())
        files.remove(f"{self.path}/failed/{name}")

    def is_fresh(self, name: str) -> bool:
        """Whether the message was accepted by this process, and has not been loaded yet."""
        return name in self._fresh

    def load(self, name: str) -> Message:
        """Raises InvalidFile, FileNotFoundError, OSError."""
        known = self._fresh.pop(name, None)
        if not known and name in self._noted:
            known = self._noted[name].message
        return known or read_message(f"{self.path}/queue/{name}")

    def sent(self, message: Message) -> None:
        """The server has confirmed it: from now on it is kept for `remember`. If a full disk kept it out of queue/, the
        call leaves new/ without that. An event does not: after a kill, its correction is sent again, with the same id.
        Else nobody would know of it, and the next event would be told by another one.
        """
        now = time.time()
        noted = self._noted.get(message.name)
        if noted:
            self._noted[message.name] = _Noted("sent", message, is_sent=True)

        def keep() -> None:
            self._move(message.name, "queue", "sent")
            if noted:  # what is in queue/, if anything, is an older text of it
                self._write(f"sent/{message.name}", message.json())
                self._noted.pop(message.name, None)
            with contextlib.suppress(OSError):  # the file is another user's, or somebody has taken it away
                os.utime(f"{self.path}/sent/{message.name}", (now, now))

        for call in message.counted:  # else a kill would leave them in new/, to be counted again
            if call in self._owed:
                self._pay(call)
        if noted and message.is_second and not noted.is_sent:  # else it came back, which is done first
            self._owed[message.event.id].insert(0, keep)
            self._pay(message.event.id)
        else:
            self._do(message.event.id, keep)

    def failed(self, message: Message, folder: str = "queue") -> None:
        """It will never be sent, for `message.reason`. The reason is written before the file moves to failed/."""

        def write_and_move() -> None:
            noted = self._noted.get(message.name)
            if noted and noted.is_sent:  # since then, by a later event
                return
            try:
                self._write(f"{folder}/{message.name}", message.json())
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # on a full disk the log has the reason
                    raise
            self._move(message.name, folder, "failed")
            self._has_moved(message, "failed")

        self._do(message.event.id, write_and_move)

    def find_sent(self, stanza_id: str) -> Message | None:
        """The message in sent/ with this id."""
        try:
            name = message_name(stanza_id)
            if (noted := self._noted.get(name)) and noted.folder == "sent":
                return noted.message
            return read_message(f"{self.path}/sent/{name}")
        except (ValueError, OSError):
            return None

    def send_again(self, message: Message) -> None:
        """Put a message that was sent back into the queue."""

        def move() -> None:
            self._move(message.name, "sent", "queue")
            self._has_moved(message, "queue")

        self._do(message.event.id, move)

    def _has_moved(self, message: Message, folder: str) -> None:
        """What is still to be written of it is written there."""
        if (noted := self._noted.get(message.name)) and not noted.is_sent:
            noted.message.reason = message.reason
            self._noted[message.name] = _Noted(folder, noted.message)

    def retry(self) -> list[str]:
        """Put what has failed back into the queue; a call whose recipients were not known becomes new again.

        Returns the names of the messages. Raises OSError; what could not be put back is in `trouble`.
        """
        names = []
        for name in sorted(self._names("failed")):
            try:
                message = read_message(f"{self.path}/failed/{name}")
                if message.to == NO_RECIPIENT:
                    self._noted.pop(name, None)
                    self._write(f"new/{message.call.id}.json", message.call.json())
                    files.remove(f"{self.path}/failed/{name}")
                else:
                    self._move(name, "failed", "queue")
                    self._has_moved(message, "queue")
                    names.append(name)
            except (InvalidFile, FileNotFoundError):
                continue
            except OSError as error:  # a full disk: the other files may only have to be moved
                self.trouble = f"{self.path}: {error.strerror}"
        return names

    def reject(self, folder: str, name: str, reason: str) -> None:
        """Move a foreign file to failed/, with the reason beside it, by a name that is new there and not too long.

        Raises OSError.
        """
        moved = os.fsdecode(os.fsencode(name)[:200]) + f".{os.urandom(4).hex()}"
        old, new = f"{self.path}/{folder}/{name}", f"{self.path}/failed/{moved}"
        try:
            os.rename(old, new)
        except FileNotFoundError:  # the file, or the folder failed/
            self.make()
            os.rename(old, new)
        try:
            self._write(f"failed/{moved}.reason", f"{reason}\n".encode("utf-8", "replace"))
        except OSError:  # a full disk: the log has it
            pass

    def catch_up(self) -> None:
        """Write what has not been written; `trouble` says what could not be."""
        self.trouble = ""
        for owed in list(self._owed):
            if owed in self._owed:  # not paid with another one
                self._pay(owed)

    def oldest_beyond(self, folder: str, count: int, size: int) -> list[str]:
        """The oldest names in a folder, as many as exceed the limits: files, and bytes in all. Raises OSError."""
        sizes = {}
        with os.scandir(f"{self.path}/{folder}") as entries:
            for entry in entries:
                try:
                    sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
        names, left = sorted(sizes), sum(sizes.values())
        excess = 0
        while len(names) - excess > count or left > size:
            left -= sizes[names[excess]]
            excess += 1
        return names[:excess]

    def forget(self, folder: str, name: str) -> None:
        """Remove a file from sent/ or failed/, or a foreign folder. Raises OSError."""
        self._by_call = None
        path = f"{self.path}/{folder}/{name}"
        try:
            files.remove(path)
        except IsADirectoryError:
            import shutil  # here: its import takes 4 ms, and it is hardly ever needed

            shutil.rmtree(path)

    def forget_sent_before(self, timestamp: float) -> None:
        """Remove the messages that were sent before this time (seconds since the epoch). Raises OSError."""
        for name in sorted(self._names("sent")):  # no message without its correction, which would be sent again
            if os.lstat(f"{self.path}/sent/{name}").st_mtime < timestamp:
                self.forget("sent", name)

    def tidy(self) -> None:
        """Remove what killed processes have left in tmp/. Raises OSError."""
        with os.scandir(f"{self.path}/tmp") as entries:
            for entry in entries:
                try:
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                        os.unlink(entry.path)
                except (FileNotFoundError, IsADirectoryError):
                    continue

    def _do(self, call: str, *steps: Callable[[], None]) -> None:
        self._owed.setdefault(call, []).extend(steps)
        self._pay(call)

    def _pay(self, call: str) -> None:
        owed = self._owed[call]
        try:
            while owed:
                owed[0]()
                del owed[0]
        except OSError as error:
            self.trouble = f"{self.path}: {error.strerror}"
            return
        del self._owed[call]

    def _write_message(self, event: str, message: Message) -> None:
        call = call_id(message.name)
        if call != event and call in self._owed and not message.counted:
            self._pay(call)  # first: as long as it is in new/, `recover` undoes this, and the event would be gone
            if call in self._owed:
                raise OSError(errno.ENOSPC, self.trouble.removeprefix(f"{self.path}: "))
        noted = self._noted.get(message.name)
        if noted and not noted.is_sent:
            folder = noted.folder  # it may have moved since
            # commands read failed/; and what is in queue/ already, `recover` would not make again
            is_made_again = folder == "queue" and not (message.outcome or message.answered)
            write = self._create if is_made_again else self._write
            sent_at = self._sent_at(message.name) if folder == "sent" else None
            write(f"{folder}/{message.name}", message.json())
            if sent_at:
                os.utime(f"{self.path}/sent/{message.name}", (sent_at, sent_at))
            if noted.message is message:  # else a later event has changed it: that is written next
                del self._noted[message.name]

    def _sent_at(self, name: str) -> float | None:
        """When it was, in seconds since the epoch, if it was."""
        try:
            return os.stat(f"{self.path}/sent/{name}").st_mtime
        except FileNotFoundError:
            return None

    def _create(self, name: str, data: bytes) -> None:
        """Write a file at once where it belongs: if a kill leaves a part of it, its call is still in new/ (`recover`).

        Raises OSError.
        """
        path = f"{self.path}/{name}"
        try:
            files.create(path, data)
        except FileNotFoundError:
            self.make()
            files.create(path, data)

    def _write(self, name: str, data: bytes) -> None:
        """Raises OSError."""
        try:
            files.replace(self.path, name, data)
        except FileNotFoundError:
            self.make()
            files.replace(self.path, name, data)

    def _move(self, name: str, source: str, target: str) -> None:
        """Raises OSError; a file that somebody has taken away is passed over."""
        old, new = f"{self.path}/{source}/{name}", f"{self.path}/{target}/{name}"
        try:
            os.rename(old, new)
        except FileNotFoundError:
            self.make()
            if os.path.lexists(old):
                os.rename(old, new)
