"""The doorbell: how a door wakes the sender, and how there is never more than one sender for an outbox.

The sender holds a lock on `lock` and the reading end of the FIFO `doorbell`. Opening that for writing fails with ENXIO
while nobody reads, and so a door learns that it must start a sender. It takes the lock itself and leaves it to the
process that it starts, so a burst of calls starts one sender and not sixty. This is imported while a caller waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time

PATIENCE = 20  # milliseconds for which a door waits for a leaving sender to give up the lock
CALL, FLUSH = b"\n", b"!"  # what a ring means: a call has come; try all that waits, now


def ring(outbox: str, meaning: bytes = CALL) -> None:
    """Wake the sender of this outbox; start one if there is none. Raises OSError when none can be started."""
    for _ in range(PATIENCE):
        if _press(outbox, meaning):
            return
        lock = _lock(outbox)
        if lock is not None:
            try:
                bell = _listen(outbox)
                try:
                    start_sender(outbox, lock, bell)
                finally:
                    os.close(bell)
            finally:
                os.close(lock)
            return
        time.sleep(0.001)
    start_sender(outbox)  # it waits until it gets the lock, or somebody else hears the bell


def is_heard(outbox: str) -> bool:
    """Whether a sender is up, or about to be."""
    return _press(outbox, b"")


def _press(outbox: str, meaning: bytes) -> bool:
    """Ring, if somebody listens."""
    try:
        bell = os.open(f"{outbox}/doorbell", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        if not stat.S_ISFIFO(os.fstat(bell).st_mode):  # somebody's file, that would take each ring in silence
            return False
        if meaning:
            os.write(bell, meaning)
    except BlockingIOError:  # it has been rung 65,536 times and not been heard: that will do
        pass
    except BrokenPipeError:
        return False
    finally:
        os.close(bell)
    return True


def _lock(outbox: str) -> int | None:
    """The lock of the outbox, or None when somebody else has it."""
    lock = os.open(f"{outbox}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _listen(outbox: str) -> int:
    """The reading end. Open for both, so that it never comes to its end when the last door closes it."""
    path = f"{outbox}/doorbell"
    try:
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


# Not `python -m`: that would first look for modules in the working directory, which may be anybody's (/tmp).
_RUN = "import sys; sys.path[0] = sys.argv[1]; from screenpop.sender import process; process.main(sys.argv[3:])"


def start_sender(outbox: str, *descriptors: int) -> int:
    """Start a sender, detached: Asterisk waits for whoever has the script's stdout and may signal its process group.

    `descriptors`: the lock and the doorbell, where they are left to it. Returns its process id. Raises OSError.
    """
    import signal  # here: most callers find a sender, and don't wait for this

    library = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _RUN, library, "screenpop.sender", outbox, *map(str, descriptors)],  # a name for `ps`
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT],
    )


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


class Doorbell:
    """The sender's side."""

    def __init__(self, outbox: str, lock: int, bell: int) -> None:
        self.outbox, self.lock, self.bell = outbox, lock, bell

    @classmethod
    def take(cls, outbox: str) -> Doorbell | None:
        """Take the lock, waiting for a sender that is leaving. None when another sender has heard the bell instead."""
        while (lock := _lock(outbox)) is None:
            if _press(outbox, CALL):
                return None
            time.sleep(0.01)
        return cls(outbox, lock, _listen(outbox))

    def fileno(self) -> int:
        return self.bell

    def keep(self) -> bool:
        """See to it that lock and doorbell are still those of the outbox: somebody may have removed the files, or have
        moved the whole outbox away. False when this is its sender no more. Raises OSError.
        """
        try:
            if not _is_at(self.lock, f"{self.outbox}/lock"):
                lock = _lock(self.outbox)
                if lock is None:
                    return False
                os.close(self.lock)
                self.lock = lock
            if not _is_at(self.bell, f"{self.outbox}/doorbell"):
                bell = _listen(self.outbox)
                os.close(self.bell)
                self.bell = bell
        except FileNotFoundError:  # not even the directory is there
            return False
        return True

    def answer(self) -> bytes:
        """Take note of all the rings so far: what they mean."""
        try:
            return os.read(self.bell, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Stop listening, the lock still held: from now on doors see that they must start a sender."""
        os.close(self.bell)

    def reopen(self) -> None:
        self.bell = _listen(self.outbox)
