"""A slow network link to a server. It loses what is on the way when the client ends.

Without it, the kernel still delivers everything that a killed process has written.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

from parts.server import LOOPBACK

DELAY = 0.005  # seconds


class Relay:
    """`server`: an object with a host and a port; this object has them, too."""

    def __init__(self, server: Any) -> None:
        self.host = LOOPBACK
        self._server = (server.host, server.port)

    def __enter__(self) -> Relay:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._relay, self.host, 0), self._loop)
        self._listening = listening.result()
        self.port = int(self._listening.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        back = asyncio.ensure_future(self._pass_back(from_server, writer))
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    self._loop.call_later(DELAY, to_server.write, data)
        finally:
            back.cancel()
            to_server.transport.abort()  # writes nothing any more
            writer.transport.abort()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def _end(self) -> None:
        self._listening.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
