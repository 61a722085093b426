"""Debian packages, unpacked into a folder: nothing is installed, no service starts, no root is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Without this, apt as root would first try to download as the user `_apt`, who can't write where we ask it to.
SAME_USER = ("-o", "APT::Sandbox::User=root")


class NotAvailable(Exception):
    """Says in one sentence why the package can't be had here."""


class AptFailed(Exception):
    pass


def fetch(package: str, into: Path) -> Path:
    """Unpacks the package, and those of its dependencies that the machine lacks, into the folder.

    A folder that exists already is complete: it appears under its name only when all is in it.
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
        unpacked.chmod(0o755)  # what is run from here may run as another user
        for archive in archives:
            subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
        try:
            unpacked.rename(into)
        except OSError:  # somebody else was faster, which is as good
            if not into.exists():
                raise
    return into


def _download(package: str, folder: Path) -> list[Path]:
    try:
        return _download_known(package, folder / "known")
    except AptFailed:
        # No package lists (a fresh container image) or old ones: take fresh ones, in a place of our own.
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
