"""Connections of urllib3 with one deadline for all of a request: connecting, TLS, the answer's header and its body.

urllib3's timeouts are for each address of a host and for each packet: a server that sends a byte a second would never
exceed them.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object

MOST_ADDRESSES = 10  # of one name; a forged answer may have a thousand
IDLE = 60.0  # seconds after which a connection is not used again: a firewall between may have forgotten it
_SHORTEST = 0.001  # seconds; a timeout of 0 would mean not to wait at all


class _Reader(io.RawIOBase):
    """The timeout that the socket has when this is made is the time for the whole answer."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._socket = raw, sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


class _Within(_Base):
    """`self.timeout`, which urllib3 sets to the rest of the request's total, is the time for a whole step."""

    response_class = _Response
    _last_used = 0.0

    def _new_conn(self) -> socket.socket:
        """Each address may take its part of the time. `getaddrinfo` knows no deadline but that of resolv.conf."""
        deadline = time.monotonic() + (self.timeout or 0)
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[:MOST_ADDRESSES]
        for others, (family, kind, protocol, _, address) in zip(reversed(range(len(found))), found):
            try:
                return _connected(socket.socket(family, kind, protocol), address, deadline, others)
            except OSError:  # also of a kernel without IPv6
                if not others:
                    raise
        raise OSError("no address")

    def getresponse(self) -> Any:
        self._last_used = time.monotonic()
        return super().getresponse()

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self._last_used < IDLE


def _connected(sock: socket.socket, address: Any, deadline: float, others: int) -> socket.socket:
    try:
        sock.settimeout(max(_SHORTEST, (deadline - time.monotonic()) / (1 + others)))
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(max(_SHORTEST, deadline - time.monotonic()))
    except OSError:
        sock.close()
        raise
    return sock


class _Plain(_Within, HTTPConnection):
    pass


class _Secure(_Within, HTTPSConnection):
    pass


class PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure
