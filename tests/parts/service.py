"""`screen-pop serve` as systemd runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from parts.pbx import Pbx
from parts.server import free_port

PATIENCE = 20.0  # seconds


class Service:
    """Started by `with`, and killed at its end if it has not ended by then. `output` is complete after `ended`.

    Its FastAGI door is `agi`, unless the configuration has one already.
    """

    def __init__(self, pbx: Pbx, folder: Path) -> None:
        self.pbx, self.output = pbx, ""
        port = free_port()
        self.agi = f"agi://127.0.0.1:{port}/screen_pop"
        if "[fastagi]" not in pbx.conf.read_text():
            with pbx.conf.open("a") as conf:
                conf.write(f"[fastagi]\nlisten = 127.0.0.1:{port}\n")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.address = str(folder / f"notify-{port}")
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Service:
        self.socket.bind(self.address)
        self.process = self.pbx.start_screen_pop("serve", environment={"NOTIFY_SOCKET": self.address})
        return self

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def wait_for(self, state: str) -> None:
        """Wait until systemd is told this."""
        while self.socket.recv(4096).decode() != state:
            pass

    def send(self, signum: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(signum)

    def ended(self) -> int:
        """Its exit status."""
        assert self.process
        self.output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.socket.close()
