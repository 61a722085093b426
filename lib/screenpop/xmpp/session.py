"""The XMPP session: signs in, sends messages, and knows which of them the server has taken (RFC 6120)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

from ..call import uptime
from ..text import clean
from . import jid, resolver, tls
from .errors import LOG_ADVICE, MechanismRefused, SeeOtherHost, SessionError, together
from .options import XmppOptions
from .sasl import SASL
from .stanza import NS_RECEIPTS
from .stream import Client, stanza_error
from .tcp import TCPsocket
from .xmpppy import protocol

STEP_DEADLINE = 10.0  # seconds for each step of the sign-in, and for the server's confirmation
KEEP_ALIVE = 15.0  # seconds of silence after which the server is asked whether it is still there
REDIRECTIONS = 3  # of one sign-in
NS_PING = "urn:xmpp:ping"  # XEP-0199
NS_BIND = protocol.NS_BIND

OnStep = Callable[[str, str], object]
OnError = Callable[[str, str, str, str], None]
OnReceipt = Callable[[str, str], None]


class Session:
    """A session with the server of `config.jid`, signed in when the constructor returns. Methods raise SessionError.

    `on_step(step, detail)` is told of each step of the sign-in. After it, `on_error(stanza id, JID, type, reason)` of
    each message that comes back, now or later, and `on_receipt(stanza id, JID)` of each one that a client confirms.
    `elsewhere`: the host to which the server has sent us when it ended the session before.
    """

    def __init__(
        self,
        config: XmppOptions,
        resource: str,
        on_step: OnStep,
        on_error: OnError,
        on_receipt: OnReceipt,
        elsewhere: str = "",
    ) -> None:
        self.config, self.on_step, self.on_error, self.on_receipt = config, on_step, on_error, on_receipt
        self.domain = config.jid.domain
        found = [*resolver.elsewhere(elsewhere), *resolver.find(self.domain, config.server)]
        on_step("DNS", ", ".join(map(str, found)))
        self._follow(found, resource)
        self.client.signed_in()
        self.client.RegisterHandler("message", self._message)
        self.since = time.time()
        self.asked = 0.0  # by the uptime: when the server was last asked whether it is still there

    def _follow(self, found: list[resolver.Host], resource: str) -> None:
        """Sign in at one of these hosts, or at one that they send us to; the hosts that are left come after that."""
        self.failures: list[SessionError] = []  # of hosts that could not be used
        redirections: list[SeeOtherHost] = []
        while found:
            try:
                self._sign_in(found, resource)
                return
            except SeeOtherHost as redirection:
                self.on_step("redirection", redirection.what)
                self.failures.append(redirection)
                redirections.append(redirection)
                followed = resolver.elsewhere(redirection.host) if len(redirections) <= REDIRECTIONS else []
                found = [*followed, *self.untried]
            except SessionError as error:
                unsaid = [redirection.what for redirection in redirections if redirection.what not in error.what]
                what = " | ".join([*unsaid, error.what])
                raise SessionError(error.step, what, error.advice, error.refused) from error
        raise together(self.failures)

    def _sign_in(self, found: list[resolver.Host], resource: str) -> None:
        """A mechanism that the server offers and then refuses is left out in a second stream."""
        try:
            self._sign_in_without(frozenset(), found, resource)
        except MechanismRefused as first:
            try:
                self._sign_in_without(frozenset([first.mechanism]), found, resource)
            except SessionError as second:
                if second.step == "sign-in":
                    what = f"{first.what} | {second.what}"
                    second = SessionError("sign-in", what, second.advice, second.refused)
                raise second from None

    def _sign_in_without(self, refused: frozenset[str], found: list[resolver.Host], resource: str) -> None:
        self.client = self._connect(found)
        try:
            self._authenticate(refused)
            self._bind(resource)
        except BaseException:
            self.client.Connection.disconnect()
            raise

    def _connect(self, found: list[resolver.Host]) -> Client:
        """A stream over verified TLS to the first host with which that works, or the errors of all of them."""
        for place, host in enumerate(found, 1):
            client = Client(self.domain)
            self.untried = found[place:]
            try:
                self._connect_to(client, host)
                self.host = str(host)
                return client
            except SessionError as trouble:
                if "Connection" in client.__dict__:
                    client.Connection.disconnect()
                if isinstance(trouble, SeeOtherHost):
                    raise
                what = trouble.what if host.name in trouble.what else f"{host}: {trouble.what}"
                self.failures.append(SessionError(trouble.step, what, trouble.advice, trouble.refused))
        raise together(self.failures)

    def _connect_to(self, client: Client, host: resolver.Host) -> None:
        ca_file = self.config.ca_file
        context = tls.context(ca_file.path if ca_file else None, host.direct_tls)
        TCPsocket(host).PlugIn(client)
        self.on_step("connection", f"{host} at {client.Connection.peer()}")
        self._begin(client)
        if not host.direct_tls:
            client.start_stream()
            if not client.has_feature("starttls", protocol.NS_TLS):
                advice = "TLS must be switched on at the server; no password is sent without it"
                raise SessionError("TLS", f"{host} offers no TLS", advice, refused=True)
            with client.sending("TLS"):
                tls.TLS().PlugIn(client)
            client.wait(lambda: client.TLS.starttls, "TLS")
            if client.TLS.starttls != "proceed":
                raise SessionError("TLS", f"{host} refuses to start TLS", LOG_ADVICE, refused=True)
        self._begin(client)
        client.Connection.secure(context, self.domain, client.deadline)
        self.on_step("certificate", tls.described(client.Connection.tls))
        client.start_stream()

    def _begin(self, client: Client) -> None:
        client.deadline = time.monotonic() + STEP_DEADLINE

    def _authenticate(self, refused: frozenset[str]) -> None:
        client = self.client
        self._begin(client)
        certificate = client.Connection.tls.getpeercert(binary_form=True)
        sasl = SASL(self.config.jid.local, self.config.password, certificate, refused)
        with client.sending("sign-in"):
            sasl.PlugIn(client)
        client.wait(lambda: sasl.startsasl != "in-process", "sign-in")
        if sasl.startsasl != "success":
            what = f"{self.config.jid} by {sasl.mechanism or 'SASL'}: {sasl.what}"
            if sasl.may_try_another:
                raise MechanismRefused(sasl.mechanism, what, sasl.advice)
            raise SessionError("sign-in", what, sasl.advice, refused=not sasl.temporary)
        self.on_step("sign-in", f"{self.config.jid} by {sasl.mechanism}")
        self._begin(client)
        client.start_stream()

    def _bind(self, resource: str) -> None:
        """RFC 6120 section 7; and RFC 3921's session where a server still insists on it."""
        client = self.client
        self._begin(client)
        answer = self._ask_for(resource)
        if answer.getType() != "result" and stanza_error(answer)[1] == "conflict":
            # a session that has died, and that the server would rather keep than replace (section 7.7.2.2)
            answer = self._ask_for(f"{resource}-{os.urandom(2).hex()}")
        if answer.getType() != "result":
            _, condition, text = stanza_error(answer)
            raise SessionError("bind", f"the server says {condition} {text}".strip(), LOG_ADVICE, refused=True)
        bound = answer.getTag("bind", namespace=NS_BIND)
        self.jid = clean((bound and bound.getTagData("jid")) or f"{self.config.jid}/{resource}", limit=jid.LONGEST)
        session = client.has_feature("session", protocol.NS_SESSION)
        if session and not session.getTag("optional"):
            client.ask(
                protocol.Protocol(
                    "iq", typ="set", payload=[protocol.Node("session", attrs={"xmlns": protocol.NS_SESSION})]
                ),
                "bind",
            )
        self.on_step("bind", self.jid)

    def _ask_for(self, resource: str) -> Any:
        wanted = protocol.Node(
            "bind", attrs={"xmlns": NS_BIND}, payload=[protocol.Node("resource", payload=[resource])]
        )
        return self.client.ask(protocol.Protocol("iq", typ="set", payload=[wanted]), "bind")

    def fileno(self) -> int:
        return int(self.client.Connection.fileno())

    def send(self, message: Any) -> None:
        self._begin(self.client)
        with self.client.sending("message"):
            self.client.send(message)

    def confirm(self) -> None:
        """Return when the server has taken all that was sent: it handles stanzas in order, and this is its answer to a
        ping sent behind them (XEP-0199), be it a result or an error. Messages that it bounced have come before that.
        """
        self._begin(self.client)
        self.client.ask(self._ping(), "message")

    def _ping(self) -> Any:
        return protocol.Protocol(
            "iq", typ="get", to=self.domain, payload=[protocol.Node("ping", attrs={"xmlns": NS_PING})]
        )

    def keep_alive(self) -> float:
        """Ask a server that has been silent whether it is still there. Returns the seconds until this is due again.

        Raises SessionError when it has said nothing at all since; also when nobody has listened for so long,
        because this process or the whole machine was stopped.
        """
        silent = uptime() - self.client.heard
        if silent >= KEEP_ALIVE + STEP_DEADLINE:
            raise SessionError("session", f"nothing from the server for {silent:.0f} s", LOG_ADVICE)
        if silent < KEEP_ALIVE:
            return KEEP_ALIVE - silent
        if self.asked < self.client.heard:
            self.asked = uptime()
            self.send(self._ping())
        return KEEP_ALIVE + STEP_DEADLINE - silent

    @property
    def elsewhere(self) -> str:
        """The host to which the server has sent us, if it has."""
        condition, text = self.client.stream_error or ("", "")
        return text if condition == "see-other-host" else ""

    def process(self) -> None:
        """Handle what has come in."""
        self._begin(self.client)
        self.client.process(0, "session")

    def close(self) -> None:
        """End the stream, without waiting for the server to do the same."""
        self._begin(self.client)
        with contextlib.suppress(OSError):
            self.client.send("</stream:stream>")
        self.client.Connection.disconnect()

    def _message(self, conn: Any, message: Any) -> None:
        if message.getType() == "error" and message.getID():
            kind, condition, text = stanza_error(message)
            # RFC 6120 section 8.1.2.1: what names no sender comes from our own account
            sender = self.config.jid if message.getFrom() is None else message.getFrom()
            self.on_error(message.getID(), str(sender), kind, f"{condition}: {text}" if text else condition)
        received = message.getTag("received", namespace=NS_RECEIPTS)
        if received and message.getType() != "error":
            self.on_receipt(received.getAttr("id") or "", str(message.getFrom()))
        raise protocol.NodeProcessed
