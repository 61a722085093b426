"""How long the dialplan is held, and how long a pop takes: in a real Asterisk 22, with a real Prosody and slixmpp.

    sudo bench/run.sh [CALLS]

Each round makes one call of each kind, so that all kinds see the same machine. Hold is from before to after AGI() in
the dialplan; pop is from before AGI() to the message at the recipient's client. Both by the clock of the one machine.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from parts.asterisk import Asterisk
from parts.box import INSTALLED, Box
from parts.certificates import Authority
from parts.pbx import CONFIGURATION, DOMAIN
from parts.prosody import Prosody
from parts.recipient import Recipient

# The least that a Python AGI script can be.
BARE = f"{INSTALLED}/bare.py"
DIALPLAN = """
[bench]
exten => 123,1,Set(BEFORE=${STRFTIME(,,%s%6q)})
 same => n,AGI(${SCRIPT},${CALLERID(num)})
 same => n,Set(AFTER=${STRFTIME(,,%s%6q)})
 same => n,NoOp(call ${CALL} from ${BEFORE} to ${AFTER} microseconds)
 same => n,Hangup()
"""
WARM_UP = 3
MILLISECONDS = 1000  # in microseconds


class Bench:
    def __init__(self, asterisk: Asterisk, alice: Recipient) -> None:
        self.asterisk, self.alice = asterisk, alice
        self.calls = 0

    def call(self, script: str) -> tuple[int, int]:
        """The times before and after AGI(), in microseconds."""
        self.calls += 1
        variables = {"SCRIPT": script, "CALL": str(self.calls)}
        self.asterisk.originate("123", "bench", callerid_num="+15551234567", variables=variables)
        found = self.asterisk.wait_for(rf'"call {self.calls} from (\d+) to (\d+) microseconds"')
        return int(found[1]), int(found[2])

    def bare(self) -> tuple[float, None]:
        before, after = self.call(BARE)
        return (after - before) / MILLISECONDS, None

    def warm(self) -> tuple[float, float]:
        before, after = self.call(f"{INSTALLED}/screen_pop.py")
        return (after - before) / MILLISECONDS, (self.alice.wait_for_message().at / 1000 - before) / MILLISECONDS

    def first(self) -> tuple[float, float]:
        self.end_sender()
        return self.warm()

    def end_sender(self) -> None:
        box = self.asterisk.box
        for pid in box.processes("screenpop.sender"):
            box.run(["sh", "-c", f"kill -KILL {pid}"])
        box.run(["flock", "/var/spool/asterisk/screen_pop/lock", "true"])  # free when it has gone


def median(values: list[float]) -> str:
    return f"{statistics.median(values):8.1f}"


def measure(bench: Bench, rounds: int) -> None:
    kinds: dict[str, Callable[[], tuple[float, float | None]]] = {
        "a bare Python AGI script": bench.bare,
        "screen_pop, sender up": bench.warm,
        "screen_pop, first call": bench.first,
    }
    holds: dict[str, list[float]] = {kind: [] for kind in kinds}
    pops: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(WARM_UP + rounds):
        for kind, call in kinds.items():
            hold, pop = call()
            if number >= WARM_UP:
                holds[kind].append(hold)
                pops[kind] += [pop] if pop is not None else []
        print(f"\rround {number + 1} of {WARM_UP + rounds}", end="", file=sys.stderr)
    bare = statistics.median(holds["a bare Python AGI script"])
    print(f"\n\nmedians of {rounds} calls each      hold ms   / bare    pop ms")
    for kind in kinds:
        ratio = statistics.median(holds[kind]) / bare
        popped = median(pops[kind]) if pops[kind] else "       -"
        print(f"{kind:28}{median(holds[kind])}{ratio:9.2f}  {popped}")


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        certificate = Authority(folder).issue(folder, DOMAIN)
        with Box() as box, Prosody(folder / "prosody", certificate) as prosody:
            box.install_checkout()
            box.path(BARE).write_text("#!/usr/bin/env python3\n")
            box.path(BARE).chmod(0o755)
            configuration = CONFIGURATION.format(
                jid=prosody.jid("pbx"),
                password=prosody.accounts["pbx"],
                server=f"{prosody.host}:{prosody.port}",
                ca_file="/etc/asterisk-test/ca.pem",
                to=prosody.jid("alice"),
                pop="",
            )
            files = {"screen_pop.conf": configuration, "ca.pem": prosody.ca_file.read_text()}
            password = prosody.accounts["alice"]
            alice = Recipient(prosody.jid("alice"), password, prosody.host, prosody.port, prosody.ca_file)
            with alice, Asterisk(box, DIALPLAN, configuration=files) as asterisk:
                measure(Bench(asterisk, alice), rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
