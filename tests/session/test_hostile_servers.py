"""Hostile servers, and others on the network path: they are refused at little cost, with a clear message."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parts import scripted
from parts.certificates import Certificate, Signed
from parts.pbx import DOMAIN, Pbx
from parts.scripted import ScriptedServer
from screenpop.xmpp import limits, session, tcp
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.session import Session
from screenpop.xmpp.stanza import chat

STREAMS = "http://etherx.jabber.org/streams"
HEADER = f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' id='1' version='1.0'>"


def ignore(*_: str) -> None: ...


def sign_in(
    folder: Path,
    ca_file: Path,
    *servers: ScriptedServer,
    on_step: Callable[[str, str], object] = ignore,
    on_error: Callable[[str, str, str, str], None] = ignore,
) -> Session:
    """To the first of these servers that can be used."""
    pbx = Pbx(folder, servers[0], ca_file)
    pbx.server = " ".join(f"{server.host}:{server.port}" for server in servers)
    pbx.configure()
    return Session(pbx.config.xmpp, "box", on_step, on_error, ignore)


def refusal(folder: Path, ca_file: Path, *servers: ScriptedServer) -> str:
    """What the administrator is told when none of these servers can be used."""
    with pytest.raises(SessionError) as refused:
        sign_in(folder, ca_file, *servers).close()
    return str(refused.value)


# More XML than a client should have to read


def nested(depth: int, mark: int = 0) -> str:
    """Elements inside each other, each with a prefix of its own that nobody has declared."""
    starts = "".join(f"<b{mark}c{n}:a>" for n in range(depth))
    return starts + "".join(f"</b{mark}c{n}:a>" for n in reversed(range(depth)))


BOMBS = {
    # all of 256 kB or less
    "deep": "<a>" * 80_000,
    "elements": "<a/>" * 64_000,
    "attributes": "<a {}/>".format(" ".join(f"b{n}=''" for n in range(20_000))),
    "namespaces": "<a {}/>".format(" ".join(f"xmlns:b{n}='c'" for n in range(14_000))),
    "namespaces of many elements": "".join(f"<a xmlns='{n}'/>" for n in range(12_000)),
    "undeclared prefixes": "".join(f"<b{n}:a>" for n in range(25_000)),
    "undeclared prefixes again and again": nested(14) * 1_200,
    "text": "x" * 260_000,
}
MEMORY, CPU = 16 * 1024, 0.5  # kB above what a session needs that goes well; seconds
MEASURE = """
import json, resource, sys
from pathlib import Path
from screenpop.settings import load
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.session import Session

def ignore(*_): pass

def attempt(conf):
    try:
        one = Session(load(Path(conf)).xmpp, "box", ignore, ignore, ignore)
        one.confirm()
        one.close()
    except SessionError as error:
        return str(error)

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)  # its ru_maxrss is also that of the process that started this one
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    return int(peak), usage.ru_utime + usage.ru_stime

good, hostile = sys.argv[1:]
assert attempt(good) is None
memory, cpu = used()
error = attempt(hostile)
print(json.dumps([error, used()[0] - memory, used()[1] - cpu]))
"""


def attempt_and_measure(folder: Path, hostile: ScriptedServer, certificate: Certificate) -> str:
    """What the administrator is told; what it cost is asserted."""
    with ScriptedServer(certificate) as good:
        confs = []
        for server in (good, hostile):
            place = folder / str(server.port)
            place.mkdir()
            confs.append(Pbx(place, server, certificate.ca_file))
        output = subprocess.run(
            [sys.executable, "-c", MEASURE, *(pbx.conf for pbx in confs)],
            env={"PYTHONPATH": str(confs[0].library)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    told, memory, cpu = json.loads(output)
    assert memory <= MEMORY
    assert cpu <= CPU
    return str(told)


@pytest.mark.parametrize("step", ["stream", "features", "starttls", "features-after-tls", "success", "bind"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_during_the_sign_in_is_refused_at_little_cost(
    bomb: str, step: str, certificate: Certificate, tmp_path: Path
) -> None:
    content = HEADER + BOMBS[bomb] if step == "stream" else f"<stream:features>{BOMBS[bomb]}"
    with ScriptedServer(certificate, faults={step: scripted.say(content)}) as server:
        told = attempt_and_measure(tmp_path, server, certificate)
    assert re.search(r"the server sends more than \d+ (bytes|XML [a-z ]+) during the sign-in; ", told)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_a_session_is_refused_at_little_cost(bomb: str, certificate: Certificate, tmp_path: Path) -> None:
    content = f"<message>{BOMBS[bomb]}<b>{'x' * 262_144}"
    with ScriptedServer(certificate, faults={"ping": scripted.say(content)}) as server:
        told = attempt_and_measure(tmp_path, server, certificate)
    assert re.search(r"message: the server sends more than \d+ (bytes|XML [a-z ]+) in one stanza; ", told)


def test_what_is_still_allowed_in_a_session_costs_little(certificate: Certificate, tmp_path: Path) -> None:
    deep = "".join(nested(30, mark) for mark in range(65))
    wide = "".join(f"<a xmlns='{n}' b='' c=''/>" for n in range(1000))
    stanzas = "".join(f"<iq type='get' id='{n}' from='{DOMAIN}'>{deep if n % 2 else wide}</iq>" for n in range(6))
    with ScriptedServer(certificate, faults={"ping": scripted.say(f"{stanzas}<a>{'x' * 270_000}")}) as server:
        told = attempt_and_measure(tmp_path, server, certificate)
        assert server.received_tls.count(b"<iq") > 6  # they were taken, and answered
    assert "the server sends more than 262144 bytes in one stanza" in told


def test_messages_with_ever_new_names_end_the_session_at_little_cost(certificate: Certificate, tmp_path: Path) -> None:
    """Expat keeps each name until the stream ends."""
    strange = "".join(f"<message>{''.join(f'<a{m}b{n}/>' for n in range(1000))}</message>" for m in range(100))
    with ScriptedServer(certificate, faults={"ping": scripted.say(strange)}) as server:
        told = attempt_and_measure(tmp_path, server, certificate)
    assert "message: the server sends too many different names of XML elements and attributes; " in told


def test_small_stanzas_without_end_during_the_sign_in_are_refused(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"features": scripted.say("<a/>" * 60_000)}) as server:
        told = attempt_and_measure(tmp_path, server, certificate)
    assert "the server sends more than 256 XML elements during the sign-in" in told


def test_a_header_with_too_many_namespaces_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    declarations = " ".join(f"xmlns:a{n}='b'" for n in range(200))
    header = HEADER.replace(" id=", f" {declarations} id=")
    with ScriptedServer(certificate, faults={"stream": scripted.say(header)}) as server:
        assert "the server sends more than 128 XML namespaces during" in refusal(tmp_path, certificate.ca_file, server)


@pytest.mark.parametrize("name", ["prosody", "ejabberd"])
def test_real_servers_need_a_quarter_of_what_is_allowed(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = limits.DURING_SIGN_IN
    quarter = allowed._replace(
        size=allowed.size // 4,
        depth=allowed.depth // 2,  # of that they need half
        elements=allowed.elements // 4,
        attributes=allowed.attributes // 4,
        namespaces=allowed.namespaces // 4,
    )
    monkeypatch.setattr(limits, "DURING_SIGN_IN", quarter)
    server: Any = request.getfixturevalue(name)
    sign_in(tmp_path, server.ca_file, server).close()


def test_a_large_stanza_in_a_session_is_no_bomb(certificate: Certificate, tmp_path: Path) -> None:
    large = "<a b='' xmlns='c'><d/></a>" * 900 + "<body>" + "x" * 200_000 + "</body>"
    errors: list[tuple[str, ...]] = []
    with ScriptedServer(certificate) as server:
        one = sign_in(tmp_path, certificate.ca_file, server, on_error=lambda *error: errors.append(error))
        for number in range(3):
            server.send(f"<message type='error' id='{number}'>{large}</message>")
        one.confirm()
        one.close()
    assert [error[0] for error in errors] == ["0", "1", "2"]


def test_the_deadline_holds_within_what_came_at_once(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        late = 0.0

        def monotonic(self) -> float:
            return time.monotonic() + self.late

    clock, handled = Clock(), 0

    def take_an_hour(*_: object) -> None:
        nonlocal handled
        handled += 1
        clock.late = 3600.0

    monkeypatch.setattr("screenpop.xmpp.stream.time", clock)
    with ScriptedServer(certificate, faults={"ping": scripted.say("<presence/>" * 1400)}) as server:  # one TLS record
        one = sign_in(tmp_path, certificate.ca_file, server)
        one.client.RegisterHandler("presence", take_an_hour)
        with pytest.raises(SessionError, match="message: the server sends more than can be read in time"):
            one.confirm()
        one.client.Connection.disconnect()
    assert 0 < handled < 1400


# Certificates


def expired_authority(folder: Path) -> Certificate:
    ca = Signed("Our Old CA", is_ca=True, days=(-9, -1))
    return Signed("server", ca, [DOMAIN]).for_a_server(folder, ca)


def expired_authority_beside_another(folder: Path) -> Certificate:
    old, ca = Signed("Our Old CA", is_ca=True, days=(-9, -1)), Signed("Our CA", is_ca=True)
    certificate = Signed("server", ca, [DOMAIN], days=(-9, -1)).for_a_server(folder, ca)
    certificate.ca_file.write_bytes(old.pem + ca.pem)
    return certificate


def expired(folder: Path) -> Certificate:
    ca = Signed("Our CA", is_ca=True)
    return Signed("server", ca, [DOMAIN], days=(-9, -1)).for_a_server(folder, ca)


def not_yet_valid(folder: Path) -> Certificate:
    ca = Signed("Our CA", is_ca=True)
    return Signed("server", ca, [DOMAIN], days=(1, 9)).for_a_server(folder, ca)


def self_signed(folder: Path) -> Certificate:
    return Signed("server", None, [DOMAIN]).for_a_server(folder, Signed("Our CA", is_ca=True))


def unknown_authority(folder: Path) -> Certificate:
    ca = Signed("Their CA", is_ca=True)
    return Signed("server", ca, [DOMAIN]).for_a_server(folder, Signed("Our CA", is_ca=True), ca)


def without_intermediate(folder: Path) -> Certificate:
    ca = Signed("Our CA", is_ca=True)
    return Signed("server", Signed("Between", ca, is_ca=True), [DOMAIN]).for_a_server(folder, ca)


def weak_key(folder: Path) -> Certificate:
    ca = Signed("Our CA", is_ca=True)
    return Signed("server", ca, [DOMAIN], bits=1024).for_a_server(folder, ca)


def for_another_name(folder: Path) -> Certificate:
    ca = Signed("Our CA", is_ca=True)
    return Signed(DOMAIN, ca, ["other.test"]).for_a_server(folder, ca)


def common_name_only(folder: Path) -> Certificate:
    ca = Signed("Our CA", is_ca=True)
    return Signed(DOMAIN, ca).for_a_server(folder, ca)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            expired_authority,
            "can't be trusted any more: the CA certificate Our Old CA has expired; "
            "add the successor of Our Old CA to [xmpp] ca_file, or to the CAs of this machine",
        ),
        (
            expired_authority_beside_another,
            "or that of its CA has expired; renew it on the server; if it is still valid, add the successor of",
        ),
        (expired, "has expired; renew it on the server"),
        (not_yet_valid, "is not valid yet; check the clocks of both machines"),
        (self_signed, "is signed by itself, not by a CA; give the server a certificate from a CA"),
        (unknown_authority, "can't be trusted: this machine doesn't know the CA that issued it; [xmpp] ca_file"),
        (without_intermediate, "can't be trusted: the server doesn't send its intermediate certificate, or this"),
        (weak_key, "or that of its CA has a key or a signature that is too weak; renew it with RSA of 2048 bits"),
        (for_another_name, f"is not for {DOMAIN}; the server needs a certificate for the domain"),
        (common_name_only, f"has {DOMAIN} only as its common name, which is no longer accepted; renew it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_certificate_that_does_not_hold(made: Callable[[Path], Certificate], told: str, tmp_path: Path) -> None:
    certificate = made(tmp_path)
    with ScriptedServer(certificate) as server:
        assert f"the certificate of 127.0.0.1:{server.port} (STARTTLS) {told}" in refusal(
            tmp_path, certificate.ca_file, server
        )
        assert server.received_tls == b""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "sends something that is not TLS; is that an XMPP server, and is the"),
        (HEADER, "sends something that is not TLS; is that an XMPP server"),
        ("\x15\x03\x03\0\x02\x02\x46", "offers only versions of TLS that are no longer safe; switch TLS 1.2 or 1.3"),
        ("\x15\x03\x03\0\x02\x02\x70", f"has no certificate for {DOMAIN}; the server needs a certificate for"),
        ("\x15\x03\x03\0\x02\x02\x28", "has no cipher that is safe, or no certificate"),
        ("\x15\x03\x03\0\x02\x02\x50", "and screen_pop can't agree on TLS: tlsv1 alert internal error; look into the"),
    ],
    ids=["HTTP", "XMPP", "protocol version", "unrecognized name", "handshake failure", "internal error"],
)
def test_a_tls_handshake_that_fails(
    answer: str, told: str, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(certificate, direct_tls=True, faults={"tls": scripted.say(answer)}) as server:
        monkeypatch.setattr("screenpop.xmpp.resolver.DIRECT_TLS_PORTS", (server.port,))
        assert f"TLS: 127.0.0.1:{server.port} (direct TLS) {told}" in refusal(tmp_path, certificate.ca_file, server)


def test_tls_that_breaks_later(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"success": scripted.break_tls}) as server:
        assert "sign-in: the server sends something that is not TLS: " in refusal(tmp_path, certificate.ca_file, server)


def test_of_a_thousand_addresses_the_first_ones_are_tried(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.{n // 250}.{n % 250 + 2}", 1)) for n in range(1000)]
    with ScriptedServer(certificate) as server:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert refusal(tmp_path, certificate.ca_file, server).count("refused") == tcp.MOST_ADDRESSES


# See another host


def redirect(host: str) -> scripted.Fault:
    return scripted.stream_error("see-other-host", host)


REDIRECTED = ["features", "features-after-tls", "success", "features-after-sasl", "bind"]


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no host at all", "", "no-such-host.invalid:5222"])
@pytest.mark.parametrize("step", REDIRECTED)
def test_the_next_host_is_tried_after_one_that_sends_us_nowhere(
    step: str, host: str, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate) as good, ScriptedServer(certificate, faults={step: redirect(host)}) as first:
        steps: list[tuple[str, str]] = []
        one = sign_in(tmp_path, certificate.ca_file, first, good, on_step=lambda *step: steps.append(step))
        one.send(chat("1", f"alice@{DOMAIN}", "Call"))
        one.confirm()
        one.close()
    assert (first.connections, len(good.messages)) == (1, 1)
    redirection = f"127.0.0.1:{first.port} (STARTTLS) says see-other-host: {host or 'it names no host'}"
    assert ("redirection", redirection) in steps


def test_the_next_host_is_tried_after_one_that_redirects_for_ever(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate) as good, ScriptedServer(certificate) as first:
        first.faults = {"features": redirect(f"127.0.0.1:{first.port}")}
        sign_in(tmp_path, certificate.ca_file, first, good).close()
    assert first.connections == session.REDIRECTIONS + 1


def test_who_redirected_is_said_when_nothing_works(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"features": redirect("127.0.0.1:1")}) as server:
        told = refusal(tmp_path, certificate.ca_file, server)
    assert f"127.0.0.1:{server.port} (STARTTLS) says see-other-host: 127.0.0.1:1" in told
    assert "127.0.0.1:1 (STARTTLS): 127.0.0.1: Connection refused" in told


def test_who_redirected_is_said_when_the_other_host_refuses_us(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, accounts={}) as other:
        with ScriptedServer(certificate, faults={"bind": redirect(f"127.0.0.1:{other.port}")}) as first:
            told = refusal(tmp_path, certificate.ca_file, first)
    assert told.startswith(f"sign-in: 127.0.0.1:{first.port} (STARTTLS) says see-other-host: 127.0.0.1:{other.port} | ")
    assert told.endswith("check [xmpp] jid and password")


def test_the_same_errors_are_told_in_the_same_words_whatever_the_order(
    certificate: Certificate, tmp_path: Path
) -> None:
    """SRV records of one priority are tried in an order that chance makes, and a log tells the same only once."""
    closing = {"features": scripted.close}
    refusing = {"features": scripted.stream_error("host-unknown")}
    redirecting = {"features": redirect("127.0.0.1:1")}
    with ScriptedServer(certificate, faults=closing) as first, ScriptedServer(certificate, faults=refusing) as second:
        with ScriptedServer(certificate, faults=redirecting) as third:
            orders = [(first, second, third), (third, second, first), (second, third, first), (first, third, second)]
            (told,) = {refusal(tmp_path, certificate.ca_file, *order) for order in orders}
    for server in (first, second, third):
        assert f"127.0.0.1:{server.port} (STARTTLS)" in told
    assert "look into the server's log" in told and "check the domain of [xmpp] jid" in told


# Who says what became of a message


@pytest.mark.parametrize(
    ("sender", "told"),
    [
        ("", f"pbx@{DOMAIN}"),  # none: RFC 6120 section 8.1.2.1
        ("from=''", ""),
        ("from='@/'", ""),
        (f"from='{DOMAIN}'", DOMAIN),
        ("from='bob@example.org/x'", "bob@example.org/x"),
    ],
)
def test_an_error_is_the_accounts_own_only_where_it_names_no_sender(
    sender: str, told: str, certificate: Certificate, tmp_path: Path
) -> None:
    errors: list[tuple[str, ...]] = []
    with ScriptedServer(certificate) as server:
        one = sign_in(tmp_path, certificate.ca_file, server, on_error=lambda *error: errors.append(error))
        server.send(f"<message type='error' id='1' {sender}><error type='cancel'><gone/></error></message>")
        one.confirm()
        one.close()
    assert errors == [("1", told, "cancel", "gone")]


# What a server says reaches a terminal and a log as one printable line, in plain words

FORGED = "&#10;ok       sign-in        forged&#133;&#x202e;"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("stream", f"<stream xmlns='a{FORGED}'>"),
        ("features", f"<stream:error><gone xmlns='{scripted.STREAMS}'/><text>{FORGED}</text></stream:error>"),
        (
            "features",
            f"<stream:error><see-other-host xmlns='{scripted.STREAMS}'>{FORGED}</see-other-host></stream:error>",
        ),
        (
            "features-after-tls",
            f"<stream:features><mechanisms xmlns='{scripted.SASL}'><mechanism>{FORGED}</mechanism></mechanisms>"
            "</stream:features>",
        ),
        ("success", f"<failure xmlns='{scripted.SASL}'><aborted/><text>{FORGED}</text></failure>"),
    ],
)
def test_check_prints_nothing_that_a_server_forged(
    step: str, said: str, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, faults={step: scripted.say(said)}) as server:
        printed = check(tmp_path, server, certificate)
    assert not any(re.match("ok +sign-in +forged", line) for line in printed.split("\n"))
    assert all(line.isprintable() for line in printed.split("\n"))
    assert "PROBLEM" in printed


def test_check_prints_nothing_that_a_server_forged_when_all_is_well(certificate: Certificate, tmp_path: Path) -> None:
    def bind(conversation: scripted.Conversation) -> None:
        bound = f"<bind xmlns='{scripted.BIND}'><jid>pbx@{DOMAIN}/{FORGED}</jid></bind>"
        conversation.reply(conversation.stanza, "result", bound)

    with ScriptedServer(certificate, faults={"bind": bind}) as server:
        printed = check(tmp_path, server, certificate, status=0)
    assert not any(re.match("ok +sign-in +forged", line) for line in printed.split("\n"))
    assert all(line.isprintable() for line in printed.split("\n"))
    assert f"pbx@{DOMAIN}/ ok sign-in forged" in printed


def check(folder: Path, server: ScriptedServer, certificate: Certificate, status: int = 1) -> str:
    pbx = Pbx(folder, server, certificate.ca_file)
    pbx.outbox.make()
    return pbx.screen_pop("check", status=status)


NO_UTF_8 = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.parametrize("environment", NO_UTF_8, ids=str)
@pytest.mark.parametrize("command", [["check"], ["test", "1"], ["status"], ["flush"]], ids=str)
def test_a_terminal_that_is_not_utf_8(
    command: list[str], environment: dict[str, str], certificate: Certificate, tmp_path: Path
) -> None:
    folder = tmp_path / "zo\u00eb"
    folder.mkdir()
    with ScriptedServer(certificate) as server, Pbx(folder, server, certificate.ca_file) as pbx:
        pbx.configure(to=f"zo\u00eb@{DOMAIN}")
        pbx.outbox.make()
        pbx.env.update(environment)
        printed = pbx.screen_pop(*command)
    assert printed.isascii() and "Traceback" not in printed
    if command == ["check"]:
        assert f"to zo\\xeb@{DOMAIN}" in printed


NASTY = {
    "nothing": "",
    "HTTP": "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html><body>Bad</body></html>",
    "HTML": "<html>",
    "HTML doctype": "<!DOCTYPE html><html><head>",
    "entities": "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><x>&b;</x>",
    "external entity": "<!DOCTYPE x SYSTEM 'file:///etc/passwd'><x/>",
    "SMTP": "220 mail.example.org ESMTP\r\n",
    "SSH": "SSH-2.0-OpenSSH_9.2\r\n",
    "control characters": "\0\1\2\3",
    "a line end": "\r\n",
    "unclosed": "<a b='",
    "crossed": "<a><b></a></b>",
    "two colons": "<a:b:c/>",
    "a colon at the end": "<a:/>",
    "a colon at the start": "<:a/>",
    "two colons only": "<::/>",
    "an undeclared prefix": "<p:a/>",
    "an undeclared prefix of an attribute": "<a p:b='c'/>",
    "an empty namespace": "<a xmlns=''/>",
    "the prefix xmlns": "<xmlns:a/>",
    "the prefix xml": "<xml:a/>",
    "an attribute twice": "<a b='' b=''/>",
    "an unknown entity": "<a>&nbsp;</a>",
    "a forbidden character": "<a>&#0;</a>",
    "a character beyond Unicode": "<a>&#x110000;</a>",
    "a surrogate": "<a>&#xD800;</a>",
    "a comment": "<!-- -- -->",
    "an unfinished comment": "<!-- ",
    "an instruction": "<?php echo ?>",
    "another XML declaration": "<?xml version='1.0'?>",
    "XML 1.1": "<?xml version='1.1'?><a/>",
    "UTF-16": "<?xml version='1.0' encoding='utf-16'?><a/>",
    "an unknown encoding": "<?xml version='1.0' encoding='none-such'?><a/>",
    "a Python encoding": "<?xml version='1.0' encoding='idna'?><a/>",
    "CDATA": "<a><![CDATA[]]></a>",
    "unfinished CDATA": "<a><![CDATA[",
    "an end without a start": "</a>",
    "the end of the stream": "</stream:stream>",
    "the end of the stream twice": "</stream:stream></stream:stream>",
    "something after the end": "</stream:stream><a/>",
    "a stream in a stream": HEADER,
    "a stream of another namespace": "<stream:stream xmlns:stream='jabber:server'>",
    "a stream without a namespace": "<stream>",
    "text": "hello",
    "text and an element": "hello<a/>hello",
    "an empty error": "<stream:error/>",
    "an error of text": "<stream:error>no</stream:error>",
    "an error with a foreign condition": "<stream:error><a/></stream:error>",
    "an error with text only": f"<stream:error><text xmlns='{scripted.STREAMS}'>no</text></stream:error>",
    "an error with two conditions": (
        f"<stream:error><gone xmlns='{scripted.STREAMS}'/><conflict xmlns='{scripted.STREAMS}'/></stream:error>"
    ),
    "an error with a long condition": f"<stream:error><{'x' * 5000} xmlns='{scripted.STREAMS}'/></stream:error>",
    "an error with a long text": (
        f"<stream:error><gone xmlns='{scripted.STREAMS}'/><text>{'x' * 9000}</text></stream:error>"
    ),
    "an error of another namespace": "<error/>",
    "an error within a stanza": "<a><error/></a>",
    "see other host: empty": f"<stream:error><see-other-host xmlns='{scripted.STREAMS}'/></stream:error>",
    "see other host: no host": (
        f"<stream:error><see-other-host xmlns='{scripted.STREAMS}'>[::1</see-other-host></stream:error>"
    ),
    "see other host: a long name": (
        f"<stream:error><see-other-host xmlns='{scripted.STREAMS}'>{'x' * 300}:1</see-other-host></stream:error>"
    ),
    "see other host: a port": (
        f"<stream:error><see-other-host xmlns='{scripted.STREAMS}'>127.0.0.1:99999</see-other-host></stream:error>"
    ),
    "features: none": "<stream:features/>",
    "features: twice": "<stream:features/><stream:features/>",
    "features: of another namespace": "<features xmlns='a'/>",
    "features: text": "<stream:features>no</stream:features>",
    "features: no mechanism": f"<stream:features><mechanisms xmlns='{scripted.SASL}'/></stream:features>",
    "features: an empty mechanism": (
        f"<stream:features><mechanisms xmlns='{scripted.SASL}'><mechanism/></mechanisms></stream:features>"
    ),
    "features: a nested mechanism": (
        f"<stream:features><mechanisms xmlns='{scripted.SASL}'><mechanism><a/></mechanism></mechanisms>"
        "</stream:features>"
    ),
    "features: a mechanism that is none": (
        f"<stream:features><mechanisms xmlns='{scripted.SASL}'><mechanism>{'X' * 5000}</mechanism></mechanisms>"
        "</stream:features>"
    ),
    "features: a binding without a name": (
        f"<stream:features><mechanisms xmlns='{scripted.SASL}'/><sasl-channel-binding "
        f"xmlns='{scripted.CHANNEL_BINDING}'><channel-binding/></sasl-channel-binding></stream:features>"
    ),
    "features: STARTTLS of another namespace": "<stream:features><starttls xmlns='a'/></stream:features>",
    "TLS refused": f"<failure xmlns='{scripted.TLS}'/>",
    "TLS refused by another word": f"<refused xmlns='{scripted.TLS}'/>",
    "TLS accepted with more": f"<proceed xmlns='{scripted.TLS}'><a/></proceed><a/>",
    "SASL failure: empty": f"<failure xmlns='{scripted.SASL}'/>",
    "SASL failure: text": f"<failure xmlns='{scripted.SASL}'>no</failure>",
    "SASL failure: a foreign condition": f"<failure xmlns='{scripted.SASL}'><a xmlns='b'/></failure>",
    "SASL failure: a long text": f"<failure xmlns='{scripted.SASL}'><aborted/><text>{'x' * 9000}</text></failure>",
    "SASL challenge: empty": f"<challenge xmlns='{scripted.SASL}'/>",
    "SASL challenge: an equals sign": f"<challenge xmlns='{scripted.SASL}'>=</challenge>",
    "SASL challenge: not Base64": f"<challenge xmlns='{scripted.SASL}'>***</challenge>",
    "SASL challenge: not ASCII": f"<challenge xmlns='{scripted.SASL}'>\u00e9\u2028</challenge>",
    "SASL challenge: not UTF-8": f"<challenge xmlns='{scripted.SASL}'>/////w==</challenge>",
    "SASL challenge: no attributes": f"<challenge xmlns='{scripted.SASL}'>aGVsbG8=</challenge>",
    "SASL challenge: twice": f"<challenge xmlns='{scripted.SASL}'/><challenge xmlns='{scripted.SASL}'/>",
    "SASL challenge: an element": f"<challenge xmlns='{scripted.SASL}'><a/></challenge>",
    "SASL success: empty": f"<success xmlns='{scripted.SASL}'/>",
    "SASL success: not Base64": f"<success xmlns='{scripted.SASL}'>***</success>",
    "SASL success: an error": f"<success xmlns='{scripted.SASL}'>ZT1vdGhlci1lcnJvcg==</success>",
    "SASL success: of another namespace": "<success/>",
    "an iq without anything": "<iq/>",
    "an iq that asks without an id": "<iq type='get'/>",
    "an iq that asks from nobody": "<iq type='get' id='1' from='@/' to='@'><a/></iq>",
    "an iq of an unknown type": "<iq type='a' id='1'/>",
    "an iq with a child of an unknown prefix": "<iq type='get' id='1'><p:a/></iq>",
    "an iq named as a handler": "<default/><unknown/><iq type='default'><a xmlns='default'/></iq>",
    "a message of error without error": "<message type='error' id='1'/>",
    "a message of error with an empty error": "<message type='error' id='1'><error/></message>",
    "a message with many froms": "<message from='a@b@c/d/e' to='////' type='error' id='2'><error>x</error></message>",
    "a delay that is none": "<message><x xmlns='jabber:x:delay'/><x xmlns='jabber:x:delay' stamp='1'/></message>",
    "a receipt for nothing": "<message><received xmlns='urn:xmpp:receipts'/></message>",
    "a presence": "<presence type='subscribe' from=''/>",
    "a route": "<route error='1'><a/></route>",
    "an element named after a method": "<__init__/><type/><props/>",
    "a long name": f"<{'x' * 9000}/>",
    "a long attribute": f"<a b='{'x' * 9000}'/>",
    "a long namespace": f"<a xmlns='{'x' * 9000}'/>",
    "bind: nothing": "<iq type='result' id='{id}'/>",
    "bind: no JID": f"<iq type='result' id='{{id}}'><bind xmlns='{scripted.BIND}'/></iq>",
    "bind: an error without one": "<iq type='error' id='{id}'/>",
    "bind: an empty error": "<iq type='error' id='{id}'><error/></iq>",
    "bind: an error of text": "<iq type='error' id='{id}'><error>no</error></iq>",
    "bind: a long error": f"<iq type='error' id='{{id}}'><error><{'x' * 5000}/></error></iq>",
    "bind: no type": "<iq id='{id}'/>",
    "bind: a message": "<message id='{id}' type='error'/>",
}
NOT_PLAIN = re.compile(
    r"line \d+|column \d+|index out of|object|attribute|invalid literal|int\(\)|set_int_max|codec|_ssl|Errno|\[SSL|"
    r"Traceback|Error\b|Exception|NoneType|self\.|\(\)|method|b'|<class|tuple|unpack|token|not well-formed \("
)


@pytest.mark.parametrize("step", [step for step in scripted.SIGN_IN if step != "tls"])
def test_whatever_a_server_says_is_a_session_or_an_error_in_plain_words(
    step: str, certificate: Certificate, tmp_path: Path
) -> None:
    for name, said in NASTY.items():

        def fault(conversation: scripted.Conversation, said: str = said) -> None:
            identifier = conversation.stanza.get("id", "") if step == "bind" else ""
            scripted.say_and_close(said.replace("{id}", identifier))(conversation)

        with ScriptedServer(certificate, faults={step: fault}) as server:
            try:
                sign_in(tmp_path, certificate.ca_file, server).close()
                assert step == "bind", name  # an answer with a mistake may still be one
                continue
            except SessionError as error:
                told = str(error)
        assert told.isprintable() and len(told) < 1500, name
        assert re.fullmatch(r"[\w-]+: .+; .+", told), name
        assert not NOT_PLAIN.search(told), f"{name}: {told}"
