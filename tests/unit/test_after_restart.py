"""What `check` and `status` say of the service and of cron, and what cron runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screenpop.call import Call
from screenpop.commands import _service, check, flush, status
from screenpop.spool import state
from screenpop.spool.outbox import Outbox
from screenpop.spool.trigger import Trigger


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = Outbox(str(folder / "spool"))
        self.spool.make()

    def has(self, name: str, text: str = "") -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    @property
    def report(self) -> dict[str, Any]:
        return _service.examine(self.spool.path)

    @property
    def line(self) -> str:
        return _service.describe(self.report)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """It has neither service nor cron."""
    names = {"ENABLED": "enabled", "CRON": "cron", "SYSTEMD": "systemd", "CRON_PID": "cron.pid"}
    for constant, name in names.items():
        monkeypatch.setattr(_service, constant, str(tmp_path / name))
    return Machine(tmp_path)


@pytest.fixture
def resident(machine: Machine) -> Iterator[Trigger]:
    """The trigger of a sender."""
    trigger = Trigger.acquire(machine.spool.path)
    assert trigger
    state.write(machine.spool.path, {"pid": 7, "resident": True, "doors": ["fastagi 127.0.0.1:4573", "http [::1]:80"]})
    yield trigger
    trigger.close()
    os.close(trigger.lock)


def boot_with_systemd(machine: Machine) -> None:
    (machine.folder / "systemd").mkdir()


def test_neither(machine: Machine) -> None:
    text = "neither service nor cron: after a restart of the machine, what waits is sent with the next call"
    assert machine.line == text
    assert not _service.is_down(machine.report)


@pytest.mark.usefixtures("resident")
def test_a_service_of_systemd(machine: Machine) -> None:
    boot_with_systemd(machine)
    machine.has("enabled")
    assert machine.line == "running as process 7 (systemd), fastagi 127.0.0.1:4573, http [::1]:80"
    assert not _service.is_down(machine.report)


def test_a_service_of_systemd_that_is_down(machine: Machine) -> None:
    boot_with_systemd(machine)
    (machine.folder / "enabled").symlink_to("/nowhere")  # seen from a chroot
    assert machine.line == "not running; to see why: systemctl status screen_pop"
    assert _service.is_down(machine.report)


def said_by_status(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[str]]:
    """Its exit status and its lines."""
    monkeypatch.setenv("SCREEN_POP_SPOOL", machine.spool.path)
    ended = status.run(SimpleNamespace(**status.WITHOUT_ARGUMENTS))  # type: ignore[arg-type]
    return ended, capsys.readouterr().out.splitlines()


def test_status_is_stuck_while_the_service_is_down(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said_by_status(machine, monkeypatch, capsys)[0] == 0
    boot_with_systemd(machine)
    machine.has("enabled")
    ended, lines = said_by_status(machine, monkeypatch, capsys)
    assert ended == 1 and lines[0] == "STUCK: 0 waiting; 0 failed"
    assert "service    not running; to see why: systemctl status screen_pop" in lines
    assert not check._resident(machine.spool.path)


@pytest.mark.usefixtures("resident")
def test_status_is_not_stuck_while_the_service_runs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boot_with_systemd(machine)
    machine.has("enabled")
    ended, lines = said_by_status(machine, monkeypatch, capsys)
    assert ended == 0 and lines[0] == "OK: 0 waiting; 0 failed"
    assert check._resident(machine.spool.path)


def test_a_service_that_systemd_would_start_if_it_ran(machine: Machine) -> None:
    machine.has("enabled")
    assert machine.line.startswith("neither service nor cron")


@pytest.mark.usefixtures("resident")
def test_a_resident_sender_that_nothing_starts(machine: Machine) -> None:
    text = "; after a restart of the machine, what waits is sent with the next call"
    assert machine.line == f"running as process 7, fastagi 127.0.0.1:4573, http [::1]:80{text}"


def test_a_resident_sender_that_was_killed(machine: Machine) -> None:
    state.write(machine.spool.path, {"pid": 7, "resident": True, "doors": []})
    assert machine.report["pid"] is None


def test_a_sender_that_a_call_has_started_is_no_service(machine: Machine, resident: Trigger) -> None:
    state.write(machine.spool.path, {"pid": 7, "resident": False, "doors": []})
    assert machine.report["pid"] is None


@pytest.mark.parametrize("pid", [os.getpid(), 1])
def test_cron(machine: Machine, pid: int) -> None:
    machine.has("cron")
    machine.has("cron.pid", f"{pid}\n")
    assert machine.line == f"cron: after a restart of the machine, {_service.CRON} sends what waits"


@pytest.mark.parametrize("pid", [None, "", "-1\n" * 10, "x", str(2**22), str(2**99)])
def test_a_table_without_a_cron_that_runs(machine: Machine, pid: str | None) -> None:
    machine.has("cron")
    if pid is not None:
        machine.has("cron.pid", pid)
    assert machine.line.startswith("neither service nor cron")


def test_what_cron_runs_leaves_a_sender_alone(machine: Machine, resident: Trigger) -> None:
    """It may be in the pause after a refused sign-in."""
    machine.spool.put(Call(number="1"))
    flush.start(machine.spool.path)
    assert resident.read() == b""
