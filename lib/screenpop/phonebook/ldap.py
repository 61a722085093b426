"""A directory: OpenLDAP, Active Directory or another server that speaks LDAP (RFC 4511), always over verified TLS."""

from __future__ import annotations

import ssl
import time
from functools import cached_property

from .directory import filter as filters
from .directory.options import LdapOptions
from .directory.session import Session
from .directory.sessions import Sessions
from .fields import evaluate, record_names
from .source import Number, SourceError
from .tls import tls_context

OPTIONS = LdapOptions
CHECKED_WITHIN = 10.0  # seconds
_SOMEBODY = Number("+12025550123", "+12025550123", "2025550123")
_ADVICE = "check the names of the attributes, and what bind_dn may read"


class Source:
    def __init__(self, name: str, options: LdapOptions) -> None:
        self._options = options
        self._names = list(dict.fromkeys(name for text in options.others.values() for name in record_names(text)))
        self._sessions = Sessions(self._session)

    def lookup(self, number: Number, deadline: float) -> dict[str, str]:
        """The fields of the first entry that has any of them."""
        if not any(map(str.isalnum, number.written)):  # blanks and hyphens match anything (RFC 4518 section 2.6.3)
            return {}
        options, text = self._options, filters.filled(self._options.filter, number)
        for record in self._sessions.search(options.base, text, self._names, deadline):
            if found := evaluate(options.others, {name: record.get(name.lower(), "") for name in self._names}):
                return found
        return {}

    def check(self) -> str:
        base, deadline = self._options.base, time.monotonic() + CHECKED_WITHIN
        self._sessions.close()  # so that the certificate and the password are tried
        self._sessions.search(base, filters.filled(self._options.filter, _SOMEBODY), self._names, deadline)
        anybody = filters.for_any_number(self._options.filter)
        if anybody and not self._sessions.search(base, anybody, self._names, deadline):
            raise SourceError(f"filter can't find anybody below {base}: nothing matches {anybody}; {_ADVICE}")
        for name in self._names:
            found = self._sessions.search(base, f"(&{anybody}({name}=*))", [name], deadline)
            if not any(name.lower() in record for record in found):
                raise SourceError(f"nobody below {base} has the attribute {name} as text; {_ADVICE}")
        as_whom = self._options.bind_dn or "anonymous"
        return f"{self._options.server} as {as_whom}: people below {base} have {', '.join(self._names)}"

    def close(self) -> None:
        self._sessions.close()

    def _session(self, deadline: float) -> Session:
        options = self._options
        return Session(options.server, self._context, options.bind_dn, options.secret, deadline)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return tls_context(self._options.ca_file.path if self._options.ca_file else None)
