"""Where the time of a pop over FastAGI goes: when each step is done, with a real Asterisk, Prosody and slixmpp.

sudo bench/run.sh where [CALLS]
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

from parts.fastagi import FastAgiServer
from parts.waiting import eventually
from real import END_OF_CALLS, FASTAGI_OUTBOX, Calls, real_calls

TIMES = "/tmp/times"
WARM_UP = 3
LAST = "its stanza is sent"
SHOWN = "the recipient's client has it"


def measure(calls: Calls, url: str, rounds: int) -> None:
    steps: dict[str, list[float]] = {}
    file = calls.asterisk.box.path(TIMES)
    for number in range(WARM_UP + rounds):
        file.write_text("")
        call, message = calls.pop(url)
        shown = message.at / 1000
        eventually(lambda: LAST in file.read_text())
        found: dict[str, float] = {}
        for line in file.read_text().splitlines():
            when, _, step = line.partition(" ")
            found.setdefault(step, float(when) * 1_000_000)
        if number >= WARM_UP:
            for step, moment in [*found.items(), (SHOWN, shown)]:
                steps.setdefault(step, []).append((moment - call.before) / 1000)
    medians = {step: statistics.median(values) for step, values in steps.items()}
    print(f"medians of {rounds} calls              ms after AGI() began   share of the whole")
    before = 0.0
    for step, value in sorted(medians.items(), key=lambda one: one[1]):
        print(f"{step:34}{value:18.2f}{(value - before) / medians[SHOWN]:21.0%}")
        before = value


if __name__ == "__main__":
    with real_calls(END_OF_CALLS) as made:
        box = made.asterisk.box
        folder = Path(__file__).parent
        shutil.copy2(folder / "traced.py", box.path("/tmp/traced.py"))
        with FastAgiServer(box, f"{FASTAGI_OUTBOX}-traced", module="/tmp/traced.py") as server:
            measure(made, server.url, int(sys.argv[1]) if len(sys.argv) > 1 else 30)
