"""An outbox on a small disk of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parts.pbx import Pbx

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system: not root")


@pytest.fixture
def mounted(pbx: Pbx) -> Iterator[Callable[[str], None]]:
    """The outbox becomes a small file system of its own; called with options, it is mounted anew with them."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "outbox", pbx.outbox.path]
    done = subprocess.run(mount, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip(f"mounting a file system: {done.stderr.strip()}")
    pbx.outbox.make()

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", pbx.outbox.path], check=True)

    yield remount
    pbx.kill_sender()
    subprocess.run(["umount", "--lazy", pbx.outbox.path], check=True)


def fill(pbx: Pbx) -> Path:
    """The last byte of the disk is used."""
    filler = Path(pbx.outbox.path, "filler")
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    return filler
