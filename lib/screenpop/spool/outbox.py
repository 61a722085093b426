"""The doors' half of the spool, a directory as nullmailer's and qmail's queue: doors write only tmp/ and new/.

    tmp/     files being written, by random names, and the FIFOs on which doors wait for replies
    new/     one JSON file per call, complete as soon as it is here, and never changed
    queue/ sent/ failed/     are the sender's (queue.py)

A call is written in tmp/ and renamed into new/, so a kill at any instruction leaves it there whole or not at all.
Nothing is synced to the disk: a power cut ends the calls as well. Doors import this while a caller waits.
"""

from __future__ import annotations

import posix
import sys

from ..call import Call

FOLDERS = ("tmp", "new", "queue", "sent", "failed")
MEMORY = "/dev/shm"
HANDED_OVER = 1000  # calls that are handed over in memory as well


def path_from_environment() -> str:
    """Where the outbox is: `$SCREEN_POP_SPOOL`, or `screen_pop` in Asterisk's spool directory."""
    spool = posix.environ.get(b"AST_SPOOL_DIR") or b"/var/spool/asterisk"
    path = posix.environ.get(b"SCREEN_POP_SPOOL") or spool + b"/screen_pop"
    if not path.startswith(b"/"):
        path = posix.getcwdb() + b"/" + path
    return path.rstrip(b"/").decode(sys.getfilesystemencoding(), "surrogateescape")


class Outbox:
    def __init__(self, path: str, handed_over: dict[str, Call] | None = None) -> None:
        """`handed_over`: where a sender in this process finds calls that it then needn't read (queue.py)."""
        self.path, self._handed_over = path, handed_over

    @property
    def spare_path(self) -> str:
        return f"{MEMORY}/screen_pop-{posix.geteuid()}{self.path[-200:].replace('/', '-')}"

    def spare(self) -> Outbox:
        """The one in memory, for calls that can't be written into this one. Raises OSError."""
        spare = Outbox(self.spare_path)
        spare.make()
        return spare

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

    def put(self, call: Call) -> None:
        """Queue a call. Raises OSError."""
        try:
            self._write(call)
        except FileNotFoundError:
            self.make()
            self._write(call)

    def _write(self, call: Call) -> None:
        name = f"{call.id}.json"
        written = f"{self.path}/tmp/{posix.urandom(8).hex()}"
        file = posix.open(written, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        try:
            data = call.json()
            while data:
                data = data[posix.write(file, data) :]
            if self._handed_over is not None and len(self._handed_over) < HANDED_OVER:
                self._handed_over[name] = call  # before the file is there, by which the sender knows of it
            posix.rename(written, f"{self.path}/new/{name}")
        except OSError:
            _remove(written)
            if self._handed_over is not None:
                self._handed_over.pop(name, None)
            raise
        finally:
            posix.close(file)

    def reply_fifo(self, call_id: str) -> str:
        """Where a door that waits for replies about this call makes a FIFO and reads them (replies.py)."""
        return f"{self.path}/tmp/{call_id}.replies"


def _remove(path: str) -> None:
    """Remove a file, unless somebody has done so."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
