"""A recipient with a contact list, who answers subscription requests when told to."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import slixmpp
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from parts.recipient import Recipient
from parts.waiting import eventually


class Contact(Recipient):
    """`presences`: all in the order of arrival."""

    def presences_of(self, sender: str, kind: str = "") -> list[ET.Element]:
        """Those of one type; "": available."""
        found = (ET.fromstring(str(xml)) for xml in list(self._presences))
        return [one for one in found if (one.get("from") or "").split("/")[0] == sender and one.get("type", "") == kind]

    def wait_for_presence(self, sender: str, kind: str = "") -> ET.Element:
        return eventually(lambda: self.presences_of(sender, kind), lambda: str(self._presences))[0]

    def send_presence(self, to: str, kind: str) -> None:
        self._do(self._send_presence(to, kind))
        self.sync()

    def subscription(self, other: str) -> str:
        """As the server's pushes have it."""
        self.sync()
        return str(self._do(self._roster_item(other)))

    def vcard(self, other: str) -> Any:
        return self._do(self._client.plugin["xep_0054"].get_vcard(slixmpp.JID(other)))["vcard_temp"]

    def change_vcard(self, company: str, photo: bytes) -> None:
        self._do(self._change_vcard(company, photo))

    def published(self, other: str, node: str) -> ET.Element:
        """The newest item."""
        pubsub: Any = self._client.plugin["xep_0060"]
        response = self._do(pubsub.get_items(other, node, max_items=1))
        return ET.fromstring(str(list(response["pubsub"]["items"])[-1]))

    async def _sign_in(self) -> None:
        await super()._sign_in()
        await self._client.get_roster()  # from now on, answers come, too

    def _prepare(self, client: slixmpp.ClientXMPP) -> None:
        roster: Any = client.roster
        roster.auto_authorize = None
        roster.auto_subscribe = False
        for plugin in ("xep_0030", "xep_0054", "xep_0060"):
            client.register_plugin(plugin)
        self._presences: list[str] = []
        client.register_handler(Callback("any presence", MatchXPath("{jabber:client}presence"), self._keep_presence))

    def _keep_presence(self, stanza: StanzaBase) -> None:
        self._presences.append(str(stanza))

    async def _send_presence(self, to: str, kind: str) -> None:
        client: Any = self._client
        client.send_presence(pto=slixmpp.JID(to), ptype=kind)

    async def _roster_item(self, other: str) -> Any:
        return self._client.client_roster[other]["subscription"]

    async def _change_vcard(self, company: str, photo: bytes) -> None:
        plugin = self._client.plugin["xep_0054"]
        card = plugin.make_vcard()
        card["ORG"]["ORGNAME"] = company
        card["PHOTO"]["TYPE"], card["PHOTO"]["BINVAL"] = "image/png", photo
        await plugin.publish_vcard(card)
