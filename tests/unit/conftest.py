"""The tests of this folder write to memory: some of them write thousands of files."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="screen_pop-unit-", dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(memory: Path) -> Path:
    """As pytest's, which lists all of them before it makes another, and removes those of earlier runs from the disk."""
    path = memory / str(next(_NUMBERS))
    path.mkdir(mode=0o700)
    return path
