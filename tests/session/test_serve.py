"""`screen-pop serve`, with a real server: the resident sender, and how it shares the spool with others."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import urllib.request
from collections import Counter
from pathlib import Path

from fake_agi import Channel, Result
from parts.pbx import Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.server import free_port
from parts.service import Service
from screenpop.call import Call
from screenpop.spool import state, trigger

WAITING = {"SCREEN_POP_WAIT": "20"}


def call(door: str, *arguments: str) -> Result:
    """AGI(agi://…) in a dialplan that waits for the confirmation."""
    channel = Channel(callerid="+15551234567", calleridname="Bob Example", extension="123", variables=WAITING)
    return channel.run([door, *arguments])


def wait_for_session(pbx: Pbx) -> None:
    pbx.wait_until(lambda: since(pbx))


def since(pbx: Pbx) -> float:
    """When the session began, in seconds since the epoch; 0 if there is none."""
    session = state.read(pbx.outbox.path).get("session")
    return float(session["since"]) if session else 0.0


def test_it_signs_in_before_the_first_call_and_the_script_reaches_it(
    pbx: Pbx, alice: Recipient, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        wait_for_session(pbx)
        result = pbx.call(variables=WAITING)
        assert result.variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert "Bob Example" in alice.wait_for_message().body
        assert pbx.sender() is None  # no other one was started
        assert state.read(pbx.outbox.path)["pid"] == service.pid
        service.send(signal.SIGTERM)
        assert service.ended() == 0


def test_what_waits_is_sent_at_its_start(pbx: Pbx, alice: Recipient, tmp_path: Path) -> None:
    numbers = [f"+1555123{which:04}" for which in range(20)]
    for number in numbers:
        pbx.outbox.put(Call(number=number))
    with Service(pbx, tmp_path):
        bodies = [alice.wait_for_message().body for _ in numbers]
    assert len(set(bodies)) == 20


def test_a_sender_that_a_call_started_hands_over_without_a_loss_or_a_repeat(
    pbx: Pbx, alice: Recipient, tmp_path: Path
) -> None:
    calls = [Call(number=f"+1555123{which:04}") for which in range(300)]
    for call in calls:
        pbx.outbox.put(call)
    pbx.call()  # which starts a sender
    alice.wait_for_message()
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        pbx.wait_until_sent()
        alice.sync()
        assert state.read(pbx.outbox.path)["pid"] == service.pid
    pbx.wait_until(lambda: len(alice.messages) >= 301)
    assert set(Counter(message.id for message in alice.messages).values()) == {1}


def test_a_second_service_says_so_and_waits_for_the_end_of_the_first(
    pbx: Pbx, alice: Recipient, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as first:
        first.wait_for("READY=1")
        with Service(pbx, tmp_path) as second:
            text = f"service: waiting, as process {first.pid} is the resident sender of {pbx.outbox.path}"
            pbx.wait_until(lambda: text in pbx.log)
            assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
            first.send(signal.SIGTERM)
            assert first.ended() == 0
            second.wait_for("READY=1")
            assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
            second.send(signal.SIGTERM)
            assert second.ended() == 0
            assert text in second.output


def test_sighup_reads_the_configuration_again_and_begins_a_new_session(
    pbx: Pbx, alice: Recipient, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as service:
        wait_for_session(pbx)
        before = since(pbx)
        service.send(signal.SIGHUP)
        pbx.wait_until(lambda: since(pbx) > before)
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert state.read(pbx.outbox.path)["pid"] == service.pid


def test_a_session_that_the_server_ends_begins_again_without_a_call(pbx: Pbx, prosody: Prosody, tmp_path: Path) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        wait_for_session(pbx)
        before = since(pbx)
        prosody.stop()
        prosody.start()
        pbx.wait_until(lambda: since(pbx) > before)


def test_systemd_gets_signs_of_life(pbx: Pbx, tmp_path: Path) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        service.wait_for("WATCHDOG=1")
        trigger.ring(pbx.outbox.path)
        service.wait_for("WATCHDOG=1")


def test_with_a_wrong_configuration_it_stays_until_that_is_mended(pbx: Pbx, alice: Recipient, tmp_path: Path) -> None:
    right = pbx.conf.read_text()
    pbx.conf.write_text("[xmpp]\njid = pbx\n")
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        pbx.call()
        pbx.wait_until(lambda: "not sent yet" in pbx.log)
        pbx.conf.write_text(right)
        service.send(signal.SIGHUP)
        assert "Bob Example" in alice.wait_for_message().body


def test_the_doors_of_the_service_take_calls(pbx: Pbx, alice: Recipient, tmp_path: Path) -> None:
    port = free_port()
    with pbx.conf.open("a") as conf:
        conf.write(f"[http]\nlisten = 127.0.0.1:{port}\ntoken = 0123456789abcdef\n")
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        assert state.read(pbx.outbox.path)["doors"] == [
            f"fastagi {service.agi.split('/')[2]}",
            f"http 127.0.0.1:{port}",
        ]
        assert call(service.agi).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert "Bob Example" in alice.wait_for_message().body
        url = f"http://127.0.0.1:{port}/screen_pop.php?token=0123456789abcdef&ani=%2B15557654321"
        with urllib.request.urlopen(url) as answer:
            assert answer.read().startswith(b"screen_pop.queued\n")
        assert "+1 555-765-4321" in alice.wait_for_message().body
        service.send(signal.SIGTERM)
        assert service.ended() == 0
    assert pbx.sender() is None


def test_a_port_that_is_taken_is_told(pbx: Pbx, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pbx.conf.open("a") as conf:
            conf.write(f"[fastagi]\nlisten = 127.0.0.1:{port}\n")
        assert_ends_and_tells(pbx, tmp_path, f"[fastagi] listen = 127.0.0.1:{port}: Address already in use")


def assert_ends_and_tells(pbx: Pbx, folder: Path, problem: str) -> None:
    with Service(pbx, folder) as service:
        assert service.ended() == 1
    text = f"service: {problem}"
    assert text in pbx.log and text in service.output


def test_a_door_moves_when_its_address_changes_and_stays_when_the_new_one_is_taken(
    pbx: Pbx, alice: Recipient, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        wait_for_session(pbx)
        right, port = pbx.conf.read_text(), taken.getsockname()[1]
        pbx.conf.write_text(re.sub("listen = .*", f"listen = 127.0.0.1:{port}", right))
        service.send(signal.SIGHUP)
        pbx.wait_until(lambda: f"service: [fastagi] listen = 127.0.0.1:{port}: Address already in use" in pbx.log)
        assert call(service.agi).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        moved = f"127.0.0.1:{free_port()}"
        pbx.conf.write_text(re.sub("listen = .*", f"listen = {moved}", right))
        service.send(signal.SIGHUP)
        pbx.wait_until(lambda: state.read(pbx.outbox.path)["doors"] == [f"fastagi {moved}"])
        assert call(f"agi://{moved}/screen_pop").variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert call(service.agi).agistatus == "FAILURE"


def test_where_others_may_connect_the_dialplan_names_only_configured_recipients(
    pbx: Pbx, prosody: Prosody, alice: Recipient, tmp_path: Path
) -> None:
    with pbx.conf.open("a") as conf:
        conf.write(f"[fastagi]\nlisten = 127.0.0.1:{free_port()}\nallow = 127.0.0.0/8\n")
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        door = f"agi://{state.read(pbx.outbox.path)['doors'][0].split()[1]}/screen_pop"
        result = call(door, "+15551234567", f"eve@evil.test&{prosody.jid('alice')}")
        assert result.variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert any("not told, as they are not configured: eve@evil.test" in text for text in result.verbose)
        assert "Bob Example" in alice.wait_for_message().body
        service.send(signal.SIGTERM)
        service.ended()
    assert "eve@evil.test" not in pbx.log


def test_a_port_that_is_taken_leaves_the_sender_that_is_up_alone(pbx: Pbx, alice: Recipient, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pbx.conf.open("a") as conf:
            conf.write(f"[fastagi]\nlisten = 127.0.0.1:{taken.getsockname()[1]}\n")
        pbx.call(variables=WAITING)
        sender = pbx.sender()
        with Service(pbx, tmp_path) as service:
            assert service.ended() == 1
    assert sender and pbx.sender() == sender
    assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"


def test_without_the_default_port_the_service_has_no_fastagi(pbx: Pbx, alice: Recipient, tmp_path: Path) -> None:
    with pbx.conf.open("a") as conf:
        conf.write("[fastagi]\n")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it already
            stack.enter_context(socket.create_server(("127.0.0.1", 4573)))
        service = stack.enter_context(Service(pbx, tmp_path))
        service.wait_for("READY=1")
        assert state.read(pbx.outbox.path)["doors"] == []
        assert "listen = 127.0.0.1:4573: Address already in use: there is no FastAGI until" in pbx.log
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"


def test_an_address_of_another_machine_is_told(pbx: Pbx, tmp_path: Path) -> None:
    port = free_port()
    with pbx.conf.open("a") as conf:
        conf.write(f"[http]\nlisten = 192.0.2.1:{port}\ntoken = 0123456789abcdef\n")
    assert_ends_and_tells(pbx, tmp_path, f"[http] listen = 192.0.2.1:{port}: Cannot assign requested address")


# What SIGHUP changes for those who call


def reload(pbx: Pbx, service: Service, conf: str) -> None:
    wait_for_session(pbx)
    before = since(pbx)
    pbx.conf.write_text(conf)
    service.send(signal.SIGHUP)
    pbx.wait_until(lambda: since(pbx) > before)


def fastagi(port: int, allow: str) -> str:
    return f"[fastagi]\nlisten = 127.0.0.1:{port}\nallow = {allow}\n"


def test_after_sighup_a_network_that_is_not_allowed_any_more_is_refused(
    pbx: Pbx, alice: Recipient, tmp_path: Path
) -> None:
    right, port = pbx.conf.read_text(), free_port()
    pbx.conf.write_text(right + fastagi(port, "127.0.0.0/8"))
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        door = f"agi://127.0.0.1:{port}/screen_pop"
        assert call(door).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        reload(pbx, service, right + fastagi(port, "192.0.2.0/24"))
        assert call(door).variables["SCREEN_POP_STATUS"] == "FAILED"
        assert "FastAGI: 127.0.0.1 is not in [fastagi] allow" in pbx.log


def test_after_sighup_a_recipient_that_is_not_configured_any_more_cannot_be_named(
    pbx: Pbx, prosody: Prosody, alice: Recipient, tmp_path: Path
) -> None:
    port = free_port()
    door = f"agi://127.0.0.1:{port}/screen_pop"
    eve = "eve@evil.test"
    pbx.configure(to=f"{prosody.jid('alice')}&{eve}")
    right = pbx.conf.read_text()
    pbx.conf.write_text(right + fastagi(port, "127.0.0.0/8"))
    named = f"{prosody.jid('alice')}&{eve}"
    told = f"not told, as they are not configured: {eve}"

    def is_refused() -> bool:
        return any(told in text for text in call(door, "+15551234567", named).verbose)

    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        assert not is_refused()
        reload(pbx, service, right.replace(f"&{eve}", "") + fastagi(port, "127.0.0.0/8"))
        assert is_refused()


def test_after_sighup_the_new_token_is_right_and_the_old_one_wrong(pbx: Pbx, alice: Recipient, tmp_path: Path) -> None:
    right, port = pbx.conf.read_text(), free_port()
    old, new = "0123456789abcdef", "fedcba9876543210"

    def get(token: str) -> int:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", "/?ani=1", headers={"Authorization": f"Bearer {token}"})
        status = client.getresponse().status
        client.close()
        return status

    def conf(token: str) -> str:
        return f"{right}[fastagi]\nlisten = no\n[http]\nlisten = 127.0.0.1:{port}\ntoken = {token}\n"

    pbx.conf.write_text(conf(old))
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        assert (get(old), get(new)) == (200, 401)
        reload(pbx, service, conf(new))
        assert (get(old), get(new)) == (401, 200)
