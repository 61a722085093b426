"""The real parts that tests share; a test that needs one set up otherwise makes its own."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# A fixture imports the part that it makes: that takes half a second, and the tests in unit/ need none of them.
if TYPE_CHECKING:
    from parts.asterisk import Asterisk
    from parts.box import Box
    from parts.certificates import Authority, Certificate
    from parts.ejabberd import Ejabberd
    from parts.pbx import Pbx
    from parts.prosody import Prosody
    from parts.recipient import Recipient

# What is made once and kept: as tests/venv.sh has it.
CACHE = "/var/cache/screen_pop-tests" if os.geteuid() == 0 else f"{Path.home()}/.cache/screen_pop-tests"
os.environ.setdefault("SCREEN_POP_CACHE", CACHE)

_NUMBERS = itertools.count(1)  # of the folders in memory

# How many examples a property is tried with; --hypothesis-profile=thorough is what a change must pass (.ci/run).
settings.register_profile("thorough", max_examples=100)
settings.register_profile("fast", max_examples=10)
settings.load_profile("fast")


def pytest_configure() -> None:
    """Let the processes that tests start be ended by these signals: what a shell starts in the background ignores
    SIGINT, and what nohup starts SIGHUP, and children would inherit that. A handler is not inherited.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays, so the garbage collector need not look at it again and again


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory, or on the disk where that can't be."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="screen_pop-tests-", dir=shared) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Path:
    """For tests/unit in memory: pytest lists and removes hundreds of folders on the disk, which takes a second."""
    if request.path.parent.name != "unit":
        usual: Path = request.getfixturevalue("tmp_path")  # pytest's own
        return usual
    memory: Path = request.getfixturevalue("memory")
    path = memory / str(next(_NUMBERS))
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """Where servers keep their files: pytest's own temporary folders can't be entered by the servers' user."""
    with tempfile.TemporaryDirectory(prefix="screen_pop-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    from parts.certificates import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority.issue(tmp_path_factory.mktemp("certificate"), "screenpop.test")


@pytest.fixture(scope="session")
def prosody(server_folder: Path, certificate: Certificate) -> Iterator[Prosody]:
    from parts.debs import NotAvailable
    from parts.prosody import Prosody

    try:
        server = Prosody(server_folder / "prosody", certificate, direct_tls=True)
    except NotAvailable as reason:
        pytest.skip(f"Prosody: {reason}")
    with server:
        yield server


@pytest.fixture(scope="session")
def ejabberd(server_folder: Path, certificate: Certificate) -> Iterator[Ejabberd]:
    from parts.ejabberd import Ejabberd, NotInstalled

    try:
        server = Ejabberd(server_folder / "ejabberd", certificate, direct_tls=True)
    except NotInstalled as reason:
        pytest.skip(f"ejabberd: {reason}")
    with server:
        yield server


@pytest.fixture
def alice(prosody: Prosody) -> Iterator[Recipient]:
    from parts.recipient import Recipient

    with Recipient.at(prosody) as one:
        yield one


@pytest.fixture
def pbx(prosody: Prosody, tmp_path: Path) -> Iterator[Pbx]:
    """With an outbox, in which nothing was yet."""
    from parts.pbx import Pbx

    with Pbx(tmp_path, prosody, prosody.ca_file) as made:
        made.outbox.make()
        yield made


@pytest.fixture
def new_server_folder(server_folder: Path) -> Path:
    """For a server of one test's own."""
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    from parts.box import box_or_skip

    with box_or_skip() as box:
        yield box


@pytest.fixture(scope="session")
def asterisk(box: Box) -> Iterator[Asterisk]:
    """For the harness: one that runs the probe."""
    from parts import recording
    from parts.asterisk import Asterisk

    recording.install_probe(box)
    with Asterisk(box, recording.EXTENSIONS, env=recording.ENV, configuration=recording.CONFIGURATION) as asterisk:
        yield asterisk
