"""Many calls at once, in a real Asterisk 22, with a real Prosody and slixmpp.

    sudo bench/run.sh burst [CALLS [ROUNDS]]

Each round makes a burst of each kind, one after another. Hold is the time from before to after AGI() in the dialplan. A
pop is counted when the recipient's client has it; each call has a number of its own, by which its pop is found.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from real import BARE, QUIET, SCREEN_POP, STRAIGHT, Calls, Held, numbers_in, real_calls

WARM_UP = 3  # calls of each kind
LONGEST_HOLD, LATEST_POP = 2.5, 300.0  # targets: multiple of the bare script's hold; ms after the last AGI() ended


@dataclass(frozen=True)
class Burst:
    hold: float  # the longest, in ms
    at_once: int  # the largest number of calls that were held at the same time
    delivered: int
    twice: int
    sign_ins: int
    last_pop: float | None  # when the last pop arrived, in ms after the last AGI() ended


def burst(calls: Calls, script: str, count: int) -> Burst:
    alice, before, earlier = calls.alice, calls.prosody.sign_ins("pbx"), len(calls.alice.messages)
    held = calls.make(script, count)
    numbers = {call.number for call in held}

    def arrived() -> list[tuple[str, int]]:
        """The numbers of this burst whose messages have arrived, each with the time."""
        found = alice.messages[earlier:]
        return [(number, one.at) for one in found for number in numbers_in(one.body) if number in numbers]

    if script != BARE:
        with contextlib.suppress(TimeoutError):
            while numbers - {number for number, _ in arrived()}:
                alice.wait_for_message(QUIET)
    alice.sync()  # so that messages that were sent twice have arrived twice
    times = Counter(number for number, _ in arrived())
    last = max((at / 1_000_000 for _, at in arrived()), default=None)
    return Burst(
        hold=max(call.milliseconds for call in held),
        at_once=most_at_once(held),
        delivered=len(times),
        twice=sum(count > 1 for count in times.values()),
        sign_ins=calls.prosody.sign_ins("pbx") - before,
        last_pop=None if last is None else last - max(call.after for call in held) / 1000,
    )


def most_at_once(held: list[Held]) -> int:
    return max(sum(other.before <= call.before < other.after for other in held) for call in held)


def measure(calls: Calls, count: int, rounds: int) -> list[str]:
    """Prints the table. Returns the targets that were missed."""

    def first(count: int) -> Burst:
        calls.end_sender()
        return burst(calls, SCREEN_POP, count)

    kinds: dict[str, Callable[[int], Burst]] = {
        "a bare Python AGI script": lambda count: burst(calls, BARE, count),
        "pyst2 + xmpppy, straight": lambda count: burst(calls, f"{STRAIGHT},{calls.prosody.port}", count),
        "screen_pop, first calls": first,
        "screen_pop, sender up": lambda count: burst(calls, SCREEN_POP, count),
        "screen_pop, FastAGI": lambda count: burst(calls, calls.fastagi, count),
    }
    for make in kinds.values():
        make(WARM_UP)
    bursts: dict[str, list[Burst]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind, make in kinds.items():
            bursts[kind].append(make(count))
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)

    bares = [one.hold for one in bursts["a bare Python AGI script"]]
    print(
        f"\n\n{count} calls at once,           longest hold ms       / bare    held at once   delivered  twice", end=""
    )
    print(f"  sign-ins  last pop ms after release\n{rounds} rounds: median, worst")
    missed = []
    for kind, made in bursts.items():
        ratios = [one.hold / bare for one, bare in zip(made, bares)]
        delivered, twice = [one.delivered for one in made], [one.twice for one in made]
        sign_ins, last = [one.sign_ins for one in made], [one.last_pop for one in made if one.last_pop is not None]
        print(
            f"{kind:26}{pair([one.hold for one in made], 9, 1)}{pair(ratios, 7, 2)}"
            f"{pair([one.at_once for one in made], 8, worst=min)}{pair(delivered, 6, worst=min)}{max(twice):7}"
            f"{pair(sign_ins, 5)}" + (pair(last, 9, 1) if last else "")
        )
        if not kind.startswith("screen_pop"):
            continue
        wrong = {
            "not all delivered": min(delivered) < count,
            "some twice": any(twice),
            "sign-ins": set(sign_ins) != {1 if kind == "screen_pop, first calls" else 0},
            f"hold over {LONGEST_HOLD} x bare": statistics.median(ratios) > LONGEST_HOLD,
            f"last pop later than {LATEST_POP:.0f} ms": not last or statistics.median(last) > LATEST_POP,
        }
        missed += [f"{kind}: {what}" for what, is_so in wrong.items() if is_so]
    return missed


def pair(values: list[float] | list[int], width: int, digits: int = 0, worst: Callable[..., float] = max) -> str:
    return f"{statistics.median(values):{width}.{digits}f}{worst(values):{width}.{digits}f}"


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    with real_calls() as made:
        missed = measure(made, *given, *(60, 3)[len(given) :])
    sys.exit("\n".join(missed) or 0)
