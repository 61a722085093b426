"""The process of a sender: what it was given, and where it says why it can't work, with nobody to read its stderr."""

from __future__ import annotations

import contextlib
import os
import syslog


def main(arguments: list[str]) -> None:
    """`arguments`: the descriptors of the outbox's lock and doorbell, where a door has left them to this process;
    `--handed`: a call comes on standard input instead of the outbox; nothing: take the lock.
    """
    try:
        descriptors = [] if arguments == ["--handed"] else [int(argument) for argument in arguments]
        close_all_but({0, 1, 2, *descriptors})
        os.umask(0o077)
        from . import config, handover, sender
        from .doorbell import Doorbell
        from .outbox import Outbox, path_from_environment

        path, conf = path_from_environment(), config.path_from_environment()
        os.chdir("/")
        if arguments == ["--handed"]:
            sender.Sender(handover.Memory(handover.take(), path), None, conf).run()
        else:
            outbox = Outbox(path)
            outbox.make()
            bell = Doorbell(path, *descriptors) if descriptors else Doorbell.take(path)
            if bell:
                sender.Sender(outbox, bell, conf).run()
    except Exception as error:
        syslog.openlog("screen_pop", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_ERR, f"the sender ends: {type(error).__name__}: {error}".replace("\n", " "))
        os._exit(1)
    os._exit(0)  # at once: until then the next sender waits for the lock


def close_all_but(kept: set[int]) -> None:
    """Whatever was inherited by mistake, Asterisk may be waiting for its end."""
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - kept:
        with contextlib.suppress(OSError):
            os.close(descriptor)
