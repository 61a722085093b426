"""`screen-pop serve` in a box, for calls over FastAGI of a real Asterisk."""

from __future__ import annotations

import socket
import subprocess
from types import TracebackType

from parts.asterisk import CONFIG
from parts.box import INSTALLED, PREFIX, Box
from parts.server import free_port
from parts.waiting import eventually


class FastAgiServer:
    """Started by `with`. `url`: for AGI()."""

    def __init__(self, box: Box, spool: str = "", allow: str = "", module: str = "") -> None:
        """`spool`: another one than Asterisk's. `allow`: the networks that may connect. `module`: one in the box
        that is imported first.
        """
        self._box, self._spool, self._allow, self._port = box, spool, allow, free_port()
        self._command = [f"{PREFIX}/bin/screen-pop", "serve"]
        if module:
            self._command = ["sh", "-c", self._with(module), "screen-pop", "serve"]
        self.url = f"agi://127.0.0.1:{self._port}/screen_pop"

    def __enter__(self) -> FastAgiServer:
        conf = f"{CONFIG}/serve-{self._port}.conf"
        text = self._box.path(f"{CONFIG}/screen_pop.conf").read_text()
        door = f"[fastagi]\nlisten = 127.0.0.1:{self._port}\n" + (f"allow = {self._allow}\n" if self._allow else "")
        self._box.path(conf).write_text(f"{text}\n{door}")
        self._process = self._box.popen(
            self._command,
            user="asterisk",
            env={"SCREEN_POP_CONF": conf, "SCREEN_POP_SPOOL": self._spool},
            stderr=subprocess.DEVNULL,
        )
        eventually(self._listens)
        return self

    def _with(self, module: str) -> str:
        """The installed command, with this import."""
        folder, _, name = module.removesuffix(".py").rpartition("/")
        command = self._box.path(f"{INSTALLED}/screen-pop").read_text()
        main = "from screenpop.__main__ import main"
        assert main in command
        return command.replace(main, f'sys.path.append("{folder}")\nimport {name}\n{main}')

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
