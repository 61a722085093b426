"""Unpacks Debian packages into a folder. Nothing is installed, no service starts, and it doesn't need root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# As root, apt would first try to download as the user `_apt`, which can't write to our folder.
SAME_USER = ("-o", "APT::Sandbox::User=root")


class NotAvailable(Exception):
    """The package is not available. The text is a sentence that says why."""


class AptFailed(Exception):
    pass


def fetch(package: str, into: Path) -> Path:
    """Unpacks the package, and the dependencies that the machine lacks, into the folder.

    A folder that exists is complete: it gets its name after everything has been unpacked.
    """
    if into.exists():
        return into
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NotAvailable(f"{package} can't be fetched: this machine has no apt-get.")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f"{into.name}-") as work:
        try:
            archives = _download(package, Path(work))
        except AptFailed as reason:
            raise NotAvailable(f"{package} can't be fetched with apt-get: {reason}") from None
        unpacked = Path(work, "unpacked")
        unpacked.mkdir()
        unpacked.chmod(0o755)  # programs in it may run as another user
        for archive in archives:
            subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
        try:
            unpacked.rename(into)
        except OSError:  # another process was faster
            if not into.exists():
                raise
    return into


def _download(package: str, folder: Path) -> list[Path]:
    try:
        return _download_known(package, folder / "known")
    except AptFailed:
        # The package lists are missing (in a new container image) or old: download new ones into a folder of our own.
        lists, cache = folder / "lists", folder / "cache"
        (lists / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        private = ("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}")
        _apt_get(*private, "-o", "APT::Update::Error-Mode=any", "update", cwd=folder)
        return _download_known(package, folder / "fresh", *private)


def _download_known(package: str, folder: Path, *options: str) -> list[Path]:
    folder.mkdir()
    plan = _apt_get(*options, "-s", "--no-install-recommends", "install", package, cwd=folder)
    # "Inst name (version …)" is new to the machine; "Inst name [version] (version …)" would be an upgrade.
    missing = re.findall(r"^Inst (\S+) \(", plan, re.MULTILINE)
    if not missing:
        raise AptFailed("it seems to be installed")
    _apt_get(*options, "download", *missing, cwd=folder)
    return sorted(folder.glob("*.deb"))


def _apt_get(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["apt-get", *SAME_USER, *arguments],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise AptFailed(done.stderr.strip().rpartition("\n")[2])
    return done.stdout


if __name__ == "__main__":
    try:
        fetch(sys.argv[1], Path(sys.argv[2]))
    except NotAvailable as why:
        sys.exit(str(why))
