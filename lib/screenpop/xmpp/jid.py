"""XMPP addresses (RFC 7622)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from ..text import clean

# RFC 7622 section 3.3.1 forbids these in a localpart.
_LOCAL = re.compile("[^\\s\"&'/:<>@]{1,1023}")
ROOM = "room:"  # before a JID: a recipient that is a room (XEP-0045)
LONGEST = 3071  # characters (section 3.1: bytes)
_DOMAIN = re.compile(r"(?=.{1,1023}$)[\w-]{1,63}(\.[\w-]{1,63})*")


class JID(NamedTuple):
    local: str
    domain: str
    resource: str

    def __str__(self) -> str:
        return (f"{self.local}@" if self.local else "") + self.domain + (f"/{self.resource}" if self.resource else "")


@lru_cache(maxsize=100)
def parse(text: str) -> JID:
    """The parts of an address; local and domain in lower case. Raises ValueError with the reason."""
    rest, slash, resource = text.partition("/")
    local, at, domain = rest.rpartition("@")
    domain = domain.rstrip(".")
    if clean(text, limit=LONGEST) != text:
        raise ValueError(f"{clean(text)!r} is not a JID: it has invisible characters, or is too long")
    if at and not _LOCAL.fullmatch(local):
        raise ValueError(f"{text!r} is not a JID: {'nothing' if not local else 'not a name'} before the @")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{text!r} is not a JID, which looks like alice@example.org")
    if slash and not 0 < len(resource) < 1024:
        raise ValueError(f"{text!r} is not a JID: the part after the / is empty or too long")
    return JID(local.lower(), domain.lower(), resource)


def recipient(text: str) -> str:
    """A JID, or `room:` and the JID of a room, in the form that is stored. Raises ValueError with the reason."""
    parsed = parse(address(text).strip())
    if not text.startswith(ROOM):
        return str(parsed)
    if not parsed.local or parsed.resource:
        raise ValueError(f"{text!r} is not a room, which looks like room:sales@conference.example.org")
    return f"{ROOM}{parsed}"


def address(recipient: str) -> str:
    """The JID of a recipient."""
    return recipient[len(ROOM) :] if recipient.startswith(ROOM) else recipient


def may_be_room(recipient: str, own: JID) -> bool:
    """Whether its server must be asked. That of our own account has accounts, not rooms."""
    parsed = parse(address(recipient))
    return recipient.startswith(ROOM) or bool(parsed.local and not parsed.resource and parsed.domain != own.domain)


def same_account(one: str, other: str) -> bool:
    """Whether two addresses belong to the same account or host. The resource and the case of letters don't count."""
    try:
        return folded(one) == folded(other)
    except ValueError:
        return False


def may_bounce(sender: str, own: JID, recipient: str) -> bool:
    """Whether to believe an error from `sender` about a message from `own` to `recipient`. It is believed if it comes
    from the recipient, its server, our server, or our own account.
    """
    if same_account(sender, recipient):
        return True
    others = (f"{own.local}@{own.domain}", own.domain, domain(recipient))
    return "/" not in sender and any(same_account(sender, other) for other in others)


def domain(text: str) -> str:
    return parse(text).domain


def folded(text: str) -> tuple[str, str]:
    """Local and domain, in one form for all ways to write them. Raises ValueError."""
    parsed = parse(text)
    return unicodedata.normalize("NFKC", parsed.local.casefold()), unicodedata.normalize(
        "NFKC", parsed.domain.casefold()
    )
