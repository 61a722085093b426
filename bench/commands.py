"""The CPU time of `screen-pop`, from start to end of the process, compared with a Python that does nothing.

    bench/run.sh commands [ROUNDS]

Each round starts each command once, in the same way as the installed launcher.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from screenpop.spool.outbox import Outbox

LIBRARY = Path(__file__).parents[1] / "lib"
MAIN = f"import sys; sys.path.append({str(LIBRARY)!r}); from screenpop.__main__ import main; main()"
BARE = "python3 -c pass"
KINDS = {
    BARE: ["-c", "pass"],
    "screen-pop --version": ["-I", "-S", "-c", MAIN, "--version"],
    "screen-pop status": ["-I", "-S", "-c", MAIN, "status"],
    "screen-pop --help": ["-I", "-S", "-c", MAIN, "--help"],
}
TARGETS = {"screen-pop --version": 2.0, "screen-pop status": 2.0}  # multiples of a bare Python
STATE: dict[str, object] = {"pid": 1, "since": 1.8e9, "session": None, "tried": 0.0, "problem": "", "last": []}


def milliseconds(arguments: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def measure(environment: dict[str, str], rounds: int) -> bool:
    """Returns whether the targets are met."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, arguments in KINDS.items():
            took[kind].append(milliseconds(arguments, environment))
    medians = {kind: statistics.median(values) for kind, values in took.items()}
    print(f"medians of {rounds} starts each    CPU ms   / bare")
    for kind, median in medians.items():
        print(f"{kind:28}{median:9.1f}{median / medians[BARE]:9.2f}")
    return all(medians[kind] <= target * medians[BARE] for kind, target in TARGETS.items())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(f"{folder}/spool")
        outbox.make()
        Path(outbox.path, "sender").write_text(json.dumps(STATE))
        met = measure(
            {"PATH": os.environ["PATH"], "SCREEN_POP_SPOOL": outbox.path},
            int(sys.argv[1]) if len(sys.argv) > 1 else 50,
        )
    sys.exit(0 if met else "slower than the target")
