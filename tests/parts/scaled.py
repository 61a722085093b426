"""The parts of a screen_pop on several machines: services in a box, and calls at a steady rate."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from parts.box import PREFIX, Box
from parts.server import address_without
from parts.waiting import eventually
from screenpop.spool import state

FASTAGI = 4573


def processor_time(process: Path) -> float:
    """CPU seconds of the process with this folder in /proc (proc_pid_stat(5): utime and stime)."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def hanging(*pids: int) -> Iterator[None]:
    """Meanwhile these processes answer nothing."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Service:
    """`screen-pop serve` in the box, with a configuration, a spool and an address of its own. `with` starts it, and
    kills it at the end.
    """

    def __init__(self, box: Box, name: str, configuration: str) -> None:
        self.box, self.host = box, address_without(FASTAGI)
        self.worked = 0.0  # CPU seconds of those that were killed
        self._folder = f"/srv/{name}"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        box.run(["install", "--directory", "--owner=asterisk", "--group=asterisk", self._folder])
        door = f"[fastagi]\nlisten = {self.host}:{FASTAGI}\n"
        box.path(f"{self._folder}/screen_pop.conf").write_text(configuration + door)

    def start(self) -> None:
        """Returns when it is signed in and listens."""
        environment = {
            "SCREEN_POP_CONF": f"{self._folder}/screen_pop.conf",
            "SCREEN_POP_SPOOL": f"{self._folder}/spool",
            "AST_LOG_DIR": self._folder,
        }
        self._started = time.time()
        with self.box.path(f"{self._folder}/output").open("ab") as output:
            self._process = self.box.popen(
                [f"{PREFIX}/bin/screen-pop", "serve"],
                user="asterisk",
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually(lambda: self.server and self._listens(), self.log)

    def kill(self) -> None:
        """As a power cut does."""
        assert self._process
        self.worked = self.processor_time()
        self._process.kill()  # SIGKILL for the service, too
        self._process.wait()
        self._process = None

    @property
    def server(self) -> str:
        """Where it is signed in, as `host:port`; empty if it isn't."""
        session = self._state().get("session") or {}
        return str(session.get("host", "")).partition(" ")[0]

    def waiting(self) -> int:
        """How many calls and messages wait in its spool."""
        spool = self.box.path(f"{self._folder}/spool")
        return sum(len(os.listdir(spool / folder)) for folder in ("new", "queue"))

    def sent(self) -> int:
        """How many messages it has sent."""
        return len(os.listdir(self.box.path(f"{self._folder}/spool/sent")))

    def processor_time(self) -> float:
        """CPU seconds in all."""
        running = processor_time(self.box.path(f"/proc/{self._state()['pid']}")) if self._process else 0.0
        return self.worked + running

    def log(self) -> str:
        files = [self.box.path(f"{self._folder}/{name}") for name in ("output", "screen_pop.log")]
        return "".join(file.read_text() for file in files if file.exists())

    def _state(self) -> dict[str, Any]:
        """Empty if it is that of a service before this one."""
        found = state.read(str(self.box.path(f"{self._folder}/spool")))
        return found if found.get("since", 0.0) >= self._started else {}

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host, FASTAGI), timeout=1):
            return True
        return False

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self.kill()


class Traffic:
    """From `with` on, calls at a steady rate. `made`: when the call from each number came, by time.time()."""

    def __init__(self, call: Callable[[str], object], numbers: Sequence[str], rate: float) -> None:
        """`call` makes one from this number. `rate`: calls a second."""
        self.made: dict[str, float] = {}
        self._call, self._numbers, self._rate = call, numbers, rate
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")

    def wait(self) -> None:
        """Until all of them have come."""
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        for which, number in enumerate(self._numbers):
            if self._stopped.wait(max(0.0, began + which / self._rate - time.monotonic())):
                return
            self.made[number] = time.time()
            self._call(number)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
