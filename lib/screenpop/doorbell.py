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
import sys
import time

PATIENCE = 20  # milliseconds for which a door waits for a leaving sender to give up the lock


def ring(outbox: str) -> None:
    """Wake the sender of this outbox; start one if there is none. Raises OSError when none can be started."""
    for _ in range(PATIENCE):
        if _press(outbox):
            return
        lock = _lock(outbox, os.O_NONBLOCK)
        if lock is not None:
            try:
                bell = _listen(outbox)
                try:
                    start_sender(["screenpop.sender", str(lock), str(bell)], keep=(lock, bell))
                finally:
                    os.close(bell)
            finally:
                os.close(lock)
            return
        time.sleep(0.001)
    start_sender(["screenpop.sender"])  # it waits for the lock, and looks into the outbox when it has it


def _press(outbox: str) -> bool:
    try:
        bell = os.open(f"{outbox}/doorbell", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        os.write(bell, b"\n")
    except BlockingIOError:  # it has been rung 65,536 times and not been read: that will do
        pass
    except BrokenPipeError:
        return False
    finally:
        os.close(bell)
    return True


def _lock(outbox: str, flags: int) -> int | None:
    """The lock of the outbox, or None when somebody else has it and `flags` has O_NONBLOCK."""
    lock = os.open(f"{outbox}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if flags & os.O_NONBLOCK else 0))
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


def start_sender(module: list[str], keep: tuple[int, ...] = (), stdin: int | None = None) -> int:
    """Start a sender, detached: Asterisk waits for whoever has the script's stdout and may signal its process group.

    `module`: what goes behind `python -m`; `keep`: descriptors that it gets. Returns its process id. Raises OSError.
    """
    library = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.environ.get("PYTHONPATH")
    for descriptor in keep:
        os.set_inheritable(descriptor, True)
    first = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0) if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", *module],
        {**os.environ, "PYTHONPATH": library if not path else f"{library}{os.pathsep}{path}"},
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

    def __init__(self, outbox: str, lock: int | None = None, bell: int | None = None) -> None:
        """Take the lock, waiting for a sender that is leaving, unless a door left both to us."""
        self.outbox = outbox
        self.lock = _lock(outbox, 0) if lock is None else lock
        self.bell = _listen(outbox) if bell is None else bell

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
