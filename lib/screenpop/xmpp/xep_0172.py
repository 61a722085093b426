"""The nickname of an account (XEP-0172)."""

from __future__ import annotations

from typing import Any

from . import xep_0163
from .session import Session
from .xmpppy import protocol

NS_NICK = "http://jabber.org/protocol/nick"


def element(name: str) -> Any:
    """For a subscription request (section 4.2) and for PEP."""
    return protocol.Node("nick", attrs={"xmlns": NS_NICK}, payload=[name])


def publish(session: Session, name: str) -> bool:
    """Publish the name if it isn't yet (section 4.5). Returns whether it was changed. Raises NoPEP and SessionError."""
    present = xep_0163.published(session, NS_NICK)
    if present and present.getData() == name:
        return False
    xep_0163.publish(session, NS_NICK, "current", element(name))
    return True
