"""How long the dialplan waits, and how long a pop takes, in a real Asterisk 22, with a real Prosody and slixmpp.

    sudo bench/run.sh hold [CALLS]

Each round makes one call of each kind, so that all kinds have the same conditions. Hold is the time from before to
after AGI() in the dialplan, pop the time from before AGI() to the arrival of the message at the recipient's client.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from parts.fastagi import FastAgiServer
from real import BARE, END_OF_CALLS, FASTAGI_OUTBOX, SCREEN_POP, Calls, real_calls

WARM_UP = 3


def bare(calls: Calls) -> tuple[float, None]:
    return calls.make(BARE)[0].milliseconds, None


def jabber_send(calls: Calls) -> tuple[float, float]:
    return popped(calls, calls.alice.jid, exten="124")


def popped(calls: Calls, script: str, exten: str = "123") -> tuple[float, float]:
    call, message = calls.pop(script, exten)
    return call.milliseconds, (message.at / 1000 - call.before) / 1000


def warm(calls: Calls) -> tuple[float, float]:
    return popped(calls, SCREEN_POP)


def first(calls: Calls) -> tuple[float, float]:
    calls.end_sender()
    return warm(calls)


def first_without_context(calls: Calls) -> tuple[float, float]:
    """Without the dialplan's context, the script registers no handler for the end of the call."""
    calls.asterisk.rx("dialplan remove extension ended@screen_pop")
    try:
        return first(calls)
    finally:
        calls.asterisk.rx("dialplan add extension ended,1,Return() into screen_pop")


def fastagi(calls: Calls) -> tuple[float, float]:
    return popped(calls, calls.fastagi)


def median(values: list[float]) -> str:
    return f"{statistics.median(values):8.1f}"


def measure(calls: Calls, least: str, rounds: int) -> None:
    """`least`: the address of least.py."""
    kinds: dict[str, Callable[[Calls], tuple[float, float | None]]] = {
        "a bare Python AGI script": bare,
        "screen_pop, sender up": warm,
        "screen_pop, first call": first,
        "the same without context": first_without_context,
        "screen_pop, FastAGI": fastagi,
        "the least, FastAGI": lambda calls: popped(calls, least),
        "JabberSend()": jabber_send,
    }
    holds: dict[str, list[float]] = {kind: [] for kind in kinds}
    pops: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(WARM_UP + rounds):
        for kind, call in kinds.items():
            hold, pop = call(calls)
            if number >= WARM_UP:
                holds[kind].append(hold)
                pops[kind] += [pop] if pop is not None else []
        print(f"\rround {number + 1} of {WARM_UP + rounds}", end="", file=sys.stderr)
    bare_hold = statistics.median(holds["a bare Python AGI script"])
    print(f"\n\nmedians of {rounds} calls each      hold ms   / bare    pop ms")
    for kind in kinds:
        ratio = statistics.median(holds[kind]) / bare_hold
        shown = median(pops[kind]) if pops[kind] else "       -"
        print(f"{kind:28}{median(holds[kind])}{ratio:9.2f}  {shown}")


if __name__ == "__main__":
    with real_calls(END_OF_CALLS) as made:
        box = made.asterisk.box
        shutil.copy2(Path(__file__).with_name("least.py"), box.path("/tmp/least.py"))
        with FastAgiServer(box, f"{FASTAGI_OUTBOX}-least", module="/tmp/least.py") as server:
            measure(made, server.url, int(sys.argv[1]) if len(sys.argv) > 1 else 30)
