"""The messages that a later event of a call becomes: `answered`, `missed`, `busy`, `voicemail`.

If the call's message has been sent, the first later event corrects it. If it still waits, the last one is in its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..call import EVENTS, Call, tie
from ..phonebook.lookup import Lookup
from ..pop.routes import Route
from ..spool.records import NO_RECIPIENT, Message
from ..xmpp import jid

REPEATED = 60.0  # seconds in which a call with the same tie is no other call: its sender has tried again


def related(event: Call) -> list[str]:
    """The calls that it follows, or that it may be a repetition of: their ids, or what ties their events (call.py)."""
    return event.follows.split("&") if event.follows else list(filter(None, [tie(event.id)]))


def is_repeated(event: Call, firsts: Iterable[tuple[str, Message]]) -> bool:
    """Whether a call that comes has been told before. `firsts`: the first messages of the related calls."""
    return event.event == EVENTS[0] and any(first.call.seconds_until(event) < REPEATED for _, first in firsts)


def settle_outcome(event: Call, firsts: Iterable[tuple[str, Message]]) -> None:
    """`ended`, of which the door doesn't know more, is `answered` if that came before, and `missed` if not."""
    if event.event != "ended":
        return
    known = [one for _, first in firsts for one in (first.outcome, first.answered, first.call) if one]
    answered = next((before for before in known if before.event == "answered"), None)
    if not answered:
        event.event = "missed"
        return
    event.event, event.peer = "answered", event.peer or answered.peer
    event.talked = answered.talked if answered.talked >= 0 else answered.seconds_until(event)


def messages(
    event: Call,
    firsts: Sequence[tuple[str, Message]],
    lookup: Lookup,
    has_second: Callable[[Message], bool],
    route: Route | None = None,
) -> list[Message]:
    """`firsts`: the first messages of the calls, each with its folder. `lookup`: what the phone book knows by now, of
    one of the callers; or of the event's number, which may be that of who has answered. `route`: the event's own
    recipients, if it names some; the others are not told of it. A message that has failed keeps its reason, and tells
    of the outcome if it is ever sent again.
    """
    found = []
    if route:
        found = _to_others(event, [first for _, first in firsts], lookup, route)
        named = set(map(jid.address, [*route.to, *route.invalid]))
        firsts = [(folder, first) for folder, first in firsts if jid.address(first.to) in named]
    for folder, first in firsts:
        if first.outcome and not first.outcome.seconds_until(event):  # taken in before a kill, or older
            continue
        if tie(event.id) and not first.outcome and _said(first.call) == _said(event):  # its sender has tried again
            continue
        known = _known(first, lookup)
        if folder == "sent" and not first.is_silent:
            if not has_second(first):
                found.append(Message(first.call, first.to, "", known, event, is_second=True))
        elif first.to != NO_RECIPIENT:
            reason = "" if folder != "failed" else first.reason or "it has failed before"
            found.append(Message(first.call, first.to, reason, known, event))
    return found


def _to_others(event: Call, firsts: Sequence[Message], lookup: Lookup, route: Route) -> list[Message]:
    """To those who have no message of these calls: of the newest call."""
    told = {jid.address(first.to) for first in firsts}
    others = [to for to in (*route.to, *route.invalid) if jid.address(to) not in told]
    last = max(firsts, key=lambda first: first.call.id)
    return [Message(last.call, to, route.invalid.get(to, ""), _known(last, lookup), event) for to in others]


def _known(first: Message, lookup: Lookup) -> dict[str, str] | None:
    if first.call.number == lookup.number.written and (contact := lookup.contact()) is not None:
        return {**(first.contact or {}), **contact}
    return first.contact


def _said(event: Call) -> tuple[str, str, float]:
    return event.event, event.peer, event.talked
