"""Writing and removing the sender's files."""

from __future__ import annotations

import os

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def create(path: str, data: bytes) -> None:
    """Write a file. A kill may leave a part of it; after an OSError there is none."""
    file = os.open(path, _NEW, 0o600)
    try:
        while data:
            data = data[os.write(file, data) :]
    except BaseException:  # also SIGTERM
        remove(path)
        raise
    finally:
        os.close(file)


def replace(spool: str, name: str, data: bytes) -> None:
    """Write a file under a random name in tmp/ and rename it: it is complete, or as it was before. Raises OSError."""
    written = f"{spool}/tmp/{os.urandom(8).hex()}"
    try:
        create(written, data)
        os.rename(written, f"{spool}/{name}")
    except BaseException:  # also SIGTERM, at any moment
        remove(written)
        raise


def remove(path: str) -> None:
    """Remove a file, unless somebody has done so. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
