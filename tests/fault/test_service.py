"""`screen-pop serve` as a whole, its doors and its sender together: killed, ended, on an unlucky box, among hostile
clients, and with servers that refuse or say nothing. What a door told is queued arrives.
"""

from __future__ import annotations

import http.client
import os
import re
import resource
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from parts import scripted
from parts.certificates import Certificate
from parts.disk import as_root, fill, mounted
from parts.pbx import Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.scripted import Conversation, ScriptedServer
from parts.server import free_port
from parts.service import Service
from parts.waiting import eventually
from screenpop.call import Call
from screenpop.spool import state
from screenpop.spool.outbox import Outbox

__all__ = ["mounted"]

TOKEN = "0123456789abcdef"
LOOPBACK = "127.0.0.1"
ACCEPTED = ("QUEUED", "DELIVERED", "200")


class Doors:
    """The clients of both doors. Each call has a number of its own. What they are told is SCREEN_POP_STATUS or an HTTP
    status, or else the name of an exception.
    """

    def __init__(self, pbx: Pbx) -> None:
        self.agi, self.http = free_port(), free_port()
        with pbx.conf.open("a") as conf:
            conf.write(f"[fastagi]\nlisten = {LOOPBACK}:{self.agi}\n")
            conf.write(f"[http]\nlisten = {LOOPBACK}:{self.http}\ntoken = {TOKEN}\n")

    def call(self, number: str, wait: str = "") -> str:
        try:
            with socket.create_connection((LOOPBACK, self.agi), timeout=30) as client:
                return as_asterisk(client, number, wait)
        except OSError as error:
            return type(error).__name__

    def post(self, number: str) -> str:
        connection = http.client.HTTPConnection(LOOPBACK, self.http, timeout=30)
        try:
            connection.request("POST", f"/?token={TOKEN}", urlencode({"ani": number, "dnis": "123"}))
            answered = connection.getresponse()
            answered.read()
            return str(answered.status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def silent(self, count: int) -> list[socket.socket]:
        """Connections to FastAGI that say nothing."""
        return [socket.create_connection((LOOPBACK, self.agi), timeout=30) for _ in range(count)]


def as_asterisk(client: socket.socket, number: str, wait: str = "") -> str:
    """The conversation of a channel without variables but SCREEN_POP_WAIT; it costs less than the harness."""
    described = {"network": "yes", "callerid": number, "callingpres": "0", "extension": "123", "threadid": "1"}
    client.sendall("".join(f"agi_{name}: {value}\n" for name, value in described.items()).encode() + b"\n")
    status = "no status"
    with client.makefile("r") as lines:
        for line in lines:
            if question := re.fullmatch('GET FULL VARIABLE "(.*)"\n', line):
                values = re.sub(r"\$\{[^}]*\}", "", question[1].replace("${SCREEN_POP_WAIT}", wait))
                client.sendall(f"200 result=1 ({values})\n".encode())
            elif found := re.search('SET VARIABLE "SCREEN_POP_STATUS" "(.*)"', line):
                status = found[1]
            elif wait and line.startswith("SET VARIABLE"):
                client.sendall(b"200 result=1\n")
    return status


@pytest.fixture
def doors(pbx: Pbx) -> Doors:
    return Doors(pbx)


@contextmanager
def calling(*ways: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """Calls come all the time, one after the other in each of these ways. What they are told, by number."""
    told: dict[str, str] = {}
    over = threading.Event()

    def come(name: str, way: Callable[[str], str]) -> None:
        for which in range(100_000):
            if over.is_set():
                return
            number = f"{name}{which}"
            told[number] = way(number)
            if told[number] not in ACCEPTED:
                over.wait(0.02)

    threads = [threading.Thread(target=come, args=(chr(ord("A") + at), way)) for at, way in enumerate(ways)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join()


def accepted(told: dict[str, str]) -> set[str]:
    return {number for number, what in told.copy().items() if what in ACCEPTED}


def shown(alice: Recipient) -> dict[str, set[str]]:
    """The ids of the messages about each number."""
    found: dict[str, set[str]] = {}
    for message in list(alice.messages):
        found.setdefault(message.body.split()[2], set()).add(message.id)
    return found


def arrive(pbx: Pbx, alice: Recipient, told: dict[str, str]) -> None:
    """All that was accepted, each as one message; which may have come more than once."""
    assert accepted(told)
    pbx.wait_until(lambda: accepted(told) <= set(shown(alice)))
    assert all(len(ids) == 1 for ids in shown(alice).values())


def most_memory(service: Service) -> int:
    """In kB."""
    return int(Path(f"/proc/{service.pid}/status").read_text().split("VmHWM:")[1].split()[0])


def has_session(pbx: Pbx, service: Service) -> bool:
    known = state.read(pbx.outbox.path)
    return known.get("pid") == service.pid and bool(known.get("session"))


# Killed and ended


def test_it_is_killed_again_and_again_while_calls_come(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    kills = 6
    with calling(doors.call, doors.call, doors.post) as told:
        for kill in range(kills):
            with Service(pbx, tmp_path) as service:
                before = len(accepted(told))
                pbx.wait_until(lambda: len(accepted(told)) > before + 20 * kill)  # noqa: B023
                service.send(signal.SIGKILL)
    with Service(pbx, tmp_path):
        arrive(pbx, alice, told)
    repeated = [count for count in Counter(message.id for message in alice.messages).values() if count > 1]
    assert len(repeated) <= kills * 50 and max(repeated, default=0) <= kills  # those that shared a confirmation


def test_a_second_one_takes_over_when_the_first_is_killed(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    with calling(doors.call, doors.post) as told, Service(pbx, tmp_path) as first:
        first.wait_for("READY=1")
        with Service(pbx, tmp_path) as second:
            second.wait_for("EXTEND_TIMEOUT_USEC=30000000")  # it waits, and systemd knows that
            second.send(signal.SIGHUP)  # which does not end it
            first.send(signal.SIGKILL)
            second.wait_for("READY=1")
            before = len(accepted(told))
            pbx.wait_until(lambda: len(accepted(told)) > before + 20)
            arrive(pbx, alice, told.copy())
            assert state.read(pbx.outbox.path)["pid"] == second.pid
    started = set(re.findall(r"screen_pop\[(\d+)\]", pbx.log))  # its doors start senders until it has the lock
    assert len(started) < 10


def test_sigterm_in_the_middle_of_a_hundred_calls(pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path) -> None:
    told: dict[str, str] = {}

    def come(which: int) -> None:
        told[f"A{which}"] = (doors.post if which % 4 == 0 else doors.call)(f"A{which}")

    with Service(pbx, tmp_path) as service, ThreadPoolExecutor(10) as pool:
        service.wait_for("READY=1")
        calls = [pool.submit(come, which) for which in range(100)]
        pbx.wait_until(lambda: len(told) > 30)
        service.send(signal.SIGTERM)
        began = time.monotonic()
        assert service.ended() == 0 and time.monotonic() - began < 10
        for call in calls:
            call.result()
    answers = Counter(told.values())
    # HTTP's clients, and connections that nobody has taken
    cut_off = {"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"}
    assert set(answers) <= {"QUEUED", "200", "ConnectionRefusedError", *cut_off} and answers["ConnectionRefusedError"]
    with Service(pbx, tmp_path):
        arrive(pbx, alice, told)


def test_sigterm_while_the_server_confirms_nothing(
    pbx: Pbx, doors: Doors, certificate: Certificate, tmp_path: Path
) -> None:
    """All calls that it has are answered, also those that wait for the confirmation, before it gives up waiting."""
    with ScriptedServer(certificate, faults={"ping": scripted.silent}) as server, ThreadPoolExecutor(40) as pool:
        at(pbx, server)
        with Service(pbx, tmp_path) as service:
            service.wait_for("READY=1")
            assert doors.call("A") == "QUEUED"
            server.wait_for(lambda: bool(server.messages))
            calls = [pool.submit(doors.call, f"B{which}", "30") for which in range(40)]
            pbx.wait_until(lambda: len(os.listdir(f"{pbx.outbox.path}/tmp")) == 40)
            began = time.monotonic()
            service.send(signal.SIGTERM)
            assert {call.result() for call in calls} == {"QUEUED"}
            assert time.monotonic() - began < 7
            service.ended()
            assert time.monotonic() - began < 10
        assert len(pbx.waiting()) == 41


def test_sighup_in_a_burst(pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        with calling(doors.call, doors.post) as told:
            for _ in range(10):
                before = len(told)
                service.send(signal.SIGHUP)
                pbx.wait_until(lambda: len(told) > before + 5)  # noqa: B023
        assert accepted(told) == set(told)
        arrive(pbx, alice, told)
        assert service.process and service.process.poll() is None


def test_the_script_and_all_commands_beside_it(pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path) -> None:
    def script(number: str) -> str:
        return pbx.call(callerid=number, calleridname=None).variables["SCREEN_POP_STATUS"]

    def send(number: str) -> str:
        return "200" if pbx.screen_pop("send", "--number", number, "--dialled", "123") else ""

    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        pbx.call("nobody", "no JID")  # which fails, and is tried again by --retry
        with calling(doors.call, doors.post, script, send) as told:
            pbx.wait_until(lambda: {"A0", "B0", "C0", "D0"} <= accepted(told))
            commands = [pbx.start_screen_pop(*words) for words in (["flush"], ["status", "--retry"], ["status"])]
            pbx.wait_until(lambda: {"A2", "B2", "C2", "D2"} <= accepted(told))
        for command in commands:
            command.communicate()
        assert accepted(told) == set(told)
        arrive(pbx, alice, told)
        assert set(Counter(message.id for message in alice.messages).values()) == {1}
        assert pbx.sender() is None


# The spool


@as_root
@pytest.mark.usefixtures("mounted")
def test_on_a_full_disk_calls_of_both_doors_wait_in_memory(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        filler = fill(pbx)
        told = {number: way(number) for number, way in (("A1", doors.call), ("A2", doors.call), ("B1", doors.post))}
        assert list(told.values()) == ["QUEUED", "QUEUED", "200"]
        pbx.wait_until(lambda: set(told) == set(shown(alice)))
        filler.unlink()
        assert doors.call("A3", wait="30") == "DELIVERED"
        assert state.read(pbx.outbox.path)["pid"] == service.pid
    assert len(alice.messages) == 4


def test_a_spool_that_is_moved_away_is_left_and_nothing_of_both_is_lost(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    """A supervisor starts the service again, with a new spool; then somebody moves the old one back."""
    away = Outbox(f"{tmp_path}/away")
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        assert doors.call("A1", wait="30") == "DELIVERED"
        os.rename(pbx.outbox.path, away.path)  # while it has no work, for which it would make a new one
        assert service.ended() == 1
        assert f"ending, as the spool {pbx.outbox.path} is gone or has another sender" in service.output
    away.put(Call(number="A2", extension="123"))
    assert pbx.call(callerid="A3", calleridname=None).variables["SCREEN_POP_STATUS"] == "QUEUED"
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        for name in os.listdir(f"{away.path}/new"):
            os.rename(f"{away.path}/new/{name}", f"{pbx.outbox.path}/new/{name}")
    with Service(pbx, tmp_path):
        pbx.wait_until(lambda: set(shown(alice)) == {"A1", "A2", "A3"})


def test_a_spool_that_cant_be_used_at_its_start(pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path) -> None:
    spool = Path(pbx.outbox.path)
    spool.rename(tmp_path / "away")
    spool.write_text("")
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        assert (doors.call("A1"), doors.post("B1")) == ("QUEUED", "200")
        pbx.wait_until(lambda: set(shown(alice)) == {"A1", "B1"})
        spool.unlink()
        pbx.wait_until(lambda: has_session(pbx, service))
        assert doors.call("A2", wait="30") == "DELIVERED"
        service.send(signal.SIGTERM)
        assert service.ended() == 0
    assert f"calls wait in memory until the spool can be used: {pbx.outbox.path}: File exists" in service.output


# Hostile clients


def test_ten_thousand_connections_and_many_calls_need_little_memory(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        for _ in range(10):
            for client in doors.silent(1000):
                client.close()
        with ThreadPoolExecutor(8) as pool:
            pool.submit(lambda: eventually(lambda: doors.call("first") == "QUEUED")).result()
            told = dict(zip(map(str, range(1000)), pool.map(doors.call, map(str, range(1000)))))
        assert set(told.values()) == {"QUEUED"}
        arrive(pbx, alice, told)
        assert most_memory(service) < 60 * 1024
        assert service.process and service.process.poll() is None


def test_a_thousand_connections_take_no_descriptor_from_the_sender(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    """Systems begin with a limit of 1024, beyond which select(2) doesn't work either."""
    right = pbx.conf.read_text()
    pbx.conf.write_text(re.sub("server = .*", f"server = {LOOPBACK}:1", right))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        service = Service(pbx, tmp_path).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    with ExitStack() as stack:
        stack.push(service)
        service.wait_for("READY=1")
        for _ in range(100):
            stack.enter_context(socket.create_connection((LOOPBACK, doors.http), timeout=30))
        for client in doors.silent(1000):
            stack.enter_context(client)
        pbx.wait_until(lambda: len(os.listdir(f"/proc/{service.pid}/fd")) > 1030)
        pbx.conf.write_text(right)
        service.send(signal.SIGHUP)
        pbx.screen_pop("send", "--number", "A1", "--dialled", "123")
        pbx.wait_until(lambda: "A1" in shown(alice))
        assert state.read(pbx.outbox.path)["pid"] == service.pid
        problems = [line for line in pbx.log.splitlines() if "not sent yet" in line]
        assert all("Connection refused" in line for line in problems)
        assert doors.post("B1") == "200"


def test_without_descriptors_it_rests_and_goes_on_when_it_has_some(
    pbx: Pbx, doors: Doors, alice: Recipient, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as service, ExitStack() as stack:
        service.wait_for("READY=1")
        assert doors.post("B0") == "200"
        pbx.wait_until(lambda: shown(alice))
        pbx.wait_until(lambda: state.read(pbx.outbox.path).get("last"))  # it has no file open any more
        used = len(os.listdir(f"/proc/{service.pid}/fd"))
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
        for client in doors.silent(40):
            stack.enter_context(client)
        assert doors.call("A1") == "FAILED"
        for _ in range(20):
            stack.enter_context(socket.create_connection((LOOPBACK, doors.http), timeout=30))
        assert pbx.call("A2").variables["SCREEN_POP_STATUS"] == "QUEUED"
        stack.pop_all().close()
        eventually(lambda: doors.call("A3") == "QUEUED")
        eventually(lambda: doors.post("B1") == "200")
        pbx.wait_until(lambda: {"A3", "B1"} <= set(shown(alice)))
        service.send(signal.SIGTERM)
        assert service.ended() == 0
    assert len(service.output) < 1000


# Servers


def at(pbx: Pbx, *servers: ScriptedServer) -> None:
    text = pbx.conf.read_text()
    assert servers[0].certificate
    addresses = " ".join(f"{LOOPBACK}:{server.port}" for server in servers)
    text = re.sub("server = .*", f"server = {addresses}", text)
    pbx.conf.write_text(re.sub("ca_file = .*", f"ca_file = {servers[0].certificate.ca_file}", text))


def test_restarts_try_a_refused_sign_in_no_more_often_than_one_process(
    pbx: Pbx, doors: Doors, certificate: Certificate, tmp_path: Path
) -> None:
    """As a supervisor makes them, and calls come."""
    refusal = scripted.sasl_failure("not-authorized")
    with ScriptedServer(certificate, faults={"sasl-auth": refusal}, mechanisms=["PLAIN"]) as server:
        at(pbx, server)
        pids: set[int] = set()
        for ending in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            with Service(pbx, tmp_path) as service:
                service.wait_for("READY=1")
                assert doors.call(f"A{len(pids)}") == "QUEUED"
                pbx.wait_until(lambda: state.read(pbx.outbox.path).get("pid") == service.pid)
                pbx.wait_until(lambda: "not-authorized" in str(state.read(pbx.outbox.path).get("problem")))
                pids.add(service.pid)
                service.send(ending)
                service.ended()
        assert server.connections == 1 and len(pids) == 3
        with Service(pbx, tmp_path) as service:
            service.wait_for("READY=1")
            assert server.connections == 1
            os.utime(pbx.conf)  # somebody has changed it
            service.send(signal.SIGHUP)
            eventually(lambda: server.connections == 2)


def test_signs_of_life_while_no_server_answers_and_calls_are_taken(
    pbx: Pbx, doors: Doors, certificate: Certificate, tmp_path: Path
) -> None:
    def waits(conversation: Conversation) -> None:
        """Longer than it is between two signs of life."""
        conversation.wait_for_end(1.5)

    with (
        ScriptedServer(certificate, faults={"stream": waits}) as slow,
        ScriptedServer(certificate, faults={"stream": scripted.silent}) as silent,
    ):
        at(pbx, slow, silent)
        with Service(pbx, tmp_path) as service:
            service.wait_for("READY=1")
            service.wait_for("WATCHDOG=1")
            eventually(lambda: slow.connections == 1)
            assert (doors.call("A1"), doors.post("B1")) == ("QUEUED", "200")
            service.wait_for("WATCHDOG=1")
            assert slow.connections == 1 and not has_session(pbx, service)
            eventually(lambda: silent.connections == 1)
            assert doors.call("A2", wait="0.1") == "QUEUED"


def test_a_systemd_that_reads_nothing_stops_no_pop(
    pbx: Pbx, doors: Doors, alice: Recipient, prosody: Prosody, tmp_path: Path
) -> None:
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        with ExitStack() as stack, pytest.raises(BlockingIOError):
            while True:  # until its queue is full; a socket alone has not enough room for that
                other = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                other.setblocking(False)
                for _ in range(10):
                    other.sendto(b"x", service.address)
        pbx.wait_until(lambda: doors.call("A1", wait="1") == "DELIVERED")
        time.sleep(1.1)  # until the next sign of life
        assert doors.call("A2", wait="10") == "DELIVERED"
