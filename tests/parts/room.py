"""A room (XEP-0045) at a real server, made and governed by a recipient who is in it."""

from __future__ import annotations

import asyncio
from typing import Any

import slixmpp

from parts.recipient import Recipient

SETTINGS = "muc#roomconfig_"


class Room:
    """`settings`: of its configuration, without their common prefix. It is persistent unless they say otherwise."""

    def __init__(self, owner: Recipient, jid: str, nick: str = "alice", **settings: Any) -> None:
        self.owner, self.jid, self.nick = owner, jid, nick
        self.nicks: list[str] = []  # of everybody who has come, in order
        self.gone: list[str] = []  # of everybody who has left
        self._changed = asyncio.Condition()
        owner._do(self._make({"persistentroom": True, **settings}))

    def configure(self, **settings: Any) -> None:
        self.owner._do(self._configure(settings))

    def affiliate(self, jid: str, affiliation: str) -> None:
        self.owner._do(self._plugin.set_affiliation(self._jid, affiliation, jid=slixmpp.JID(jid)))

    def kick(self, nick: str) -> None:
        self.owner._do(self._plugin.set_role(self._jid, nick, "none"))

    def mute(self, nick: str) -> None:
        self.owner._do(self._plugin.set_role(self._jid, nick, "visitor"))

    def destroy(self, reason: str = "", place: str = "") -> None:
        self.owner._do(self._plugin.destroy(self._jid, reason, altroom=slixmpp.JID(place) if place else None))

    def say(self, text: str) -> None:
        self.owner._do(self._say(text))

    def wait_until_gone(self, nick: str) -> None:
        self.owner._do(self._wait_until_gone(nick))

    @property
    def _plugin(self) -> Any:
        return self.owner._client.plugin["xep_0045"]

    @property
    def _jid(self) -> slixmpp.JID:
        return slixmpp.JID(self.jid)

    async def _make(self, settings: dict[str, Any]) -> None:
        client = self.owner._client
        client.register_plugin("xep_0045")
        client.add_event_handler(f"muc::{self.jid}::got_online", self._online)
        client.add_event_handler(f"muc::{self.jid}::got_offline", self._offline)
        await self._plugin.join_muc_wait(self._jid, self.nick)
        await self._configure(settings)

    async def _configure(self, settings: dict[str, Any]) -> None:
        form = await self._plugin.get_room_config(self._jid)
        fields = form.get_fields()
        for name, value in settings.items():
            if name != "passwordprotectedroom" or SETTINGS + name in fields:  # Prosody protects a room that has one
                fields[SETTINGS + name]["value"] = value
        form["type"] = "submit"
        await self._plugin.set_room_config(self._jid, form)

    async def _say(self, text: str) -> None:
        self.owner._client.make_message(self._jid, text, mtype="groupchat").send()

    def _online(self, presence: Any) -> None:
        self.nicks.append(presence["from"].resource)

    async def _offline(self, presence: Any) -> None:
        async with self._changed:
            self.gone.append(presence["from"].resource)
            self._changed.notify_all()

    async def _wait_until_gone(self, nick: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: nick in self.gone)
