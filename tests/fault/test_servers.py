"""Servers that stop, start again, are killed, hang or end our session, real ones and a scripted one: no pop is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parts import scripted
from parts.certificates import Certificate
from parts.ejabberd import Ejabberd, NotInstalled
from parts.numbers import as_shown
from parts.pbx import Pbx
from parts.prosody import Prosody
from parts.recipient import Received, Recipient
from parts.scripted import ScriptedServer
from parts.server import Server
from parts.spool import messages
from screenpop.call import Call
from screenpop.sender import backoff
from screenpop.sender.loop import Sender
from screenpop.spool import state
from screenpop.spool.queue import Queue
from screenpop.spool.trigger import Trigger
from screenpop.xmpp import session

WAITING = {"SCREEN_POP_WAIT": "30"}


@pytest.fixture(params=[Prosody, Ejabberd])
def server(request: pytest.FixtureRequest, certificate: Certificate, new_server_folder: Path) -> Iterator[Server]:
    """One of the test's own, not started yet. It keeps messages for who isn't there."""
    try:
        server = request.param(new_server_folder, certificate, offline=True)
    except NotInstalled as reason:
        pytest.skip(f"ejabberd: {reason}")
    yield server
    server.stop()


def received(server: Server, count: int) -> list[Received]:
    """The messages that alice gets; there must be this many, each once."""
    with Recipient.at(server) as alice:
        for _ in range(count):
            alice.wait_for_message(timeout=60)
        alice.sync()
        messages = [message for message in alice.messages if message.body]
    assert len(messages) == len({message.id for message in messages}) == count
    return messages


def numbers(messages: list[Received]) -> list[str]:
    """The callers' numbers, in the order of the messages."""
    return [message.body.split(", ")[1].split(" to ")[0] for message in messages]


def test_twenty_calls_while_the_server_is_down_arrive_by_themselves(server: Server, tmp_path: Path) -> None:
    with Pbx(tmp_path, server, server.ca_file, late_after=0) as pbx:
        called = [f"+1555000{number:04}" for number in range(20)]
        for number in called:
            assert pbx.call(number).variables["SCREEN_POP_STATUS"] == "QUEUED"
        assert len(pbx.waiting()) == 20
        server.start()
        messages = received(server, 20)
        pbx.wait_until_sent()
    assert numbers(messages) == [as_shown(number) for number in called]
    assert all(" ago)" in message.body for message in messages)
    assert pbx.log.count("delivered") == 20


def test_a_server_that_is_down_in_the_middle_of_a_burst(server: Server, tmp_path: Path) -> None:
    server.start()
    with Pbx(tmp_path, server, server.ca_file) as pbx:
        called = [f"+1555000{number:04}" for number in range(30)]
        for count, number in enumerate(called):
            if count == 10:
                server.stop()
            if count == 20:
                server.start()
            assert pbx.call(number).variables["SCREEN_POP_STATUS"] == "QUEUED"
        pbx.wait_until_sent()
        # what was not confirmed may have been taken before the server went: it then comes twice, with one id
        with Recipient.at(server) as alice:
            pbx.call("+last", variables=WAITING)
            while not any("+last" in message.body for message in alice.messages):
                alice.wait_for_message()
            by_id = {message.id: message for message in alice.messages}
    assert sorted(numbers(list(by_id.values()))) == sorted([*map(as_shown, called), "+last"])


def test_a_prosody_that_is_killed_while_it_reads(
    certificate: Certificate, new_server_folder: Path, tmp_path: Path
) -> None:
    server = Prosody(new_server_folder, certificate, offline=True)
    with server, Pbx(tmp_path, server, server.ca_file) as pbx:
        calls = [Call(number=f"+1555{number:07}", name="Bob", extension="1") for number in range(1000)]
        for call in calls:
            pbx.outbox.put(call)
        pbx.call("+1", calleridname="Bob")
        pbx.wait_until(lambda: len(pbx.waiting()) < 900)
        server.kill()
        assert pbx.waiting()
        server.start()
        pbx.wait_until_sent()
        with Recipient.at(server) as alice:
            pbx.call("+last", variables=WAITING, calleridname="Bob")
            while not any("+last" in message.body for message in alice.messages):
                alice.wait_for_message()
            by_id = {message.id: message for message in alice.messages}
    assert {as_shown(call.number) for call in calls} <= set(numbers(list(by_id.values())))
    assert len(by_id) == len(calls) + 2


def test_a_restart_of_the_server_between_two_calls(server: Server, tmp_path: Path) -> None:
    server.start()
    with Pbx(tmp_path, server, server.ca_file) as pbx:
        for _ in range(2):
            assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
            server.stop()
            server.start()
        received(server, 2)
    assert len([line for line in pbx.log.splitlines() if "session ended: session: the server" in line]) == 2


def test_a_server_that_dies_without_a_word_while_nobody_calls(
    certificate: Certificate, new_server_folder: Path, tmp_path: Path
) -> None:
    """A stopped process keeps its connections: only its silence shows that it is gone."""
    with Prosody(new_server_folder, certificate) as server, Pbx(tmp_path, server, server.ca_file) as pbx:
        with Recipient.at(server) as alice:
            pbx.call(variables=WAITING)
            os.kill(server.pid, signal.SIGSTOP)
            pbx.wait_until(lambda: "session ended: session: nothing from the server for 2" in pbx.log)
            os.kill(server.pid, signal.SIGCONT)
            assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
            assert [alice.wait_for_message().body for _ in range(2)]


def test_somebody_who_signs_in_with_our_address(server: Server, tmp_path: Path) -> None:
    """As a copy of this box would: the server throws the older session out, with `conflict`."""
    server.start()
    with Pbx(tmp_path, server, server.ca_file) as pbx:
        pbx.call(variables=WAITING)
        for _ in range(2):
            jid = f"{server.jid('pbx')}/{state.resource(pbx.outbox.path)}"
            with Recipient(jid, server.accounts["pbx"], server.host, server.port, server.ca_file):
                pbx.wait_until(lambda: "conflict" in pbx.log)
                assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        received(server, 3)


def test_a_domain_that_nobody_reaches_comes_back_after_all(
    certificate: Certificate, new_server_folder: Path, tmp_path: Path
) -> None:
    server = Prosody(new_server_folder, certificate, federated=True)
    with server, Pbx(tmp_path, server, server.ca_file, to="alice@remote.invalid") as pbx:
        pbx.call()
        pbx.wait_until(lambda: messages(pbx.outbox, "failed"))
        (message,) = messages(pbx.outbox, "failed")
        pbx.wait_until(lambda: "remote-server-not-found" in pbx.screen_pop("status", status=1).split("last ", 1)[1])
    assert message.to == "alice@remote.invalid"
    assert message.reason.startswith("remote-server-not-found")
    assert "alice@remote.invalid failed: remote-server-not-found" in pbx.log


# A server that hangs


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "STEP_DEADLINE", 0.3)
    monkeypatch.setattr("screenpop.xmpp.tcp.ADDRESS_DEADLINE", 0.3)
    monkeypatch.setattr(backoff, "FIRST", 0.01)
    monkeypatch.setenv("AST_LOG_DIR", str(tmp_path))


@pytest.mark.parametrize(
    "step", [step for step in scripted.STEPS if step not in ("session", "roster")]
)  # not asked for
@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_at_any_step_gets_the_pop_the_next_time(
    step: str, certificate: Certificate, tmp_path: Path
) -> None:
    with ScriptedServer(certificate, faults={step: scripted.silent}, faulty_connections=1) as server:
        deliver(server, certificate, tmp_path)
        assert len({message.get("id") for message in server.messages}) == 1


@pytest.mark.usefixtures("impatient")
def test_a_server_that_writes_a_byte_a_second(certificate: Certificate, tmp_path: Path) -> None:
    fault = scripted.slow(1.0)
    with ScriptedServer(certificate, faults={"features-after-tls": fault}, faulty_connections=1) as server:
        deliver(server, certificate, tmp_path)


def test_a_server_that_throttles_gets_each_pop_once(
    certificate: Certificate, new_server_folder: Path, tmp_path: Path
) -> None:
    """At a third of ejabberd's default rate; fifty pops take longer than a confirmation may."""
    try:
        server = Ejabberd(new_server_folder, certificate, offline=True, rate=1000)
    except NotInstalled as reason:
        pytest.skip(f"ejabberd: {reason}")
    with server, Pbx(tmp_path, server, server.ca_file) as pbx:
        pbx.outbox.make()
        for number in range(40):
            pbx.outbox.put(Call(number=f"+1555{number:07}", name="Bob", extension="1"))
        assert pbx.screen_pop("flush") == "40 sent, 0 failed, 0 still waiting\n"
        assert numbers(received(server, 40)) == [as_shown(f"+1555{number:07}") for number in range(40)]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_reads_nothing(certificate: Certificate, tmp_path: Path) -> None:
    with ScriptedServer(certificate, faults={"message": scripted.deaf}, faulty_connections=1) as server:
        deliver(server, certificate, tmp_path)


def deliver(server: Any, certificate: Certificate, folder: Path) -> None:
    """One attempt that fails, and one that does not, by a sender in this process."""
    pbx = Pbx(folder, server, certificate.ca_file, linger=0)
    pbx.outbox.put(Call(number="1"))
    trigger = Trigger.acquire(pbx.outbox.path)
    assert trigger
    before = signal.getsignal(signal.SIGTERM)
    try:
        Sender(Queue(pbx.outbox.path), trigger, str(pbx.conf)).run()  # it leaves when nothing waits any more
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(trigger.lock)
    assert len(messages(pbx.outbox, "sent")) == 1 and not pbx.waiting()
    assert server.connections == 2


def test_a_machine_that_was_suspended(prosody: Prosody, tmp_path: Path) -> None:
    """A stopped sender doesn't notice a call and doesn't harm it; when it continues, it sends the call."""
    with Recipient.at(prosody) as alice, Pbx(tmp_path, prosody, prosody.ca_file) as pbx:
        pbx.call(variables=WAITING)
        alice.wait_for_message()
        stopped = pbx.sender()
        assert stopped
        os.kill(stopped, signal.SIGSTOP)
        assert pbx.call().variables["SCREEN_POP_STATUS"] == "QUEUED"
        os.kill(stopped, signal.SIGCONT)
        alice.wait_for_message()
        assert pbx.sender() == stopped
        alice.sync()
        assert len(alice.messages) == 2


def test_senders_that_leave_while_calls_come_lose_none_and_are_never_two(prosody: Prosody, tmp_path: Path) -> None:
    """The hand-over, again and again: each sender leaves as soon as nothing waits."""
    calls, doors = 15, 4
    with Recipient.at(prosody) as alice, Pbx(tmp_path, prosody, prosody.ca_file, linger=0) as pbx:

        def door(number: int) -> None:
            for call in range(calls):
                pbx.call(f"+{number}{call:03}")

        threads = [threading.Thread(target=door, args=(number,)) for number in range(1, doors + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        messages = [alice.wait_for_message() for _ in range(calls * doors)]
        pbx.wait_for_sender_to_leave()
        alice.sync()
        assert len(alice.messages) == calls * doors  # two senders would have sent something twice
    assert set(numbers(messages)) == {f"+{door}{call:03}" for door in range(1, doors + 1) for call in range(calls)}
    assert len({line.split("[")[1].split("]")[0] for line in pbx.log.splitlines()}) > 1  # and there were several


@pytest.mark.parametrize("name", ["prosody", "ejabberd"])
def test_five_thousand_that_wait_go_out_once_each_in_little_memory(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue(name)
    count = 5000
    with Recipient.at(server) as alice, Pbx(tmp_path, server, server.ca_file) as pbx:
        pbx.outbox.make()
        for number in range(count):
            pbx.outbox.put(Call(number=f"+1555{number:07}"))
        pbx.call("+1")
        for _ in range(count + 1):
            alice.wait_for_message()
        alice.sync()
        assert len(alice.messages) == len({message.id for message in alice.messages}) == count + 1
        pbx.wait_until_sent()
        status = Path(f"/proc/{pbx.sender()}/status").read_text()
        assert int(status.split("VmHWM:")[1].split()[0]) < 60 * 1024
