"""The message stanza that carries a pop (RFC 6121 section 5)."""

from __future__ import annotations

import time
from typing import Any

from .xmpppy import protocol

NS_DELAY = "urn:xmpp:delay"  # XEP-0203
NS_IDS = "urn:xmpp:sid:0"  # XEP-0359: the origin-id stays the same if a server or a room changes the stanza's id
NS_RECEIPTS = "urn:xmpp:receipts"  # XEP-0184


def chat(stanza_id: str, to: str, body: str, age: float | None = None, receipt: bool = False) -> Any:
    """`age`: seconds that the message has waited, for a delay stamp; None: no stamp. `receipt`: request a receipt."""
    message = protocol.Message(to=to, typ="chat", body=body, attrs={"id": stanza_id})
    message.addChild("origin-id", attrs={"id": stanza_id}, namespace=NS_IDS)
    if age is not None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        message.addChild("delay", attrs={"stamp": stamp}, namespace=NS_DELAY)
    if receipt:
        message.addChild("request", namespace=NS_RECEIPTS)
    return message
