"""Service discovery: what an address is (XEP-0030 section 3)."""

from __future__ import annotations

from typing import Any

from .xmpppy import protocol

NS_INFO = "http://jabber.org/protocol/disco#info"


def request(to: str) -> Any:
    """The iq that asks this address."""
    return protocol.Protocol("iq", typ="get", to=to, payload=[protocol.Node("query", attrs={"xmlns": NS_INFO})])


def categories(response: Any) -> set[str]:
    """Of the identities in a response; empty if it is an error."""
    query = response.getTag("query", namespace=NS_INFO)
    return {tag.getAttr("category") or "" for tag in query.getTags("identity")} if query else set()
