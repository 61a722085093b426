"""The section [xmpp], the account that sends and its server; and the sections of rooms that have a password."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..config import File, Option, Required, SecretFile, Section, readable_file, secret_file
from ..text import clean
from . import jid, resolver


def _account(text: str) -> jid.JID:
    address = jid.parse(text)
    if not address.local or address.resource:
        raise ValueError("should be an account such as pbx@example.org, with nothing after the domain")
    return address


def _name(text: str) -> str:
    if clean(text, limit=64) != text:
        raise ValueError("should be a name such as Phone calls, of at most 64 characters")
    return text


def _servers(text: str) -> tuple[tuple[str, int], ...]:
    servers = []
    for part in text.split():
        try:
            name, port = resolver.parse_host(part)
        except ValueError:
            port = None
        if not port:
            raise ValueError(f"{part!r} should be host:port, such as xmpp.example.org:5222 or [2001:db8::1]:5222")
        servers.append((name, port))
    return tuple(servers)


def _room(text: str) -> str:
    address = jid.parse(text)
    if not address.local or address.resource:
        raise ValueError("should be a room such as sales@conference.example.org, with nothing after the domain")
    return str(address)


class _WithPassword(Section):
    """`password` is the content of password_file if that is set."""

    password = Option(str, "", secret=True)
    password_file: Option[SecretFile | None] = Option(secret_file, None)

    def __init__(self, values: Mapping[str, Any]) -> None:
        file = values.get("password_file")
        super().__init__({**values, "password": file.secret} if file else values)

    @classmethod
    def complaints(cls, given: Collection[str]) -> Iterator[str]:
        both = "password" in given and "password_file" in given
        if both or not ("password" in given or "password_file" in given):
            yield f"password or password_file: {'both are set' if both else 'missing'}; set one of them"


class XmppOptions(_WithPassword):
    jid = Required(_account, "the account that sends, such as pbx@example.org")
    server: Option[tuple[tuple[str, int], ...]] = Option(_servers, ())  # hosts and ports; empty: use the SRV records
    ca_file: Option[File | None] = Option(readable_file, None)
    name = Option(_name, "Phone calls")


class RoomOptions(_WithPassword):
    """`type = room`: a room that has a password (XEP-0045)."""

    room = Required(_room, "the room, such as sales@conference.example.org")
