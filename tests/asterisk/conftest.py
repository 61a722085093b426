from __future__ import annotations

from collections.abc import Iterator

import pytest
from parts import recording
from parts.asterisk import Asterisk
from parts.box import Box, BoxUnavailable


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    try:
        box = Box()
    except BoxUnavailable as why:
        pytest.skip(f"no real Asterisk: {why}")
    with box:
        yield box


@pytest.fixture(scope="session")
def asterisk(box: Box) -> Iterator[Asterisk]:
    recording.install_probe(box)
    with Asterisk(box, recording.EXTENSIONS, env=recording.ENV) as asterisk:
        yield asterisk
