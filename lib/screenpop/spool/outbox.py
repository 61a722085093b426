"""The outbox: a spool directory, one JSON file per call (as qmail's queue and Asterisk's own call files).

    tmp/   files being written, by random names, and the FIFOs on which doors wait for replies
    new/   calls to be sent; a file is complete as soon as it is here
    failed/  calls that can't be sent, each with the reason

A call is written in tmp/ and renamed into new/, so a kill at any instruction leaves it there whole or not at all.
Nothing is synced to the disk: a power cut ends the calls as well. This is imported while a caller waits.
"""

from __future__ import annotations

import posix
import sys
import time

from ..call import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FOLDERS = ("tmp", "new", "failed")
MEMORY = "/dev/shm"
LARGEST = 2_097_152  # bytes of one call, with a reason for each of the most recipients that it can have
STALE = 3600.0  # seconds after which a file in tmp/ belongs to no process any more


class _Os:
    """`os` for the sender's methods below, until they move into a file of their own: importing it costs a door 2 ms."""

    def __getattr__(self, name: str) -> Any:
        import os

        return getattr(os, name)


os: Any = _Os()


def path_from_environment() -> str:
    """Where the outbox is: `$SCREEN_POP_SPOOL`, or `screen_pop` in Asterisk's spool directory."""
    spool = posix.environ.get(b"AST_SPOOL_DIR") or b"/var/spool/asterisk"
    path = posix.environ.get(b"SCREEN_POP_SPOOL") or spool + b"/screen_pop"
    if not path.startswith(b"/"):
        path = posix.getcwdb() + b"/" + path
    return path.rstrip(b"/").decode(sys.getfilesystemencoding(), "surrogateescape")


class Broken(ValueError):
    """A file that is no call; says why."""


class Outbox:
    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def spare_path(self) -> str:
        return f"{MEMORY}/screen_pop-{posix.geteuid()}{self.path[-200:].replace('/', '-')}"

    def spare(self) -> Outbox:
        """The one in memory, for calls that can't be written into this one. Raises OSError."""
        spare = Outbox(self.spare_path)
        spare.make()
        return spare

    def and_spare(self) -> list[Outbox]:
        """This one, and the spare one if there is one of ours. Raises OSError."""
        try:
            return [self, self.spare()] if os.path.lexists(self.spare_path) else [self]
        except (PermissionError, FileExistsError):
            return [self]

    def make(self) -> None:
        """Make the directories that are missing. Raises OSError; also when they are somebody else's, in MEMORY."""
        import errno
        import os
        import stat

        os.makedirs(self.path, mode=0o700, exist_ok=True)
        if self.path.startswith(MEMORY):
            state = os.lstat(self.path)
            if state.st_uid != posix.geteuid() or not stat.S_ISDIR(state.st_mode):
                raise PermissionError(errno.EPERM, "it is somebody else's", self.path)
        for folder in FOLDERS:
            os.makedirs(f"{self.path}/{folder}", mode=0o700, exist_ok=True)

    # what doors do

    def put(self, call: Call) -> None:
        """Queue a call, or write again what is known of a queued one. Raises OSError."""
        try:
            self._write(call)
        except FileNotFoundError:
            self.make()
            self._write(call)

    def _write(self, call: Call) -> None:
        written = f"{self.path}/tmp/{posix.urandom(8).hex()}"
        file = posix.open(written, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        try:
            data = call.json()
            while data:
                data = data[posix.write(file, data) :]
            posix.rename(written, self._queued(call))
        except OSError:
            _remove(written)
            raise
        finally:
            posix.close(file)

    def _queued(self, call: Call) -> str:
        return f"{self.path}/new/{call.id}.json"

    def reply_fifo(self, call: Call) -> str:
        """Where a door that waits for replies about this call makes a FIFO and reads them (replies.py)."""
        return f"{self.path}/tmp/{call.id}.replies"

    # what the sender does

    def _failed(self, call: Call) -> str:
        return f"{self.path}/failed/{call.id}.json"

    def is_waiting(self, call: Call) -> bool:
        return bool(os.path.exists(self._queued(call)))

    def waiting(self) -> list[str]:
        """The names in new/, oldest call first."""
        return sorted(os.listdir(f"{self.path}/new"))

    def read(self, name: str, folder: str = "new") -> Call:
        """Raises Broken when the file is not a call; FileNotFoundError or another OSError when that can't be known."""
        import json  # here, as in all that no door does
        import stat

        path = f"{self.path}/{folder}/{name}"
        try:
            state = os.lstat(path)
            if not stat.S_ISREG(state.st_mode):
                raise Broken("not a call: not a regular file")
            if state.st_size > LARGEST:
                raise Broken(f"not a call: {state.st_size} bytes")
            with open(path, "rb") as file:
                call = Call.from_record(json.loads(file.read()))
        except Broken:
            raise
        except (ValueError, RecursionError, PermissionError) as error:
            raise Broken(f"not a call: {error}") from error
        if name != f"{call.id}.json":
            raise Broken(f"not a call: its name should be {call.id}.json")
        return call

    def remove(self, call: Call) -> None:
        _remove(self._queued(call))

    def fail(self, call: Call) -> None:
        """Move a call to failed/. Its reasons stand in it before it is moved, so a kill in between loses neither."""
        try:
            self.put(call)
        except OSError:  # a full disk: the log has the reasons
            pass
        try:
            os.rename(self._queued(call), self._failed(call))
        except FileNotFoundError:
            self.make()
            os.rename(self._queued(call), self._failed(call))

    def put_back(self, call: Call) -> None:
        """Queue a call that was sent, or that has failed; at no time it is in two places. Raises OSError."""
        try:
            os.rename(self._failed(call), self._queued(call))
        except FileNotFoundError:
            pass
        self.put(call)

    def failed(self, call: Call) -> Call | None:
        """What became of a call that is in failed/."""
        try:
            return self.read(f"{call.id}.json", "failed")
        except FileNotFoundError:
            return None

    def all_failed(self) -> Iterator[tuple[str, Call | str]]:
        """The names in failed/, oldest call first, each with the call, or with the reason why it is none."""
        for name in sorted(os.listdir(f"{self.path}/failed")):
            try:
                yield name, self.read(name, "failed")
            except FileNotFoundError:
                continue
            except (Broken, OSError) as error:
                if name.endswith(".reason"):
                    continue
                try:
                    with open(f"{self.path}/failed/{name}.reason", encoding="utf-8", errors="replace") as file:
                        yield name, file.read(1000)
                except OSError:
                    yield name, str(error)

    def retry(self) -> int:
        """Put the calls in failed/ back into new/. Returns how many. Raises OSError."""
        count = 0
        for _, call in self.all_failed():
            if isinstance(call, Call):
                call.failed = {}
                self.put_back(call)
                count += 1
        return count

    def reject(self, name: str, reason: str) -> None:
        """Move what is no call to failed/, with its reason beside it, by a name that is new there and not too long."""
        moved = os.fsdecode(os.fsencode(name)[:200]) + f".{os.urandom(4).hex()}"
        os.rename(f"{self.path}/new/{name}", f"{self.path}/failed/{moved}")
        try:
            with open(f"{self.path}/failed/{moved}.reason", "w", encoding="utf-8") as file:
                file.write(reason + "\n")
        except OSError:  # a full disk: the log has it
            pass

    def tell(self, call: Call, **answer: object) -> None:
        """Answer whoever waits for this call, if anybody does."""
        import json

        try:
            fifo = os.open(self.reply_fifo(call), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody waits, or nobody any more
            return
        try:
            os.write(fifo, json.dumps(answer).encode() + b"\n")
        except (BrokenPipeError, BlockingIOError):
            pass
        finally:
            os.close(fifo)

    def beyond(self, folder: str, calls: int, size: int) -> list[str]:
        """The names of the oldest in that folder, as many as are too many: by their number, or their bytes."""
        sizes = {}
        with os.scandir(f"{self.path}/{folder}") as entries:
            for entry in entries:
                try:
                    sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
        names, left = sorted(sizes), sum(sizes.values())
        count = 0
        while len(names) - count > calls or left > size:
            left -= sizes[names[count]]
            count += 1
        return names[:count]

    def tidy(self) -> None:
        """Remove what doors and senders that were killed have left in tmp/. Raises OSError."""
        with os.scandir(f"{self.path}/tmp") as entries:
            for entry in entries:
                try:
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                        os.unlink(entry.path)
                except (FileNotFoundError, IsADirectoryError):
                    continue

    def forget(self, name: str) -> None:
        """Remove what is in failed/ by that name, be it a foreign folder. Raises OSError."""
        import shutil

        path = f"{self.path}/failed/{name}"
        try:
            os.unlink(path)
        except IsADirectoryError:
            shutil.rmtree(path)

    def say(self, state: dict[str, object]) -> None:
        """Leave what the sender says of itself for `screen-pop status`."""
        import json

        try:
            self._replace("sender", json.dumps(state))
        except OSError:  # a full disk
            pass

    def said(self) -> dict[str, Any]:
        """What a sender has said of itself; nothing if that can't be read."""
        import json

        try:
            with open(f"{self.path}/sender", "rb") as file:
                state = json.loads(file.read(LARGEST))
        except (OSError, ValueError, RecursionError):
            return {}
        return state if isinstance(state, dict) else {}

    def resource(self) -> str:
        """The XMPP resource of this outbox: made once, so that every session of this box has the same full JID."""
        try:
            with open(f"{self.path}/resource", "rb") as file:
                made = file.read(100).decode("ascii", "replace").strip()
                if made.startswith("screen-pop-"):
                    return made
        except FileNotFoundError:
            pass
        made = f"screen-pop-{os.urandom(4).hex()}"
        try:
            self._replace("resource", made + "\n")
        except OSError:  # a full disk: the next session has another one
            pass
        return made

    def _replace(self, name: str, text: str) -> None:
        with open(f"{self.path}/tmp/{name}", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(f"{self.path}/tmp/{name}", f"{self.path}/{name}")


def _remove(path: str) -> None:
    """Remove a file, unless somebody has done so."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
