"""The messages that a later event of a call becomes: `answered`, `missed`, `busy`, `voicemail`.

Of those who follow a message that has been sent, the recipient is told the first; of those that come while the message
waits, the last, and in that message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..call import EVENTS, Call, tie
from ..phonebook.lookup import Lookup
from ..spool.records import NO_RECIPIENT, Message

REPEATED = 60.0  # seconds in which a call with the same tie is no other call: its sender has tried again


def related(event: Call) -> list[str]:
    """The calls that it follows, or that it may be a repetition of: their ids, or what ties their events (call.py)."""
    return event.follows.split("&") if event.follows else list(filter(None, [tie(event.id)]))


def is_repeated(event: Call, firsts: Iterable[tuple[str, Message]]) -> bool:
    """Whether a call that comes has been told before. `firsts`: the first messages of the related calls."""
    return event.event == EVENTS[0] and any(first.call.seconds_until(event) < REPEATED for _, first in firsts)


def settle_outcome(event: Call, firsts: Iterable[tuple[str, Message]]) -> None:
    """`ended`, of which the door doesn't know more, is `answered` if that was told before, and `missed` if not."""
    if event.event != "ended":
        return
    told = [first.outcome or first.call for _, first in firsts]
    answered = next((before for before in told if before.event == "answered"), None)
    if not answered:
        event.event = "missed"
        return
    event.event, event.peer = "answered", event.peer or answered.peer
    event.talked = answered.talked if answered.talked >= 0 else answered.seconds_until(event)


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
        if tie(event.id) and not first.outcome and _said(first.call) == _said(event):  # its sender has tried again
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


def _said(event: Call) -> tuple[str, str, float]:
    return event.event, event.peer, event.talked
