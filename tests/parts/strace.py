"""SIGKILL at a system call, by strace: lists the system calls of a program, and kills it at one of them."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class CantTrace(Exception):
    """strace is not installed, or is not allowed to trace."""


class Syscall(NamedTuple):
    name: str
    nth: int  # among the calls of this name: the number among all calls changes if Python needs one more page of memory
    line: str


def recording(file: Path) -> list[str]:
    """The prefix of a command that writes its system calls to the file, without those of its children and threads."""
    return [_strace(), "-o", str(file)]


def recorded(file: Path) -> list[Syscall]:
    calls = []
    seen: Counter[str] = Counter()
    for line in file.read_text(errors="replace").splitlines()[1:]:  # strace's own exec, at which a kill makes no sense
        if made := re.match(r"(\w+)\(", line):
            seen[made[1]] += 1
            calls.append(Syscall(made[1], seen[made[1]], line))
    return calls


def killing(at: Syscall) -> list[str]:
    """The prefix of a command that kills it at the start of this system call, before the call has any effect."""
    name = at.name
    return [_strace(), "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={at.nth}"]


@contextlib.contextmanager
def attached(pid: int, file: Path) -> Iterator[Path]:
    """Within this context, the system calls of a process are written to that file."""
    tracer = subprocess.Popen([_strace(), "-p", str(pid), "-o", str(file)], stderr=subprocess.PIPE)
    assert tracer.stderr
    with tracer:
        assert b"attached" in tracer.stderr.readline()
        yield file
        tracer.send_signal(signal.SIGINT)


def check() -> None:
    """Raises CantTrace."""
    tried = subprocess.run(
        [*killing(Syscall("exit_group", 1, "")), shutil.which("true") or "true"], capture_output=True
    )
    if tried.returncode != -9:
        raise CantTrace(tried.stderr.decode(errors="replace").strip())


def _strace() -> str:
    found = shutil.which("strace")
    if not found:
        raise CantTrace("there is no strace")
    return found
