"""What systemd is told about the service (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
import time

INTERVAL = 1.0  # seconds between two signs of life


class Systemd:
    """Does nothing where systemd has not started this process, or does not want to be told."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")  # not for the processes that this one starts
        self._alive_until = 0.0

    def notify(self, state: str) -> None:
        """`state`: such as READY=1."""
        if not self._address.startswith(("/", "@")):
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notified:
                notified.connect(address)
                notified.send(state.encode())
        except OSError:  # systemd misses the sign of life, and acts on that
            pass

    def alive(self) -> None:
        """To be called all the time: for WatchdogSec."""
        if time.monotonic() >= self._alive_until:
            self._alive_until = time.monotonic() + INTERVAL
            self.notify("WATCHDOG=1")
