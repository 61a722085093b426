"""Runs `screen-pop serve` in the box, and writes when each step of a pop is done to the file TIMES (where.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from screenpop.doors.asterisk import Conversation
from screenpop.doors.fastagi import Connection
from screenpop.doors.intake import HandedOver
from screenpop.sender.intake import Intake
from screenpop.xmpp.session import Session

TIMES = "/tmp/times"
FILE = os.open(TIMES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def mark(step: str) -> None:
    os.write(FILE, f"{time.time():.6f} {step}\n".encode())


def trace(owner: Any, name: str, before: str = "", after: str = "") -> None:
    """Mark a step at the begin of this method, another one when it returns something else than nothing."""
    method: Callable[..., Any] = getattr(owner, name)

    def traced(*arguments: Any, **named: Any) -> Any:
        if before:
            mark(before)
        result = method(*arguments, **named)
        if after and (result is None or result):
            mark(after)
        return result

    setattr(owner, name, traced)


trace(Connection, "__init__", "Asterisk has connected")
trace(Conversation, "__init__", "Asterisk has described the call")
trace(HandedOver, "__init__", "Asterisk has replied", "the call is in the spool")
trace(Connection, "end", after="the dialplan goes on")
trace(Intake, "take_in_at_once", after="the message is made")
trace(Session, "send", "its stanza is made", "its stanza is sent")
