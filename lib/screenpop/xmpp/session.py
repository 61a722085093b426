"""The XMPP session: signs in, sends messages, and waits for the server's confirmation (RFC 6120)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from ..call import uptime
from ..text import clean
from . import jid, resolver, tls
from .errors import LOG_ADVICE, MechanismRefused, SeeOtherHost, SessionError, combined
from .options import XmppOptions
from .sasl import SASL
from .stanza import NS_RECEIPTS
from .stream import Client, stanza_error
from .tcp import TCPsocket
from .xmpppy import protocol

if TYPE_CHECKING:
    from .rooms import Rooms

STEP_DEADLINE = 10.0  # seconds for each step of the sign-in, and for the server's confirmation
KEEP_ALIVE = 15.0  # seconds of silence after which the server gets a ping
REDIRECTIONS = 3  # see-other-host errors that one sign-in follows
NS_PING = "urn:xmpp:ping"  # XEP-0199
NS_BIND = protocol.NS_BIND

OnStep = Callable[[str, str], object]
OnError = Callable[[str, str, str, str], None]
OnReceipt = Callable[[str, str], None]


class Session:
    """A session with the server of `config.jid`, signed in when the constructor returns. Methods raise SessionError.

    `on_step(step, detail)` is called after each step of the sign-in, `on_error(stanza id, JID, type, reason)` for each
    error to a message, and `on_receipt(stanza id, JID)` when a client confirms a message (XEP-0184).
    `redirected_to`: the host that the server named when it ended the previous session, if it did. `on_host()` is called
    before each host that is tried, which takes up to 90 s.
    """

    def __init__(
        self,
        config: XmppOptions,
        resource: str,
        on_step: OnStep,
        on_error: OnError,
        on_receipt: OnReceipt,
        redirected_to: str = "",
        on_host: Callable[[], object] = lambda: None,
    ) -> None:
        self.config, self.on_step, self.on_error, self.on_receipt = config, on_step, on_error, on_receipt
        self.on_host = on_host
        self.domain = config.jid.domain
        hosts = [*resolver.redirected_hosts(redirected_to), *resolver.find(self.domain, config.server)]
        on_step("DNS", ", ".join(map(str, hosts)))
        self._follow_redirections(hosts, resource)
        self.client.signed_in()
        self.client.RegisterHandler("message", self._message)
        self._rooms: Rooms | None = None
        self.since = time.time()
        self.pinged = 0.0  # when the server was last sent a ping, by uptime()

    def _follow_redirections(self, hosts: list[resolver.Host], resource: str) -> None:
        """Sign in at one of these hosts, or at a host that one of them names. The others are tried after it."""
        self.failures: list[SessionError] = []  # of the hosts that could not be used
        redirections: list[SeeOtherHost] = []
        while hosts:
            try:
                self._sign_in(hosts, resource)
                return
            except SeeOtherHost as redirection:
                self.on_step("redirection", redirection.what)
                self.failures.append(redirection)
                redirections.append(redirection)
                followed = resolver.redirected_hosts(redirection.host) if len(redirections) <= REDIRECTIONS else []
                hosts = [*followed, *self.untried]
            except SessionError as error:
                missing = [redirection.what for redirection in redirections if redirection.what not in error.what]
                what = " | ".join([*missing, error.what])
                raise SessionError(error.step, what, error.advice, error.refused) from error
        raise combined(self.failures)

    def _sign_in(self, hosts: list[resolver.Host], resource: str) -> None:
        """If the server refuses a mechanism that it offers, try once more without that mechanism, in a new stream."""
        try:
            self._sign_in_without(frozenset(), hosts, resource)
        except MechanismRefused as first:
            try:
                self._sign_in_without(frozenset([first.mechanism]), hosts, resource)
            except SessionError as second:
                if second.step == "sign-in":
                    what = f"{first.what} | {second.what}"
                    second = SessionError("sign-in", what, second.advice, second.refused)
                raise second from None

    def _sign_in_without(self, refused: frozenset[str], hosts: list[resolver.Host], resource: str) -> None:
        self.client = self._connect(hosts)
        try:
            self._authenticate(refused)
            self._bind(resource)
        except BaseException:
            self.client.Connection.disconnect()
            raise

    def _connect(self, hosts: list[resolver.Host]) -> Client:
        """A stream over verified TLS to the first host that accepts one. Raises the errors of all hosts as one."""
        for number, host in enumerate(hosts, 1):
            self.on_host()
            client = Client(self.domain)
            self.untried = hosts[number:]
            try:
                self._connect_to(client, host)
                self.host = str(host)
                return client
            except SessionError as error:
                if "Connection" in client.__dict__:
                    client.Connection.disconnect()
                if isinstance(error, SeeOtherHost):
                    raise
                what = error.what if host.name in error.what else f"{host}: {error.what}"
                self.failures.append(SessionError(error.step, what, error.advice, error.refused))
        raise combined(self.failures)

    def _connect_to(self, client: Client, host: resolver.Host) -> None:
        ca_file = self.config.ca_file
        context = tls.context(ca_file.path if ca_file else None, host.direct_tls)
        TCPsocket(host).PlugIn(client)
        self.on_step("connection", f"{host} at {client.Connection.peer()}")
        self._start_deadline(client)
        if not host.direct_tls:
            client.start_stream()
            if not client.has_feature("starttls", protocol.NS_TLS):
                advice = "switch TLS on at the server; no password is sent without it"
                raise SessionError("TLS", f"{host} offers no TLS", advice, refused=True)
            with client.sending("TLS"):
                tls.TLS().PlugIn(client)
            client.wait(lambda: client.TLS.starttls, "TLS")
            if client.TLS.starttls != "proceed":
                raise SessionError("TLS", f"{host} refuses to start TLS", LOG_ADVICE, refused=True)
        self._start_deadline(client)
        client.Connection.secure(context, self.domain, client.deadline)
        self.on_step("certificate", tls.described(client.Connection.tls))
        client.start_stream()

    def _start_deadline(self, client: Client) -> None:
        client.deadline = time.monotonic() + STEP_DEADLINE

    def _authenticate(self, refused: frozenset[str]) -> None:
        client = self.client
        self._start_deadline(client)
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
        self._start_deadline(client)
        client.start_stream()

    def _bind(self, resource: str) -> None:
        """RFC 6120 section 7, and RFC 3921's session if the server requires one."""
        client = self.client
        self._start_deadline(client)
        response = self._request_binding(resource)
        if response.getType() != "result" and stanza_error(response)[1] == "conflict":
            # The server keeps a dead session of ours instead of replacing it (section 7.7.2.2).
            response = self._request_binding(f"{resource}-{os.urandom(2).hex()}")
        if response.getType() != "result":
            _, condition, text = stanza_error(response)
            raise SessionError("bind", f"the server says {condition} {text}".strip(), LOG_ADVICE, refused=True)
        bound = response.getTag("bind", namespace=NS_BIND)
        self.jid = clean((bound and bound.getTagData("jid")) or f"{self.config.jid}/{resource}", limit=jid.LONGEST)
        session = client.has_feature("session", protocol.NS_SESSION)
        if session and not session.getTag("optional"):
            client.request(
                protocol.Protocol(
                    "iq", typ="set", payload=[protocol.Node("session", attrs={"xmlns": protocol.NS_SESSION})]
                ),
                "bind",
            )
        self.on_step("bind", self.jid)

    def _request_binding(self, resource: str) -> Any:
        bind = protocol.Node("bind", attrs={"xmlns": NS_BIND}, payload=[protocol.Node("resource", payload=[resource])])
        return self.client.request(protocol.Protocol("iq", typ="set", payload=[bind]), "bind")

    def fileno(self) -> int:
        return int(self.client.Connection.fileno())

    def request(self, iq: Any, step: str) -> Any:
        """Send an iq and return its response, a result or an error."""
        self._start_deadline(self.client)
        return self.client.request(iq, step)

    @property
    def rooms(self) -> Rooms:
        if self._rooms is None:
            from .rooms import Rooms  # here: most boxes have none

            self._rooms = Rooms(self.client, self.config.jid, self.on_error)
        return self._rooms

    def send(self, message: Any) -> None:
        self._start_deadline(self.client)
        with self.client.sending("message"):
            self.client.send(message)

    def confirm(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Return when the server has accepted all that was sent: it handles stanzas in order, so its response to a ping
        (XEP-0199), a result or an error, means that it has handled everything before the ping. Its errors to these
        messages arrive before that response. Only rooms may not have confirmed theirs (`awaited`).
        `meanwhile` is called while the server works.
        """
        self._start_deadline(self.client)
        responses = self.client.begin_request(self._ping(), "message")
        meanwhile()
        self.client.wait(lambda: responses, "message")
        if self._rooms:
            self._rooms.accepted()

    def awaited(self) -> Collection[str]:
        """The ids of the messages that rooms may still send back. `keep_alive` calls `on_error` for a silent room."""
        return self._rooms.awaited() if self._rooms else ()

    def _ping(self) -> Any:
        return protocol.Protocol(
            "iq", typ="get", to=self.domain, payload=[protocol.Node("ping", attrs={"xmlns": NS_PING})]
        )

    def keep_alive(self) -> float:
        """Send a ping to a server that has been silent, and wait no longer for rooms that are. Returns the seconds
        until this is due again.

        Raises SessionError if nothing has arrived since the ping, or if this process or the whole machine was stopped
        for that long.
        """
        due = self._rooms.tend() if self._rooms else KEEP_ALIVE
        silent = uptime() - self.client.last_received
        if silent >= KEEP_ALIVE + STEP_DEADLINE:
            raise SessionError("session", f"nothing from the server for {silent:.0f} s", LOG_ADVICE)
        if silent < KEEP_ALIVE:
            return min(due, KEEP_ALIVE - silent)
        if self.pinged < self.client.last_received:
            self.pinged = uptime()
            self.send(self._ping())
        return min(due, KEEP_ALIVE + STEP_DEADLINE - silent)

    @property
    def redirected_to(self) -> str:
        """The host that the server named in see-other-host, if it ended the session with that error."""
        condition, text = self.client.stream_error or ("", "")
        return text if condition == "see-other-host" else ""

    def process(self, seconds: float = 0.0) -> None:
        """Handle what has arrived; wait for it at most `seconds`."""
        self._start_deadline(self.client)
        self.client.process(seconds, "session")

    def close(self) -> None:
        """End the stream without waiting for the server's answer."""
        self._start_deadline(self.client)
        with contextlib.suppress(OSError):
            if self._rooms:
                self._rooms.leave()
            self.client.send("</stream:stream>")
        self.client.Connection.disconnect()

    def _message(self, conn: Any, message: Any) -> None:
        if self._rooms and self._rooms.takes(message):
            raise protocol.NodeProcessed
        if message.getType() == "error" and message.getID():
            kind, condition, text = stanza_error(message)
            # RFC 6120 section 8.1.2.1: a stanza without `from` comes from our own account
            sender = self.config.jid if message.getFrom() is None else message.getFrom()
            self.on_error(message.getID(), str(sender), kind, f"{condition}: {text}" if text else condition)
        received = message.getTag("received", namespace=NS_RECEIPTS)
        if received and message.getType() != "error":
            self.on_receipt(received.getAttr("id") or "", str(message.getFrom()))
        raise protocol.NodeProcessed
