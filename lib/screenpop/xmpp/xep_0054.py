"""The account's vCard (XEP-0054, vcard-temp), for its name and picture."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from .session import Session
from .stream import stanza_error
from .xmpppy import protocol

NS_VCARD = "vcard-temp"


class NoVCard(Exception):
    """The server refuses; the argument is its reason."""


class VCard:
    """The vCard that the account has. Raises NoVCard and SessionError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        response = self._request("get", protocol.Node("vCard", attrs={"xmlns": NS_VCARD}))
        if response.getType() != "result" and stanza_error(response)[1] != "item-not-found":
            raise NoVCard(stanza_error(response)[1])
        empty = protocol.Node("vCard", attrs={"xmlns": NS_VCARD})
        self._card = (response.getType() == "result" and response.getTag("vCard", namespace=NS_VCARD)) or empty

    @property
    def name(self) -> str:
        """Empty if full name and nickname differ."""
        names = {self._card.getTagData("FN") or "", self._card.getTagData("NICKNAME") or ""}
        return names.pop() if len(names) == 1 else ""

    @property
    def picture(self) -> bytes:
        photo = self._card.getTag("PHOTO")
        try:
            return base64.b64decode((photo and photo.getTagData("BINVAL")) or "")
        except binascii.Error:
            return b"?"

    def change(self, name: str, picture: bytes | None) -> None:
        """Set the name, and the picture unless it is None. The rest stays as it is."""
        self._card.setTagData("FN", name)
        self._card.setTagData("NICKNAME", name)
        if picture is not None:
            photo = self._card.setTag("PHOTO")
            photo.setTagData("TYPE", "image/png")
            photo.setTagData("BINVAL", base64.b64encode(picture).decode())
        response = self._request("set", self._card)
        if response.getType() != "result":
            raise NoVCard(stanza_error(response)[1])

    def _request(self, kind: str, card: Any) -> Any:
        return self._session.request(protocol.Protocol("iq", typ=kind, payload=[card]), "vCard")
