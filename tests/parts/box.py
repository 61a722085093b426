"""A Debian system with Asterisk, for one test session: new at the start, removed completely at the end."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PREFIX = "/opt/screen_pop"
INSTALLED = f"{PREFIX}/lib/screen_pop/current"
# The packages of a base in addition to a minimal Debian, by the part of its name after the suite.
# The packages in Lua, Python, gir1.2 and dbus-x11 are named because debootstrap does not resolve virtual packages.
PACKAGES = {
    "": "asterisk,python3-venv,ca-certificates",
    "booted": "asterisk,python3-venv,ca-certificates,systemd-sysv,cron",
    "servers": "prosody,lua-bitop,lua-sec,lua-socket,ejabberd,jabberd2",
    "clients": "gajim,gir1.2-freedesktop,gir1.2-gstreamer-1.0,python3-cffi-backend,dino-im,profanity,dbus-x11,xvfb,"
    "openbox,dunst,xterm,xdotool,imagemagick,fonts-dejavu-core,adwaita-icon-theme,librsvg2-common,ca-certificates",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Only the command sees these mounts and processes, and they end with it.
APART = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]

# The first process of the box. The box writes to a tmpfs. The process runs until its standard input ends, which happens
# however the tests end. Then the kernel kills what still runs in the box, and removes the mounts.
HOLD = """
read -r pid rest < /proc/self/stat           # as seen from outside: the box's /proc is not mounted yet
mount -t tmpfs -o mode=755 screen_pop "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" screen_pop "$2/root"
mount -t proc proc "$2/root/proc"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$2/root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$2/root/dev/shm"
# Orphans end up with this process: where SIGCHLD is ignored the kernel reaps them.
exec chroot "$2/root" sh -c 'echo "$0"; exec env --ignore-signal=CHLD cat > /dev/null' "$pid"
"""


class BoxUnavailable(Exception):
    """A box can't be made on this machine. The text says why."""


class Box:
    """A base with an overlay: "sid" and "bullseye" have Asterisk; "trixie-servers" and "sid-servers" have
    Prosody, ejabberd and jabberd2. It uses the network of the machine.
    """

    def __init__(self, name: str = "sid") -> None:
        base = self.base(name)
        self._mount_point = cache() / "mnt"
        self._mount_point.mkdir(exist_ok=True)
        self._holder = subprocess.Popen(
            [*APART, "sh", "-ec", HOLD, "hold", base, self._mount_point],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # ctrl-C goes only to the tests, which then end the box
        )
        assert self._holder.stdout is not None
        self._pid = self._holder.stdout.readline().decode().strip()
        if not self._pid:
            _, why = self._holder.communicate()
            raise BoxUnavailable(f"mount namespace for the box: {why.decode(errors='replace').strip()}")

    @staticmethod
    def base(name: str = "sid") -> Path:
        """The folder with the new Debian system. If it is missing, it is built, which takes minutes and a network."""
        if os.geteuid() != 0:
            raise BoxUnavailable("a box with another Debian needs root")
        return cached(name, lambda folder: debootstrap(*name.partition("-")[::2], folder))

    def run(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float | None = 120,
        **how: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a program in the box and waits for it. The result has its output."""
        argv, environment = self._inside(command, user, env)
        how = {"capture_output": True, **({} if "input" in how else {"stdin": subprocess.DEVNULL}), **how}
        done = subprocess.run(argv, env=environment, check=False, timeout=timeout, **how)
        if check and done.returncode != 0:
            output = ((done.stdout or b"") + (done.stderr or b"")).decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{output}")
        return done

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        **how: Any,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in the box. If a signal ends the returned process, the program gets SIGKILL."""
        argv, environment = self._inside(command, user, env)
        return subprocess.Popen(argv, env=environment, **{"stdin": subprocess.DEVNULL, **how})

    def as_own_process(self, command: Sequence[str], uid: int, gid: int) -> list[str]:
        """A command line that enters the box and then executes the command, so that Popen has the process id of the
        program itself and signals reach it. The program sees no processes in /proc.
        """
        enter = ["nsenter", "--target", self._pid, "--mount", "--root", "--wd"]
        become = ["setpriv", "--pdeathsig", "KILL", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"]
        return [*enter, "--", *become, "--", *command]

    def share(self, folder: Path) -> None:
        """Makes a folder of the machine visible at the same path in the box."""
        self.run(["install", "--directory", folder])
        # without --root, so that the command can name both the folder and the root of the box
        mount = ["mount", "--bind", str(folder), f"{self._mount_point}/root{folder}"]
        subprocess.run(["nsenter", "--target", self._pid, "--mount", "--", *mount], check=True)

    def _inside(
        self, command: Sequence[str | Path], user: str | None, env: Mapping[str, str] | None
    ) -> tuple[list[str], dict[str, str]]:
        enter = ["nsenter", "--target", self._pid, "--mount", "--pid", "--root", "--wd"]
        become = ["setpriv", "--pdeathsig", "KILL"]
        if user is not None:
            become += ["--reuid", user, "--regid", user, "--init-groups"]
        return [*enter, "--", *become, "--", *map(str, command)], {"PATH": PATH, **(env or {})}

    def path(self, inside: str | Path) -> Path:
        """The path of a file of the box from outside, to read and to write it."""
        root = Path(f"/proc/{self._pid}/root")
        found, parts = root, list(Path(inside).parts)
        while parts:
            part = parts.pop(0)
            if part == "/":
                found = root
            elif part == "..":
                found = found.parent if found != root else root
            elif (found / part).is_symlink():
                # An absolute link (/var/run) begins at the root of the box; from outside it would begin at ours.
                parts = [*(found / part).readlink().parts, *parts]
            else:
                found /= part
        return found

    def processes(self, argument: str) -> list[str]:
        """The process ids, inside the box, of the processes with this argument."""
        found = []
        for process in self.path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
                if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    found.append(process.name)
        return found

    def install_checkout(self) -> None:
        """Installs the checkout with its installer, into a prefix of its own."""
        checkout, packages = self.path("/tmp/checkout"), self.path("/tmp/wheels")
        checkout.mkdir()
        for name in ("install.sh", "requirements.txt", "screen_pop.conf.sample", "screen_pop.py"):
            shutil.copy2(CHECKOUT / name, checkout)
        shutil.copytree(CHECKOUT / "lib", checkout / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(wheels(), packages)
        self.run(["/tmp/checkout/install.sh", "--wheels", "/tmp/wheels", "--prefix", PREFIX])
        shutil.rmtree(checkout)
        shutil.rmtree(packages)

    def add_package(self, name: str) -> None:
        """A package of the tests' environment for the installed script, as `./install.sh --with` adds one."""
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        (packages,) = self.path(f"{INSTALLED}/venv/lib").glob("python3.*/site-packages")
        shutil.copytree(Path(spec.origin).parent, packages / name)

    def close(self) -> None:
        """Ends everything that runs in the box, and removes the box."""
        try:
            self._holder.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            # Everything has ended and is unmounted. But an orphan of the box may have become a child of an init process
            # that doesn't wait for its children, as in some containers; then the kernel keeps the process namespace.
            self._holder.kill()
            self._holder.communicate()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def box_or_skip() -> Box:
    """A box with Asterisk; where there can be none, the test is skipped."""
    import pytest  # here: the measurements and the demo have no need of it

    try:
        return Box()
    except BoxUnavailable as why:
        pytest.skip(f"no real Asterisk: {why}")


def debootstrap(suite: str, kind: str, folder: Path) -> None:
    # If interrupted, debootstrap leaves mounts behind and may continue: so it gets namespaces that end with us.
    apart = ["setpriv", "--pdeathsig", "KILL", *APART, "--mount-proc"]
    build_step([*apart, "debootstrap", "--variant=minbase", f"--include={PACKAGES[kind]}", suite, folder])
    # A mirror may be a snapshot whose index has expired.
    (folder / "etc/apt/apt.conf.d/80no-valid-until").write_text('Acquire::Check-Valid-Until "false";\n')


def wheels() -> Path:
    """The folder with the wheels of requirements.txt, made outside the box so that it needs no network."""
    requirements = CHECKOUT / "requirements.txt"
    version = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--requirement", str(requirements)]
    return cached(f"wheels-{version}", lambda folder: build_step([*pip_wheel, "--wheel-dir", folder]))


def build_step(command: Sequence[str | Path]) -> None:
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError as missing:
        raise BoxUnavailable(f"{missing.filename} is not installed") from None
    except subprocess.CalledProcessError as failed:
        raise BoxUnavailable(f"{command}: {failed.stdout.decode(errors='replace')[-500:]}") from None


def cache() -> Path:
    folder = Path(os.environ["SCREEN_POP_CACHE"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache. It exists only if it was built completely."""
    folder, unfinished = cache() / name, cache() / f"{name}.unfinished"
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            if unfinished.exists():
                shutil.rmtree(unfinished)
            unfinished.mkdir()
            build(unfinished)
            unfinished.rename(folder)
    return folder
