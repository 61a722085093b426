"""A small XMPP server that makes faults at chosen steps.

Without faults it is a minimal server for one domain: STARTTLS, SASL, resource binding, responses to XEP-0199 pings.
A fault replaces what the server would do at a step of STEPS:

    ScriptedServer(certificate, faults={"features": silent})
    ScriptedServer(certificate, faults={"bind": stream_error("conflict")}, faulty_connections=1)

It records everything that it receives, separately for plain text and TLS.
"""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
import ssl
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import cast
from xml.sax.saxutils import escape, quoteattr

from parts import scram
from parts.certificates import Certificate

SIGN_IN = (
    "connection",
    "stream",
    "features",
    "starttls",
    "tls",
    "stream-after-tls",
    "features-after-tls",
    "sasl-auth",  # the reply to <auth/>: a challenge, if the mechanism has one
    "success",
    "stream-after-sasl",
    "features-after-sasl",
    "bind",
)
STEPS = (*SIGN_IN, "session", "ping", "message", "roster")

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION = "urn:ietf:params:xml:ns:xmpp-session"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAMS = "urn:ietf:params:xml:ns:xmpp-streams"
CHANNEL_BINDING = "urn:xmpp:sasl-cb:0"

ACCOUNTS = {"pbx": "pbx's secret"}
ENDLESS = 50_000_000


class Over(Exception):
    """This conversation has ended."""


class ScriptedServer:
    """`session`: None, "optional" or "required" (RFC 3921); `channel_bindings`: announced by XEP-0440;
    `server_first`: changes the server's first message of SCRAM;
    `bounces`: the error (type, condition) for messages to these bare JIDs;
    `handles`: returns whether it has handled a stanza of a session;
    `piecemeal`: every byte is written separately; `faulty_connections`: how many connections get the faults.
    """

    def __init__(
        self,
        certificate: Certificate | None = None,
        domain: str = "screenpop.test",
        accounts: Mapping[str, str] = ACCOUNTS,
        faults: Mapping[str, Fault] | None = None,
        faulty_connections: int | None = None,
        mechanisms: Sequence[str] = ("SCRAM-SHA-1", "PLAIN"),
        mechanisms_before_tls: Sequence[str] = (),
        channel_bindings: Sequence[str] = (),
        session: str | None = None,
        bounces: Mapping[str, tuple[str, str]] | None = None,
        server_first: Callable[[str], str] = str,
        iterations: int = 4096,
        direct_tls: bool = False,
        tls_1_2: bool = False,
        piecemeal: bool = False,
        handles: Callable[[Conversation, ET.Element], bool] = lambda conversation, stanza: False,
        host: str = "127.0.0.1",
    ) -> None:
        self.faults = faults or {}
        assert set(self.faults) <= set(STEPS), f"steps are {STEPS}"
        self.certificate = certificate
        self.domain = domain
        self.accounts = accounts
        self.faulty_connections = faulty_connections
        self.mechanisms = mechanisms
        self.mechanisms_before_tls = mechanisms_before_tls
        self.channel_bindings = channel_bindings
        self.session = session
        self.bounces = bounces or {}
        self.server_first, self.iterations = server_first, iterations
        self.direct_tls = direct_tls
        self.tls_1_2 = tls_1_2
        self.piecemeal = piecemeal
        self.handles = handles
        self.host = host
        self.messages: list[ET.Element] = []
        self.changed = threading.Condition()
        self._conversations: list[Conversation] = []
        self._threads: list[threading.Thread] = []

    @property
    def connections(self) -> int:
        return len(self._conversations)

    @property
    def received_plain(self) -> bytes:
        return b"".join(bytes(conversation.received_plain) for conversation in self._conversations)

    @property
    def received_tls(self) -> bytes:
        return b"".join(bytes(conversation.received_tls) for conversation in self._conversations)

    def wait_for(self, what: Callable[[], bool], timeout: float = 10) -> None:
        """Wait until something received makes this true."""
        with self.changed:
            if not self.changed.wait_for(what, timeout):
                raise TimeoutError(f"not within {timeout} s; received: {self.received_plain!r} {self.received_tls!r}")

    def send(self, xml: str) -> None:
        """Send to all connections."""
        for conversation in self._conversations:
            with suppress(OSError):
                conversation.send(xml)

    def drop(self) -> None:
        """Close all connections without a message."""
        for conversation in self._conversations:
            conversation.hang_up()

    def __enter__(self) -> ScriptedServer:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()  # no new connection from here on
        self._listener.close()
        self.drop()
        for thread in self._threads[1:]:
            thread.join()

    def _begin(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="scripted server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                faulty = self.faulty_connections is None or self.connections < self.faulty_connections
                conversation = Conversation(self, connection, self.faults if faulty else {})
                self._conversations.append(conversation)
                self._begin(conversation.hold)


class Conversation:
    def __init__(self, server: ScriptedServer, connection: socket.socket, faults: Mapping[str, Fault]) -> None:
        self.server = server
        self.received_plain = bytearray()
        self.received_tls = bytearray()
        self.user = ""
        self.resource = ""
        self._socket = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._using = threading.Lock()
        self._faults = faults

    def hold(self) -> None:
        # A client that gives up closes its stream; where a new stream is expected, that is not well-formed XML.
        with suppress(Over, OSError, ET.ParseError):
            self._step("connection", lambda: None)
            if self.server.direct_tls:
                self._step("tls", self._start_tls)
            else:
                self._negotiate_tls()
            self._authenticate()
            self._bind()
            for stanza in self._stanzas:
                self._answer(stanza)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, xml: str) -> None:
        data = xml.encode()
        with self._using:
            for piece in (data[i : i + 1] for i in range(len(data))) if self.server.piecemeal else (data,):
                self._socket.sendall(piece)

    def receive(self) -> bytes:
        # Two threads must not use one TLS connection at the same time, and a wait must not keep others from sending.
        if not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            select.select([self._socket], [], [])
        with self._using:
            data = self._socket.recv(65536)
        with self.server.changed:
            (self.received_tls if isinstance(self._socket, ssl.SSLSocket) else self.received_plain).extend(data)
            self.server.changed.notify_all()
        if not data:
            raise Over
        return data

    def wait_for_end(self, seconds: float | None = None) -> bool:
        """Whether the client has closed the connection by then; nothing is read."""
        end = select.poll()
        end.register(self._socket, select.POLLRDHUP)
        return bool(end.poll(None if seconds is None else seconds * 1000))

    def succeed(self, final: str = "") -> None:
        self.send(f"<success xmlns='{SASL}'>{_base64(final)}</success>")

    def reply(self, stanza: ET.Element, kind: str, content: str = "") -> None:
        """RFC 6120 section 8.1.3: the same id, and the addresses exchanged."""
        name = stanza.tag.rpartition("}")[2]
        sender = stanza.get("to", self.server.domain)
        self.send(
            f"<{name} type='{kind}' id={quoteattr(stanza.get('id', ''))}"
            f" from={quoteattr(sender)} to={quoteattr(self.full_jid())}>{content}</{name}>"
        )

    def full_jid(self) -> str:
        return f"{self.user}@{self.server.domain}/{self.resource}"

    def _step(self, name: str, otherwise: Callable[[], None]) -> None:
        fault = self._faults.get(name)
        if fault:
            fault(self)
        else:
            otherwise()

    def _open_stream(self, suffix: str, features: str) -> None:
        """RFC 6120 section 4.3: the client's header, ours, our features; again after TLS and after SASL."""
        self._stanzas = self._read_stream()
        next(self._stanzas)
        header = (
            f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
            f" id='scripted' from='{self.server.domain}' version='1.0' xml:lang='en'>"
        )
        self._step(f"stream{suffix}", lambda: self.send(header))
        self._step(f"features{suffix}", lambda: self.send(f"<stream:features>{features}</stream:features>"))

    def _read_stream(self) -> Iterator[ET.Element]:
        """Yields the header and then every child of the stream, until its end."""
        parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        depth = 0
        while True:
            parser.feed(self.receive())
            if sys.version_info >= (3, 13):
                parser.flush()  # Expat 2.6 delays a tag that arrived in two pieces until more arrives
            for event, element in cast("Iterator[tuple[str, ET.Element]]", parser.read_events()):
                depth += 1 if event == "start" else -1
                if (event, depth) in (("start", 1), ("end", 1)):
                    yield element
                elif depth == 0:
                    self.send("</stream:stream>")
                    raise Over

    def _next(self, name: str) -> ET.Element:
        element = next(self._stanzas)
        if element.tag != name:
            stream_error("not-authorized")(self)
        return element

    def _negotiate_tls(self) -> None:
        starttls = f"<starttls xmlns='{TLS}'><required/></starttls>" if self.server.certificate else ""
        self._open_stream("", starttls + _mechanisms(self.server.mechanisms_before_tls))
        if not self.server.certificate:
            return
        self._next(f"{{{TLS}}}starttls")
        self._step("starttls", lambda: self.send(f"<proceed xmlns='{TLS}'/>"))
        self._step("tls", self._start_tls)

    def _start_tls(self) -> None:
        assert self.server.certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT@SECLEVEL=0")  # OpenSSL would refuse to use a weak certificate
        context.load_cert_chain(self.server.certificate.cert_file, self.server.certificate.key_file)
        if self.server.tls_1_2:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        connection = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = connection
        connection.do_handshake()

    def _authenticate(self) -> None:
        if self.server.certificate:
            offered = _mechanisms(self.server.mechanisms) + _channel_bindings(self.server.channel_bindings)
            self._open_stream("-after-tls", offered)
        auth = self._next(f"{{{SASL}}}auth")
        mechanism = auth.get("mechanism", "")
        if mechanism not in (*self.server.mechanisms, *self.server.mechanisms_before_tls):
            sasl_failure("invalid-mechanism")(self)
        elif mechanism == "PLAIN":
            self._plain(_text(auth))
        elif mechanism.startswith("SCRAM-"):
            self._scram(mechanism, _text(auth))
        else:  # one that is offered, but that no client should use
            self._step("sasl-auth", lambda: sasl_failure("not-authorized")(self))

    def _plain(self, message: str) -> None:
        """RFC 4616"""
        self._step("sasl-auth", lambda: None)
        _, self.user, password = message.split("\0")
        if self.server.accounts.get(self.user) != password:
            sasl_failure("not-authorized")(self)
        self._step("success", self.succeed)

    def _scram(self, mechanism: str, client_first: str) -> None:
        """RFC 5802"""
        algorithm = mechanism.removesuffix("-PLUS").removeprefix("SCRAM-").replace("-", "").lower()
        server = scram.Server(
            algorithm, self.server.accounts, self._bindings(), self.server.iterations, alter=self.server.server_first
        )
        try:
            challenge = _base64(server.first(client_first))
            self._step("sasl-auth", lambda: self.send(f"<challenge xmlns='{SASL}'>{challenge}</challenge>"))
            final = server.final(_text(self._next(f"{{{SASL}}}response")))
        except scram.Refused as reason:
            sasl_failure("not-authorized", str(reason))(self)
        self.user = server.user
        self._step("success", lambda: self.succeed(final))

    def _bindings(self) -> dict[str, bytes]:
        """The channel bindings of this connection, if the server supports any."""
        announces = self.server.channel_bindings or any(name.endswith("-PLUS") for name in self.server.mechanisms)
        if not announces or not isinstance(self._socket, ssl.SSLSocket):
            return {}
        assert self.server.certificate
        first, end, _ = self.server.certificate.cert_file.read_text().partition(ssl.PEM_FOOTER)
        der = ssl.PEM_cert_to_DER_cert(first + end)
        return {
            "tls-server-end-point": hashlib.sha256(der).digest(),
            "tls-unique": self._socket.get_channel_binding("tls-unique") or b"",
        }

    def _bind(self) -> None:
        session = {
            None: "",
            "optional": f"<session xmlns='{SESSION}'><optional/></session>",
            "required": f"<session xmlns='{SESSION}'/>",
        }[self.server.session]
        self._open_stream("-after-sasl", f"<bind xmlns='{BIND}'/>{session}")
        self.stanza = self._next("{jabber:client}iq")
        self._step("bind", lambda: self._bind_to(self.stanza))

    def _bind_to(self, iq: ET.Element) -> None:
        self.resource = iq.findtext(f"{{{BIND}}}bind/{{{BIND}}}resource") or "scripted"
        self.reply(iq, "result", f"<bind xmlns='{BIND}'><jid>{self.full_jid()}</jid></bind>")

    def _answer(self, stanza: ET.Element) -> None:
        self.stanza = stanza
        if self.server.handles(self, stanza):
            return
        if stanza.tag == "{jabber:client}message":
            with self.server.changed:
                self.server.messages.append(stanza)
                self.server.changed.notify_all()
            self._step("message", lambda: self._bounce(stanza))
        elif stanza.tag == "{jabber:client}iq" and stanza.get("type") in ("get", "set"):
            if stanza.find("{urn:xmpp:ping}ping") is not None:
                self._step("ping", lambda: self.reply(stanza, "result"))
            elif stanza.find(f"{{{BIND}}}bind") is not None:  # again, after an error
                self._bind_to(stanza)
            elif stanza.find(f"{{{SESSION}}}session") is not None and self.server.session:
                self._step("session", lambda: self.reply(stanza, "result"))
            elif stanza.find("{jabber:iq:roster}query") is not None:
                self._step("roster", lambda: self._refuse(stanza))
            else:
                self._refuse(stanza)

    def _refuse(self, iq: ET.Element) -> None:
        self.reply(iq, "error", _error("cancel", "service-unavailable"))

    def _bounce(self, message: ET.Element) -> None:
        error = self.server.bounces.get(message.get("to", "").split("/")[0])
        if error:
            self.reply(message, "error", _error(*error))


Fault = Callable[[Conversation], None]


def silent(conversation: Conversation) -> None:
    while True:
        conversation.receive()


def deaf(conversation: Conversation) -> None:
    """Read nothing from now on."""
    conversation.wait_for_end()
    raise Over


def slow(seconds: float) -> Fault:
    """Send a byte each time after this many seconds."""

    def fault(conversation: Conversation) -> None:
        while not conversation.wait_for_end(seconds):
            conversation.send(" ")
        raise Over

    return fault


def close(conversation: Conversation) -> None:
    raise Over


def say(text: str) -> Fault:
    """Send a text, then nothing more."""

    def fault(conversation: Conversation) -> None:
        conversation.send(text)
        silent(conversation)

    return fault


def say_and_close(text: str) -> Fault:
    """Send a text, then close the connection."""

    def fault(conversation: Conversation) -> None:
        conversation.send(text)
        raise Over

    return fault


def break_tls(conversation: Conversation) -> None:
    """Send bytes that are not TLS in a TLS connection."""
    os.write(conversation.fileno(), b"this is not TLS")
    silent(conversation)


def endless_stanza(conversation: Conversation) -> None:
    conversation.send("<message><body>")
    for _ in range(ENDLESS // 50_000):
        conversation.send("x" * 50_000)
    silent(conversation)


def stream_error(condition: str, text: str = "") -> Fault:
    """RFC 6120 section 4.9.3. `text`: the content of the condition, e.g. the host of see-other-host."""

    def fault(conversation: Conversation) -> None:
        conversation.send(
            f"<stream:error><{condition} xmlns='{STREAMS}'>{text}</{condition}></stream:error></stream:stream>"
        )
        raise Over

    return fault


def sasl_failure(condition: str, text: str = "") -> Fault:
    """RFC 6120 section 6.5. If the client tries again in the same stream, this server doesn't understand it."""
    said = f"<text>{escape(text)}</text>" if text else ""
    return say(f"<failure xmlns='{SASL}'><{condition}/>{said}</failure>")


def stanza_error(kind: str, condition: str) -> Fault:
    """An error in response to an iq or a message. The stream goes on."""

    def fault(conversation: Conversation) -> None:
        conversation.reply(conversation.stanza, "error", _error(kind, condition))

    return fault


def wrong_signature(conversation: Conversation) -> None:
    """RFC 5802 section 5: the client must stop here; this server would go on."""
    conversation.succeed("v=" + base64.b64encode(b"not the signature").decode())


def no_signature(conversation: Conversation) -> None:
    conversation.succeed()


def _mechanisms(names: Sequence[str]) -> str:
    offered = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    return offered and f"<mechanisms xmlns='{SASL}'>{offered}</mechanisms>"


def _channel_bindings(names: Sequence[str]) -> str:
    offered = "".join(f"<channel-binding type='{name}'/>" for name in names)
    return offered and f"<sasl-channel-binding xmlns='{CHANNEL_BINDING}'>{offered}</sasl-channel-binding>"


def _error(kind: str, condition: str) -> str:
    return f"<error type='{kind}'><{condition} xmlns='{STANZAS}'/></error>"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(element: ET.Element) -> str:
    return base64.b64decode(element.text or "").decode()
