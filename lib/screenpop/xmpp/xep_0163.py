"""What an account publishes about itself: PEP (XEP-0163), by PubSub (XEP-0060)."""

from __future__ import annotations

from typing import Any

from .session import Session
from .stream import stanza_error
from .xmpppy import protocol

NS_PUBSUB = "http://jabber.org/protocol/pubsub"


class NoPEP(Exception):
    """The server refuses; the argument is its reason."""


def published(session: Session, node: str) -> Any:
    """The payload of the newest item of our node, None if there is none. Raises NoPEP and SessionError."""
    items = protocol.Node("items", attrs={"node": node, "max_items": "1"})
    response = _request(session, "get", items)
    if response.getType() != "result":
        condition = stanza_error(response)[1]
        if condition == "item-not-found":
            return None
        raise NoPEP(condition)
    pubsub = response.getTag("pubsub", namespace=NS_PUBSUB)
    found = pubsub and pubsub.getTag("items")
    item = found and found.getTag("item")
    payload = item.getChildren() if item else []
    return payload[0] if payload else None


def publish(session: Session, node: str, item_id: str, payload: Any) -> None:
    """Raises NoPEP and SessionError."""
    item = protocol.Node("item", attrs={"id": item_id}, payload=[payload])
    response = _request(session, "set", protocol.Node("publish", attrs={"node": node}, payload=[item]))
    if response.getType() != "result":
        raise NoPEP(stanza_error(response)[1])


def _request(session: Session, kind: str, what: Any) -> Any:
    pubsub = protocol.Node("pubsub", attrs={"xmlns": NS_PUBSUB}, payload=[what])
    return session.request(protocol.Protocol("iq", typ=kind, payload=[pubsub]), "PEP")
