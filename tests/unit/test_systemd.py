"""What systemd is told is told by the service alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from screenpop.sender.systemd import Systemd


def test_the_processes_that_the_service_starts_cannot_speak_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        service = Systemd()
        child = "import os; print(os.environ.get('NOTIFY_SOCKET'))"
        said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
        assert said == "None\n"
        service.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
