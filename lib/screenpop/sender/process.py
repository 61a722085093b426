"""The process of a sender: what it was given, and where it reports why it can't work, as nobody reads its stderr."""

from __future__ import annotations

import _signal
import gc
import os
import sys
import syslog


def main(arguments: list[str]) -> None:
    """`arguments`: the path of the outbox, and the descriptors of its lock and trigger if it gets them from a door."""
    try:
        path, descriptors = arguments[0], [int(argument) for argument in arguments[1:]]
        close_all_but({0, 1, 2, *descriptors})
        prepare()
        gc.disable()  # while importing, and for all that is imported, as it stays: 15 ms of the first call's pop
        from .. import settings
        from ..spool.queue import Queue
        from ..spool.trigger import Trigger
        from . import loop

        gc.freeze()
        gc.enable()
        conf = settings.path_from_environment()
        os.chdir("/")
        queue = Queue(path)
        queue.make()
        trigger = Trigger(path, *descriptors) if descriptors else Trigger.acquire(path)
        if trigger:
            loop.Sender(queue, trigger, conf).run()
    except Exception as error:
        try:
            from .failure import report

            report(arguments[0], error)
        except Exception:  # this package is broken itself
            syslog.openlog("screen_pop", syslog.LOG_PID, syslog.LOG_DAEMON)
            syslog.syslog(syslog.LOG_ERR, f"the sender ends: {type(error).__name__}: {error}".replace("\n", " "))
        os._exit(1)
    os._exit(0)  # at once: until then the next sender waits for the lock


def prepare() -> None:
    """What holds for the process of each sender."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # of the sender that it may start for the spare outbox
    os.umask(0o077)
    sys.setswitchinterval(0.0005)  # the thread of Book.prepare would delay each step of the sign-in by 5 ms


def close_all_but(kept: set[int]) -> None:
    """Close what was inherited by mistake: Asterisk may be waiting for its end."""
    try:
        inherited = {int(name) for name in os.listdir("/proc/self/fd")}
    except FileNotFoundError:  # a chroot without /proc
        inherited = set(range(1024))
    for descriptor in inherited - kept:
        try:
            os.close(descriptor)
        except OSError:  # the one that listdir() had
            pass
