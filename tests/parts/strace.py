"""`kill -9` at a system call, by strace: which ones a program makes, and how it is started so that one ends it."""

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
    """There is no strace, or it isn't allowed to trace."""


class Syscall(NamedTuple):
    name: str
    nth: int  # of this name: its number among all would move when Python asks for one page of memory more
    line: str


def recording(file: Path) -> list[str]:
    """What is put before a command, so that its system calls are in the file. Not those of its children or threads."""
    return [_strace(), "-o", str(file)]


def recorded(file: Path) -> list[Syscall]:
    calls = []
    seen: Counter[str] = Counter()
    for line in file.read_text(errors="replace").splitlines()[1:]:  # strace's own exec: not one to be killed at
        if made := re.match(r"(\w+)\(", line):
            seen[made[1]] += 1
            calls.append(Syscall(made[1], seen[made[1]], line))
    return calls


def killing(at: Syscall) -> list[str]:
    """What is put before a command, so that it is killed as it enters this system call, which does nothing then."""
    name = at.name
    return [_strace(), "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={at.nth}"]


@contextlib.contextmanager
def attached(pid: int, file: Path) -> Iterator[Path]:
    """Meanwhile the system calls of a process are written to that file."""
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
