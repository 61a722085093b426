"""The connection: xmpppy's TCPsocket with a deadline for each wait, on IPv6 and IPv4, before and after TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any

from ..descriptors import readable, writable
from . import tls, tls_errors
from .errors import SessionError
from .resolver import Host
from .xmpppy import transports

ADDRESS_DEADLINE = 5.0  # seconds to look up the addresses of a name, and to connect to each of them
MOST_ADDRESSES = 10  # addresses of one name that are tried; a forged answer may have a thousand


class TCPsocket(transports.TCPsocket):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """A connection to the first address of a host that answers.

    Connecting and `secure` raise SessionError, the other methods OSError.
    """

    def __init__(self, host: Host) -> None:
        super().__init__((host.name, host.port), use_srv=False)
        self.host = host

    def plugin(self, owner: Any) -> Any:
        # xmpppy calls this only if the class itself defines it
        return super().plugin(owner)

    def connect(self, server: tuple[str, int]) -> str:
        failures = []
        for family, address in _addresses(self.host):
            try:
                self._sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:  # a kernel without IPv6
                failures.append(f"{address[0]}: {error.strerror}")
                continue
            try:
                self._sock.settimeout(ADDRESS_DEADLINE)
                self._sock.connect(address)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sock.setblocking(False)
                return "ok"
            except OSError as error:
                self._sock.close()
                no_answer = isinstance(error, (TimeoutError, socket.timeout))  # the same from Python 3.10 on
                failures.append(f"{address[0]}: {'no answer' if no_answer else error.strerror}")
        what = f"{self.host}: {', '.join(sorted(failures))}"  # sorted, because name servers rotate the addresses
        raise SessionError("connection", what, "is the server up, and the port open?")

    def secure(self, context: ssl.SSLContext, domain: str, deadline: float) -> None:
        """The TLS handshake. The certificate is verified for `domain`, not for the host's name (RFC 6120 section
        13.7.2). Raises SessionError.
        """
        self._sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            self._sock = context.wrap_socket(self._sock, server_hostname=domain)
        except (OSError, ValueError) as error:
            raise tls_errors.explained(error, self.host, domain, context) from error
        self._sock.setblocking(False)
        tls.refuse_common_name(self._sock, self.host, domain)

    @property
    def tls(self) -> ssl.SSLSocket:
        """The socket with verified TLS. Raises RuntimeError without it: then no secret may be sent."""
        if not (isinstance(self._sock, ssl.SSLSocket) and self._sock.context.verify_mode == ssl.CERT_REQUIRED):
            raise RuntimeError("not over verified TLS")
        return self._sock

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def peer(self) -> str:
        return str(self._sock.getpeername()[0])

    def pending_data(self, timeout: float = 0) -> bool:
        """Whether there is something to read; wait for it at most `timeout` seconds."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        if timeout:
            # Send the TCP acknowledgement now. The kernel delays it by 40 ms, and a server with more to send may wait
            # for it (Nagle's algorithm), as after each handshake of TLS 1.3.
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return bool(readable([self._sock], timeout))

    def receive(self) -> bytes:
        """The bytes that have arrived; none if they were part of TLS itself."""
        try:
            data: bytes = self._sock.recv(65536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return b""
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    def send(self, raw_data: Any, retry_timeout: float = 1) -> None:
        """Send all of it before the deadline of the stream."""
        data = memoryview(str(raw_data).encode())
        while data:
            try:
                data = data[self._sock.send(data) :]
                continue
            except (ssl.SSLWantWriteError, BlockingIOError):
                ready = writable
            except ssl.SSLWantReadError:
                ready = readable
            left = self._owner.deadline - time.monotonic()
            if left <= 0 or not ready([self._sock], left):
                raise TimeoutError("the server doesn't read what is sent")

    def disconnect(self) -> None:
        self._sock.close()


def _addresses(host: Host) -> list[tuple[Any, Any]]:
    """The families and addresses of a host. `getaddrinfo` has no timeout, so it runs in a thread of its own."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(ADDRESS_DEADLINE)
    if not found or isinstance(found[0], Exception):
        why = (getattr(found[0], "strerror", None) or "not a host name") if found else "the name server doesn't answer"
        raise SessionError("DNS", f"{host.name}: {why}", "check [xmpp] jid and server, and the name server")
    return [(family, address) for family, _, _, _, address in found[:MOST_ADDRESSES]]
