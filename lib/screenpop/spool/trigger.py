"""The trigger: how doors and commands wake the sender, and how an outbox never has more than one sender.

The sender holds a lock on the file `lock` and the reading end of the FIFO `trigger`. Opening the FIFO for writing fails
with ENXIO while nobody reads it; this tells a door that it must start a sender. The door takes the lock itself and
hands it to the process that it starts, so a burst of calls starts one sender and not sixty. Doors import this while a
caller waits.
"""

from __future__ import annotations

import _signal
import posix
import sys
import time
from _stat import S_ISFIFO
from errno import ENOENT, ENXIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20  # milliseconds for which a door waits for a leaving sender to release the lock
LONG_PATIENCE = 10_000  # the same for a command, whose message must not be lost

# What a byte in the FIFO means:
CALL = b"\n"  # a call has been queued
FLUSH = b"!"  # try all that waits now
RETRY = b"R"  # put what has failed back into the queue
INDEX = b"I"  # make a new index of the phone book's files
STOP = b"S"  # leave, as a resident sender takes over


def ring(outbox: str, message: bytes = CALL) -> None:
    """Wake the sender of this outbox; start one if there is none. Raises OSError when none can be started."""
    for _ in range(PATIENCE if message == CALL else LONG_PATIENCE):
        if _write(outbox, message):
            return
        lock = _lock(outbox)
        if lock is not None:
            try:
                fifo = _open_fifo(outbox)
                try:
                    posix.write(fifo, message)
                    start_sender(outbox, lock, fifo)
                finally:
                    posix.close(fifo)
            finally:
                posix.close(lock)
            return
        time.sleep(0.001)
    start_sender(outbox)  # it waits for the lock, unless another sender reads the FIFO by then


def has_sender(outbox: str) -> bool:
    """Whether a sender is up, or is being started."""
    return _write(outbox, b"")


def _write(outbox: str, message: bytes) -> bool:
    """Whether there is a sender that reads this."""
    try:
        fifo = posix.open(f"{outbox}/trigger", posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError as error:
        if error.errno in (ENXIO, ENOENT):
            return False
        raise
    try:
        if not S_ISFIFO(posix.fstat(fifo).st_mode):  # a regular file, from a backup: nobody would read it
            return False
        if message:
            posix.write(fifo, message)
    except BlockingIOError:  # 65,536 bytes that the sender hasn't read yet: one more would change nothing
        pass
    except BrokenPipeError:
        return False
    finally:
        posix.close(fifo)
    return True


def _lock(outbox: str) -> int | None:
    """The lock of the outbox, or None when another process has it."""
    import fcntl  # here: most doors find a sender

    lock = posix.open(f"{outbox}/lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        posix.close(lock)
        return None
    return lock


def _open_fifo(outbox: str) -> int:
    """The reading end. It is open for writing, too, so that it doesn't report an end when the last door closes it."""
    path = f"{outbox}/trigger"
    try:
        if not S_ISFIFO(posix.lstat(path).st_mode):
            posix.unlink(path)
    except FileNotFoundError:
        pass
    try:
        posix.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    return posix.open(path, posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC)


def start_sender(outbox: str, *descriptors: int) -> int:
    """Start a sender, detached: Asterisk waits until nobody has the script's stdout, and may signal its process group.

    `descriptors`: the lock and the FIFO, if the sender gets them from this process. Returns its process id. Raises
    OSError.
    """
    for descriptor in descriptors:
        posix.set_inheritable(descriptor, True)
    # -I -S: modules are found where this process finds them, and neither in the working directory, which may be
    # anybody's, nor by `site`, which takes 3 ms.
    run = f"import sys; sys.path[:] = {sys.path}; from screenpop.sender import process; process.main(sys.argv[2:])"
    return posix.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-c", run, "screenpop.sender", outbox, *map(str, descriptors)],  # a name for `ps`
        posix.environ,
        file_actions=[
            (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
            (posix.POSIX_SPAWN_OPEN, 1, "/dev/null", posix.O_WRONLY, 0),
            (posix.POSIX_SPAWN_OPEN, 2, "/dev/null", posix.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[_signal.SIGCHLD, _signal.SIGHUP, _signal.SIGPIPE, _signal.SIGTERM, _signal.SIGINT],
    )


def _is_at(descriptor: int, path: str) -> bool:
    """Whether that is the file at this path."""
    try:
        ours, there = posix.fstat(descriptor), posix.stat(path)
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


class Trigger:
    """The sender's side: the lock, and the reading end of the FIFO."""

    def __init__(self, outbox: str, lock: int, fifo: int) -> None:
        self.outbox, self.lock, self.fifo = outbox, lock, fifo

    @classmethod
    def acquire(cls, outbox: str) -> Trigger | None:
        """Take the lock; wait for a sender that is leaving. None when another sender reads the FIFO instead."""
        while (lock := _lock(outbox)) is None:
            if _write(outbox, CALL):
                return None
            time.sleep(0.01)
        return cls(outbox, lock, _open_fifo(outbox))

    @classmethod
    def take_over(cls, outbox: str, waiting: Callable[[], object]) -> Trigger:
        """Take the lock. A sender that was started by a door leaves for that, a resident one does not. `waiting` is
        called each second meanwhile. Raises OSError.
        """
        asked = 0.0
        while (lock := _lock(outbox)) is None:
            if time.monotonic() >= asked + 1:
                asked = time.monotonic()
                _write(outbox, STOP)
                waiting()
            time.sleep(0.0005)  # doors try each millisecond, and would start another sender
        return cls(outbox, lock, _open_fifo(outbox))

    def fileno(self) -> int:
        return self.fifo

    def renew(self) -> bool:
        """Make lock and FIFO again if somebody has removed them, or has moved the whole outbox away. False when the
        outbox is gone or has another sender. Raises OSError.
        """
        try:
            if not self.is_held():
                lock = _lock(self.outbox)
                if lock is None:
                    return False
                posix.close(self.lock)
                self.lock = lock
            if not _is_at(self.fifo, f"{self.outbox}/trigger"):
                fifo = _open_fifo(self.outbox)
                posix.close(self.fifo)
                self.fifo = fifo
        except FileNotFoundError:  # not even the directory is there
            return False
        return True

    def is_held(self) -> bool:
        """Whether no other sender can have the lock. Raises OSError."""
        return _is_at(self.lock, f"{self.outbox}/lock")

    def read(self) -> bytes:
        """All bytes that were written since the last time, in their order."""
        try:
            return posix.read(self.fifo, 65536)
        except BlockingIOError:
            return b""

    def ring_own(self, message: bytes) -> None:
        """For a signal handler of the sender: what it waits for comes."""
        try:
            posix.write(self.fifo, message)
        except BlockingIOError:  # then it is awake
            pass

    def close(self) -> None:
        """Close the FIFO and keep the lock: from now on doors see that they must start a sender."""
        posix.close(self.fifo)

    def reopen(self) -> None:
        self.fifo = _open_fifo(self.outbox)
