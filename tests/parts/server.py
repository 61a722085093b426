"""What the real XMPP servers of the tests have in common: a separate process on loopback ports of its own.

The program is that of the machine or, in a box, that of another Debian.
"""

from __future__ import annotations

import os
import pwd
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from parts.box import PATH, Box
from parts.certificates import Certificate

S = TypeVar("S", bound="Server")

LOOPBACK = "127.0.0.1"
DIRECT_TLS = 5223
STARTED_WITHIN = 90.0
STOPPED_WITHIN = 10.0


class Server:
    """Started on entry and stopped on exit; `stop()` and `start()` restart it on the same ports.

    `direct_tls`: it also listens for direct TLS, on the usual port, at an address of its own.
    `port`: the port for STARTTLS, at an address of its own; 0: any free port.
    `box`: the box with its program; None: the machine.
    """

    def __init__(
        self,
        folder: Path,
        certificate: Certificate,
        domain: str,
        accounts: Mapping[str, str],
        direct_tls: bool,
        box: Box | None,
        port: int = 0,
    ) -> None:
        self.folder = folder
        self.domain = domain
        self.accounts = accounts
        self.ca_file = certificate.ca_file
        usual = [number for number in (DIRECT_TLS if direct_tls else 0, port) if number]
        self.host = address_without(*usual) if usual else LOOPBACK
        self.port = port or free_port()
        self.direct_tls_port = DIRECT_TLS if direct_tls else None
        self._box = box
        folder.mkdir(parents=True, exist_ok=True)
        if box:
            box.share(folder)
        # A copy, because the server's user may not be able to read the original.
        self.cert_file = Path(shutil.copy(certificate.cert_file, folder / "cert.pem"))
        self.key_file = Path(shutil.copy(certificate.key_file, folder / "key.pem"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {"PATH": PATH} if self._box else dict(os.environ)

    def start(self) -> None:
        give_to_ordinary_user(self.folder)
        self._process = self._run(self.command())
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        user = as_ordinary_user()
        if self._box:  # root is needed to enter it
            command = self._box.as_own_process(command, user["user"], user["group"])
            user = {}
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **user,
            )

    def ready(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + STARTED_WITHIN
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self.output()}{self.log()}")
            time.sleep(0.01)  # there is no event for a port that isn't open yet

    def stop(self) -> None:
        """Stop it as an administrator does: it ends its sessions, then its process."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Stop it as a power cut does: without a message to anybody."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def log(self) -> str:
        raise NotImplementedError

    def sign_in_line(self, jid: str) -> str:
        """A regular expression for the line of its log about a successful authentication."""
        raise NotImplementedError

    def sign_ins(self, user: str) -> int:
        return len(re.findall(self.sign_in_line(re.escape(self.jid(user))), self.log()))

    def jid(self, user: str) -> str:
        return f"{user}@{self.domain}"

    def __enter__(self: S) -> S:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def address_without(*ports: int) -> str:
    """A loopback address on which these ports are free. All of 127.0.0.0/8 is loopback on Linux."""
    address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    for port in ports:
        with socket.socket() as probe:
            probe.bind((address, port))
    return address


def as_ordinary_user() -> dict[str, Any]:
    """For Popen: XMPP servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def give_to_ordinary_user(folder: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
