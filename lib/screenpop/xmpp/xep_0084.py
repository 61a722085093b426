"""The picture of an account (XEP-0084), a PNG."""

from __future__ import annotations

import base64
import hashlib
import struct

from . import xep_0163
from .session import Session
from .xmpppy import protocol

NS_DATA = "urn:xmpp:avatar:data"
NS_METADATA = "urn:xmpp:avatar:metadata"


def sha1(picture: bytes) -> str:
    """The id of a picture (section 4.2)."""
    return hashlib.sha1(picture, usedforsecurity=False).hexdigest()


def published(session: Session) -> str:
    """The id of the picture that the account has, empty if it has none. Raises NoPEP and SessionError."""
    metadata = xep_0163.published(session, NS_METADATA)
    info = metadata and metadata.getTag("info")
    return (info and info.getAttr("id")) or ""


def publish(session: Session, picture: bytes) -> None:
    """The data first: the metadata is what is announced (section 3.1). Raises NoPEP and SessionError."""
    width, height = struct.unpack(">II", picture[16:24])  # of PNG's first chunk, IHDR
    data = protocol.Node("data", attrs={"xmlns": NS_DATA}, payload=[base64.b64encode(picture).decode()])
    info = protocol.Node(
        "info",
        attrs={
            "id": sha1(picture),
            "bytes": str(len(picture)),
            "type": "image/png",
            "width": str(width),
            "height": str(height),
        },
    )
    xep_0163.publish(session, NS_DATA, sha1(picture), data)
    xep_0163.publish(
        session, NS_METADATA, sha1(picture), protocol.Node("metadata", attrs={"xmlns": NS_METADATA}, payload=[info])
    )
