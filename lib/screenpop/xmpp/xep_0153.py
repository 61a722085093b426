"""The hash of the vCard's picture in a presence (XEP-0153)."""

from __future__ import annotations

from typing import Any

from . import xep_0084
from .xmpppy import protocol

NS_UPDATE = "vcard-temp:x:update"


def element(picture: bytes) -> Any:
    photo = protocol.Node("photo", payload=[xep_0084.sha1(picture)] if picture else [])
    return protocol.Node("x", attrs={"xmlns": NS_UPDATE}, payload=[photo])
