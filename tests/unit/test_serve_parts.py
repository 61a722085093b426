"""Parts of `screen-pop serve`: where FastAGI is left to FreePBX, and a spool that can't be used."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts.server import free_port
from screenpop import settings
from screenpop.commands import _doors, serve
from screenpop.commands._doors import Known
from screenpop.commands.serve import ReadOnly, Service
from screenpop.doors.options import FastagiOptions
from screenpop.log import Log
from screenpop.settings import Settings
from screenpop.spool.outbox import Outbox
from screenpop.spool.queue import Queue

CONF = "[xmpp]\njid = pbx@example.org\npassword = x\n[pop]\nto = alice@example.org\n"
LINE = "service: FreePBX uses port 4573: there is no FastAGI until [fastagi] listen names another port"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(Outbox(str(tmp_path / "spool")), Log(str(tmp_path / "log")))
    yield service
    service.doors.close()


@pytest.fixture
def freepbx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says that this box has FreePBX; and a port that is free here, in place of 4573."""
    file = tmp_path / "freepbx.conf"
    monkeypatch.setattr(_doors, "FREEPBX", str(file))
    monkeypatch.setattr(FastagiOptions.__dict__["listen"], "default", ("127.0.0.1", free_port()))
    return file


def configured(folder: Path, more: str = "") -> Settings:
    conf = folder / "screen_pop.conf"
    conf.write_text(CONF + more)
    return settings.load(str(conf))


def test_on_freepbx_its_port_is_left_to_it(
    service: Service, freepbx: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service.doors.open(configured(tmp_path))
    assert len(service.addresses()) == 1
    freepbx.write_text("")
    for _ in range(2):
        service.doors.open(configured(tmp_path))
        service.doors.open(Known(None, None))
        assert service.addresses() == []
    assert capfd.readouterr().err == f"{LINE}\n"


def test_on_freepbx_a_port_that_is_set_is_listened_at(
    service: Service, freepbx: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    freepbx.write_text("")
    port = free_port()
    service.doors.open(configured(tmp_path, f"[fastagi]\nlisten = 127.0.0.1:{port}\n"))
    assert service.addresses() == [f"fastagi 127.0.0.1:{port}"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC])
def test_a_spool_that_stays_read_only_ends_the_service_for_its_supervisor(
    error: int, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In systemd's sandbox it stays so; on a full disk there is room again at some time."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] > 3600:
            raise TimeoutError("it goes on for an hour")

    def make(queue: Queue) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("screenpop.commands.serve.time.sleep", sleep)
    monkeypatch.setattr("screenpop.commands.serve.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Queue, "make", make)
    monkeypatch.setattr(service.doors, "open", lambda current: None)
    with pytest.raises(ReadOnly if error == errno.EROFS else TimeoutError):
        serve._take_over(Queue(str(tmp_path)), service, str(tmp_path / "screen_pop.conf"))
    assert error != errno.EROFS or 300 < clock[0] < 310
