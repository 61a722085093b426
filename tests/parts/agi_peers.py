"""The other end of AGI: a script that Asterisk starts, or a FastAGI server that it connects to."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

# asterisk.c: env_init; res_agi.c: launch_script. The folders are upstream's defaults.
AST_ENVIRONMENT = {
    "AST_SYSTEMNAME": "",
    "AST_BUILD_HOST": "localhost",
    "AST_BUILD_DATE": "2026-01-01 00:00:00 UTC",
    "AST_BUILD_KERNEL": "unknown",
    "AST_BUILD_MACHINE": "unknown",
    "AST_BUILD_OS": "Linux",
    "AST_BUILD_USER": "nobody",
    "AST_VERSION": "22.10.1",
    "AST_CONFIG_DIR": "/etc/asterisk",
    "AST_CONFIG_FILE": "/etc/asterisk/asterisk.conf",
    "AST_MODULE_DIR": "/usr/lib/asterisk/modules",
    "AST_SPOOL_DIR": "/var/spool/asterisk",
    "AST_MONITOR_DIR": "/var/spool/asterisk/monitor",
    "AST_VAR_DIR": "/var/lib/asterisk",
    "AST_DATA_DIR": "/var/lib/asterisk",
    "AST_LOG_DIR": "/var/log/asterisk",
    "AST_AGI_DIR": "/var/lib/asterisk/agi-bin",
    "AST_KEY_DIR": "/var/lib/asterisk/keys",
    "AST_RUN_DIR": "/var/run/asterisk",
}

LINE_LIMIT = 8192 - 1  # res_agi.c: AGI_BUF_LEN, less the zero byte
PIECE = 4096  # select() guarantees that a write of this size doesn't block


class PeerTimeout(Exception):
    """The other end has exceeded its time."""


class Peer:
    """Reads and writes lines over two descriptors, until `until` (a time of time.monotonic())."""

    preamble: Sequence[str] = ()

    def __init__(self, reads: int, writes: int, until: float) -> None:
        self._reads, self._writes, self._until = reads, writes, until
        self._buffer = b""

    def is_hung_up_on(self, hangup: int) -> bool:
        """ast_waitfor_nandfds: waits for a line, or for the caller to hang up, when this descriptor can be read"""
        ready, _, _ = select.select([hangup, self._reads], [], [], self.seconds_left())
        if not ready:
            raise PeerTimeout
        return hangup in ready

    def read_line(self) -> bytes:
        """run_agi: waits for the descriptor, and only then takes one line, with fgets().

        A line that a script wrote together with an earlier one is in the buffer and not in the descriptor, so it is not
        seen before the script writes again or closes. Empty at the end of file; cut where fgets() and strlen() cut.
        """
        self._wait(reads=True)
        while b"\n" not in self._buffer and len(self._buffer) < LINE_LIMIT:
            self._wait(reads=True)
            piece = os.read(self._reads, PIECE)
            if not piece:
                break
            self._buffer += piece
        end = min(self._buffer.find(b"\n") + 1 or len(self._buffer), LINE_LIMIT)
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line.split(b"\0")[0]

    def write(self, data: bytes) -> None:
        """ast_agi_send: a script that has closed its input gets nothing, which is not an error"""
        try:
            while data:
                self._wait(reads=False)
                data = data[os.write(self._writes, data[:PIECE]) :]
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _wait(self, reads: bool) -> None:
        wanted = ([self._reads], []) if reads else ([], [self._writes])
        if not any(select.select(*wanted, [], self.seconds_left())):
            raise PeerTimeout

    def seconds_left(self) -> float:
        return max(0.0, self._until - time.monotonic())


class Script(Peer):
    """launch_script"""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stderr: IO[bytes], until: float) -> None:
        script = Path(argv[0]).absolute()
        script.stat()  # raises FileNotFoundError for the script itself, not for the interpreter in its first line
        try:
            self._process = subprocess.Popen(
                [os.fsencode(word) for word in argv],
                executable=script,
                env={**os.environ, **AST_ENVIRONMENT, **env},
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        except FileNotFoundError as interpreter:
            raise PermissionError(f"{script}: its interpreter is missing") from interpreter
        assert self._process.stdin is not None and self._process.stdout is not None
        super().__init__(self._process.stdout.fileno(), self._process.stdin.fileno(), until)

    def tell_hangup(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def wait(self) -> int:
        """waitpid: exit status, or negative signal"""
        try:
            return self._process.wait(self.seconds_left())
        except subprocess.TimeoutExpired:
            raise PeerTimeout from None

    def stop_talking(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def close(self) -> None:
        self.stop_talking()
        self._process.kill()
        self._process.wait()


class FastAgi(Peer):
    """launch_netscript; its errors are OSError, with which AGISTATUS is FAILURE"""

    def __init__(self, url: str, until: float) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port or 4573), timeout=2)
        self._socket.settimeout(None)
        super().__init__(self._socket.fileno(), self._socket.fileno(), until)
        script = url[len("agi://") :].partition("/")[2]
        self.preamble = ["agi_network: yes", *([f"agi_network_script: {script}"] if script else [])]

    def tell_hangup(self) -> None:
        self.write(b"HANGUP\n")

    def wait(self) -> int:
        return 0

    def stop_talking(self) -> None:
        self._socket.close()

    close = stop_talking
