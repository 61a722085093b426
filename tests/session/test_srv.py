"""Where the server is, by the DNS: a name server of our own answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.resolver
import pytest

from parts.certificates import Certificate
from parts.nameserver import Nameserver
from parts.pbx import DOMAIN, Pbx
from parts.scripted import ScriptedServer
from screenpop.xmpp import resolver
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.resolver import Host
from screenpop.xmpp.session import Session

DIRECT, STARTTLS = f"_xmpps-client._tcp.{DOMAIN}", f"_xmpp-client._tcp.{DOMAIN}"


@pytest.fixture
def nameserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nameserver]:
    with Nameserver({}) as server:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [server.host], server.port
        monkeypatch.setattr(dns.resolver, "Resolver", lambda: resolver)
        yield server


def test_both_kinds_of_record_by_priority(nameserver: Nameserver) -> None:
    nameserver.records = {
        (STARTTLS, "SRV"): [f"20 0 5222 c.{DOMAIN}.", f"5 0 5222 a.{DOMAIN}."],
        (DIRECT, "SRV"): [f"10 0 443 b.{DOMAIN}."],
    }
    assert resolver.find(DOMAIN, ()) == [
        Host(f"a.{DOMAIN}", 5222, False),
        Host(f"b.{DOMAIN}", 443, True),
        Host(f"c.{DOMAIN}", 5222, False),
    ]


@pytest.mark.parametrize("fault", [None, "servfail", "silent"])
def test_without_records_the_domain_itself(
    nameserver: Nameserver, fault: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "DNS_DEADLINE", 0.4)
    nameserver.fault = fault
    assert resolver.find(DOMAIN, ()) == [Host(DOMAIN, 5222, False)]


def test_a_domain_that_says_it_has_no_service_is_not_tried(nameserver: Nameserver) -> None:
    nameserver.records = {(STARTTLS, "SRV"): ["0 0 0 ."]}
    with pytest.raises(SessionError, match="says that it has no XMPP service"):
        resolver.find(DOMAIN, ())


def test_the_configured_server_needs_no_dns(nameserver: Nameserver) -> None:
    assert resolver.find(DOMAIN, (("a.test", 5222), ("b.test", 5223))) == [
        Host("a.test", 5222, False),
        Host("b.test", 5223, True),
    ]
    assert nameserver.questions == []


def test_signs_in_over_direct_tls_after_a_host_that_is_down(
    nameserver: Nameserver, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, direct_tls=True) as server:
        nameserver.records = {
            (STARTTLS, "SRV"): ["5 0 1 localhost."],
            (DIRECT, "SRV"): [f"10 0 {server.port} localhost."],
        }
        pbx = Pbx(tmp_path, server, certificate.ca_file)
        pbx.conf.write_text("".join(line for line in pbx.conf.open() if not line.startswith("server")))
        steps: dict[str, str] = {}
        tried: list[int] = []
        ignore = lambda *_: None  # noqa: E731
        session = Session(
            pbx.config.xmpp, "box", steps.__setitem__, ignore, ignore, on_host=lambda: tried.append(len(steps))
        )
        session.close()
    assert steps["DNS"] == f"localhost:1 (STARTTLS), localhost:{server.port} (direct TLS)"
    assert f"localhost:{server.port} (direct TLS)" in steps["connection"]
    assert tried == [1, 1]  # each before it was
