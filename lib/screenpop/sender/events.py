"""The messages that a later event of a call becomes: `answered`, `missed`, `busy`, `voicemail`.

Of those who follow a message that has been sent, the recipient is told the first; of those that come while the message
waits, the last, and in that message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..call import Call
from ..phonebook.lookup import Lookup
from ..spool.records import NO_RECIPIENT, Message


def followed(event: Call) -> list[str]:
    """The ids of the calls that it follows."""
    return event.follows.split("&") if event.follows else []


def messages(
    event: Call, firsts: Iterable[tuple[str, Message]], lookup: Lookup, has_second: Callable[[Message], bool]
) -> list[Message]:
    """`firsts`: the first messages of the calls, each with its folder. `lookup`: what the phone book knows by now, of
    one of the callers; or of the event's number, which may be that of who has answered. A message that has failed keeps
    its reason, and tells of the outcome if it is ever sent again.
    """
    found = []
    for folder, first in firsts:
        if first.outcome and not first.outcome.seconds_until(event):  # taken in before a kill, or older
            continue
        known = first.contact
        if first.call.number == lookup.number.written and (contact := lookup.contact()) is not None:
            known = {**(known or {}), **contact}
        if folder == "sent" and not first.is_silent:
            if not has_second(first):
                found.append(Message(first.call, first.to, "", known, event, is_second=True))
        elif first.to != NO_RECIPIENT:
            reason = "" if folder != "failed" else first.reason or "it has failed before"
            found.append(Message(first.call, first.to, reason, known, event))
    return found
