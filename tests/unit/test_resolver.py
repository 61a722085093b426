"""Where the server is: the configured hosts, or the SRV records of the domain."""

from __future__ import annotations

import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import dns.exception
import dns.resolver
import dns.rrset
import pytest

from parts.table import each
from screenpop.xmpp import resolver
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.resolver import Host, Record


class Answer:
    def __init__(self, rrset: dns.rrset.RRset | None) -> None:
        self.rrset = rrset


def name_server(monkeypatch: pytest.MonkeyPatch, **records: list[str] | type[Exception]) -> None:
    """Replies questions for SRV records: xmpp and xmpps are the ones of example.org, or what is raised."""

    class Resolver:
        def resolve(self, name: str, kind: str, *, lifetime: float, raise_on_no_answer: bool) -> Answer:
            assert kind == "SRV" and lifetime and not raise_on_no_answer
            service, _, domain = name.partition("-client._tcp.")
            assert domain == "example.org."
            found = records.get(service[1:], [])
            if isinstance(found, type):
                raise found
            return Answer(dns.rrset.from_text_list(name, 300, "IN", "SRV", found) if found else None)

    monkeypatch.setattr(dns.resolver, "Resolver", Resolver)


def test_configured_servers_are_tried_in_their_order_and_dns_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    name_server(monkeypatch, xmpp=AssertionError, xmpps=AssertionError)
    servers = [("b.example.net", 5222), ("a.example.net", 5223), ("2001:db8::1", 443), ("a.example.net", 15222)]
    assert resolver.find("example.org", servers) == [
        Host("b.example.net", 5222, False),
        Host("a.example.net", 5223, True),
        Host("2001:db8::1", 443, True),
        Host("a.example.net", 15222, False),
    ]


def test_both_kinds_of_record_are_one_set_in_the_order_of_their_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """XEP-0368 section 3."""
    name_server(
        monkeypatch,
        xmpp=["20 1 5222 third.example.org.", "5 1 5222 first.example.org."],
        xmpps=["10 1 443 second.example.org.", "30 1 5223 fourth.example.org."],
    )
    assert resolver.find("example.org", ()) == [
        Host("first.example.org", 5222, False),
        Host("second.example.org", 443, True),
        Host("third.example.org", 5222, False),
        Host("fourth.example.org", 5223, True),
    ]


@pytest.mark.parametrize("nothing", [[], dns.resolver.NXDOMAIN, dns.exception.Timeout, OSError])
def test_a_domain_without_records_is_tried_itself(
    monkeypatch: pytest.MonkeyPatch, nothing: list[str] | type[Exception]
) -> None:
    """RFC 6120 section 3.2.2."""
    name_server(monkeypatch, xmpp=nothing, xmpps=nothing)
    assert resolver.find("example.org", ()) == [Host("example.org", 5222, False)]


@pytest.mark.parametrize("content", [None, b"", b"nameserver nonsense\n", b"\xff\xfe"], ids=ascii)
def test_a_box_without_a_name_server_tries_the_domain_itself(
    content: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    if content is not None:
        resolv_conf.write_bytes(content)
    monkeypatch.setattr(dns.resolver, "Resolver", partial(dns.resolver.Resolver, str(resolv_conf)))
    assert resolver.find("example.org", ()) == [Host("example.org", 5222, False)]


def test_of_a_hundred_hosts_the_first_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can forge an answer, and each host may take 10 seconds."""
    name_server(monkeypatch, xmpp=[f"{n} 0 5222 h{n}.example.org." for n in range(100)])
    found = [host.name for host in resolver.find("example.org", ())]
    assert found == [f"h{n}.example.org" for n in range(resolver.MOST_HOSTS)]


def test_a_redirection_to_a_domain_without_the_service_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    name_server(monkeypatch, xmpp=["0 0 0 ."], xmpps=["0 0 0 ."])
    assert resolver.redirected_hosts("example.org") == []


def test_one_kind_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    name_server(monkeypatch, xmpp=["0 0 5222 xmpp.example.org."], xmpps=dns.resolver.NXDOMAIN)
    assert resolver.find("example.org", ()) == [Host("xmpp.example.org", 5222, False)]


def test_a_target_of_a_dot_says_that_there_is_no_such_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 2782; RFC 6120 section 3.2.1: then the domain itself is not tried."""
    name_server(monkeypatch, xmpp=["0 0 0 ."], xmpps=["0 0 0 ."])
    with pytest.raises(SessionError, match=r"example\.org says that it has no XMPP service") as trouble:
        resolver.find("example.org", ())
    assert trouble.value.step == "DNS"


@pytest.mark.parametrize(
    ("xmpp", "xmpps", "found"),
    [
        (["0 0 5222 xmpp.example.org."], ["0 0 0 ."], Host("xmpp.example.org", 5222, False)),
        (["0 0 0 ."], ["0 0 5223 xmpp.example.org."], Host("xmpp.example.org", 5223, True)),
        ([], ["0 0 0 ."], Host("example.org", 5222, False)),  # no direct TLS, and nothing said of STARTTLS
    ],
)
def test_a_dot_speaks_for_its_own_kind_only(
    monkeypatch: pytest.MonkeyPatch, xmpp: list[str], xmpps: list[str], found: Host
) -> None:
    name_server(monkeypatch, xmpp=xmpp, xmpps=xmpps)
    assert resolver.find("example.org", ()) == [found]


def first_of(*weights: int) -> Counter[str]:
    """Who comes first in a thousand orders of hosts of the same priority; they are named by their places."""
    random.seed(2782)
    records = [Record(10, weight, Host(str(place), 5222, False)) for place, weight in enumerate(weights)]
    return Counter(resolver.in_order(records)[0].name for _ in range(1000))


def test_hosts_of_one_priority_share_by_their_weights() -> None:
    first = first_of(60, 30, 10)
    assert 550 < first["0"] < 650
    assert 250 < first["1"] < 350
    assert 70 < first["2"] < 130


def test_a_weight_of_nothing_beside_others_has_a_very_small_chance() -> None:
    assert first_of(0, 10)["0"] < 10


def test_weights_of_nothing_alone_are_equal() -> None:
    assert 400 < first_of(0, 0)["0"] < 600


def test_each_host_is_there_once_and_weights_dont_reach_beyond_their_priority() -> None:
    random.seed(2782)
    records = [Record(place // 3, place * 1000, Host(str(place), 5222, False)) for place in range(9)]
    for _ in range(100):
        ordered = [int(host.name) for host in resolver.in_order(records)]
        assert sorted(ordered) == list(range(9))
        assert [place // 3 for place in ordered] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@each(
    ("host", "shown"),
    [
        (Host("xmpp.example.org", 5222, False), "xmpp.example.org:5222 (STARTTLS)"),
        (Host("2001:db8::1", 443, True), "[2001:db8::1]:443 (direct TLS)"),
    ],
)
def test_a_host_is_shown_as_one_would_write_it(host: Host, shown: str) -> None:
    assert str(host) == shown


def test_without_dnspython_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns.exception", None)
    with pytest.raises(SessionError, match=r"dnspython can't be imported \(.*\); run install.sh again"):
        resolver.find("example.org", ())
