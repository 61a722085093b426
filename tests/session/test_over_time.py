"""A session over time: silence, redirection, ends of all kinds. Each ends in a new one, and no pop is lost."""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parts import scripted
from parts.certificates import Authority, Certificate
from parts.pbx import DOMAIN, Pbx
from parts.scripted import ScriptedServer
from screenpop.xmpp import session
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.session import Session
from screenpop.xmpp.stanza import chat

WAITING = {"SCREEN_POP_WAIT": "20"}


class Clock:
    """The uptime, as it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(session, "uptime", lambda: self.now)
        monkeypatch.setattr("screenpop.xmpp.stream.uptime", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def signed_in(server: ScriptedServer, certificate: Certificate, folder: Path, elsewhere: str = "") -> Session:
    def ignore(*_: str) -> None: ...

    pbx = Pbx(folder, server, certificate.ca_file)
    return Session(pbx.config.xmpp, "box", ignore, ignore, ignore, elsewhere)


@pytest.fixture
def server(certificate: Certificate) -> Iterator[ScriptedServer]:
    with ScriptedServer(certificate) as server:
        yield server


def pings(server: ScriptedServer) -> int:
    return server.received_tls.count(b"urn:xmpp:ping")


def answered(one: Session) -> None:
    """Wait for something from the server, and handle it."""
    assert select.select([one], [], [], 10)[0]
    one.process()


# A server that is still there, and one that isn't


def test_a_silent_server_is_asked_once_whether_it_is_there(
    server: ScriptedServer, certificate: Certificate, tmp_path: Path, clock: Clock
) -> None:
    one = signed_in(server, certificate, tmp_path)
    assert one.keep_alive() == session.KEEP_ALIVE
    clock.now += session.KEEP_ALIVE - 1
    assert one.keep_alive() == 1
    assert pings(server) == 0
    clock.now += 1
    assert one.keep_alive() == one.keep_alive() == session.STEP_DEADLINE
    answered(one)
    assert pings(server) == 1
    assert one.keep_alive() == session.KEEP_ALIVE
    one.close()


def test_a_dead_peer_is_noticed_within_half_a_minute(certificate: Certificate, tmp_path: Path, clock: Clock) -> None:
    assert session.KEEP_ALIVE + session.STEP_DEADLINE <= 30
    with ScriptedServer(certificate, faults={"ping": scripted.silent}) as server:
        one = signed_in(server, certificate, tmp_path)
        clock.now += session.KEEP_ALIVE
        clock.now += one.keep_alive()
        with pytest.raises(SessionError, match="session: nothing from the server for 25 s"):
            one.keep_alive()
        one.close()


def test_a_machine_that_was_suspended_trusts_no_session_of_before(
    server: ScriptedServer, certificate: Certificate, tmp_path: Path, clock: Clock
) -> None:
    one = signed_in(server, certificate, tmp_path)
    clock.now += 3600
    with pytest.raises(SessionError, match="nothing from the server for 3600 s"):
        one.keep_alive()
    one.close()


def test_a_server_that_asks_whether_we_are_there_is_answered(
    server: ScriptedServer, certificate: Certificate, tmp_path: Path
) -> None:
    """Its mod_ping would end the session else; an error is an answer, too (XEP-0199 section 4.1)."""
    one = signed_in(server, certificate, tmp_path)
    server.send("<iq type='get' id='there?' from='screenpop.test'><ping xmlns='urn:xmpp:ping'/></iq>")
    answered(one)
    server.wait_for(lambda: b"there?" in server.received_tls)
    one.close()


# See another host


def elsewhere(server: ScriptedServer) -> scripted.Fault:
    return scripted.stream_error("see-other-host", f"{server.host}:{server.port}")


@pytest.mark.parametrize("step", ["features", "features-after-tls", "success", "features-after-sasl", "bind"])
def test_a_sign_in_that_is_redirected_ends_at_the_other_host(
    step: str, server: ScriptedServer, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, faults={step: elsewhere(server)}) as first:
        one = signed_in(first, certificate, tmp_path)
        assert str(server.port) in one.host
        one.send(chat("1", f"alice@{DOMAIN}", "Call"))
        one.confirm()
        one.close()
    assert (first.connections, server.connections, len(server.messages)) == (1, 1, 1)


def test_a_host_that_redirects_to_itself_is_left_in_the_end(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate) as server:
        server.faults = {"features": elsewhere(server)}
        with pytest.raises(SessionError, match=f"127.0.0.1:{server.port} .* says see-other-host"):
            signed_in(server, certificate, tmp_path)
        assert server.connections == session.REDIRECTIONS + 1


@pytest.mark.parametrize("host", ["", "nowhere at all", "host:99999999", "127.0.0.1:1", "[::1"])
def test_a_redirection_to_nowhere_is_trouble(host: str, certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"features": scripted.stream_error("see-other-host", host)}) as server:
        with pytest.raises(SessionError):
            signed_in(server, certificate, tmp_path)


def test_the_certificate_is_still_verified_for_our_domain(
    certificate: Certificate, authority: Authority, tmp_path: Path
) -> None:
    other = authority.issue(tmp_path, "elsewhere.test")
    with ScriptedServer(other) as second, ScriptedServer(certificate, faults={"features": elsewhere(second)}) as first:
        with pytest.raises(SessionError, match=f"certificate of .* is not for {DOMAIN}"):
            signed_in(first, certificate, tmp_path)
        assert b"<auth" not in second.received_tls


# The whole way


def delivered_again(pbx: Pbx) -> None:
    assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"


@pytest.mark.parametrize(
    ("end", "logged"),
    [
        (lambda server: server.drop(), "closed the connection"),
        (
            lambda server: server.send(
                "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
            ),
            "conflict",
        ),
        (
            lambda server: server.send(
                "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
            ),
            "reset",
        ),
        (lambda server: server.send("</stream:stream>"), "closed the stream"),
        (lambda server: server.send("<no></XMPP>"), "is not XMPP"),
    ],
    ids=["connection", "conflict", "stream error", "end of stream", "nonsense"],
)
def test_the_next_pop_after_the_end_of_a_session_goes_over_a_new_one(
    end: Callable[[ScriptedServer], None], logged: str, server: ScriptedServer, certificate: Certificate, tmp_path: Path
) -> None:
    with Pbx(tmp_path, server, certificate.ca_file) as pbx:
        delivered_again(pbx)
        sender = pbx.sender()
        end(server)
        delivered_again(pbx)
        assert pbx.sender() == sender
        assert re.search(f"session ended: session: .*{logged}", pbx.log)
    assert server.connections == 2
    assert len(server.messages) == 2 == len({message.get("id") for message in server.messages})


def test_a_session_that_is_redirected_goes_on_at_the_other_host(
    server: ScriptedServer, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate) as first, Pbx(tmp_path, first, certificate.ca_file) as pbx:
        delivered_again(pbx)
        first.send(
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>"
            f"{server.host}:{server.port}</see-other-host></stream:error>"
        )
        delivered_again(pbx)
    assert (len(first.messages), len(server.messages), first.connections) == (1, 1, 1)
