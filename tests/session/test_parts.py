"""The parts that the other tests are made of do what they say."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import dns.exception
import dns.resolver
import pytest

from parts import scripted
from parts.certificates import Authority, Certificate
from parts.ejabberd import Ejabberd
from parts.nameserver import Nameserver
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.scripted import ScriptedServer
from parts.server import Server
from screenpop.xmpp import channel_binding
from screenpop.xmpp.scram import Client, Offer

SRV = ("_xmpp-client._tcp.screenpop.test", "SRV")


def sign_in(server: Server | ScriptedServer, user: str, ca_file: Path, receipts: bool = False) -> Recipient:
    return Recipient(f"{user}@{server.domain}", server.accounts[user], server.host, server.port, ca_file, receipts)


@pytest.fixture(params=["prosody", "ejabberd"])
def server(request: pytest.FixtureRequest) -> Prosody | Ejabberd:
    found: Prosody | Ejabberd = request.getfixturevalue(request.param)
    return found


def test_a_message_goes_through_a_server(server: Server) -> None:
    before = server.sign_ins("alice")
    with sign_in(server, "alice", server.ca_file) as alice, sign_in(server, "pbx", server.ca_file) as pbx:
        pbx.send(server.jid("alice"), "Call from <Bob> & ☎")
        received = alice.wait_for_message()
        assert (received.type, received.body) == ("chat", "Call from <Bob> & ☎")
        assert received.from_jid.startswith(server.jid("pbx") + "/")
        pbx.sync()
        assert len(alice.messages) == 1
    assert server.sign_ins("alice") == before + 1


def test_a_receipt_is_sent_when_asked_for(prosody: Prosody) -> None:
    with sign_in(prosody, "alice", prosody.ca_file, receipts=True), sign_in(prosody, "pbx", prosody.ca_file) as pbx:
        pbx.send(prosody.jid("alice"), "hello", "<request xmlns='urn:xmpp:receipts'/>")
        assert '<received xmlns="urn:xmpp:receipts"' in pbx.wait_for_message().xml


def test_a_message_for_an_unknown_user_comes_back(server: Server) -> None:
    with sign_in(server, "pbx", server.ca_file) as pbx:
        pbx.send(server.jid("nobody"), "hello")
        pbx.sync()
        assert [(message.type, message.from_jid) for message in pbx.messages] == [("error", server.jid("nobody"))]


def test_a_wrong_password_and_an_unknown_authority_are_refused(server: Server, tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(ConnectionError):
        Recipient(server.jid("alice"), "wrong", server.host, server.port, server.ca_file).start()
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        sign_in(server, "alice", Authority(tmp_path).ca_file).start()
    assert threading.active_count() == threads


def test_a_server_offers_what_it_is_asked_to_and_restarts_on_its_port(
    server: Prosody | Ejabberd, new_server_folder: Path, certificate: Certificate
) -> None:
    with type(server)(new_server_folder, certificate, mechanisms=["SCRAM-SHA-256"], hashed=False) as own:
        for end in (own.stop, own.kill):
            with sign_in(own, "alice", own.ca_file) as alice:
                assert alice.mechanism == "SCRAM-SHA-256"
                end()
            own.start()
        assert own.sign_ins("alice") == 2


def test_a_scripted_server_told_nothing_is_a_server(certificate: Certificate) -> None:
    bounces = {"bob@screenpop.test": ("cancel", "item-not-found")}
    with ScriptedServer(certificate, bounces=bounces) as server:
        with sign_in(server, "pbx", certificate.ca_file) as pbx:
            pbx.send("alice@screenpop.test", "hello")
            pbx.send("bob@screenpop.test", "hello")
            assert "item-not-found" in pbx.wait_for_message().xml
        assert [message.get("to") for message in server.messages] == ["alice@screenpop.test", "bob@screenpop.test"]
        assert server.connections == 1
        assert b"<starttls" in server.received_plain
        assert b"<auth" not in server.received_plain
        assert b"<auth" in server.received_tls


@pytest.mark.parametrize(
    "script",
    [
        {"mechanisms": ["PLAIN"]},
        {"mechanisms": ["SCRAM-SHA-256"]},
        {"mechanisms": ["SCRAM-SHA-1-PLUS"], "channel_bindings": ["tls-unique"], "tls_1_2": True},
        {"session": "optional"},
        {"session": "required"},
    ],
    ids=str,
)
def test_a_client_signs_in_to_a_scripted_server(script: dict[str, Any], certificate: Certificate) -> None:
    with ScriptedServer(certificate, **script) as server, sign_in(server, "pbx", certificate.ca_file):
        pass


# but where slixmpp doesn't get to, and where older slixmpp doesn't notice
NOT_SEEN = ("tls", "session", "ping", "message", "roster")


@pytest.mark.parametrize("step", [step for step in scripted.STEPS if step not in NOT_SEEN])
def test_a_fault_happens_at_its_step_and_then_no_more(step: str, certificate: Certificate) -> None:
    with ScriptedServer(certificate, faults={step: scripted.close}, faulty_connections=1) as server:
        with pytest.raises(ConnectionError):
            sign_in(server, "pbx", certificate.ca_file).start()
        with sign_in(server, "pbx", certificate.ca_file):
            assert server.connections == 2


@pytest.mark.parametrize(
    "script",
    [
        {"mechanisms": ["DIGEST-MD5"]},
        {"certificate": None, "mechanisms_before_tls": ["PLAIN"]},
        {"faults": {"features": scripted.stream_error("see-other-host", "127.0.0.1:1")}},
        {"faults": {"bind": scripted.stream_error("conflict")}},
    ],
    ids=str,
)
def test_a_client_is_refused(script: dict[str, Any], certificate: Certificate) -> None:
    with ScriptedServer(**{"certificate": certificate, **script}) as server:
        with pytest.raises(ConnectionError):
            sign_in(server, "pbx", certificate.ca_file).start()
        assert b"<auth" not in server.received_plain


@pytest.mark.parametrize("binding", ["tls-server-end-point", "tls-unique"])
def test_channel_binding_is_checked(binding: str, certificate: Certificate) -> None:
    """By our own client: slixmpp can't."""
    mechanism = "SCRAM-SHA-256-PLUS"
    with ScriptedServer(certificate, mechanisms=[mechanism], tls_1_2=True, direct_tls=True) as server:
        for right in (True, False):
            with connect(server, certificate.ca_file) as tls:
                data = tls.get_channel_binding("tls-unique")
                if binding == "tls-server-end-point":
                    data = channel_binding.of(tls.getpeercert(binary_form=True) or b"")
                told = data if right and data else b"another connection"
                client = Client(mechanism, "pbx", server.accounts["pbx"], Offer([], []), f"p={binding}", told)
                assert authenticate(tls, client, mechanism) == right


def test_a_scripted_server_can_write_piecemeal(certificate: Certificate) -> None:
    """For a client of our own: slixmpp with Expat 2.6 waits forever for a tag that has come."""
    mechanism = "SCRAM-SHA-256"
    script: dict[str, Any] = {"mechanisms": [mechanism], "direct_tls": True, "piecemeal": True}
    with ScriptedServer(certificate, **script) as server, connect(server, certificate.ca_file) as tls:
        assert authenticate(tls, Client(mechanism, "pbx", server.accounts["pbx"], Offer([], []), "n"), mechanism)


def connect(server: ScriptedServer, ca_file: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(ca_file))
    return context.wrap_socket(
        socket.create_connection((server.host, server.port), timeout=10), server_hostname=server.domain
    )


def authenticate(tls: ssl.SSLSocket, client: Client, mechanism: str) -> bool:
    def ask(element: str) -> str:
        tls.sendall(element.encode())
        answer = b""
        while not re.search(rb"</(stream:features|challenge|success|failure)>$", answer):
            answer += tls.recv(65536)
        return answer.decode()

    def encoded(message: str) -> str:
        return base64.b64encode(message.encode()).decode()

    ask("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
    xmlns = f"xmlns='{scripted.SASL}'"
    challenge = ask(f"<auth {xmlns} mechanism='{mechanism}'>{encoded(client.first())}</auth>")
    final = client.final(base64.b64decode(ET.fromstring(challenge).text or "").decode())
    outcome = ET.fromstring(ask(f"<response {xmlns}>{encoded(final)}</response>"))
    return outcome.tag.endswith("success")


def test_an_expired_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    expired = authority.issue(tmp_path, "screenpop.test", expired=True)
    with ScriptedServer(expired) as server, pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        sign_in(server, "pbx", authority.ca_file).start()


def test_names_are_resolved() -> None:
    records = {SRV: ["5 0 5222 xmpp.screenpop.test."], ("xmpp.screenpop.test", "A"): ["127.0.0.1"]}
    with Nameserver(records) as nameserver:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [nameserver.host]
        resolver.port = nameserver.port
        assert [record.to_text() for record in resolver.resolve(*SRV)] == records[SRV]
        with pytest.raises(dns.resolver.NoAnswer):
            resolver.resolve("xmpp.screenpop.test", "AAAA")
        with pytest.raises(dns.resolver.NXDOMAIN):
            resolver.resolve("other.test", "A")
        nameserver.fault = "servfail"
        with pytest.raises(dns.resolver.NoNameservers):
            resolver.resolve(*SRV)
        nameserver.fault = "silent"
        with pytest.raises(dns.exception.Timeout):
            resolver.resolve(*SRV, lifetime=0.1)
        assert nameserver.questions[0] == SRV
