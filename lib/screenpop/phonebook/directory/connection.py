"""The connection that an LDAP session goes over: verified TLS, and bounds on all that the server may do.

ldap3 limits neither the time nor the size of a whole answer, and checks host names by code of its own. Therefore it is
given this in place of a socket: every wait ends at the deadline, and OpenSSL checks the certificate and its names.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import NamedTuple

from ..source import SourceError

MOST_BYTES = 250_000  # of what the server answers to one search
DIRECT_TLS = (636, 3269)  # LDAP, and Active Directory's global catalogue
_SERVER = re.compile(r"(?:(ldaps?)://)?([\w.-]+|\[[\dA-Fa-f:.]+])(?::0*([1-9]\d{0,4}))?/?", re.IGNORECASE)
_ADVICE = {  # by OpenSSL's verification results (x509_vfy.h)
    10: "renew it on the server",  # expired
    62: "server should be a name that stands in it",
    64: "server should be a name that stands in it",  # an IP address
}


class ConnectionLost(SourceError):
    """The server has closed the connection, or it broke."""


class Server(NamedTuple):
    """`direct_tls`: TLS from the start (ldaps), else by StartTLS."""

    host: str
    port: int
    direct_tls: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def server(text: str) -> Server:
    """An option. Raises ValueError, saying what would be right."""
    found = _SERVER.fullmatch(text)
    port = int(found[3] or 0) if found else 0
    if not found or port > 65535:
        raise ValueError(f"{text!r} should be host:port, or a URL such as ldaps://ldap.example.org")
    direct_tls = found[1].lower() == "ldaps" if found[1] else port in DIRECT_TLS
    return Server(found[2].strip("[]"), port or (636 if direct_tls else 389), direct_tls)


class Connection:
    """What ldap3 uses of a socket. All methods but close() raise SourceError, which passes through ldap3."""

    def __init__(self, server: Server, deadline: float) -> None:
        self._server = server
        self.allow(deadline)
        self._socket = self._connected()

    def allow(self, deadline: float) -> None:
        """For the next answer."""
        self._deadline, self._bytes_left = deadline, MOST_BYTES

    def secure(self, context: ssl.SSLContext) -> None:
        try:
            self._socket.settimeout(self._seconds_left())
            self._socket = context.wrap_socket(self._socket, server_hostname=self._server.host)
        except ssl.SSLCertVerificationError as error:
            advice = _ADVICE.get(error.verify_code, "ca_file should be the certificate of the CA that has signed it")
            what = f"the certificate of {self._server} can't be trusted: {error.verify_message.rstrip('.')}"
            raise SourceError(f"{what}; {advice}") from error
        except socket.timeout as error:
            raise self._lost(error) from error
        except (OSError, ValueError) as error:
            what = f"{self._server} can't agree with us on TLS: {_reason(error)}"
            raise SourceError(f"{what}; check server: port 636 has ldaps://, port 389 has ldap://") from error

    def recv(self, size: int) -> bytes:
        try:
            self._socket.settimeout(self._seconds_left())
            received = self._socket.recv(size)
        except OSError as error:
            raise self._lost(error) from error
        if not received:
            raise ConnectionLost(f"{self._server} closed the connection; its log should say why")
        self._bytes_left -= len(received)
        if self._bytes_left < 0:
            advice = "the fields should name attributes with short values"
            raise SourceError(f"{self._server} answers with more than {MOST_BYTES} bytes; {advice}")
        return received

    def sendall(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._seconds_left())
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def close(self) -> None:
        self._socket.close()

    def _connected(self) -> socket.socket:
        """To the first address that answers. Each may take its part of the time."""
        host, port, _ = self._server
        try:
            addresses = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise SourceError(f"{host} can't be found: {_reason(error)}; check server, or the DNS") from error
        while True:
            address, *others = addresses
            try:
                return socket.create_connection((address, port), self._seconds_left() / len(addresses))
            except OSError as error:
                if not others:
                    what = f"{self._server} can't be reached: {_reason(error)}"
                    raise SourceError(f"{what}; is it up, and is the port right?") from error
            addresses = others

    def _seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        return left

    def _lost(self, error: OSError) -> SourceError:
        if isinstance(error, socket.timeout):
            return SourceError(f"{self._server} doesn't answer in time; is it up, and is the port right?")
        return ConnectionLost(f"the connection to {self._server} is lost: {_reason(error)}; its log should say why")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unknown error").replace("_", " ").lower()
    if isinstance(error, socket.timeout):  # that is TimeoutError from Python 3.10 on
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error)
