"""The FastAGI door beside a resident sender, in a box, for the calls of a real Asterisk."""

from __future__ import annotations

import subprocess
from types import TracebackType

from parts.asterisk import CONFIG
from parts.box import INSTALLED, Box

# It prints the port on which it listens.
PROGRAM = """
from screenpop.commands import serve
from screenpop.doors.fastagi import Door
from screenpop.spool.outbox import Outbox, path_from_environment

class Service(serve.Service):
    def __init__(self, log):
        super().__init__(log)
        door = Door(("127.0.0.1", 0), Outbox(path_from_environment()), log.write)
        door.start()
        print(door.port, flush=True)

serve.Service = Service
serve.run(None)
"""


class FastAgiServer:
    """Started by `with`. `url`: for AGI()."""

    def __init__(self, box: Box, spool: str = "") -> None:
        """`spool`: another one than Asterisk's."""
        self._box, self._spool = box, spool
        self.url = ""

    def __enter__(self) -> FastAgiServer:
        self._process = self._box.popen(
            [f"{INSTALLED}/venv/bin/python3", "-I", "-c", PROGRAM],
            user="asterisk",
            env={"AST_CONFIG_DIR": CONFIG, "SCREEN_POP_SPOOL": self._spool},
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        self.url = f"agi://127.0.0.1:{int(self._process.stdout.readline())}/screen_pop"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
