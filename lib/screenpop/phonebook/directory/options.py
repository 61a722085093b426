"""A section of the type ldap."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ...config import File, Option, Required
from ..fields import record_names
from ..source import SourceOptions, SourceSecret, source_file, source_secret
from . import connection
from .filter import template

_ATTRIBUTE = re.compile(r"([A-Za-z][A-Za-z0-9-]*|\d+(\.\d+)+)(;[A-Za-z0-9-]+)*")  # RFC 4512 section 2.5


class LdapOptions(SourceOptions):
    server = Required(connection.server, "the directory's server, such as ldaps://ldap.example.org")
    ca_file: Option[File | None] = Option(source_file, None)
    base = Required(str, "the entry below which people are, such as ou=people,dc=example,dc=org")
    filter = Required(template, "what finds a number, such as (telephoneNumber={number})")
    bind_dn = Option(str, "")  # empty: anonymous
    password = Option(str, "", secret=True)  # or the one in password_file
    password_file: Option[SourceSecret | None] = Option(source_secret, None)

    @property
    def secret(self) -> str:
        """Raises SourceError."""
        return self.password_file.secret if self.password_file else self.password

    @classmethod
    def read_other(cls, text: str) -> str:
        for name in record_names(super().read_other(text)):
            if not _ATTRIBUTE.fullmatch(name):
                raise ValueError(f"{name!r} should be the name of an attribute, such as displayName")
        return text

    @classmethod
    def complaints(cls, given: Collection[str]) -> Iterator[str]:
        if len({"password", "password_file"} & {*given}) != ("bind_dn" in given):
            yield "bind_dn goes with password or password_file, one of them; an anonymous bind has none of the three"
