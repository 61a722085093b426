"""A Debian system with Asterisk in it, for one test session: started pristine, gone without a trace at the end."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
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
# What a base has beside a minimal Debian, by the part of its name after the suite's.
# The lua packages are named because debootstrap does not resolve the virtual ones that Prosody depends on.
PACKAGES = {
    "": "asterisk,python3-venv,ca-certificates",
    "servers": "prosody,lua-bitop,lua-sec,lua-socket,ejabberd,jabberd2",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Mounts and processes that only the command sees, and that are gone with it.
APART = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]

# The first process of the box. What the box writes lives in a tmpfs. The process stays until its standard input ends,
# which happens however the tests end; then the kernel kills whatever still runs in the box, and the mounts are gone.
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
    """This machine can't have a box; the text says why."""


class Box:
    """A base with an overlay on top: "sid" and "bullseye" have Asterisk; "trixie-servers" and "sid-servers" have
    Prosody, ejabberd and jabberd2. Its network is the machine's own.
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
            start_new_session=True,  # ctrl-C is for the tests, which then end the box in order
        )
        assert self._holder.stdout is not None
        self._pid = self._holder.stdout.readline().decode().strip()
        if not self._pid:
            _, why = self._holder.communicate()
            raise BoxUnavailable(f"mount namespace for the box: {why.decode(errors='replace').strip()}")

    @staticmethod
    def base(name: str = "sid") -> Path:
        """The folder with the untouched Debian system, built when it is missing: minutes, and a network."""
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
        """Runs a program in the box and waits for it; its output is in the result."""
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
        """Starts a program in the box. Whichever signal ends the result, the program gets SIGKILL."""
        argv, environment = self._inside(command, user, env)
        return subprocess.Popen(argv, env=environment, **{"stdin": subprocess.DEVNULL, **how})

    def as_own_process(self, command: Sequence[str], uid: int, gid: int) -> list[str]:
        """A command line that enters the box and then becomes the command, by exec, so that Popen has the process id of
        the program itself and signals reach it. The program sees no processes in /proc.
        """
        enter = ["nsenter", "--target", self._pid, "--mount", "--root", "--wd"]
        become = ["setpriv", "--pdeathsig", "KILL", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"]
        return [*enter, "--", *become, "--", *command]

    def share(self, folder: Path) -> None:
        """Makes a folder of the machine visible at the same path in the box."""
        self.run(["install", "--directory", folder])
        # without --root, so that the folder and the root of the box can both be named
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
        """Where a file of the box is found from outside, to read and to write."""
        root = Path(f"/proc/{self._pid}/root")
        found, parts = root, list(Path(inside).parts)
        while parts:
            part = parts.pop(0)
            if part == "/":
                found = root
            elif part == "..":
                found = found.parent if found != root else root
            elif (found / part).is_symlink():
                # An absolute link (/var/run) starts at the root of the box; from outside it would start at ours.
                parts = [*(found / part).readlink().parts, *parts]
            else:
                found /= part
        return found

    def processes(self, argument: str) -> list[str]:
        """The ids, as the box counts them, of the processes with this argument."""
        found = []
        for process in self.path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
                if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    found.append(process.name)
        return found

    def install_checkout(self) -> None:
        """By its installer, into a prefix of its own."""
        checkout, packages = self.path("/tmp/checkout"), self.path("/tmp/wheels")
        checkout.mkdir()
        for name in ("install.sh", "requirements.txt", "screen_pop.conf.sample", "screen_pop.py"):
            shutil.copy2(CHECKOUT / name, checkout)
        shutil.copytree(CHECKOUT / "lib", checkout / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(wheels(), packages)
        self.run(["/tmp/checkout/install.sh", "--wheels", "/tmp/wheels", "--prefix", PREFIX])
        shutil.rmtree(checkout)
        shutil.rmtree(packages)

    def close(self) -> None:
        """Ends what runs in the box and takes the box away."""
        try:
            self._holder.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            # All is dead and unmounted, but an orphan of the box went to a first process that doesn't wait for its
            # children, as a container may have, and for that the kernel keeps the process namespace.
            self._holder.kill()
            self._holder.communicate()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def debootstrap(suite: str, kind: str, folder: Path) -> None:
    # Interrupted, debootstrap leaves mounts behind, and may go on by itself: so apart, and not longer than we live.
    apart = ["setpriv", "--pdeathsig", "KILL", *APART, "--mount-proc"]
    build_step([*apart, "debootstrap", "--variant=minbase", f"--include={PACKAGES[kind]}", suite, folder])
    # A mirror may be a snapshot, older than the date its index says.
    (folder / "etc/apt/apt.conf.d/80no-valid-until").write_text('Acquire::Check-Valid-Until "false";\n')


def wheels() -> Path:
    """The folder with the wheels of requirements.txt, built outside so that the box needs no network."""
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
    """The folder of that name in the cache, which is there only when it was built to its end."""
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
