"""XMPP addresses (RFC 7622)."""

from __future__ import annotations

import re
from typing import NamedTuple

# RFC 7622 section 3.3.1 forbids these in a localpart; blanks and control characters stand nowhere but in a resource.
_LOCAL = re.compile("[^\\s\x00-\x20\"&'/:<>@\x7f]{1,1023}")
_DOMAIN = re.compile("[^\\s\x00-\x20\"&'/:<>@\\\\\x7f]{1,1023}|\\[[0-9A-Fa-f:.]+\\]")


class JID(NamedTuple):
    local: str
    domain: str
    resource: str

    def __str__(self) -> str:
        return (f"{self.local}@" if self.local else "") + self.domain + (f"/{self.resource}" if self.resource else "")

    @property
    def bare(self) -> str:
        return str(self._replace(resource=""))


def parse(text: str) -> JID:
    """The parts of an address; local and domain in lower case. Raises ValueError, saying what is wrong."""
    rest, slash, resource = text.partition("/")
    local, at, domain = rest.rpartition("@")
    if at and not _LOCAL.fullmatch(local):
        raise ValueError(f"{text!r} is not a JID: {'nothing' if not local else 'not a name'} before the @")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{text!r} is not a JID, which looks like alice@example.org")
    if slash and not 0 < len(resource) < 1024:
        raise ValueError(f"{text!r} is not a JID: nothing after the /")
    return JID(local.lower(), domain.lower().rstrip("."), resource)
