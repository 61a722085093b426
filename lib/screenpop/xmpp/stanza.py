"""The message stanza that carries a pop (RFC 6121 section 5)."""

from __future__ import annotations

import time

from .xmpppy import simplexml

NS_DELAY = "urn:xmpp:delay"  # XEP-0203
NS_IDS = "urn:xmpp:sid:0"  # XEP-0359: the origin-id stays the same if a server or a room changes the stanza's id
NS_RECEIPTS = "urn:xmpp:receipts"  # XEP-0184


def chat(
    stanza_id: str, to: str, body: str, age: float | None = None, receipt: bool = False, in_room: bool = False
) -> str:
    """`age`: seconds that the message has waited, for a delay stamp; None: no stamp. `receipt`: request a receipt.
    `in_room`: to a room (XEP-0045), where history has stamps, and nobody confirms receipts.
    """
    kind = "groupchat" if in_room else "chat"
    escape = simplexml.XMLescape
    xml = f'<message to="{escape(to)}" type="{kind}" id="{escape(stanza_id)}"><body>{escape(body)}</body>'
    xml += f'<origin-id xmlns="{NS_IDS}" id="{escape(stanza_id)}"/>'
    if age is not None and not in_room:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        xml += f'<delay xmlns="{NS_DELAY}" stamp="{stamp}"/>'
    if receipt and not in_room:
        xml += f'<request xmlns="{NS_RECEIPTS}"/>'
    return f"{xml}</message>"
