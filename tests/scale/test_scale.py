"""Asterisk, two services that it finds by SRV records, and two ejabberd nodes that the services find by SRV records.

`tests/run.sh tests/scale -s` prints the figures of docs/scaling.md.
"""

from __future__ import annotations

import re
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from parts import dnsmasq, ejabberd
from parts.asterisk import Asterisk
from parts.box import Box, BoxUnavailable
from parts.certificates import Certificate
from parts.cluster import CLIENTS, Node
from parts.dnsmasq import Dnsmasq
from parts.numbers import as_shown
from parts.pbx import DOMAIN
from parts.recipient import Recipient
from parts.scaled import FASTAGI, Service, Traffic, hanging, processor_time
from parts.server import address_without
from parts.waiting import eventually

NUMBERS = [f"+1555{which:07}" for which in range(1000)]
RATE = 25.0  # calls a second
MOST_REPEATS = 60  # of the pops that were in flight at a kill
CA_FILE = "/etc/ssl/screen_pop.pem"
CONFIGURATION = f"""\
[xmpp]
jid = pbx@{DOMAIN}
password = pbx's secret
ca_file = {CA_FILE}
[pop]
to = alice@{DOMAIN}
message = {{number}}
"""
# The script takes the calls that no service has taken, as in docs/scaling.md.
DIALPLAN = """
[scale]
exten => 123,1,Set(BEFORE=${STRFTIME(,,%s%6q)})
 same => n,AGI(hagi://${SERVICE}/screen_pop,${CALLERID(num)})
 same => n,Set(BY=${IF($["${SCREEN_POP_STATUS}" = "" | "${SCREEN_POP_STATUS}" = "FAILED"]?script:service)})
 same => n,ExecIf($["${BY}" = "script"]?AGI(screen_pop.py))
 same => n,NoOp(by the ${BY}: ${SCREEN_POP_STATUS} ${BEFORE} ${STRFTIME(,,%s%6q)})
"""
HELD = r"by the (service|script): (\w*) (\d+) (\d+)"


@dataclass
class Machines:
    nodes: tuple[Node, Node]
    services: tuple[Service, Service]
    nameserver: Dnsmasq
    asterisk: Asterisk
    alice: Recipient

    def call(self, number: str, service: str = "pop.test") -> None:
        self.asterisk.originate("123", "scale", callerid_num=number, variables={"SERVICE": service})

    def held(self) -> list[tuple[str, str, float]]:
        """Of each call: what took it, SCREEN_POP_STATUS, and for how many milliseconds the dialplan waited."""
        found = re.findall(HELD + r'"\)', self.asterisk.log)
        return [(taker, status, (int(after) - int(before)) / 1000) for taker, status, before, after in found]

    def work(self) -> dict[str, float]:
        """CPU seconds of each kind of process, since its start."""
        box = self.asterisk.box
        asterisk = box.path("/var/run/asterisk/asterisk.pid").read_text().strip()
        return {
            "Asterisk": processor_time(box.path(f"/proc/{asterisk}")),
            "both services": sum(service.processor_time() for service in self.services),
            "both ejabberd nodes": sum(processor_time(Path(f"/proc/{node.pid}")) for node in self.nodes),
            "dnsmasq": processor_time(Path(f"/proc/{self.nameserver.pid}")),
        }


@pytest.fixture(scope="module")
def machines(server_folder: Path, certificate: Certificate) -> Iterator[Machines]:
    with ExitStack() as stack:
        try:
            first = Node(server_folder / "first", certificate)
            second = Node(server_folder / "second", certificate, first)
            box = stack.enter_context(Box())
            box.install_checkout()
            services = (Service(box, "a", CONFIGURATION), Service(box, "b", CONFIGURATION))
            silent = stack.enter_context(a_silent_machine())
            hosts = {"xmpp1.test": first.host, "xmpp2.test": second.host, "silent.test": silent.getsockname()[0]}
            hosts.update((f"pop{which}.test", service.host) for which, service in enumerate(services, 1))
            records = {
                f"_xmpp-client._tcp.{DOMAIN}": [(10, 0, CLIENTS, "xmpp1.test"), (20, 0, CLIENTS, "xmpp2.test")],
                "_agi._tcp.pop.test": [(10, 50, FASTAGI, "pop1.test"), (10, 50, FASTAGI, "pop2.test")],
                "_agi._tcp.half.test": [(10, 0, FASTAGI, "silent.test"), (20, 0, FASTAGI, "pop2.test")],
            }
            nameserver = stack.enter_context(Dnsmasq(server_folder, hosts, records))
        except (BoxUnavailable, ejabberd.NotInstalled, dnsmasq.NotInstalled) as reason:
            pytest.skip(str(reason))
        box.path("/etc/resolv.conf").write_text(nameserver.resolv_conf)
        box.path(CA_FILE).write_text(certificate.ca_file.read_text())
        for server in (first, second, *services):
            stack.enter_context(server)
        asterisk = stack.enter_context(Asterisk(box, DIALPLAN, configuration={"screen_pop.conf": CONFIGURATION}))
        alice = stack.enter_context(Recipient.at(second))
        yield Machines((first, second), services, nameserver, asterisk, alice)


def a_silent_machine() -> socket.socket:
    """At whose address a connection is neither accepted nor refused: the kernel's queue for it is full."""
    listener = socket.socket()
    listener.bind((address_without(FASTAGI), FASTAGI))
    listener.listen(0)
    while True:
        with socket.socket() as client:
            client.settimeout(0.2)
            try:
                client.connect(listener.getsockname())
            except socket.timeout:
                return listener


def test_each_of_a_thousand_calls_pops_while_a_node_and_then_a_service_is_killed(machines: Machines) -> None:
    (first, second), (one, other), alice = machines.nodes, machines.services, machines.alice
    assert {one.server, other.server} == {f"xmpp1.test:{CLIENTS}"}

    with Traffic(machines.call, NUMBERS, RATE) as traffic:
        before = machines.work()
        wait_for_more(alice, 300)
        worked = {what: seconds - before[what] for what, seconds in machines.work().items()}
        shares = one.sent(), other.sent()

        eventually(one.waiting)
        node_killed = time.time()
        first.kill()
        wait_for_more(alice, 150)
        assert {one.server, other.server} == {f"xmpp2.test:{CLIENTS}"}
        first.start()

        wait_for_more(alice, 50)
        service_killed = time.time()
        one.kill()
        wait_for_more(alice, 150)
        one.start()

        with hanging(first.pid, second.pid):  # so that calls wait in the spool
            eventually(lambda: other.waiting() >= 5)
            other.kill()
        wait_for_more(alice, 50)
        left = other.waiting()
        assert left >= 5
        other.start()

        traffic.wait()
    machines.asterisk.wait_for("by the (service|script): QUEUED", count=len(NUMBERS))
    eventually(lambda: not one.waiting() and not other.waiting(), lambda: one.log() + other.log())
    alice.sync()

    arrived: dict[str, float] = {}
    for message in alice.messages:
        (number,) = re.findall(r"^\+1 \d{3}-\d{3}-\d{4}", message.body)
        arrived.setdefault(number, message.at / 1e9)
    repeats = len(alice.messages) - len(arrived)
    assert sorted(arrived) == [as_shown(number) for number in NUMBERS]
    assert repeats <= MOST_REPEATS
    assert min(shares) > 0

    came, held = {as_shown(one): made for one, made in traffic.made.items()}, machines.held()
    print(f"\n\n{len(NUMBERS)} calls, {RATE:.0f} a second: {len(arrived)} delivered, {repeats} repeats")
    print("                                  time without a pop, ms     call to pop, ms")
    print("                                        median   longest      median   longest")
    for what, begin, end in (
        ("nothing is killed", 0.0, node_killed),
        ("5 s after an ejabberd node was killed", node_killed, node_killed + 5),
        ("5 s after a service was killed", service_killed, service_killed + 5),
    ):
        times = sorted(at for at in arrived.values() if begin <= at < end)
        gaps = [1000 * (later - at) for at, later in zip(times, times[1:])]
        pops = [1000 * (at - came[one]) for one, at in arrived.items() if begin <= at < end]
        print(f"{what:38}{row(gaps)}  {row(pops)}")
    print(f"{'the dialplan waited for AGI(), ms':38}{row([milliseconds for _, _, milliseconds in held])}")
    print(f"taken by the script, as no service had taken them: {sum(taker == 'script' for taker, *_ in held)}")
    print(f"left in the spool by a service that was killed while ejabberd hung: {left}, sent by the next one")
    print(f"shares of the two services before: {shares[0]} and {shares[1]}")
    print("CPU seconds for each 1,000 calls: " + ", ".join(f"{what} {s / 0.3:.1f}" for what, s in worked.items()))


def wait_for_more(alice: Recipient, pops: int) -> None:
    for _ in range(pops):
        alice.wait_for_message()


def row(milliseconds: list[float]) -> str:
    return f"{statistics.median(milliseconds):8.0f}{max(milliseconds):10.0f}"


def test_a_service_whose_machine_is_silent_is_passed_over_after_two_seconds(machines: Machines) -> None:
    machines.call("+15551230001", service="half.test")
    machines.asterisk.wait_for(r"timed out after MAX_AGI_CONNECT \(2000\) milliseconds")
    assert next_pop(machines, "+15551230001")
    taker, status, milliseconds = machines.held()[-1]
    assert (taker, status) == ("service", "QUEUED")
    print(f"\n\na silent machine: the dialplan waited {milliseconds:.0f} ms")


def test_while_the_name_server_is_silent_the_script_takes_the_calls(machines: Machines) -> None:
    with hanging(machines.nameserver.pid):
        machines.call("+15551230002")
        machines.asterisk.wait_for("by the script: QUEUED", count=taken_by_script(machines) + 1)
        _, _, milliseconds = machines.held()[-1]
    assert next_pop(machines, "+15551230002")
    print(f"\n\na silent name server: the dialplan waited {milliseconds:.0f} ms")


def taken_by_script(machines: Machines) -> int:
    return sum(taker == "script" for taker, *_ in machines.held())


def next_pop(machines: Machines, number: str) -> bool:
    """Wait until this number pops."""
    while as_shown(number) not in machines.alice.wait_for_message().body:
        pass
    return True
