"""The message stanza that carries a pop (RFC 6121 section 5)."""

from __future__ import annotations

from .xmpppy import simplexml

NS_CORRECT = "urn:xmpp:message-correct:0"  # XEP-0308
NS_IDS = "urn:xmpp:sid:0"  # XEP-0359: the origin-id stays the same if a server or a room changes the stanza's id
NS_RECEIPTS = "urn:xmpp:receipts"  # XEP-0184


def chat(stanza_id: str, to: str, body: str, receipt: bool = False, replaces: str = "", in_room: bool = False) -> str:
    """`receipt`: request a receipt. `replaces`: the id of the message that this one corrects. `in_room`: to a room
    (XEP-0045), in which nobody confirms receipts.

    There is no delay stamp (XEP-0203): clients hide a message with one that is older than the newest message.
    """
    kind = "groupchat" if in_room else "chat"
    escape = simplexml.XMLescape
    xml = f'<message to="{escape(to)}" type="{kind}" id="{escape(stanza_id)}"><body>{escape(body)}</body>'
    xml += f'<origin-id xmlns="{NS_IDS}" id="{escape(stanza_id)}"/>'
    if replaces:
        xml += f'<replace xmlns="{NS_CORRECT}" id="{escape(replaces)}"/>'
    if receipt and not in_room:
        xml += f'<request xmlns="{NS_RECEIPTS}"/>'
    return f"{xml}</message>"
