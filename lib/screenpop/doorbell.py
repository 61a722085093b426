"""The doorbell: how a door wakes the sender, and how there is never more than one sender for an outbox.

The sender holds a lock on `lock` and the reading end of the FIFO `doorbell`. Opening that for writing fails with ENXIO
while nobody reads, and so a door learns that it must start a sender. It takes the lock itself and leaves it to the
process that it starts, so a burst of calls starts one sender and not sixty. This is imported while a caller waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
import time

PATIENCE = 20  # milliseconds for which a door waits for a leaving sender to give up the lock


def ring(outbox: str) -> None:
    """Wake the sender of this outbox; start one if there is none. Raises OSError when none can be started."""
    for _ in range(PATIENCE):
        if _press(outbox):
            return
        lock = _lock(outbox)
        if lock is not None:
            try:
                bell = _listen(outbox)
                try:
                    start_sender(str(lock), str(bell), keep=(lock, bell))
                finally:
                    os.close(bell)
            finally:
                os.close(lock)
            return
        time.sleep(0.001)
    start_sender()  # it waits until it gets the lock, or somebody else hears the bell


def _press(outbox: str) -> bool:
    """Ring, if somebody listens."""
    try:
        bell = os.open(f"{outbox}/doorbell", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        if not stat.S_ISFIFO(os.fstat(bell).st_mode):
            os.unlink(f"{outbox}/doorbell")  # somebody's file, that would take each ring in silence
            return False
        os.write(bell, b"\n")
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
    try:
        os.mkfifo(f"{outbox}/doorbell", 0o600)
    except FileExistsError:
        pass
    return os.open(f"{outbox}/doorbell", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


# Not `python -m`: that would first look for modules in the working directory, which may be anybody's (/tmp).
_RUN = "import sys; sys.path[0] = sys.argv[1]; from screenpop import process; process.main(sys.argv[3:])"


def start_sender(*arguments: str, keep: tuple[int, ...] = (), stdin: int | None = None) -> int:
    """Start a sender, detached: Asterisk waits for whoever has the script's stdout and may signal its process group.

    `arguments`: see process.py; `keep`: descriptors that it gets. Returns its process id. Raises OSError.
    """
    library = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for descriptor in keep:
        os.set_inheritable(descriptor, True)
    first = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0) if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _RUN, library, "screenpop.sender", *arguments],  # with a name for `ps`
        os.environ,
        file_actions=[
            first,
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT],
    )


class Doorbell:
    """The sender's side."""

    def __init__(self, outbox: str, lock: int, bell: int) -> None:
        self.outbox, self.lock, self.bell = outbox, lock, bell

    @classmethod
    def take(cls, outbox: str) -> Doorbell | None:
        """Take the lock, waiting for a sender that is leaving. None when another sender has heard the bell instead."""
        while (lock := _lock(outbox)) is None:
            if _press(outbox):
                return None
            time.sleep(0.01)
        return cls(outbox, lock, _listen(outbox))

    def fileno(self) -> int:
        return self.bell

    def answer(self) -> None:
        """Take note of all the rings so far."""
        try:
            os.read(self.bell, 65536)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Stop listening, the lock still held: from now on doors see that they must start a sender."""
        os.close(self.bell)

    def reopen(self) -> None:
        self.bell = _listen(self.outbox)
