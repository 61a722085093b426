"""The sessions with one directory: as many as there are threads that search at the same time, and kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .connection import ConnectionLost
from .session import Session

IDLE = 60.0  # seconds after which a firewall may have forgotten a connection


class Sessions:
    """`begin`: makes a session, by a deadline."""

    def __init__(self, begin: Callable[[float], Session]) -> None:
        self.begin = begin
        self._idle: deque[Session] = deque()

    def search(self, base: str, text: str, attributes: list[str], deadline: float) -> list[dict[str, str]]:
        """As Session.search, in one that is kept, or in a new one if that is gone."""
        if session := self._taken():
            with suppress(ConnectionLost):
                return self._search_in(session, base, text, attributes, deadline)
        return self._search_in(self.begin(deadline), base, text, attributes, deadline)

    def close(self) -> None:
        while session := self._taken():
            session.close()

    def _search_in(
        self, session: Session, base: str, text: str, attributes: list[str], deadline: float
    ) -> list[dict[str, str]]:
        try:
            found = session.search(base, text, attributes, deadline)
        except BaseException:
            session.close()
            raise
        self._idle.append(session)
        return found

    def _taken(self) -> Session | None:
        """The one that was used last, if that is not too long ago."""
        with suppress(IndexError):  # there is none
            while True:
                session = self._idle.pop()
                if time.monotonic() - session.used < IDLE:
                    return session
                session.close()
        return None
