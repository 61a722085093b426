"""A box that is a running machine: systemd is its process 1, and services start with it."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import subprocess
import time
from pathlib import Path

from parts.box import Box, BoxUnavailable

PATIENCE = 60.0
NUMBERS = itertools.count(1)  # of machines, as each has control groups of its own
MASKED = ("asterisk.service", "getty.target")  # a test that needs Asterisk starts its own

# From the namespaces of the box to those of the machine. Its /run, /dev/shm and control groups are new, as after a
# restart; its other files are those of the box.
BOOT = """
mkdir -p "$1"
echo 0 > "$1/cgroup.procs"
exec unshare --mount --propagation private --pid --cgroup --uts --fork --kill-child sh -ec '
    read -r pid rest < /proc/self/stat  # as seen from outside
    echo "$pid"
    cd "$1"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys  # the settings are those of the machine outside
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    pivot_root . mnt
    umount -l mnt
    mount --make-rshared /
    exec chroot . env -i container=screen_pop setpriv --bounding-set=-sys_time,-sys_module /sbin/init >/dev/null 2>&1
' sh "$2"
"""


class Booted(Box):
    """A box, started by `with` and switched off without a warning at its end: then it can be started again."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._mount_point = box._mount_point
        for unit in MASKED:
            link = box.path("/etc/systemd/system") / unit
            if not link.is_symlink():
                link.symlink_to("/dev/null")
        mounted = subprocess.run(["findmnt", "-n", "-o", "TARGET", "-t", "cgroup2"], capture_output=True, text=True)
        if not mounted.stdout:
            raise BoxUnavailable("systemd needs control groups of version 2")
        self._group = Path(mounted.stdout.splitlines()[0], f"screen_pop-{os.getpid()}-{next(NUMBERS)}")

    def __enter__(self) -> Booted:
        enter = ["nsenter", "--target", self._box._pid, "--mount", "--pid", "--", "setpriv", "--pdeathsig", "KILL"]
        self._init = subprocess.Popen(
            [*enter, "sh", "-ec", BOOT, "sh", self._group, self._mount_point / "root"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._init.stdout is not None
        self._pid = self._init.stdout.readline().decode().strip()
        try:
            self._wait_until_up()
        except BaseException:
            self.close()
            raise
        return self

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE
        state = ""
        while state not in ("running", "degraded"):
            if not self._pid or self._init.poll() is not None or time.monotonic() > deadline:
                self._init.kill()
                _, why = self._init.communicate()
                raise BoxUnavailable(f"systemd doesn't start: {state} {why.decode(errors='replace').strip()}")
            time.sleep(0.05)
            with contextlib.suppress(RuntimeError):
                state = self.run(["systemctl", "is-system-running"], check=False).stdout.decode().strip()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended
            ended = os.pidfd_open(int(self._pid))
            self._init.kill()  # and the kernel kills all that it has started
            select.select([ended], [], [], PATIENCE)
            os.close(ended)
        self._init.communicate()
        folders = sorted(self._group.glob("**/"), reverse=True)
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def logged(self, unit: str) -> str:
        """The journal of a unit, for the message of a test that fails."""
        return self.run(["journalctl", "--no-pager", "-u", unit]).stdout.decode(errors="replace")
