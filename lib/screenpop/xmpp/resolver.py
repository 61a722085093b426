"""Finds the server: the configured hosts, or the domain's SRV records (RFC 6120 section 3.2, RFC 2782, XEP-0368)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .errors import SessionError

DNS_DEADLINE = 5.0  # seconds for all DNS queries
MOST_HOSTS = 10  # hosts that are tried; each may take 10 s or more, and a forged answer may name a thousand
STARTTLS_PORT = 5222
DIRECT_TLS_PORTS = (5223, 443)  # a configured host with one of these ports gets TLS from the first byte


class Host(NamedTuple):
    name: str
    port: int
    direct_tls: bool

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port} ({'direct TLS' if self.direct_tls else 'STARTTLS'})"


class Record(NamedTuple):
    priority: int
    weight: int
    host: Host


def find(domain: str, servers: Iterable[tuple[str, int]]) -> list[Host]:
    """The hosts to try, in this order. Raises SessionError."""
    configured = [Host(name, port, port in DIRECT_TLS_PORTS) for name, port in servers]
    if configured:
        return configured
    records = look_up(domain)
    hosts = [host for host in in_order(records) if host.name]
    if not hosts and any(not record.host.direct_tls for record in records):
        raise SessionError("DNS", f"{domain} says that it has no XMPP service", "check the domain of [xmpp] jid")
    return hosts or [Host(domain, STARTTLS_PORT, False)]


def redirected_hosts(text: str) -> list[Host]:
    """The hosts that a see-other-host error names (RFC 6120 section 4.9.3.19). Empty if it names none that exists."""
    try:
        name, port = parse_host(text.strip())
        if port or ":" in name or re.fullmatch(r"[\d.]+", name):
            return find("", [(name, port or STARTTLS_PORT)])
        return find(name, ())
    except (ValueError, SessionError):
        return []


def parse_host(text: str) -> tuple[str, int | None]:
    """Name and port of `host:port` or `host`. IPv6 addresses are in brackets. Raises ValueError."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+))(?::(\d{1,5}))?", text)
    if not found or not 0 < int(found[3] or 1) < 65536:
        raise ValueError(f"{text!r} is no host")
    return found[1] or found[2], int(found[3]) if found[3] else None


def look_up(domain: str) -> list[Record]:
    """The SRV records of both kinds. A target of "." (no such service here) becomes a host without a name.

    The list is empty if there are no records or no name server answers; then the domain itself is tried (RFC 6120
    section 3.2.2). Raises SessionError.
    """
    try:
        import dns.exception  # takes 40 ms, and is not needed if [xmpp] server is set
        import dns.resolver
    except Exception as error:  # a broken library can raise anything
        raise SessionError("DNS", f"dnspython can't be imported ({error})", "run install.sh again") from error
    records: list[Record] = []
    try:
        resolver = dns.resolver.Resolver()  # reads resolv.conf: the network may have changed
    except (dns.exception.DNSException, ValueError):  # resolv.conf is missing or can't be read
        return records
    for service, direct_tls in (("_xmpps-client", True), ("_xmpp-client", False)):
        try:
            answers = resolver.resolve(
                f"{service}._tcp.{domain}.", "SRV", lifetime=DNS_DEADLINE / 2, raise_on_no_answer=False
            )
        except (dns.exception.DNSException, OSError, UnicodeError):
            continue
        for answer in answers.rrset or ():
            name = answer.target.to_text(omit_final_dot=True)
            records.append(
                Record(answer.priority, answer.weight, Host("" if name == "." else name, answer.port, direct_tls))
            )
    return records


def in_order(records: Iterable[Record]) -> list[Host]:
    """The first MOST_HOSTS hosts by priority; within a priority, by random choice with the weights (RFC 2782).

    Records of both kinds form one set (XEP-0368).
    """
    left = list(records)
    ordered: list[Host] = []
    while left and len(ordered) < MOST_HOSTS:
        lowest = min(record.priority for record in left)
        candidates = [record for record in left if record.priority == lowest]
        # RFC 2782: a weight of 0 has "a very small chance"
        import random  # here: a first call without SRV records needn't wait for it

        (chosen,) = random.choices(candidates, [record.weight or 0.01 for record in candidates])  # noqa: S311
        left.remove(chosen)
        ordered.append(chosen.host)
    return ordered
