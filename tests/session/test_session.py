"""Signing in: to a real Prosody and a real ejabberd, and to a scripted server for what those don't do wrong."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from parts import scripted
from parts.certificates import Authority, Certificate
from parts.pbx import DOMAIN, Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.scripted import Conversation, ScriptedServer
from screenpop.xmpp import session
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.scram import Offer
from screenpop.xmpp.session import Session
from screenpop.xmpp.stanza import chat

PASSWORD = b"pbx's secret"


class Told:
    """A session, and what it told."""

    def __init__(self, pbx: Pbx, resource: str = "box") -> None:
        self.steps: dict[str, str] = {}
        self.errors: list[tuple[str, str, str, str]] = []
        self.receipts: list[tuple[str, str]] = []
        self.session = Session(
            pbx.config.xmpp,
            resource,
            on_step=self.steps.__setitem__,
            on_error=lambda *error: self.errors.append(error),
            on_receipt=lambda *receipt: self.receipts.append(receipt),
        )

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def mechanism(told: Told) -> str:
    return told.steps["sign-in"].rpartition(" ")[2]


@pytest.fixture(params=["prosody", "ejabberd"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_signs_in_and_confirms_a_message(server: Any, tmp_path: Path) -> None:
    with Recipient.at(server) as alice, Told(Pbx(tmp_path, server, server.ca_file)) as told:
        told.session.send(chat("1", server.jid("alice"), "Call from +1 & <2>"))
        told.session.confirm()
        alice.sync()
        (message,) = alice.messages
    assert message.body == "Call from +1 & <2>" and message.type == "chat"
    assert message.from_jid == f"{server.jid('pbx')}/box"
    assert mechanism(told).startswith("SCRAM-")
    assert told.errors == []


def test_a_message_to_nobody_comes_back_before_the_confirmation(server: Any, tmp_path: Path) -> None:
    with Told(Pbx(tmp_path, server, server.ca_file)) as told:
        told.session.send(chat("1", server.jid("nobody"), "Call"))
        told.session.confirm()
    ((stanza_id, jid, kind, reason),) = told.errors
    assert (stanza_id, jid, kind) == ("1", server.jid("nobody"), "cancel")
    assert reason.startswith("service-unavailable")


def test_a_wrong_password(server: Any, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"sign-in: pbx@.*does not accept this name and password .*; check"):
        Told(Pbx(tmp_path, server, server.ca_file, password="wrong"))


@pytest.mark.parametrize("offered", ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"])
def test_a_prosody_that_offers_only_one_mechanism(
    offered: str, authority: Authority, certificate: Certificate, tmp_path: Path, new_server_folder: Path
) -> None:
    server = Prosody(new_server_folder, certificate, mechanisms=[offered], hashed=False)
    with server, Told(Pbx(tmp_path, server, authority.ca_file)) as told:
        assert mechanism(told) == offered


def test_direct_tls(authority: Authority, certificate: Certificate, tmp_path: Path, new_server_folder: Path) -> None:
    with Prosody(new_server_folder, certificate, direct_tls=True) as server:
        pbx = Pbx(tmp_path, server, authority.ca_file)
        pbx.server = f"{server.host}:{server.direct_tls_port}"
        pbx.configure()
        with Told(pbx) as told:
            assert "direct TLS" in told.steps["connection"]
            told.session.confirm()


@pytest.mark.parametrize(
    ("names", "expired", "trusted", "reason"),
    [
        ([DOMAIN], True, True, "has expired; renew it"),
        (["other.test"], False, True, f"is not for {DOMAIN}; the server needs a certificate for the domain"),
        ([DOMAIN], False, False, "can't be trusted: .*this machine doesn't know its CA; .*.xmpp. ca_file to"),
    ],
    ids=["expired", "other host name", "unknown CA"],
)
@pytest.mark.parametrize("direct_tls", [False, True], ids=["STARTTLS", "direct TLS"])
def test_a_certificate_that_does_not_hold_gets_no_credential(
    names: list[str],
    expired: bool,
    trusted: bool,
    reason: str,
    direct_tls: bool,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    certificate = authority.issue(tmp_path, *names, expired=expired)
    (tmp_path / "other").mkdir()
    ca_file = authority.ca_file if trusted else Authority(tmp_path / "other").ca_file
    with ScriptedServer(certificate, direct_tls=direct_tls) as server:
        if direct_tls:
            monkeypatch.setattr("screenpop.xmpp.resolver.DIRECT_TLS_PORTS", (server.port,))
        with pytest.raises(SessionError, match=f"certificate of .* {reason}"):
            Told(Pbx(tmp_path, server, ca_file))
        assert server.connections == 1
        assert_no_credential(server)


def assert_no_credential(server: ScriptedServer) -> None:
    """Neither in the clear nor over a TLS that proves nothing."""
    for received in (server.received_plain, server.received_tls):
        assert b"<auth" not in received
        assert PASSWORD not in received and base64.b64encode(b"\0pbx\0" + PASSWORD) not in received


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed at once."""
    monkeypatch.setattr(session, "STEP_DEADLINE", 0.3)
    monkeypatch.setattr("screenpop.xmpp.tcp.ADDRESS_DEADLINE", 0.3)


@pytest.mark.parametrize("step", scripted.SIGN_IN)
@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_nothing_any_more(step: str, certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={step: scripted.silent}) as server:
        with pytest.raises(SessionError, match=r"doesn't answer|no answer"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


@pytest.mark.parametrize("step", scripted.SIGN_IN)
def test_a_server_that_closes(step: str, certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={step: scripted.close}) as server:
        with pytest.raises(SessionError, match="closed the connection"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (scripted.say("HTTP/1.1 400 Bad Request\r\n\r\n"), "is not XMPP"),
        (scripted.say("<html>"), "is not XMPP"),
        (scripted.say("<!DOCTYPE x [<!ENTITY a 'aaaa'>]><stream:stream>"), "document type declaration"),
    ],
    ids=["HTTP", "HTML", "DOCTYPE"],
)
def test_what_is_no_stream(fault: scripted.Fault, reason: str, certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"stream": fault}) as server:
        with pytest.raises(SessionError, match=f"stream: .*{reason}"):
            Told(Pbx(tmp_path, server, certificate.ca_file))
        assert_no_credential(server)


@pytest.mark.parametrize("condition", ["host-unknown", "system-shutdown"])
@pytest.mark.parametrize("step", ["features", "features-after-tls", "bind"])
def test_a_stream_error(condition: str, step: str, certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={step: scripted.stream_error(condition)}) as server:
        with pytest.raises(SessionError, match=f"the server says {condition}"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


def test_a_stanza_without_an_end(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"features-after-tls": scripted.endless_stanza}) as server:
        with pytest.raises(SessionError, match="more than 16384 bytes during the sign-in"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


@pytest.mark.parametrize("before_tls", [(), ("PLAIN", "SCRAM-SHA-1")])
def test_no_tls_no_credential(before_tls: tuple[str, ...], tmp_path: Path, authority: Authority) -> None:
    with ScriptedServer(None, mechanisms_before_tls=before_tls) as server:
        with pytest.raises(SessionError, match=r"TLS: .* offers no TLS; switch TLS on at the server"):
            Told(Pbx(tmp_path, server, authority.ca_file))
        assert_no_credential(server)


@pytest.mark.parametrize("offered", [["DIGEST-MD5"], ["CRAM-MD5", "ANONYMOUS"], []])
def test_never_with_another_mechanism(offered: list[str], certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, mechanisms=offered) as server:
        with pytest.raises(SessionError, match="neither SCRAM nor PLAIN"):
            Told(Pbx(tmp_path, server, certificate.ca_file))
        assert_no_credential(server)
        assert b"jabber:iq:auth" not in server.received_tls  # XEP-0078


@pytest.mark.parametrize("proof", [scripted.wrong_signature, scripted.no_signature])
def test_a_server_that_does_not_know_the_password(
    proof: scripted.Fault, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, faults={"success": proof}) as server:
        with pytest.raises(
            SessionError,
            match=r"by SCRAM-SHA-1: the server (did not prove that it knows the password|sent no signature)",
        ):
            Told(Pbx(tmp_path, server, certificate.ca_file))


@pytest.mark.parametrize(
    ("offered", "bindings", "chosen", "flag"),
    [
        # RFC 5802 section 6, XEP-0440
        (["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], ["tls-server-end-point"], "SCRAM-SHA-1-PLUS", b"p=tls-server-end-point,"),
        (["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], ["tls-exporter"], "SCRAM-SHA-1", b"n,"),
        (["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], [], "SCRAM-SHA-1", b"n,"),
        (["SCRAM-SHA-1"], ["tls-server-end-point"], "SCRAM-SHA-1", b"n,"),  # -PLUS switched off by the administrator
        (["SCRAM-SHA-1"], ["tls-exporter"], "SCRAM-SHA-1", b"n,"),
        (["SCRAM-SHA-256", "SCRAM-SHA-1"], [], "SCRAM-SHA-256", b"y,"),
        (["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"], [], "SCRAM-SHA-512", b"y,"),
        (["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"], ["tls-server-end-point"], "SCRAM-SHA-1-PLUS", b"p="),
    ],
)
@pytest.mark.parametrize("tls_1_2", [False, True], ids=["TLS 1.3", "TLS 1.2"])
def test_the_best_mechanism_bound_to_the_channel_where_the_server_can(
    offered: list[str],
    bindings: list[str],
    chosen: str,
    flag: bytes,
    tls_1_2: bool,
    certificate: Certificate,
    tmp_path: Path,
) -> None:
    with ScriptedServer(certificate, mechanisms=offered, channel_bindings=bindings, tls_1_2=tls_1_2) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            assert mechanism(told) == chosen
        first = server.received_tls.partition(b"<auth")[2].partition(b">")[2].partition(b"<")[0]
        assert base64.b64decode(first).startswith(flag)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("account-disabled", "the account is disabled"),
        ("temporary-auth-failure", "the server can't check passwords at the moment"),
        ("something-new", "the server refuses the sign-in"),
    ],
)
def test_a_sign_in_that_is_refused(condition: str, reason: str, certificate: Certificate, tmp_path: Path) -> None:
    refused = scripted.sasl_failure(condition, "because\n<I> say so")
    with ScriptedServer(certificate, mechanisms=["SCRAM-SHA-1"], faults={"success": refused}) as server:
        with pytest.raises(SessionError, match=rf"sign-in: .*{reason} \({condition}: because <I> say so\); "):
            Told(Pbx(tmp_path, server, certificate.ca_file))
        assert server.connections == 1


@pytest.mark.parametrize(
    ("condition", "text", "advice"),
    [
        ("not-authorized", "Invalid channel binding", "look into the server's log"),
        ("not-authorized", "Wrong password", "check .xmpp. jid and password"),
        ("not-authorized", "", "check .xmpp. jid and password"),
        ("malformed-request", "", "look into the server's log"),
    ],
)
def test_the_advice_fits_the_cause(
    condition: str, text: str, advice: str, certificate: Certificate, tmp_path: Path
) -> None:
    refused = scripted.sasl_failure(condition, text)
    with ScriptedServer(certificate, mechanisms=["SCRAM-SHA-1"], faults={"success": refused}) as server:
        with pytest.raises(SessionError, match=f"sign-in: .*{condition}.*{text}.*; {advice}$"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


PLUS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


@pytest.mark.parametrize(
    ("offered", "bindings", "refusal", "then"),
    [
        (PLUS, ["tls-server-end-point"], ("not-authorized", "Invalid channel binding"), "SCRAM-SHA-256"),
        (PLUS, ["tls-server-end-point"], ("invalid-mechanism", ""), "SCRAM-SHA-256"),
        (["SCRAM-SHA-512", "SCRAM-SHA-1", "PLAIN"], [], ("malformed-request", ""), "SCRAM-SHA-1"),
    ],
)
def test_a_mechanism_that_is_refused_is_followed_by_the_next_one_in_a_new_stream(
    offered: list[str],
    bindings: list[str],
    refusal: tuple[str, str],
    then: str,
    certificate: Certificate,
    tmp_path: Path,
) -> None:
    script: dict[str, Any] = {"mechanisms": offered, "channel_bindings": bindings, "faulty_connections": 1}
    faults = {"success": scripted.sasl_failure(*refusal)}
    with ScriptedServer(certificate, faults=faults, **script) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            assert mechanism(told) == then
        assert server.connections == 2


def test_no_more_than_one_other_mechanism_is_tried_and_never_plain(certificate: Certificate, tmp_path: Path) -> None:
    faults = {"success": scripted.sasl_failure("malformed-request", "no")}
    with ScriptedServer(certificate, mechanisms=PLUS, faults=faults) as server:
        with pytest.raises(SessionError, match=r"by SCRAM-SHA-256: .*\| .*by SCRAM-SHA-1: .*malformed-request: no"):
            Told(Pbx(tmp_path, server, certificate.ca_file))
        assert server.connections == 2
    with ScriptedServer(certificate, mechanisms=["SCRAM-SHA-1", "PLAIN"], faults=faults) as server:
        with pytest.raises(SessionError, match="by SCRAM-SHA-1: "):
            Told(Pbx(tmp_path, server, certificate.ca_file))
        assert server.connections == 1
        assert base64.b64encode(b"\0pbx\0" + PASSWORD) not in server.received_tls


def test_a_wrong_password_is_tried_once(certificate: Certificate, tmp_path: Path) -> None:
    """Servers lock accounts, and ban addresses, after a few."""
    with ScriptedServer(certificate, mechanisms=PLUS) as server:
        with pytest.raises(SessionError, match=r"not-authorized: invalid-proof\); check .xmpp. jid and password"):
            Told(Pbx(tmp_path, server, certificate.ca_file, password="wrong"))
        assert server.connections == 1


def test_a_failure_counts_although_the_server_ends_the_stream_with_it(certificate: Certificate, tmp_path: Path) -> None:
    """Else it would pass for a lost connection, and each new call would be an attempt with the same password."""
    failure = f"<failure xmlns='{scripted.SASL}'><not-authorized/></failure></stream:stream>"
    with ScriptedServer(certificate, faults={"success": scripted.say_and_close(failure)}) as server:
        with pytest.raises(SessionError, match=r"not-authorized\); check .xmpp. jid and password") as raised:
            Told(Pbx(tmp_path, server, certificate.ca_file))
    assert raised.value.refused


HIDING = ["SCRAM-SHA-256", "SCRAM-SHA-1"]


def digest(mechanisms: list[str], bindings: list[str]) -> str:
    return Offer(mechanisms, bindings).digest("sha256")


@pytest.mark.parametrize("bindings", [[], ["tls-exporter", "tls-unique"]])
@pytest.mark.parametrize("extensions", ["", ",h=RIGHT", ",h=RIGHT,x=1", ",x=1,z="])
def test_extensions_of_the_servers_first_message(
    bindings: list[str], extensions: str, certificate: Certificate, tmp_path: Path
) -> None:
    mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    extensions = extensions.replace("RIGHT", digest(mechanisms, bindings))
    with ScriptedServer(
        certificate,
        mechanisms=mechanisms,
        channel_bindings=bindings,
        server_first=lambda first: first + extensions,
    ) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            assert mechanism(told) == "SCRAM-SHA-256"


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        # somebody has taken SCRAM-SHA-512 out of the list, or a channel binding
        (lambda first: f"{first},h={digest(['SCRAM-SHA-512', *HIDING], [])}", r"not the one that the server sent"),
        (lambda first: f"{first},h={digest(HIDING, ['tls-server-end-point'])}", r"not the one that the server sent"),
        (lambda first: f"{first},m=x", "demands an extension"),
        (
            lambda first: "r=foreign" + first.partition(",")[1] + first.partition(",")[2],
            "nonce does not begin with ours",
        ),
        (lambda first: first.replace("i=4096", "i=1"), "asks for 1 iterations"),
        (lambda first: first.replace("i=4096", "i=100000000"), "asks for 100,000,000 iterations"),
        (lambda first: re.sub("s=[^,]*", "s=", first), "salt is empty"),
        (lambda first: "nonsense", "is not nonce, salt and iteration count"),
    ],
)
def test_no_proof_is_sent_to_a_server_whose_first_message_is_wrong(
    alter: Any, reason: str, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, mechanisms=HIDING, server_first=alter) as server:
        with pytest.raises(SessionError, match=f"sign-in: .* by SCRAM-SHA-256: the .*{reason}"):
            Told(Pbx(tmp_path, server, certificate.ca_file))
        assert b"<response" not in server.received_tls
        assert server.connections == 1


def test_success_without_a_challenge(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"sasl-auth": scripted.no_signature}) as server:
        with pytest.raises(SessionError, match="did not ask for a proof of the password"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


def test_a_password_that_can_not_be_prepared(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate) as server:
        with pytest.raises(SessionError, match=r"the password can't be used: it mixes .*; set another password"):
            Told(Pbx(tmp_path, server, certificate.ca_file, password="\u06271"))


def test_binding_that_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"bind": scripted.stanza_error("cancel", "not-allowed")}) as server:
        with pytest.raises(SessionError, match="bind: the server says not-allowed"):
            Told(Pbx(tmp_path, server, certificate.ca_file))


def test_a_resource_that_the_server_keeps_for_a_dead_session(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"bind": scripted.stanza_error("cancel", "conflict")}) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            assert re.fullmatch(rf"pbx@{DOMAIN}/box-[0-9a-f]{{4}}", told.session.jid)
            told.session.confirm()


@pytest.mark.parametrize(("announced", "asked_for"), [(None, False), ("optional", False), ("required", True)])
def test_a_session_is_asked_for_only_where_the_server_insists(
    announced: str | None, asked_for: bool, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, session=announced) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            told.session.confirm()
        assert (b"xmpp-session" in server.received_tls) == asked_for


def test_one_byte_at_a_time(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, piecemeal=True) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            told.session.confirm()


def test_a_server_without_ping_confirms_all_the_same(certificate: Certificate, tmp_path: Path) -> None:
    refused = scripted.stanza_error("cancel", "service-unavailable")
    with ScriptedServer(certificate, faults={"ping": refused}) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            told.session.confirm()


def test_a_confirmation_counts_although_the_server_ends_the_stream_with_it(
    certificate: Certificate, tmp_path: Path
) -> None:
    """Else the messages would be sent again."""

    def confirm_and_end(conversation: Conversation) -> None:
        iq = f"<iq type='result' id='{conversation.stanza.get('id')}' from='{DOMAIN}'/>"
        error = f"<stream:error><system-shutdown xmlns='{scripted.STREAMS}'/></stream:error>"
        scripted.say_and_close(f"{iq}{error}</stream:stream>")(conversation)

    with ScriptedServer(certificate, faults={"ping": confirm_and_end}) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            told.session.confirm()
            with pytest.raises(SessionError, match="the server says system-shutdown"):
                told.session.process()


@pytest.mark.usefixtures("impatient")
def test_no_confirmation_no_delivery(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"ping": scripted.silent}) as server:
        with Told(Pbx(tmp_path, server, certificate.ca_file)) as told:
            with pytest.raises(SessionError, match="doesn't answer"):
                told.session.confirm()


def test_the_next_host_is_tried(certificate: Certificate, prosody: Prosody, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"stream": scripted.stream_error("system-shutdown")}) as first:
        pbx = Pbx(tmp_path, prosody, prosody.ca_file)
        pbx.server = f"{first.host}:{first.port} 127.0.0.1:1 {pbx.server}"
        pbx.configure()
        with Told(pbx) as told:
            assert str(prosody.port) in told.steps["connection"]
        assert first.connections == 1


def test_all_hosts_are_named_when_none_works(tmp_path: Path, authority: Authority) -> None:
    class Nowhere:
        host, port = "127.0.0.1", 1

    pbx = Pbx(tmp_path, Nowhere, authority.ca_file)
    pbx.server = "127.0.0.1:1 [::1]:2"
    pbx.configure()
    with pytest.raises(SessionError, match=r"connection: 127.0.0.1:1 .*refused.* \| \[::1\]:2 .*; is the server up"):
        Told(pbx)


def test_an_unknown_host(tmp_path: Path, authority: Authority) -> None:
    class Nowhere:
        host, port = "no-such-host.invalid", 5222

    with pytest.raises(SessionError, match=r"DNS: no-such-host.invalid: .*check .xmpp. jid and server"):
        Told(Pbx(tmp_path, Nowhere, authority.ca_file))


def test_ipv6(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, host="::1") as server:
        pbx = Pbx(tmp_path, server, certificate.ca_file)
        pbx.server = f"[::1]:{server.port}"
        pbx.configure()
        with Told(pbx) as told:
            assert told.steps["connection"].endswith(" at ::1")
