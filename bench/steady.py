"""Calls at a steady rate over FastAGI, with `screen-pop serve`, a real Prosody and slixmpp.

    bench/run.sh steady [CALLS [RATE]]

The harness plays Asterisk (tests/fake_agi.py), each call on a connection of its own. RATE is calls a second.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fake_agi import Channel
from parts.pbx import Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.service import Service
from real import QUIET, memory, number, numbers_in, real_prosody

AT_ONCE = 32  # calls that the harness plays side by side
MEMORY, GROWTH = 60.0, 5.0  # targets: MB at most; MB from a quarter of the calls to the end


def steady(prosody: Prosody, folder: Path, count: int, rate: int) -> list[str]:
    """Prints the table. Returns the targets that were missed."""
    with Recipient.at(prosody) as alice, Pbx(folder, prosody, prosody.ca_file) as pbx:
        pbx.outbox.make()
        with Service(pbx, folder) as service:
            service.wait_for("READY=1")
            pbx.wait_until(lambda: "signed in  pbx@" in pbx.screen_pop("status"))
            began = time.monotonic() + 0.1
            early = 0.0

            def call(which: int) -> tuple[str, float]:
                nonlocal early
                time.sleep(max(0.0, began + which / rate - time.monotonic()))
                channel = Channel(callerid=number(which), extension="123")
                result = channel.run([service.agi, number(which)])
                if which == count // 4:
                    early = memory(service.pid)
                return result.variables.get("SCREEN_POP_STATUS", "none"), result.held * 1000

            with ThreadPoolExecutor(AT_ONCE) as pool:
                results = list(pool.map(call, range(count)))
            took = time.monotonic() - began
            with contextlib.suppress(TimeoutError):
                while len(alice.messages) < count:
                    alice.wait_for_message(QUIET)
            alice.sync()  # so that messages that were sent twice have arrived twice
            late = memory(service.pid)
    popped = Counter(found for message in alice.messages for found in numbers_in(message.body))
    statuses = Counter(status for status, _ in results)
    held = sorted(milliseconds for _, milliseconds in results)
    twice = sum(often > 1 for often in popped.values())
    print(f"{count} calls at {count / took:.0f} a second (wanted: {rate})")
    print(f"told: {', '.join(f'{status} {many}' for status, many in statuses.items())}")
    print(f"delivered: {len(popped)} of {count}, {twice} of them twice")
    print(f"held, ms: median {statistics.median(held):.1f}, 99 % {held[int(count * 0.99)]:.1f}, longest {held[-1]:.1f}")
    print(f"service: memory after a quarter of the calls {early:.1f} MB, at the end {late:.1f} MB")
    wrong = {
        "slower than wanted": count / took < 0.98 * rate,
        "not all queued": statuses["QUEUED"] < count,
        "not all delivered": len(popped) < count,
        "some twice": twice > 0,
        f"{MEMORY:.0f} MB or more": late >= MEMORY,
        f"memory grows by {GROWTH:.0f} MB or more": late - early >= GROWTH,
    }
    return [what for what, is_so in wrong.items() if is_so]


def main(count: int = 18000, rate: int = 300) -> list[str]:
    with real_prosody() as prosody, tempfile.TemporaryDirectory() as folder:
        return steady(prosody, Path(folder), count, rate)


if __name__ == "__main__":
    sys.exit("\n".join(main(*map(int, sys.argv[1:]))) or 0)
