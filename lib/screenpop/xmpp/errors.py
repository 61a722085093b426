"""The errors of a session."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable

from ..text import clean

LOG_ADVICE = "look into the server's log"
LONGEST = 1000  # characters
UNCONFIRMED = "unconfirmed"  # in place of the type of an error stanza: the message may have arrived
CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)  # the server closed the connection


class SessionError(Exception):
    """There is no session, or it has ended. No single message is the cause, so no message fails because of it.

    `step`: the step that failed ("DNS", "connection", "certificate", …). `what`: what the server did, as one printable
    line. `advice`: what the administrator can do. `refused`: only an administrator can solve the problem; an early
    retry could get the account locked or the address banned.
    """

    def __init__(self, step: str, what: str, advice: str, refused: bool = False) -> None:
        what = clean(what, limit=LONGEST)
        super().__init__(f"{step}: {what}; {advice}")
        self.step, self.what, self.advice, self.refused = step, what, advice, refused


class SeeOtherHost(SessionError):
    """`server` redirects to another host (RFC 6120 section 4.9.3.19). `host`: the text in its error."""

    def __init__(self, step: str, server: str, host: str) -> None:
        what = f"{server} says see-other-host: {host or 'it names no host'}"
        super().__init__(step, what, "name the right host in [xmpp] server")
        self.host = host


class MechanismRefused(SessionError):
    """The server refused a SASL mechanism that it offers, and not because of the password."""

    def __init__(self, mechanism: str, what: str, advice: str) -> None:
        super().__init__("sign-in", what, advice, refused=True)
        self.mechanism = mechanism


def combined(errors: Iterable[SessionError]) -> SessionError:
    """One error for the errors of several hosts. The order in which the hosts were tried doesn't change the result."""
    different = sorted({error.what: error for error in errors}.values(), key=lambda error: error.what)
    if len(different) == 1:
        return different[0]
    what = " | ".join(error.what for error in different)
    advice = "; ".join(dict.fromkeys(error.advice for error in different))
    return SessionError(different[0].step, what, advice, all(error.refused for error in different))


def lost(error: OSError) -> str:
    """A clause that says how a connection was lost."""
    if isinstance(error, CLOSED):
        return "the server closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"the server sends something that is not TLS: {reason(error)}"
    if isinstance(error, (TimeoutError, socket.timeout)):  # the same from Python 3.10 on
        return "the server doesn't answer" if error.strerror else str(error)
    return f"the connection is lost: {error.strerror or error}"


def reason(error: ssl.SSLError) -> str:
    """OpenSSL's name for the error, as words."""
    return (error.reason or "unknown error").replace("_", " ").lower()
