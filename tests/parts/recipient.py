"""A recipient of calls: an independent XMPP client (slixmpp), signed in, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import slixmpp
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from parts.server import Server

T = TypeVar("T")
R = TypeVar("R", bound="Recipient")

PATIENCE = 15.0
REFUSALS = ("failed_all_auth", "ssl_invalid_chain", "connection_failed", "disconnected")


@dataclass(frozen=True)
class Received:
    from_jid: str
    id: str
    type: str
    body: str
    xml: str
    at: int
    """time.time_ns() on arrival"""


class Recipient:
    """`messages`: all messages in the order of arrival, including carbons, receipts and errors."""

    def __init__(self, jid: str, password: str, host: str, port: int, ca_file: Path, receipts: bool = False) -> None:
        self.jid = jid
        self.messages: list[Received] = []
        self._password = password
        self._address = (host, port)
        self._ca_file = ca_file
        self._receipts = receipts
        self._arrived = threading.Condition()
        self._waited_for = 0

    @classmethod
    def at(cls: type[R], server: Server, user: str = "alice", receipts: bool = False) -> R:
        return cls(server.jid(user), server.accounts[user], server.host, server.port, server.ca_file, receipts)

    def start(self) -> None:
        """Returns when the server knows that we are available. Raises ConnectionError if the sign-in fails."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.jid)
        self._thread.start()
        try:
            self._do(self._sign_in())
            self.sync()
        except asyncio.TimeoutError:
            self._end_thread()
            raise ConnectionError(f"{self.jid} could not sign in within {PATIENCE} s") from None
        except BaseException:
            self._end_thread()
            raise

    def stop(self) -> None:
        try:
            self._do(self._sign_out())
        finally:
            self._end_thread()

    def sync(self) -> None:
        """Wait until everything that the server has already routed to us has arrived.

        It sends stanzas in order (RFC 6120 section 10.1), so a ping to ourselves (XEP-0199) arrives last.
        """
        self._do(self._ping_myself())

    def wait_for_message(self, timeout: float = PATIENCE) -> Received:
        """The first message that hasn't been returned before."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.messages) > self._waited_for, timeout):
                raise TimeoutError(f"{self.jid} got no message within {timeout} s")
            self._waited_for += 1
            return self.messages[self._waited_for - 1]

    def send(self, to: str, body: str, payload: str = "") -> None:
        """`payload`: an element in addition to the body."""
        self._do(self._send(to, body, payload))

    @property
    def mechanism(self) -> str:
        """The SASL mechanism of the sign-in."""
        return str(getattr(self._client.plugin["feature_mechanisms"].mech, "name", ""))

    def __enter__(self: R) -> R:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(what, PATIENCE), self._loop).result()

    def _end_thread(self) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._let_go(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _sign_in(self) -> None:
        self._client = client = slixmpp.ClientXMPP(self.jid, self._password)
        client.ca_certs = self._ca_file
        client.enable_direct_tls = client.enable_plaintext = False
        client.register_plugin("xep_0199")
        if self._receipts:
            client.register_plugin("xep_0184", {"auto_ack": True})
        client.register_handler(Callback("any message", MatchXPath("{jabber:client}message"), self._keep))

        self._prepare(client)
        outcome: asyncio.Queue[str] = asyncio.Queue()
        for event in ("session_start", *REFUSALS):
            client.add_event_handler(event, lambda detail, event=event: outcome.put_nowait(f"{event} {detail}"))
        client.connect(*self._address)
        first = await outcome.get()
        if not first.startswith("session_start"):
            raise ConnectionError(f"{self.jid} could not sign in: {first}")
        client.send_presence()

    def _prepare(self, client: slixmpp.ClientXMPP) -> None:
        """For more than messages; before the sign-in."""

    async def _sign_out(self) -> None:
        await self._client.disconnect()

    async def _let_go(self) -> None:
        """Release what slixmpp still holds; after a normal end this is only a task."""
        with suppress(AttributeError):  # it uses its transport even if that has just been closed
            self._client.abort()
        await asyncio.sleep(0)  # the loop closes aborted transports, and informs slixmpp, in its next round
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ping_myself(self) -> None:
        await self._client.plugin["xep_0199"].send_ping(self._client.boundjid)

    async def _send(self, to: str, body: str, payload: str) -> None:
        message = self._client.make_message(slixmpp.JID(to), body, mtype="chat")
        if payload:
            message.append(ET.fromstring(payload))
        message.send()

    def _keep(self, stanza: StanzaBase) -> None:
        at = time.time_ns()
        received = Received(str(stanza["from"]), stanza["id"], stanza["type"], stanza["body"], str(stanza), at)
        with self._arrived:
            self.messages.append(received)
            self._arrived.notify_all()
