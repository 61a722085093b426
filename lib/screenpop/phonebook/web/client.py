"""GET by HTTP, over connections that are kept, with bounds on all that the server may do."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urljoin

from urllib3 import HTTPHeaderDict, PoolManager, Timeout
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as TimedOut
from urllib3.util import parse_url

from ...text import clean
from ..source import SourceError
from ..tls import tls_context
from .connection import PlainPool, SecurePool

MOST_BYTES = 256 * 1024
MOST_REDIRECTS = 3
CONNECTIONS = 8  # that are kept to one server: as many as there are threads of a source
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"Accept": "application/json", "User-Agent": "screen_pop"}


class Answer(NamedTuple):
    """`origin`: the server that gave it, such as https://crm.example.org."""

    origin: str
    status: int
    body: bytes


class Client:
    """`headers` are sent only to the server of the URL that is asked for, not where that redirects to.

    Raises SourceError. No text of an error has a path or a query in it: there may be a secret in them.
    """

    def __init__(self, ca_file: str | None, headers: Mapping[str, str]) -> None:
        self._headers = HTTPHeaderDict(_HEADERS)
        self._headers.update(headers)
        self._pools = PoolManager(maxsize=CONNECTIONS, ssl_context=tls_context(ca_file))
        self._pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def get(self, url: str, deadline: float) -> Answer:
        try:
            first = origin = _origin(url)
        except ValueError as error:
            raise SourceError("request has no host and port that can be asked; check it") from error
        for _ in range(1 + MOST_REDIRECTS):
            headers = self._headers if origin == first else _HEADERS
            status, body, location = self._get_one(url, headers, origin, deadline)
            if status not in _REDIRECTS:
                return Answer(origin, status, body)
            url, origin = _redirected(url, origin, location)
        raise SourceError(f"{first} redirects more than {MOST_REDIRECTS} times; check request")

    def close(self) -> None:
        self._pools.clear()

    def _get_one(
        self, url: str, headers: Mapping[str, str], origin: str, deadline: float
    ) -> tuple[int, bytes, str | None]:
        """Status, body and Location."""
        try:
            timeout = Timeout(total=max(0.001, deadline - time.monotonic()))
            response = self._pools.request(
                "GET", url, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
            )
            try:  # an answer that is read to its end gives its connection back, any other one closes it
                body = response.read(MOST_BYTES + 1, decode_content=False)
            finally:
                response.close()
        except (HTTPError, OSError, ValueError) as error:
            raise SourceError(f"{origin} {_explained(error)}") from error
        if response.status == 200 and len(body) > MOST_BYTES:
            raise SourceError(f"{origin} answers with more than {MOST_BYTES // 1024} kB; request should ask for less")
        if response.status == 200 and response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceError(f"{origin} compresses its answer, which nobody asked for; switch that off for this path")
        return response.status, body, response.headers.get("Location")


def _origin(url: str) -> str:
    """Scheme, host and port, as urllib3 takes them from the URL. Raises ValueError."""
    return clean(str(parse_url(url)._replace(auth=None, path=None, query=None, fragment=None)), limit=1000)


def _redirected(url: str, origin: str, location: str | None) -> tuple[str, str]:
    """The next URL, and its origin."""
    try:
        if not location:
            raise ValueError("no Location")
        target = str(parse_url(urljoin(url, location)))
        next_origin = _origin(target)
    except ValueError as error:
        raise SourceError(f"{origin} redirects to what is no URL; check request") from error
    allowed = ("https://",) if url.startswith("https:") else ("https://", "http://")
    if not target.startswith(allowed):
        raise SourceError(f"{origin} redirects to {next_origin}, which is refused; check request")
    return target, next_origin


def _explained(error: Exception) -> str:
    """What the server does wrong, and what to do. The messages of urllib3 have URLs in them."""
    wrapped = [part for part in error.args if isinstance(part, OSError)]
    cause = wrapped[0] if wrapped else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = f"has a certificate that can't be trusted: {cause.verify_message.rstrip('.')}"
        return f"{what}; if it is from a CA of your own, ca_file should be the certificate of that"
    if isinstance(cause, ssl.SSLError):
        reason = (cause.reason or "unknown error").replace("_", " ").lower()
        return f"can't agree with us on TLS: {reason}; is that a port for https?"
    if isinstance(cause, (TimedOut, socket.timeout)):
        return "doesn't answer in time; is it up, and is the port right?"
    if isinstance(cause, socket.gaierror):
        return f"can't be found: {cause.strerror}; check request, or the DNS"
    if isinstance(cause, ConnectionError) and not cause.strerror:  # http.client.RemoteDisconnected
        return "closed the connection without an answer; its log should say why"
    if isinstance(cause, OSError):
        return f"can't be reached: {cause.strerror}; is it up, and is the port right?"
    if isinstance(cause, ValueError):
        return "can't be asked: that is no host name; check request"
    return "answers with what is not HTTP; check request"
