"""What happens when the outbox can't be written: the call goes straight to a sender of its own, through a socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket

from .call import Call
from .doorbell import ring, start_sender
from .outbox import Outbox


def hand_over(call: Call) -> None:
    """Give the call to a sender that keeps it in memory. Raises OSError when none can be started."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(json.dumps(call.record()).encode())  # the socket keeps it until it is read
        start_sender("--handed", stdin=theirs.fileno())


def take() -> Call:
    """The sender's side, on its standard input. Raises ValueError or OSError."""
    with open(0, "rb") as record:
        call = Call.from_record(json.loads(record.read()))
    os.open(os.devnull, os.O_RDONLY)  # in its place
    return call


class Memory:
    """Stands in for the outbox of a sender that got its call handed over, and gives it back as soon as it can.

    What can't be sent, only the log tells.
    """

    patience = 300.0  # seconds: each such call has a process of its own

    def __init__(self, call: Call, outbox: str) -> None:
        self.call: Call | None = call
        self.outbox = Outbox(outbox)

    def waiting(self) -> list[str]:
        return [self.call.id] if self.call else []

    def is_waiting(self, call: Call) -> bool:
        return self.call is not None

    def read(self, name: str) -> Call:
        if not self.call:
            raise FileNotFoundError(name)
        return self.call

    def put(self, call: Call) -> None:
        """Nothing to be done: it is the same object."""

    def remove(self, call: Call) -> None:
        self.call = None

    def fail(self, call: Call) -> None:
        self.call = None

    def reject(self, name: str, reason: str) -> None:
        self.call = None

    def tell(self, call: Call, **answer: object) -> None:
        """Nobody waits; but with what can't be sent yet the outbox is tried again."""
        if answer.get("status") == "QUEUED":
            with contextlib.suppress(OSError):
                self.outbox.put(call)
                self.call = None
                ring(self.outbox.path)

    def resource(self) -> str:
        return f"screen-pop-{os.urandom(4).hex()}"
