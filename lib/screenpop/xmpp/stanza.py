"""The message stanza that carries a pop (RFC 6121 section 5)."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from ..call import Call
from .xmpppy import protocol

NS_DELAY = "urn:xmpp:delay"  # XEP-0203
NS_IDS = "urn:xmpp:sid:0"  # XEP-0359: the origin-id stays the same where a server or a room gives another id
NS_RECEIPTS = "urn:xmpp:receipts"  # XEP-0184


def stanza_id(call: Call, recipient: str) -> str:
    """The same for each attempt at the same pop, so that a repeat can be recognised."""
    return f"{call.id}-{hashlib.sha256(recipient.encode()).hexdigest()[:8]}"


def pop(call: Call, recipient: str, text: str, age: float | None = None) -> Any:
    """`age`: seconds for which it has waited, if that should be said."""
    own_id = stanza_id(call, recipient)
    message = protocol.Message(to=recipient, typ="chat", body=text, attrs={"id": own_id})
    message.addChild("origin-id", attrs={"id": own_id}, namespace=NS_IDS)
    if age is not None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        message.addChild("delay", attrs={"stamp": stamp}, namespace=NS_DELAY)
    if call.receipt:
        message.addChild("request", namespace=NS_RECEIPTS)
    return message
