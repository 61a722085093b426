"""One sender sends many queued calls, as after an outage, with a real Prosody and slixmpp.

    bench/run.sh drain [CALLS [ROUNDS]]

It measures the time from the sender's sign-in to the confirmation of the last call. Sender, server and client share the
machine; the CPU time of each for one pop shows which of them is the bottleneck.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from parts.pbx import Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from real import QUIET, number, numbers_in, real_prosody
from screenpop.call import Call
from screenpop.spool import trigger
from screenpop.spool.replies import Replies

SLOWEST, LARGEST = 500.0, 60.0  # targets: pops a second, MB
PATIENCE = 60.0  # seconds to wait for each reply of the sender


@dataclass(frozen=True)
class Drain:
    rate: float  # pops a second
    delivered: int
    twice: int
    memory: float  # the sender's peak, in MB
    work: tuple[float, float, float]  # CPU time for each pop in ms: of the sender, the server, the client


def drain(prosody: Prosody, folder: Path, count: int) -> Drain:
    # late_after=0: all messages are marked as late, as after an outage
    with Recipient.at(prosody) as alice, Pbx(folder, prosody, prosody.ca_file, late_after=0) as pbx:
        calls = [Call(number=number(which), extension="123") for which in range(count)]
        calls[0].receipt = True  # so the sender reports each step
        for call in calls:
            pbx.outbox.put(call)
        with listening(pbx, calls[0]) as first, listening(pbx, calls[-1]) as last:
            os.environ.update(pbx.env)  # the sender inherits it
            trigger.ring(pbx.outbox.path)
            began = wait_for(first, "step", "sign-in")
            sender = pbx.sender()
            assert sender is not None
            worked = [processor_time(pid) for pid in (sender, prosody.pid, os.getpid())]
            ended = wait_for(last, "status", "DELIVERED")
        assert not pbx.waiting()
        with contextlib.suppress(TimeoutError):
            for _ in calls:
                alice.wait_for_message(QUIET)
        alice.sync()  # so that messages that were sent twice have arrived twice
        work = [processor_time(pid) - until for pid, until in zip((sender, prosody.pid, os.getpid()), worked)]
        memory = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{sender}/status").read_text())
        assert memory
        pbx.kill_sender()
        os.waitpid(sender, 0)
        times = Counter(numbers_in(" ".join(message.body for message in alice.messages)))
        return Drain(
            rate=count / (ended - began),
            delivered=len(times),
            twice=sum(often > 1 for often in times.values()),
            memory=int(memory[1]) / 1024,
            work=(work[0] / count * 1000, work[1] / count * 1000, work[2] / count * 1000),
        )


def listening(pbx: Pbx, call: Call) -> contextlib.closing[Replies]:
    return contextlib.closing(Replies(pbx.outbox, call))


def wait_for(replies: Replies, name: str, value: str) -> float:
    """Wait for a reply. Returns its time, by time.monotonic()."""
    until = time.monotonic() + PATIENCE
    while select.select([replies], [], [], max(0.0, until - time.monotonic()))[0]:
        if any(reply.get(name) == value for reply in replies.read()):
            return time.monotonic()
    raise TimeoutError(f"no {name} {value} from the sender within {PATIENCE} s")


def processor_time(pid: int) -> float:
    """The CPU time of a process in seconds (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(drains: list[Drain], count: int) -> list[str]:
    """Prints the table. Returns the targets that were missed."""
    rates, memory = [one.rate for one in drains], [one.memory for one in drains]
    print(f"\n\n{count} calls in the spool, {len(drains)} rounds      median     worst")
    print(row("pops per second", rates, min(rates)))
    print(row("sender: peak memory, MB", memory, max(memory)))
    for place, who in enumerate(("sender", "Prosody", "slixmpp")):
        work = [one.work[place] for one in drains]
        print(row(f"{who}: CPU time for each pop, ms", work, max(work), digits=3))
    delivered, twice = min(one.delivered for one in drains), max(one.twice for one in drains)
    print(f"delivered in the worst round: {delivered} of {count}, {twice} of them twice")
    wrong = {
        f"fewer than {SLOWEST:.0f} pops per second": statistics.median(rates) < SLOWEST,
        f"{LARGEST:.0f} MB or more": max(memory) >= LARGEST,
        "not all delivered": delivered < count,
        "some twice": twice > 0,
    }
    return [what for what, is_so in wrong.items() if is_so]


def row(what: str, values: list[float], worst: float, digits: int = 1) -> str:
    return f"{what:38}{statistics.median(values):10.{digits}f}{worst:10.{digits}f}"


def main(count: int, rounds: int) -> list[str]:
    drains = []
    with real_prosody() as prosody:
        for done in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                drains.append(drain(prosody, Path(folder), count))
            print(f"\rround {done + 1} of {rounds}", end="", file=sys.stderr)
    return report(drains, count)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit("\n".join(main(*given, *(5000, 3)[len(given) :])) or 0)
