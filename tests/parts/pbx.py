"""A box with incoming calls, as screen_pop sees it: its configuration, spool and log in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fake_agi import Channel, Result
from parts.asterisk import CONFIG, Asterisk
from parts.box import Box
from parts.recipient import Recipient
from parts.server import Server
from parts.waiting import eventually
from screenpop.settings import Settings, load
from screenpop.spool import records
from screenpop.spool.outbox import Outbox

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / "screen_pop.py"
DOMAIN = "screenpop.test"
CONFIGURATION = """\
[xmpp]
jid = {jid}
password = {password}
server = {server}
ca_file = {ca_file}
[pop]
to = {to}
{pop}
"""


def configuration(jid: str, password: str, server: str, ca_file: Path | str, to: str, **pop: object) -> str:
    """The text of screen_pop.conf. `pop`: more options of [pop]."""
    options = "\n".join(f"{name} = {value}" for name, value in pop.items())
    return CONFIGURATION.format(jid=jid, password=password, server=server, ca_file=ca_file, to=to, pop=options)


@contextlib.contextmanager
def in_real_asterisk(
    box: Box,
    server: Server,
    dialplan: str,
    sections: str = "",
    configuration_of_asterisk: Mapping[str, str] | None = None,
    **pop: object,
) -> Iterator[tuple[Asterisk, Recipient]]:
    """The checkout in a box, its Asterisk with this dialplan, and the recipient alice, signed in. `sections`: those of
    the phone book; `pop`: more options of [pop].
    """
    box.install_checkout()
    files = {
        **(configuration_of_asterisk or {}),
        "ca.pem": server.ca_file.read_text(),
        "screen_pop.conf": configuration(
            server.jid("pbx"),
            server.accounts["pbx"],
            f"{server.host}:{server.port}",
            f"{CONFIG}/ca.pem",
            server.jid("alice"),
            **pop,
        )
        + sections,
    }
    with Recipient.at(server) as alice, Asterisk(box, dialplan, configuration=files) as asterisk:
        yield asterisk, alice


class Pbx:
    """On exit, its sender is ended."""

    def __init__(
        self,
        folder: Path,
        server: Any,
        ca_file: Path,
        password: str = "pbx's secret",
        to: str = f"alice@{DOMAIN}",
        **pop: Any,
    ) -> None:
        """`server`: an object with a host and a port. `pop`: more options of [pop]."""
        self.conf, self.log_file, self.outbox = (
            folder / "screen_pop.conf",
            folder / "screen_pop.log",
            Outbox(f"{folder}/outbox"),
        )
        self.library = CHECKOUT / "lib"
        self.server, self.ca_file = f"{server.host}:{server.port}", ca_file
        self.configure(password=password, to=to, **pop)
        self.env = {
            "SCREEN_POP_CONF": str(self.conf),
            "SCREEN_POP_SPOOL": self.outbox.path,
            "AST_LOG_DIR": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def configure(
        self,
        jid: str = f"pbx@{DOMAIN}",
        password: str = "pbx's secret",
        to: str = f"alice@{DOMAIN}",
        ca_file: Path | None = None,
        **pop: object,
    ) -> None:
        text = configuration(jid, password, self.server, ca_file or self.ca_file, to, **pop)
        written = self.conf.with_suffix(".new")
        written.touch(mode=0o640)
        written.write_text(text)
        written.rename(self.conf)

    @property
    def config(self) -> Settings:
        return load(str(self.conf))

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def call(self, *arguments: str, variables: dict[str, str] | None = None, **channel: Any) -> Result:
        """AGI(screen_pop.py,…) in a dialplan."""
        channel = {"callerid": "+15551234567", "calleridname": "Bob Example", "extension": "123", **channel}
        return Channel(variables=variables, **channel).run([SCRIPT, *arguments], env=self.env)

    def screen_pop(self, *arguments: str, status: int = 0) -> str:
        """The output of `screen-pop`, which must end with that status."""
        with self.start_screen_pop(*arguments) as process:
            output, _ = process.communicate()
        assert process.returncode == status, output
        return output

    def start_screen_pop(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [self.env.get("PYTHONPATH"), str(self.library)]))
        return subprocess.Popen(
            [sys.executable, "-m", "screenpop", *arguments],
            env={**os.environ, **self.env, "PYTHONPATH": path, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def waiting(self) -> list[str]:
        """The file names of the calls and messages that wait."""
        return records.waiting(self.outbox.path)

    def wait_until_sent(self) -> None:
        """Wait until no call or message waits."""
        self.wait_until(lambda: not self.waiting())

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition without an event; at a timeout, show the log."""
        eventually(condition, lambda: self.log)

    def sender(self, outbox: Outbox | None = None) -> int | None:
        """The process id of the sender of that spool (default: ours), or None if there is no sender."""
        path = (outbox or self.outbox).path.encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"screenpop.sender" in words and path in words:
                    return int(process.name)
            except OSError:
                continue
        return None

    @property
    def spare(self) -> Outbox:
        """The spool in memory, for calls that can't be written to the spool."""
        return Outbox(Outbox(self.env["SCREEN_POP_SPOOL"]).spare_path)

    def kill_sender(self, outbox: Outbox | None = None) -> None:
        """Send SIGKILL and wait until it has ended: then its lock is free."""
        pid = self.sender(outbox)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.wait_for_sender_to_leave(outbox)

    def wait_for_sender_to_leave(self, outbox: Outbox | None = None) -> None:
        with Path((outbox or self.outbox).path, "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    def __enter__(self) -> Pbx:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_sender()
        self.kill_sender(self.spare)
        shutil.rmtree(self.spare.path, ignore_errors=True)
