"""The messages that a later event of a call becomes: `answered`, `missed`, `busy`, `voicemail`.

Of those who follow a message that has been sent, the recipient is told the first; of those that come while the message
waits, the last, and in that message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Optional

from ..call import Call
from ..spool.records import Message

Contact = Optional[dict[str, str]]


def followed(event: Call) -> list[str]:
    """The ids of the calls that it follows."""
    return event.follows.split("&") if event.follows else []


def messages(
    event: Call, firsts: Iterable[tuple[str, Message]], contact: Contact, has_second: Callable[[Message], bool]
) -> list[Message]:
    """`firsts`: the first messages of the calls, each with its folder. `contact`: what the phone book knows by now."""
    found = []
    for folder, first in firsts:
        known = {**(first.contact or {}), **(contact or {})} if first.contact or contact else contact
        if folder == "sent" and not first.is_silent:
            if not has_second(first):
                found.append(Message(first.call, first.to, "", known, event, is_second=True))
        elif folder != "failed" and (first.outcome is None or first.outcome.time < event.time):
            found.append(Message(first.call, first.to, "", known, event))
    return found
