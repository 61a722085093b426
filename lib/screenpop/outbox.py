"""The outbox: a spool directory, one JSON file per call (as qmail's queue and Asterisk's own call files).

    tmp/   calls being written, and the FIFOs on which doors wait for an answer
    new/   calls to be sent; a file is complete as soon as it is here
    failed/  calls that can't be sent, each with the reason

A call is written in tmp/ and renamed into new/, so a kill at any instruction leaves it there whole or not at all.
Nothing is synced to the disk: a power cut ends the calls as well. This is imported while a caller waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from .call import Call

FOLDERS = ("tmp", "new", "failed")


def path_from_environment() -> str:
    """Where the outbox is: `$SCREEN_POP_SPOOL`, or `screen_pop` in Asterisk's spool directory."""
    spool = os.environ.get("AST_SPOOL_DIR") or "/var/spool/asterisk"
    return os.path.abspath(os.environ.get("SCREEN_POP_SPOOL") or f"{spool}/screen_pop")


class Broken(Exception):
    """A file in new/ that is no call; says why."""


class Outbox:
    patience = float("inf")  # seconds for which a call may be kept, whatever the configuration says

    def __init__(self, path: str) -> None:
        self.path = path

    def make(self) -> None:
        """Make the directories that are missing. Raises OSError."""
        for folder in ("", *FOLDERS):
            os.makedirs(f"{self.path}/{folder}", mode=0o700, exist_ok=True)

    # what doors do

    def put(self, call: Call) -> None:
        """Queue a call, or say again what is known of a queued one. Raises OSError."""
        try:
            self._write(call)
        except FileNotFoundError:
            self.make()
            self._write(call)

    def _write(self, call: Call) -> None:
        written, queued = f"{self.path}/tmp/{call.id}.json", self._queued(call)
        file = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            data = json.dumps(call.record()).encode()
            while data:
                data = data[os.write(file, data) :]
        except OSError:
            os.unlink(written)
            raise
        finally:
            os.close(file)
        os.rename(written, queued)

    def _queued(self, call: Call) -> str:
        return f"{self.path}/new/{call.id}.json"

    def _failed(self, call: Call) -> str:
        return f"{self.path}/failed/{call.id}.json"

    def is_waiting(self, call: Call) -> bool:
        return os.path.exists(self._queued(call))

    def answer_fifo(self, call: Call) -> str:
        """Where whoever waits for this call's answer makes a FIFO and reads it: JSON objects, one a line."""
        return f"{self.path}/tmp/{call.id}.answer"

    # what the sender does

    def waiting(self) -> list[str]:
        """The names in new/, oldest call first."""
        return sorted(os.listdir(f"{self.path}/new"))

    def read(self, name: str) -> Call:
        """Raises Broken when the file is not a call; FileNotFoundError or another OSError when that can't be known."""
        path = f"{self.path}/new/{name}"
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise Broken("not a call: not a regular file")
            with open(path, "rb") as file:
                call = Call.from_record(json.loads(file.read()))
        except (ValueError, RecursionError, PermissionError) as error:
            raise Broken(f"not a call: {error}") from error
        if name != f"{call.id}.json":
            raise Broken(f"not a call: its name should be {call.id}.json")
        return call

    def remove(self, call: Call) -> None:
        with contextlib.suppress(FileNotFoundError):  # somebody took it away
            os.unlink(self._queued(call))

    def fail(self, call: Call) -> None:
        """Move a call to failed/. Its reasons stand in it before it is moved, so a kill in between loses neither."""
        with contextlib.suppress(OSError):  # a full disk: the log has the reasons
            self.put(call)
        os.rename(self._queued(call), self._failed(call))

    def failed(self, call: Call) -> Call | None:
        """What became of a call that is in failed/."""
        try:
            with open(self._failed(call), "rb") as file:
                return Call.from_record(json.loads(file.read()))
        except FileNotFoundError:
            return None

    def reject(self, name: str, reason: str) -> None:
        """Move what is no call to failed/, with its reason beside it, by a name that is new there and not too long."""
        moved = os.fsdecode(os.fsencode(name)[:200]) + f".{os.urandom(4).hex()}"
        os.rename(f"{self.path}/new/{name}", f"{self.path}/failed/{moved}")
        with contextlib.suppress(OSError), open(f"{self.path}/failed/{moved}.reason", "w", encoding="utf-8") as file:
            file.write(reason + "\n")

    def tell(self, call: Call, **answer: object) -> None:
        """Answer whoever waits for this call, if anybody does."""
        try:
            fifo = os.open(self.answer_fifo(call), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody waits, or nobody any more
            return
        try:
            os.write(fifo, json.dumps(answer).encode() + b"\n")
        except (BrokenPipeError, BlockingIOError):
            pass
        finally:
            os.close(fifo)

    def resource(self) -> str:
        """The XMPP resource of this outbox: made once, so that every session of this box has the same full JID."""
        path = f"{self.path}/resource"
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            made = file.read().decode("ascii", "replace").strip()
            if made.startswith("screen-pop-"):
                return made
        made = f"screen-pop-{os.urandom(4).hex()}"
        with open(f"{self.path}/tmp/resource", "w", encoding="ascii") as file:
            file.write(made + "\n")
        os.rename(f"{self.path}/tmp/resource", path)
        return made
