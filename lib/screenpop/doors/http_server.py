"""The server of the HTTP door: waitress, in threads of this process. `screen-pop serve` runs it.

The times of connections are measured here, as waitress measures them by a clock that can be set.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from .http import LARGEST, Application

SLOWEST = 10.0  # seconds in which a request must have come, and in which its answer must have been taken
CONNECTIONS = 200
THREADS = 4
STOP_WITHIN = 10.0  # seconds


class HttpDoor:
    def __init__(self, address: tuple[str, int], application: Application) -> None:
        """`address`: host and port. Raises OSError if the port can't be had."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listening = socket.create_server(address, family=family)
        self.port: int = listening.getsockname()[1]
        logging.getLogger("waitress.queue").disabled = True  # a line for each request that waits for a thread
        self._map: dict[int, wasyncore.dispatcher] = {}
        self._server = _Server(application, self._map, listening)
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Its requests are short: `close` is soon enough."""

    def close(self) -> None:
        """The requests that are being handled are answered before."""
        self._server.task_dispatcher.shutdown()
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))
        self._thread.join(STOP_WITHIN)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    def __init__(
        self, application: Application, map: dict[int, wasyncore.dispatcher], listening: socket.socket
    ) -> None:
        adjustments = Adjustments(
            sockets=[listening],
            ident=None,
            threads=THREADS,
            max_request_header_size=LARGEST,
            max_request_body_size=LARGEST + 1,  # the first size that is refused
            log_socket_errors=False,  # what clients do fills no log
        )
        self.channel_class = _Channel
        self._report = application.report
        where = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(application, map, _sock=listening, adj=adjustments, sockinfo=where, bind_socket=False)

    def run(self) -> None:
        while self._map:
            now = time.monotonic()
            for channel in self._waiting():
                if now - channel.since > SLOWEST:
                    channel.handle_close()
            wasyncore.poll2(SLOWEST / 2, self._map)  # select() can't watch a descriptor above 1023

    def readable(self) -> bool:
        """Whether a connection can be taken: another one that waits for its client can be closed for it."""
        return len(self.active_channels) < CONNECTIONS or bool(self._waiting())

    def accept(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted: tuple[socket.socket, Any] | None = super().accept()
        except OSError as error:  # no file descriptors: waitress would try again at once
            self._report(f"HTTP: no connection can be taken: {error.strerror}")
            time.sleep(0.1)
            return None
        if accepted and len(self.active_channels) >= CONNECTIONS and (waiting := self._waiting()):
            self._report(f"HTTP: {CONNECTIONS} connections are open: those that have waited longest are closed")
            min(waiting, key=lambda channel: channel.since).handle_close()
        return accepted

    def _waiting(self) -> list[_Channel]:
        """The connections that wait for their clients."""
        return [channel for channel in list(self.active_channels.values()) if not channel.requests]


class _Refusal(ErrorTask):  # type: ignore[misc]
    """What waitress itself refuses, in one line as the application does."""

    def execute(self) -> None:
        error = self.request.error
        body = f"{error.reason}: {error.body}\n".encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "text/plain; charset=utf-8"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. `since`: when it has been accepted, or its last request has been answered."""

    error_task_class = _Refusal

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.since = time.monotonic()
        super().__init__(*arguments, **named)

    def service(self) -> None:
        super().service()
        self.since = time.monotonic()

    def send_continue(self) -> None:
        if not self.request.error:  # what is too large is not to be sent
            super().send_continue()
