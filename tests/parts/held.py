"""Tests whether the dialplan waits when a script ends: dialplan, script and the process that the script leaves behind
each write a line.

The process left behind waits for the gate. A dialplan that doesn't wait for it writes before it, one that waits writes
after it.
"""

from __future__ import annotations

import os
import select
from pathlib import Path

HELD = ["script", "left behind", "dialplan SUCCESS"]
NOT_HELD = ["script", "dialplan SUCCESS", "left behind"]

# What is left behind: the script that leaves it, and the expected order.
CASES = {
    "a child that has standard output": (
        "(read go < {gate}; echo left behind > {order}) & echo script > {order}",
        HELD,
    ),
    "the script itself without standard output": (
        "exec > /dev/null; echo script > {order}; read go < {gate}; echo left behind > {order}",
        HELD,
    ),
    "a child without standard output": (
        "(read go < {gate}; echo left behind > {order}) > /dev/null & echo script > {order}",
        NOT_HELD,
    ),
}


class Fifo:
    """Passes lines between processes. Neither end waits for the other to open it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self._descriptor = os.open(path, os.O_RDWR)

    def write_line(self, line: str) -> None:
        os.write(self._descriptor, line.encode() + b"\n")

    def read_line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._descriptor], [], [], 10)
            assert ready, f"nothing was written after {line!r}"
            line += os.read(self._descriptor, 1)
        return line.decode().strip()

    def close(self) -> None:
        os.close(self._descriptor)


def order_of(expected: list[str], order: Fifo, gate: Fifo) -> list[str]:
    """The lines in their order. The gate is opened after all lines that are not expected to wait for it."""
    seen = [order.read_line() for _ in expected[: expected.index("left behind")]]
    gate.write_line("go")
    return seen + [order.read_line() for _ in expected[len(seen) :]]
