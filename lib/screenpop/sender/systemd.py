"""What systemd is told about the service (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import contextlib
import os
import socket
import time

INTERVAL = 1.0  # seconds between two signs of life


class Systemd:
    """Does nothing where systemd has not started this process, or does not want to be told."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # not for the processes that this one starts
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = None  # made at once: later there may be no file descriptor
        if address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self._alive_until = 0.0

    def notify(self, state: str) -> None:
        """`state`: such as READY=1."""
        if self._socket:
            with contextlib.suppress(OSError):  # systemd, if it is there, misses the sign of life, and acts on that
                self._socket.sendto(state.encode(), self._address)

    def alive(self) -> None:
        """To be called all the time: for WatchdogSec."""
        if time.monotonic() >= self._alive_until:
            self._alive_until = time.monotonic() + INTERVAL
            self.notify("WATCHDOG=1")
