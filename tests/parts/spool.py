"""What tests see of a spool, and what they play of a sender."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from screenpop.call import Call
from screenpop.spool import records
from screenpop.spool.outbox import Outbox
from screenpop.spool.records import Message
from screenpop.spool.trigger import Trigger


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """An outbox for which the test plays the sender."""
    made = Outbox(str(tmp_path / "outbox"))
    made.make()
    trigger = Trigger.acquire(made.path)
    assert trigger
    yield made
    trigger.close()
    os.close(trigger.lock)


def files(outbox: Outbox, folder: str) -> list[str]:
    return sorted(os.listdir(f"{outbox.path}/{folder}"))


def calls(outbox: Outbox) -> list[Call]:
    """Those in new/, the oldest first."""
    return [records.read_call(f"{outbox.path}/new/{name}") for name in files(outbox, "new")]


def messages(outbox: Outbox, folder: str) -> list[Message]:
    """Those in queue/, sent/ or failed/, the oldest first."""
    return [records.read_message(f"{outbox.path}/{folder}/{name}") for name in files(outbox, folder)]


def tell(outbox: Outbox, call: Call, **reply: object) -> None:
    """Reply to the door that waits for this call, as the sender does."""
    with Path(outbox.reply_fifo(call.id)).open("ab", buffering=0) as fifo:
        fifo.write(json.dumps(reply).encode() + b"\n")
