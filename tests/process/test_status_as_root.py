"""`screen-pop status`, run by root: it reads the spools in memory of all users, who may be hostile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parts.pbx import CHECKOUT
from screenpop.call import Call
from screenpop.spool.outbox import Outbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root")

STRANGER = 65534


@pytest.fixture
def spool(tmp_path: Path) -> Outbox:
    made = Outbox(str(tmp_path / "spool"))
    made.make()
    return made


@pytest.fixture
def spare(spool: Outbox) -> Iterator[Path]:
    """A spool in memory of a stranger, with a call in it."""
    path = Path(spool.spare_path.replace(f"screen_pop-{os.geteuid()}", f"screen_pop-{STRANGER}"))
    made = Outbox(str(path))
    os.makedirs(path / "failed")
    try:
        for folder in ("tmp", "new"):
            (path / folder).mkdir()
        made.put(Call(number="1"))
        give_to_stranger(path)
        yield path
    finally:
        shutil.rmtree(path)


def give_to_stranger(path: Path) -> None:
    for entry in (path, *path.rglob("*")):
        os.chown(entry, STRANGER, STRANGER, follow_symlinks=False)


def status(spool: Outbox) -> tuple[list[dict[str, Any]], str]:
    """The reports, and the text."""
    env = {**os.environ, "SCREEN_POP_SPOOL": spool.path, "PYTHONPATH": str(CHECKOUT / "lib")}
    command = [sys.executable, "-m", "screenpop", "status"]
    text, form = (
        subprocess.run([*command, *more], env=env, capture_output=True, text=True, timeout=30).stdout
        for more in ([], ["--json"])
    )
    return json.loads(form)["outboxes"], text


def test_calls_in_the_memory_of_another_user_are_told(spool: Outbox, spare: Path) -> None:
    own, other = status(spool)[0]
    assert (own["waiting"]["count"], other["waiting"]["count"]) == (0, 1)
    assert other["outbox"] == str(spare)


def test_nothing_that_only_root_may_read_is_printed(spool: Outbox, spare: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"last": [{"call": "root's secret"}]}))
    secret.chmod(0o600)
    (spare / "failed/1").write_text("")
    (spare / "failed/1.reason").symlink_to(secret)
    (spare / "sender").symlink_to(secret)
    give_to_stranger(spare)
    reports, text = status(spool)
    assert len(reports) == 2 and "root's secret" not in json.dumps(reports) + text


def test_nothing_is_waited_for(spool: Outbox, spare: Path) -> None:
    (spare / "failed/1").write_text("")
    os.mkfifo(spare / "failed/1.reason")
    os.mkfifo(spare / "sender")
    give_to_stranger(spare)
    assert len(status(spool)[0]) == 2


def test_a_spool_that_cannot_be_read_hides_no_other(spool: Outbox, spare: Path) -> None:
    (spare / "failed").rmdir()
    (spare / "failed").symlink_to("/root")
    give_to_stranger(spare)
    ((own,), text) = status(spool)
    assert own["outbox"] == spool.path and text.startswith("OK: 0 waiting")


def test_a_spool_of_a_wrong_owner_is_stuck(spool: Outbox) -> None:
    """Made by root, say; Asterisk's user owns the folder above it."""
    above = Path(spool.path).parent
    os.chown(above, 65534, 65534)
    os.chown(spool.path, 0, 0)
    (report, *_), text = status(spool)
    assert report["stuck"] and "belongs to root" in report["problem"]
    assert text.startswith("STUCK: 0 waiting") and f"chown -R --reference={above}" in text
