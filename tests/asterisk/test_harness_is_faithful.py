"""A real Asterisk and the harness say the same to a script that tries everything, and do the same with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_agi import Channel
from parts import held, recording
from parts.asterisk import Asterisk
from parts.probe import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_as_asterisk(asterisk: Asterisk, tmp_path: Path, scenario: str) -> None:
    real = recording.record_asterisk(asterisk, scenario)
    ours = recording.record_harness(scenario, tmp_path, like=real)
    assert ours == real


@pytest.mark.parametrize("left_behind", held.CASES)
def test_what_asterisk_waits_for(asterisk: Asterisk, left_behind: str) -> None:
    """As test_fake_agi.py shows of the harness."""
    script, expected = held.CASES[left_behind]
    name = left_behind.replace(" ", "-")
    files = {what: f"{recording.RECORDS_IN_BOX}/{what}-{name}" for what in ("script", "order", "gate")}
    order, gate = held.Fifo(asterisk.box.path(files["order"])), held.Fifo(asterisk.box.path(files["gate"]))
    asterisk.box.path(files["script"]).write_text(f"#!/bin/sh\n{script.format(**files)}\n")
    asterisk.box.path(files["script"]).chmod(0o755)
    asterisk.originate("held", "held", variables={"SCRIPT": files["script"], "ORDER": files["order"]})
    assert held.order_of(expected, order, gate) == expected
    order.close()
    gate.close()


def test_variables_that_dialled_channels_inherit(asterisk: Asterisk, tmp_path: Path) -> None:
    names = ("PLAIN", "ONCE", "ALWAYS")
    commands = 'SET VARIABLE "PLAIN" "1"', 'SET VARIABLE "_ONCE" "2"', 'SET VARIABLE "__ALWAYS" "3"'
    body = "\n".join(["#!/bin/sh", *(f"echo '{command}'; read -r reply" for command in commands), ""])
    body = body.replace("\n", '\nwhile read -r line && [ -n "$line" ]; do :; done\n', 1)
    inside, order = (f"{recording.RECORDS_IN_BOX}/{name}" for name in ("sets", "inherited"))
    for script in (tmp_path / "sets", asterisk.box.path(inside)):
        script.write_text(body)
        script.chmod(0o755)
    channel, ours = Channel(), []
    channel.run([tmp_path / "sets"])
    for _ in range(2):
        channel = channel.dials("Local/1")
        ours.append(" ".join(channel.state.read(name) or "" for name in names))
    asterisk.originate("first", "inherited", variables={"SCRIPT": inside, "__ORDER": order})
    asterisk.wait_for("", order, count=2)
    assert asterisk.box.path(order).read_text().splitlines() == ours


@pytest.mark.parametrize(("script", "agistatus"), [("/nowhere", "NOTFOUND"), ("/etc/hostname", "FAILURE")])
def test_no_script_to_run(asterisk: Asterisk, script: str, agistatus: str) -> None:
    order = recording.RECORDS_IN_BOX + script.replace("/", "-")
    asterisk.originate("held", "held", variables={"SCRIPT": script, "ORDER": order})
    asterisk.wait_for(f"dialplan {agistatus}", order)
