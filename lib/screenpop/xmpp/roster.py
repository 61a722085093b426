"""The contact list of the account: the roster and presence subscriptions (RFC 6121 sections 2 and 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from . import jid
from .errors import SessionError
from .limits import OF_A_CONTACT_LIST, OF_A_STANZA
from .session import Session
from .stream import stanza_error
from .xmpppy import protocol

NS_ROSTER = protocol.NS_ROSTER
STEP = "contacts"


class Contact(NamedTuple):
    """What the server knows of a contact. The default is that of an address which isn't in the contact list."""

    subscription: str = "none"  # section 2.1.2.5

    @property
    def has_us(self) -> bool:
        """In the contact list."""
        return self.subscription != "none"

    @property
    def has_accepted(self) -> bool:
        """Our request."""
        return self.subscription in ("to", "both")

    @property
    def is_subscribed(self) -> bool:
        """To our presence, by a request that we have approved."""
        return self.subscription in ("from", "both")


class Roster:
    """What the server knows of `wanted`, bare JIDs. Others are not kept. Methods raise SessionError."""

    def __init__(self, session: Session, wanted: Iterable[str]) -> None:
        self.session = session
        self.contacts = {address: Contact() for address in wanted}
        self.refused: dict[str, str] = {}  # the answers that are a refusal
        self._by_account = {jid.folded(address): address for address in self.contacts}
        session.client.RegisterHandler("iq", self._push, "set", NS_ROSTER)
        session.client.RegisterHandler("presence", self._presence)
        query = protocol.Protocol("iq", typ="get", payload=[protocol.Node("query", attrs={"xmlns": NS_ROSTER})])
        meter = session.client.Dispatcher.meter
        meter.of_a_stanza = OF_A_CONTACT_LIST
        response = session.request(query, STEP)
        meter.of_a_stanza = OF_A_STANZA
        if response.getType() != "result":
            condition = stanza_error(response)[1]
            raise SessionError(STEP, f"the server keeps no contact list: {condition}", "switch it on (mod_roster)")
        self._read(response)
        self.before = dict(self.contacts)

    def appear(self, payload: Iterable[Any]) -> None:
        """Send presence with this payload to the contacts, until the session ends. Its priority is negative, so that no
        messages come here (section 4.7.2.3).
        """
        self.session.send(protocol.Protocol("presence", payload=[protocol.Node("priority", payload=["-1"]), *payload]))

    def approve(self) -> None:
        """Approve the requests of all who are wanted. Nobody else's are ever approved.

        Sent without looking for requests, because ejabberd doesn't show them to a negative priority, and also to those
        who are subscribed, because Prosody doesn't tell them when it approves in advance (section 3.4).
        """
        for address in self.contacts:
            self.session.send(protocol.Protocol("presence", to=address, typ="subscribed"))

    def ask(self, address: str, payload: Iterable[Any]) -> None:
        self.session.send(protocol.Protocol("presence", to=address, typ="subscribe", payload=list(payload)))

    def wait(self, seconds: float, condition: Callable[[], bool]) -> None:
        """Handle what arrives until the condition is true, for that long at most."""
        end = time.monotonic() + seconds
        while not condition() and (left := end - time.monotonic()) > 0:
            self.session.process(left)

    def _read(self, iq: Any) -> None:
        query = iq.getTag("query", namespace=NS_ROSTER)
        for item in query.getTags("item") if query else ():
            address = self._wanted(item.getAttr("jid"))
            if address:
                kind = item.getAttr("subscription")
                self.contacts[address] = Contact(kind if kind in ("to", "from", "both") else "none")

    def _push(self, conn: Any, iq: Any) -> None:
        """Section 2.1.6: only our own account may change the contact list."""
        sender = iq.getFrom()
        if sender is None or str(sender) == str(self.session.config.jid):
            self._read(iq)
            # not by session.send(): while something is read, only an OSError is understood as a lost connection
            self.session.client.send(protocol.Protocol("iq", typ="result", attrs={"id": iq.getID() or ""}))
        raise protocol.NodeProcessed

    def _presence(self, conn: Any, presence: Any) -> None:
        address, kind = self._wanted(str(presence.getFrom() or "")), presence.getType()
        if address and kind == "unsubscribed":
            self.refused[address] = "declined, or there is no such account"
        elif address and kind == "error":
            _, condition, text = stanza_error(presence)
            self.refused[address] = f"{condition}: {text}" if text else condition
        raise protocol.NodeProcessed

    def _wanted(self, address: str | None) -> str | None:
        """Which of the wanted it is."""
        try:
            return self._by_account.get(jid.folded(address or ""))
        except ValueError:
            return None
