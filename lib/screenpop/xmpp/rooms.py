"""Rooms (XEP-0045): which recipients are rooms, joining them, and the reflections that confirm messages to them.

A room is joined once per session, before the first message to it, and again when we are no longer in it. It sends each
message back to everybody who is in it, the sender included: this reflection is the confirmation. Nothing else that a
room or the people in it send is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Any

from ..text import clean
from . import jid, xep_0030
from .errors import UNCONFIRMED
from .stanza import NS_IDS
from .stream import Client, stanza_error
from .xmpppy import protocol

WAIT = 2.0  # seconds for a domain to say whether it has rooms, and for a room to let us in
REFLECTION = 5.0  # seconds for a room to send a message back, from when our server has taken it
PAUSE = 60.0  # seconds for which a room that was silent gets nothing
REFUSED_FOR = 5.0  # seconds for which a refusal counts: the next messages of a window, but not those after a change
NICKNAMES = 5  # that are tried if others have ours
DEADLINE = 10.0  # seconds to send something, and to read what arrived at the end of a wait
NS_DELAY = "urn:xmpp:delay"  # XEP-0203
NS_MUC = "http://jabber.org/protocol/muc"
NS_MUC_USER = f"{NS_MUC}#user"
NS_MUC_OWNER = f"{NS_MUC}#owner"
OWN_PRESENCE, CREATED, NEW_NICKNAME = "110", "201", "303"  # status codes (section 15.6.2)

# What a room answers when it can't be entered (section 7.2), as the type of error to act on ("wait": try again), and
# the reason. Some servers send other types.
_REFUSALS = {
    "not-authorized": ("auth", "the room's password is missing or wrong; set it in a section with type = room"),
    "registration-required": ("auth", "the room lets only members in; make {account} a member"),
    "forbidden": ("auth", "the room doesn't let {account} in: it is banned, or may not create the room"),
    "service-unavailable": ("wait", "the room is full, or its service is not available"),
    "resource-constraint": ("wait", "the room is full, or its service has too much to do"),
    "item-not-found": ("cancel", "the room doesn't exist; create it, and make it persistent"),
    "not-allowed": ("cancel", "the room doesn't exist, and {account} may not create it"),
    "gone": ("cancel", "the room was destroyed"),
    "redirect": ("cancel", "the room has moved"),
    "not-acceptable": ("cancel", "the room lets {account} in only with the nickname that is registered for it"),
    "conflict": ("wait", "the nicknames that were tried are taken in the room"),
    "remote-server-not-found": ("wait", "the server of the room can't be reached"),
    "remote-server-timeout": ("wait", "the server of the room can't be reached"),
}
_NOT_IN_ROOM = ("not-acceptable", "item-not-found")  # errors to a message from somebody who isn't in the room
OnError = Callable[[str, str, str, str], None]


class NotJoined(Exception):
    """No message can be sent to the room. `type`: as that of an error stanza; "wait" if this can pass."""

    def __init__(self, error_type: str, reason: str) -> None:
        super().__init__(reason)
        self.type, self.reason = error_type, reason


class Room:
    def __init__(self, address: str, password: str) -> None:
        self.jid, self.password = address, password
        self.nick = ""
        self.attempt = 0  # at a nickname
        self.joined = False
        self.join_sent = 0.0  # when it was asked to let us in, by time.monotonic(); 0: not asked
        self.problem: NotJoined | None = None
        self.problem_until = 0.0  # by time.monotonic()
        self.end = ""  # why the room doesn't exist any more

    def fail(self, error_type: str, reason: str, seconds: float) -> None:
        """For that many seconds."""
        self.joined, self.join_sent = False, 0.0
        self.problem, self.problem_until = NotJoined(error_type, reason), time.monotonic() + seconds

    def left(self) -> None:
        """It is joined again before the next message."""
        self.joined, self.join_sent = False, 0.0


class Rooms:
    """The rooms of one session. Methods raise SessionError.

    `account`: ours. `on_error(stanza id, JID, type, reason)`: called for each message that a room doesn't confirm.
    """

    def __init__(self, client: Client, account: jid.JID, on_error: OnError) -> None:
        self.client, self.account, self.on_error = client, account, on_error
        self._domains: dict[str, list[Any]] = {}  # that were asked, with their response
        self._asked: dict[str, float] = {}  # when, by time.monotonic()
        self._rooms: dict[tuple[str, str], Room] = {}  # that were asked to let us in, by their address, folded
        self._candidates: dict[tuple[str, str], Room] = {}  # whose domain was asked
        self._unconfirmed: dict[str, Room] = {}  # by stanza id
        self._deadlines: dict[str, float] = {}  # of those that our server has taken, by time.monotonic()
        client.RegisterHandler("presence", self._presence)

    def prepare(self, recipient: str, password: str) -> None:
        """Ask the server of a recipient whether it has rooms, or the room to let us in. Doesn't wait."""
        self.client.deadline = time.monotonic() + DEADLINE
        address = jid.parse(jid.address(recipient))
        key = jid.folded(str(address))
        room = self._rooms.get(key) or self._candidates.setdefault(key, Room(str(address), password))
        if recipient.startswith(jid.ROOM) or self._has_rooms(address.domain):
            self._join(room)
        elif address.domain not in self._domains or self._should_ask_again(address.domain):
            self._asked[address.domain] = time.monotonic()
            self._domains[address.domain] = self.client.begin_request(xep_0030.request(address.domain), "message")

    def enter(self, recipient: str) -> bool:
        """Whether a recipient that was prepared is a room; then we are in it. Raises NotJoined."""
        address = jid.parse(jid.address(recipient))
        key = jid.folded(str(address))
        if not recipient.startswith(jid.ROOM):
            self._wait(lambda: self._domains[address.domain], self._asked[address.domain] + WAIT)
            if not self._has_rooms(address.domain):
                self._candidates.pop(key, None)
                return False
            for other in list(self._candidates.values()):  # so that all of them answer at the same time
                if jid.domain(other.jid) == address.domain:
                    self._join(other)
        room = self._rooms[key]
        self._join(room)
        self._wait(lambda: not room.join_sent or room.joined, room.join_sent + WAIT)
        if room.joined:
            return True
        if room.problem and time.monotonic() < room.problem_until:
            raise room.problem
        raise NotJoined("wait", "the room doesn't answer")

    def expect(self, stanza_id: str, recipient: str) -> None:
        """A message is sent to a room."""
        self._unconfirmed[stanza_id] = self._rooms[jid.folded(jid.address(recipient))]

    def accepted(self) -> None:
        """Our server has taken all that was sent: the rooms have REFLECTION seconds from now."""
        until = time.monotonic() + REFLECTION
        self._deadlines = {one: self._deadlines.get(one, until) for one in self._unconfirmed}

    def awaited(self) -> Collection[str]:
        """The ids of the messages whose reflections are missing."""
        return self._unconfirmed.keys()

    def tend(self) -> float:
        """Wait no longer for rooms that are silent. Returns the seconds until this is due again."""
        if self._overdue():
            self.client.deadline = time.monotonic() + DEADLINE
            self.client.process(0.0, "message")  # it may have arrived, if this process was stopped
        for room in {self._unconfirmed[one] for one in self._overdue()}:
            reason = "the room has not sent the message back"
            room.fail("wait", reason, PAUSE)
            self._put_off(room, UNCONFIRMED, reason)
        deadlines = (self._deadlines.get(one, math.inf) for one in self._unconfirmed)
        return max(0.0, min(deadlines, default=math.inf) - time.monotonic())

    def _overdue(self) -> list[str]:
        return [one for one in self._unconfirmed if self._deadlines.get(one, math.inf) <= time.monotonic()]

    def leave(self) -> None:
        """Raises OSError."""
        for room in self._rooms.values():
            if room.join_sent:
                self._send_presence(room, "unavailable")

    def takes(self, message: Any) -> bool:
        """Whether a message came from a room, or from somebody in it; a reflection or an error counts."""
        room, nick = self._sender(message)
        if room is None:
            return False
        if message.getType() == "error":
            if not nick:  # not from somebody who is in the room
                self._message_error(room, message)
        elif message.getType() == "groupchat" and nick == room.nick and not _is_history(message):
            origin = message.getTag("origin-id", namespace=NS_IDS)
            for stanza_id in (message.getID(), origin and origin.getAttr("id")):
                if self._unconfirmed.get(stanza_id) is room:
                    del self._unconfirmed[stanza_id]
        return True

    def _has_rooms(self, domain: str) -> bool:
        """If it has answered; an answer that came late counts from then on."""
        return any("conference" in xep_0030.categories(response) for response in self._domains.get(domain, ()))

    def _should_ask_again(self, domain: str) -> bool:
        """An error may mean that its rooms, or the way to them, were down for a moment."""
        has_failed = any(response.getType() == "error" for response in self._domains[domain])
        return has_failed and time.monotonic() > self._asked[domain] + PAUSE

    def _wait(self, condition: Callable[[], Any], until: float) -> None:
        self.client.deadline = max(until, time.monotonic()) + DEADLINE
        while not condition() and (left := until - time.monotonic()) > 0:
            self.client.process(left, "message")

    def _join(self, room: Room) -> None:
        """Ask the room to let us in, unless that has been done, or the room has refused a moment ago."""
        now = time.monotonic()
        if room.join_sent and not room.joined and now > room.join_sent + PAUSE:
            room.left()
        if not (room.joined or room.join_sent or (room.problem and now < room.problem_until)):
            room.problem, room.attempt, room.nick = None, 1, self.account.local
            key = jid.folded(room.jid)
            self._rooms[key] = self._candidates.pop(key, room)
            self._send_join(room)

    def _send_join(self, room: Room) -> None:
        room.join_sent = time.monotonic()
        with self.client.sending("message"):
            self._send_presence(room)

    def _send_presence(self, room: Room, kind: str | None = None) -> None:
        content = []
        if not kind:
            history = protocol.Node("history", attrs={"maxstanzas": "0"})
            password = [protocol.Node("password", payload=[room.password])] if room.password else []
            content = [protocol.Node("x", attrs={"xmlns": NS_MUC}, payload=[history, *password])]
        self.client.send(protocol.Protocol("presence", to=f"{room.jid}/{room.nick}", typ=kind, payload=content))

    def _sender(self, stanza: Any) -> tuple[Room | None, str]:
        """The room from which a stanza comes, and the nickname."""
        address, _, nick = str(stanza.getFrom() or "").partition("/")
        try:
            return self._rooms.get(jid.folded(address)), nick
        except ValueError:
            return None, ""

    def _presence(self, conn: Any, presence: Any) -> None:
        """Ours tells that we are in the room, or no longer. A large room sends thousands of others."""
        room, nick = self._sender(presence)
        if room and room.join_sent:
            user = presence.getTag("x", namespace=NS_MUC_USER)
            codes = {tag.getAttr("code") for tag in user.getTags("status")} if user else set()
            is_ours = nick == room.nick or (OWN_PRESENCE in codes and not room.joined)
            if presence.getType() == "error" and not room.joined:
                self._refused(room, presence)
            elif is_ours and presence.getType() == "unavailable":
                self._ended(room, user, codes)
            elif is_ours and not presence.getType() and not room.joined:
                room.nick = nick
                self._entered(room, codes)
        raise protocol.NodeProcessed

    def _entered(self, room: Room, codes: set[str]) -> None:
        if CREATED not in codes:
            room.joined = True
            return
        # The room didn't exist. Nobody would be told in a new one, so it isn't kept (section 10.1.3).
        cancel = protocol.Node("x", attrs={"xmlns": "jabber:x:data", "type": "cancel"})
        query = protocol.Node("query", attrs={"xmlns": NS_MUC_OWNER}, payload=[cancel])
        self.client.send(protocol.Protocol("iq", typ="set", to=room.jid, payload=[query]))
        self._send_presence(room, "unavailable")
        room.fail("cancel", room.end or self._sentence("item-not-found"), REFUSED_FOR)

    def _refused(self, room: Room, presence: Any) -> None:
        error_type, condition, text = stanza_error(presence)
        if condition == "conflict" and room.attempt < NICKNAMES:
            room.attempt += 1
            room.nick = f"{self.account.local}{room.attempt}"
            self._send_join(room)
            return
        error_type, _ = _REFUSALS.get(condition, (error_type, ""))
        reason = self._sentence(condition)
        place = presence.getTag("error") and presence.getTag("error").getTagData(condition)
        if condition in ("gone", "redirect") and place:
            reason = _moved(place)
        elif condition in ("gone", "item-not-found") and room.end:
            reason = room.end
        room.fail(error_type, f"{reason}: {clean(text, limit=200)}" if text else reason, REFUSED_FOR)

    def _ended(self, room: Room, user: Any, codes: set[str]) -> None:
        """We are no longer in the room."""
        if NEW_NICKNAME in codes:
            room.nick = user.getTagAttr("item", "nick") or room.nick
            return
        destroyed = user.getTag("destroy") if user else None
        if destroyed:
            place = destroyed.getAttr("jid")
            room.end = _moved(place) if place else self._sentence("gone")
            text = clean(destroyed.getTagData("reason") or "", limit=200)
            room.end += f": {text}" if text else ""
            room.fail("cancel", room.end, REFUSED_FOR)
            self._put_off(room, "cancel", room.end)
        else:
            room.left()
            self._put_off(room, "wait", "the room has put us out")

    def _put_off(self, room: Room, error_type: str, reason: str) -> None:
        """All messages to the room that it has not confirmed."""
        for stanza_id in [stanza_id for stanza_id, other in self._unconfirmed.items() if other is room]:
            del self._unconfirmed[stanza_id]
            self.on_error(stanza_id, room.jid, error_type, reason)

    def _message_error(self, room: Room, message: Any) -> None:
        error_type, condition, text = stanza_error(message)
        reason = f"{condition}: {text}" if text else condition
        if condition in _NOT_IN_ROOM:
            room.left()
            error_type, reason = "wait", f"the room has put us out: {reason}"
        elif condition == "forbidden":
            reason = f"the room is moderated; give {self._account} voice: {reason}"
        self._unconfirmed.pop(message.getID(), None)
        self.on_error(message.getID() or "", room.jid, error_type, reason)

    @property
    def _account(self) -> str:
        return str(self.account)

    def _sentence(self, condition: str) -> str:
        _, reason = _REFUSALS.get(condition, ("", f"the room doesn't let {{account}} in: {clean(condition)}"))
        return reason.replace("{account}", self._account)


def _moved(place: str) -> str:
    """`place`: a JID or an XMPP URI (RFC 5122)."""
    address = place[len("xmpp:") :].partition("?")[0] if place.startswith("xmpp:") else place
    return f"the room has moved to {clean(address, limit=200)}; change the recipient"


def _is_history(message: Any) -> bool:
    """A room stamps the messages of the time before we came (section 7.2.13)."""
    return bool(message.getTag("delay", namespace=NS_DELAY))
