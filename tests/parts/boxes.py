"""A box as an administrator has it: a checkout, an account, and Asterisk with the configuration of its package."""

from __future__ import annotations

import hashlib
import itertools
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.asterisk import CONFIGURATION, Asterisk
from parts.box import CHECKOUT, Box, wheels
from parts.prosody import Prosody
from parts.recipient import Recipient

HERE = "/opt/checkout"
WHEELS = "/opt/wheels"
PASSWORD_FILE = "/root/password"
CA_FILE = "/root/ca.pem"

AGI_FOLDER = "/usr/share/asterisk/agi-bin"
ETC = "/etc/asterisk"
OUTBOX = "/var/spool/asterisk/screen_pop"
LOG = "/var/log/asterisk/screen_pop.log"
LIBRARY = "/usr/local/lib/screen_pop"
RELEASES = f"{LIBRARY}/releases"
PYTHON = f"{LIBRARY}/current/venv/bin/python3"
CONF = f"{ETC}/screen_pop.conf"
PASSWORD, CA = f"{ETC}/screen_pop.password", f"{ETC}/screen_pop.ca.pem"
COMMAND = "/usr/local/bin/screen-pop"
SCRIPT = f"{AGI_FOLDER}/screen_pop.py"
LOGROTATE = "/etc/logrotate.d/screen_pop"
UNIT = "/etc/systemd/system/screen_pop.service"
CRON = "/etc/cron.d/screen_pop"

# Not compared: files of the kernel, runtime files, logs and caches.
NOT_LISTED = ("/proc", "/sys", "/dev", "/run", "/var/log", "/var/cache", "/var/lib/apt", "/root/.cache")
HASHED = ("/etc", "/opt", "/root", "/tmp", "/usr/local", AGI_FOLDER, "/var")
COMPILED_FOR_THE_SYSTEM = re.compile(r"/usr/(lib|share)/.*/__pycache__")
WRITTEN_BY_ASTERISK = re.compile("/var/lib/asterisk/astdb.*")

PATIENCE = 60.0

Listing = dict[str, tuple[object, ...]]


@dataclass(frozen=True)
class Output:
    status: int
    out: str
    err: str


class Administrator:
    """root in a box, with a checkout, a folder of wheels, and an account on a server."""

    def __init__(self, box: Box, server: Prosody) -> None:
        self.box, self.server = box, server
        self.offline = ("--wheels", WHEELS)
        self.where = ("--server", f"{server.host}:{server.port}", "--ca-file", CA_FILE)
        who = ("--jid", server.jid("pbx"), "--password-file", PASSWORD_FILE, "--to", server.jid("alice"))
        self.account = (*who, *self.where)
        copy_checkout(box.path(HERE))
        shutil.copytree(wheels(), box.path(WHEELS))
        secret = box.path(PASSWORD_FILE)
        secret.touch(0o600)
        secret.write_text(server.accounts["pbx"] + "\n")
        shutil.copy(server.ca_file, box.path(CA_FILE))

    def run(
        self,
        *options: str,
        status: int | None = 0,
        within: Sequence[str] = (),
        env: dict[str, str] | None = None,
        **how: Any,
    ) -> Output:
        """Run `./install.sh OPTIONS`, which must end with that status. `within`: a command that runs it."""
        command = ["env", f"--chdir={HERE}", *within, "./install.sh", *options]
        done = self.box.run(command, env={**ENVIRONMENT, **(env or {})}, check=False, **how)
        output = Output(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert status is None or output.status == status, f"status {output.status}\n{output.out}\n{output.err}"
        return output

    def install(self, *options: str, **how: Any) -> Output:
        """Install with the account, without a network."""
        return self.run(*self.account, *self.offline, *options, **how)

    def new_version(self, version: str) -> None:
        """Change the version of the checkout."""
        file = self.box.path(f"{HERE}/lib/screenpop/__init__.py")
        file.write_text(re.sub('__version__ = ".*"', f'__version__ = "{version}"', file.read_text()))

    def installed_version(self) -> str:
        return self.box.run([COMMAND, "--version"]).stdout.decode().strip().rpartition(" ")[2]

    def current(self) -> str:
        """The name of the release that calls use."""
        return os.readlink(self.box.path(LIBRARY) / "current").rpartition("releases/")[2]

    def releases(self) -> set[str]:
        return {path.name for path in self.box.path(RELEASES).iterdir()}

    def waiting(self) -> int:
        """How many calls and messages wait in the spool."""
        folders = (self.box.path(f"{OUTBOX}/{folder}") for folder in ("new", "queue"))
        return sum(len(list(folder.iterdir())) for folder in folders if folder.exists())

    def alice(self) -> Recipient:
        server = self.server
        password = server.accounts["alice"]
        return Recipient(server.jid("alice"), password, server.host, server.port, server.ca_file, receipts=True)


ENVIRONMENT = {"HOME": "/root", "LC_ALL": "C.UTF-8", "PIP_RETRIES": "0"}


def copy_checkout(target: Path) -> None:
    """Copy the checkout as a clone would, and include what isn't committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout.decode()
        names = [name for name in listed.split("\0") if name and (CHECKOUT / name).exists()]
    except (OSError, subprocess.CalledProcessError):  # a copy without the repository
        ignored = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(CHECKOUT, target, ignore=ignored)
        return
    target.mkdir()
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target / name)


class Running:
    """`install.sh` in a session of its own, so that a test can interrupt it."""

    def __init__(self, administrator: Administrator, *options: str) -> None:
        self.box = administrator.box
        self._pid_file = self.box.path("/run/install.pid")
        self._pid_file.unlink(missing_ok=True)
        tell = 'echo $$ > /run/install.pid; cd "$1"; shift; exec ./install.sh "$@"'
        self._process = self.box.popen(
            ["setsid", "--wait", "sh", "-c", tell, "sh", HERE, *options],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the condition; the installer must not end before."""

        def running_or_done() -> bool:
            assert self._process.poll() is None, f"ended before: {self._said()}"
            return holds()

        until(running_or_done)

    def signal(self, name: str, *, group: bool) -> None:
        """`group`: send it to all that the installer has started, as ctrl-C does."""
        pid = self._pid_file.read_text().strip()
        self.box.run(["sh", "-c", f"kill -{name} {'-' if group else ''}{pid}"])

    def end(self) -> tuple[int, str]:
        """Wait for its end. Returns its status and output."""
        said = self._said()
        return self._process.wait(), said

    def _said(self) -> str:
        return self._process.communicate(timeout=PATIENCE)[0].decode()


class Terminal:
    """`install.sh` on a terminal, and an administrator who types."""

    def __init__(self, administrator: Administrator, *options: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.shown = ""
        self._seen = 0
        self._process = administrator.box.popen(
            ["env", f"--chdir={HERE}", "setsid", "--ctty", "--wait", "./install.sh", *options],
            env={**ENVIRONMENT, "TERM": "xterm"},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
        )

    def wait_for(self, pattern: str) -> None:
        """Wait for this output, after the output that was waited for before."""
        while not (found := re.compile(pattern).search(self.shown, self._seen)):
            assert self._read(), f"ended before {pattern!r}:\n{self.shown}"
        self._seen = found.end()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO)

    def end(self) -> int:
        while self._read():
            pass
        return self._process.wait()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> bool:
        """Returns False when it has ended and there is nothing left to read."""
        died = os.pidfd_open(self._process.pid)
        try:
            ready, _, _ = select.select([self._ours, died], [], [], PATIENCE)
            assert ready, f"it says nothing for {PATIENCE} s:\n{self.shown}"
            if self._ours in ready:
                self.shown += os.read(self._ours, 65536).decode(errors="replace").replace("\r\n", "\n")
            return self._ours in ready
        finally:
            os.close(died)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class UntouchedAsterisk(Asterisk):
    """With the configuration of its package, started as by its service; the test only adds to the dialplan.

    On the console, it says what the dialplan does.
    """

    CONSOLE = "/var/log/asterisk/console"

    def __init__(self, box: Box, dialplan: str) -> None:
        self.box = box
        self._numbers = itertools.count(1)
        extensions = box.path(f"{ETC}/extensions.conf")
        added = f"\n{CONFIGURATION['extensions.conf']}\n{dialplan}"
        if added not in extensions.read_text():
            with extensions.open("a") as file:
                file.write(added)
        box.run(["install", "--directory", "--owner=asterisk", "--group=asterisk", "/var/run/asterisk"])
        with box.path(self.CONSOLE).open("wb") as console:
            self._process = box.popen(["asterisk", "-fnvvv", "-U", "asterisk"], stdout=console, stderr=console)
        try:
            self.wait_for("Asterisk Ready", self.CONSOLE)
            self.rx("core waitfullybooted")
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        return self.box.path(self.CONSOLE).read_text(errors="replace")

    def _command(self) -> list[str]:
        return ["asterisk"]


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition without an event, such as a folder that doesn't exist yet."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s"
        time.sleep(0.002)


def files(box: Box, *but: str) -> Listing:
    """Each file and folder of the box with its type, mode, owner and content, except those under `but`."""
    root = str(box.path("/"))
    skipped = {f"{root}{path}" for path in (*NOT_LISTED, *but)}
    found: Listing = {}
    folders = [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            name = entry.path[len(root) :]
            if entry.path in skipped or COMPILED_FOR_THE_SYSTEM.search(name) or WRITTEN_BY_ASTERISK.fullmatch(name):
                continue
            state = entry.stat(follow_symlinks=False)
            about: tuple[object, ...] = (oct(state.st_mode), state.st_uid, state.st_gid)
            if stat.S_ISDIR(state.st_mode):
                folders.append(entry.path)
            elif stat.S_ISLNK(state.st_mode):
                about += (os.readlink(entry.path),)
            elif stat.S_ISREG(state.st_mode):
                about += (state.st_size, state.st_mtime_ns)
                if name.startswith(HASHED):
                    about += (hashlib.sha256(Path(entry.path).read_bytes()).hexdigest(),)
            found[name] = about
    return found


def changes(before: Listing, after: Listing) -> list[str]:
    """The differences, a line for each file."""
    lines = [f"gone: {name}" for name in before.keys() - after.keys()]
    lines += [f"new: {name} {after[name]}" for name in after.keys() - before.keys()]
    both = before.keys() & after.keys()
    lines += [f"changed: {name} {before[name]} {after[name]}" for name in both if before[name] != after[name]]
    return sorted(lines)
