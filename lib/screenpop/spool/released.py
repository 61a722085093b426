"""The spool's format of version 0.1, in which a call's file also told who had been told and why others had not.

Such files may be there after an upgrade: in new/, and in failed/, which had the whole call in one file.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ..text import clean
from . import records
from .queue import Queue
from .records import NO_RECIPIENT, InvalidFile, Message

NOT_KNOWN = "whoever is configured"  # the recipient of a call that was given up while there was no configuration
_CALL = re.compile(r"\d+\.\d+-[0-9a-f]+\.json")


def outcomes(record: Any) -> tuple[set[str], dict[str, str]]:
    """The recipients who were told, and the reasons of those who never can be, of a call's JSON object."""
    delivered, failed = record.get("delivered"), record.get("failed")
    return (
        {to for to in delivered if isinstance(to, str)} if isinstance(delivered, list) else set(),
        {
            clean(to, limit=8192): clean(reason, limit=1000)
            for to, reason in (failed.items() if isinstance(failed, dict) else ())
            if isinstance(reason, str)
        },
    )


def convert_failed(queue: Queue) -> None:
    """Make messages of the calls in failed/, so that `screen-pop status --retry` can send them. Raises OSError."""
    folder = f"{queue.path}/failed"
    for name in filter(_CALL.fullmatch, os.listdir(folder)):
        path = f"{folder}/{name}"
        try:
            record = records.read(path)
            call = records.call_from(record, path)
        except (InvalidFile, FileNotFoundError):
            continue
        reasons = outcomes(record)[1] or {NOT_KNOWN: "failed in version 0.1"}
        messages = [Message(call, NO_RECIPIENT if to == NOT_KNOWN else to, reason) for to, reason in reasons.items()]
        queue.replace_failed(name, messages)
