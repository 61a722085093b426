"""The server of the HTTP door: waitress, in threads of this process. `screen-pop serve` runs it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from .http import LARGEST, Application

SLOWEST = 10  # whole seconds in which a request must have come, and after which an idle connection is closed
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
        self._server = create_server(
            application,
            map=self._map,
            sockets=[listening],
            ident=None,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=SLOWEST,
            cleanup_interval=SLOWEST // 2,
            asyncore_loop_timeout=SLOWEST // 2,
            max_request_header_size=LARGEST,
            max_request_body_size=LARGEST + 1,  # the first size that is refused
            asyncore_use_poll=True,  # select() can't watch a descriptor above 1023
        )
        self._server.channel_class = _Channel
        self._take, self._report = self._server.accept, application.report
        self._server.accept = self._accept
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()

    def _accept(self) -> tuple[socket.socket, Any] | None:
        try:
            return self._take()  # type: ignore[no-any-return]
        except OSError as error:  # no file descriptors: waitress would fill its log, and try again at once
            self._report(f"HTTP: no connection can be taken: {error.strerror}")
            time.sleep(0.1)
            return None

    def leave(self) -> None:
        """Its requests are short: `close` is soon enough."""

    def close(self) -> None:
        """The requests that are being handled are answered before."""
        self._server.task_dispatcher.shutdown()
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))
        self._thread.join(STOP_WITHIN)


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
    """A connection. Its time is over SLOWEST seconds after its request has begun, however slowly the rest comes."""

    error_task_class = _Refusal
    last_activity = 0.0

    def handle_read(self) -> None:
        has_begun, began = self.request is not None, self.last_activity
        super().handle_read()
        if has_begun:
            self.last_activity = began

    def send_continue(self) -> None:
        if not self.request.error:  # what is too large is not to be sent
            super().send_continue()
