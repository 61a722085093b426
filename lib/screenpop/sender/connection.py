"""The XMPP session, and when the next one may be begun."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..xmpp.options import XmppOptions
from ..xmpp.session import OnError, OnReceipt, OnStep, Session
from .backoff import FIRST, LONGEST, SessionPause

KEEP_ALIVE_INTERVAL = 60.0  # seconds, where there is no session to keep alive
SHORT = 10.0  # seconds


class Connection:
    def __init__(self) -> None:
        self.session: Session | None = None
        self.pause = SessionPause()
        self._signed_in = 0.0  # by time.monotonic()
        self._after_end = 0.0  # seconds from that to the next sign-in
        self._redirected_to = ""  # the host to which the server has sent us

    def may_send(self) -> bool:
        """Whether there is a session, or another one may be begun."""
        return self.session is not None or time.monotonic() >= self.pause.until

    def open(
        self,
        options: XmppOptions,
        resource: str,
        on_step: OnStep,
        on_error: OnError,
        on_receipt: OnReceipt,
        on_host: Callable[[], object],
    ) -> Session:
        """Begin a session. Raises SessionError."""
        redirected_to, self._redirected_to = self._redirected_to, ""  # once: there may be no server
        self.session = Session(options, resource, on_step, on_error, on_receipt, redirected_to, on_host)
        self._signed_in = time.monotonic()
        return self.session

    def failed(self, refused: bool) -> None:
        """An attempt to begin a session, or to send over it, has failed."""
        self.close()
        self.pause.begin(time.monotonic(), refused)

    def ended(self) -> None:
        """The server has ended the session. If it ends each at once, or each time that another client signs in with our
        address, there is at most one sign-in a second, and without calls one a minute.
        """
        self.close()
        is_short = time.monotonic() - self._signed_in < max(SHORT, 2 * self._after_end)
        self._after_end = min(2 * self._after_end, LONGEST) if is_short and self._after_end else FIRST
        self.pause.after_end(self._signed_in, self._after_end)

    def close(self) -> None:
        if self.session:
            session, self.session = self.session, None
            self._redirected_to = session.redirected_to
            session.close()

    def keep_alive(self) -> float:
        """Ask a silent server whether it is there. Returns seconds until this is due again. Raises SessionError."""
        return self.session.keep_alive() if self.session else KEEP_ALIVE_INTERVAL

    def process(self, seconds: float) -> None:
        """Handle what the server sends within that time. Raises SessionError."""
        if self.session:
            self.session.process(seconds)
