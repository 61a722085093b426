"""A session with a directory, by ldap3: TLS, bind, searches (RFC 4511, RFC 4513)."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ...text import clean
from ..source import SourceError
from .connection import Connection, ConnectionLost, Server

ENTRIES = 5  # that a search may find
START_TLS = "1.3.6.1.4.1.1466.20037"
# Result codes (RFC 4511 appendix A)
SUCCESS, SIZE_LIMIT_EXCEEDED, REFERRAL, NO_SUCH_OBJECT, INVALID_DN, INVALID_CREDENTIALS = 0, 4, 10, 32, 34, 49


class Session:
    """Bound as `bind_dn`, or anonymous where that is empty. Raises SourceError; after that, only close it."""

    def __init__(self, server: Server, context: ssl.SSLContext, bind_dn: str, password: str, deadline: float) -> None:
        try:
            import ldap3
        except ImportError as error:
            raise SourceError("ldap3 is not installed: ./install.sh --with ldap adds it") from error
        self._server = server
        self._connection = Connection(server, deadline)
        try:
            with self._translated():
                self._ldap = ldap3.Connection(
                    ldap3.Server(server.host, get_info=ldap3.NONE),
                    user=bind_dn or None,
                    password=password or None,
                    auto_referrals=False,
                    auto_range=False,  # it would search again for the rest of an attribute with very many values
                    auto_escape=False,
                    check_names=False,
                    return_empty_attributes=False,
                )
                # What its open() sets; that would make a socket without our bounds.
                self._ldap.socket, self._ldap.closed, self._ldap.listening = self._connection, False, True
                self._ldap.strategy._outstanding = {}
                if not server.direct_tls:
                    self._start_tls()
                self._connection.secure(context)
                if bind_dn and not self._ldap.bind(read_server_info=False):
                    raise self._bind_refused(bind_dn, self._ldap.result)
        except BaseException:
            self.close()
            raise
        self.used = time.monotonic()

    def search(self, base: str, text: str, attributes: list[str], deadline: float) -> list[dict[str, str]]:
        """The entries below `base` that the filter `text` finds, at most ENTRIES of them.

        Each has the first value of its attributes, by their names in lower case; values that aren't text are left out.
        """
        from ldap3 import DEREF_NEVER

        self._connection.allow(deadline)
        with self._translated():
            self._ldap.search(
                base,
                text,
                attributes=attributes,
                size_limit=ENTRIES,
                time_limit=max(1, math.ceil(deadline - time.monotonic())),
                dereference_aliases=DEREF_NEVER,
            )
            result = self._ldap.result
            if result["result"] not in (SUCCESS, SIZE_LIMIT_EXCEEDED):
                raise self._search_refused(base, result)
            found = [_record(entry["raw_attributes"]) for entry in self._ldap.response if "raw_attributes" in entry]
        self.used = time.monotonic()
        return found

    def close(self) -> None:
        self._connection.close()

    def _start_tls(self) -> None:
        advice = "if this port has TLS from the start, server should begin with ldaps://"
        try:
            accepted = self._ldap.extended(START_TLS)
        except ConnectionLost as error:
            raise SourceError(f"{self._server} closes the connection when asked for StartTLS; {advice}") from error
        if not accepted:
            raise SourceError(f"{self._server} refuses StartTLS: {_said(self._ldap.result)}; {advice}")

    def _bind_refused(self, bind_dn: str, result: Mapping[str, Any]) -> SourceError:
        if result["result"] == INVALID_CREDENTIALS:
            return SourceError(f"{self._server} does not accept this bind_dn with this password: {bind_dn}")
        return SourceError(f"{self._server} refuses to bind {bind_dn}: {_said(result)}; check bind_dn")

    def _search_refused(self, base: str, result: Mapping[str, Any]) -> SourceError:
        if result["result"] == REFERRAL:
            other = clean(" ".join(result["referrals"] or ()))
            return SourceError(f"{self._server} doesn't have the base {base}, and refers to another server: {other}")
        if result["result"] in (NO_SUCH_OBJECT, INVALID_DN):
            return SourceError(f"{self._server} has no base {base}, or hides it from this bind_dn: {_said(result)}")
        return SourceError(f"{self._server} refuses the search: {_said(result)}; check bind_dn and what it may read")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What ldap3 raises becomes a SourceError."""
        from ldap3.core.exceptions import LDAPInvalidFilterError, LDAPSessionTerminatedByServerError

        try:
            yield
        except SourceError:
            raise
        except LDAPInvalidFilterError as error:
            raise SourceError(f"filter is no LDAP filter (RFC 4515): {error}") from error
        except LDAPSessionTerminatedByServerError as error:  # by a notice of disconnection (RFC 4511 section 4.4.1)
            raise ConnectionLost(f"{self._server} ended the session; its log should say why") from error
        except Exception as error:  # all kinds of them for what it can't decode
            what = clean(f"{type(error).__name__}: {error}")
            raise SourceError(f"{self._server} sends what ldap3 doesn't understand ({what}): is it LDAP?") from error


def _said(result: Mapping[str, Any]) -> str:
    """The name of the result, and what the server adds to it."""
    return clean(": ".join(filter(None, (str(result["description"]), str(result["message"] or "")))), limit=300)


def _record(attributes: Mapping[str, list[bytes]]) -> dict[str, str]:
    record = {}
    for name, values in attributes.items():
        with suppress(UnicodeDecodeError, IndexError):  # bytes that aren't text; an attribute without a value
            record[name.lower()] = values[0].decode()
    return record
