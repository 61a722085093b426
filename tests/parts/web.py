"""A web server of the tests' own, over TLS or not, that behaves as each test wants it to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

from parts.certificates import Certificate


class Asked(NamedTuple):
    """`connection`: its number, counted from 1."""

    path: str
    headers: dict[str, str]  # names in lower case
    connection: int


class Exchange(BaseHTTPRequestHandler):
    """One connection; what a behaviour is given to answer with."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.number = self.server.connections

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(self.path, headers, self.number))
        self.server.behaviour(self)

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:  # the client is gone
            pass

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def json(self, document: Any) -> None:
        self.body(json.dumps(document).encode())

    def body(self, body: bytes, status: int = 200, **headers: str) -> None:
        """`headers`: with _ in place of -."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def slowly(self, data: bytes) -> None:
        """A byte at a time, and often enough for a timeout that begins anew with each."""
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.server.stopped.wait(0.05):
                return

    def cut(self) -> None:
        """Closes the connection after this answer, without having said so."""
        self.close_connection = True


Behaviour = Callable[[Exchange], object]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.asked: list[Asked] = []
        self.behaviour: Behaviour = lambda exchange: exchange.body(b"", 404)
        self.connections = 0
        self.closed = threading.Semaphore(0)
        self.stopped = threading.Event()
        self.lock = threading.Lock()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is nothing to print."""


class Web:
    """Runs while it is entered. `behaves` is what it does with each request from then on."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._server = _Server()
        scheme = "http"
        if certificate:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.cert_file, certificate.key_file)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://localhost:{self.port}"

    def behaves(self, behaviour: Behaviour) -> None:
        self._server.behaviour = behaviour

    @property
    def asked(self) -> list[Asked]:
        return self._server.asked

    @property
    def connections(self) -> int:
        return self._server.connections

    def wait_until_it_closed_one(self) -> None:
        assert self._server.closed.acquire(timeout=30)

    def __enter__(self) -> Web:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
