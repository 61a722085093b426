"""`screen-pop status` as root, and what belongs to other users."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parts.pbx import Pbx
from parts.server import give_to_ordinary_user
from screenpop.call import Call
from screenpop.spool.outbox import FOLDERS, Outbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the spools of other users: not root")


@pytest.fixture
def in_memory(pbx: Pbx, tmp_path: Path) -> Iterator[Outbox]:
    """The spool in memory of an ordinary user, to whom the other one belongs, too."""
    give_to_ordinary_user(tmp_path)
    uid = os.stat(pbx.outbox.path).st_uid
    spare = Outbox(pbx.outbox.spare_path.replace(f"screen_pop-{os.geteuid()}-", f"screen_pop-{uid}-"))
    os.makedirs(spare.path)
    for folder in FOLDERS:
        os.mkdir(f"{spare.path}/{folder}")
    give_to_ordinary_user(Path(spare.path))
    yield spare
    shutil.rmtree(spare.path)


def status(pbx: Pbx, expected: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pbx.screen_pop("status", "--json", status=expected))
    return found


def test_root_sees_the_calls_that_wait_in_the_memory_of_another_user(pbx: Pbx, in_memory: Outbox) -> None:
    call = Call(number="1")
    call.time -= 120
    call.boot = ""
    Path(in_memory.path, "new", f"{call.id}.json").write_bytes(call.json())
    found = status(pbx, 1)
    assert [(one["outbox"], one["waiting"]["count"]) for one in found["outboxes"]] == [
        (pbx.outbox.path, 0),
        (in_memory.path, 1),
    ]
    assert pbx.screen_pop("status", status=1).count("STUCK") == 1


def test_what_another_user_leaves_in_memory_holds_root_up_with_nothing(pbx: Pbx, in_memory: Outbox) -> None:
    for name in ("sender", "trigger", "new/fifo", "failed/fifo", "failed/fifo.reason"):
        os.mkfifo(f"{in_memory.path}/{name}")
    assert status(pbx, 1)["outboxes"][1]["failed"][0]["name"] == "fifo"


SQUATS: dict[str, tuple[Callable[[str], None], Callable[[str], None]]] = {
    "link": (lambda path: os.symlink(f"{path}-theirs", path), os.unlink),
    "folder of somebody else": (os.mkdir, os.rmdir),  # root's
}


@pytest.mark.parametrize("squat", SQUATS)
def test_root_does_not_look_where_another_user_points_it_to(pbx: Pbx, in_memory: Outbox, squat: str) -> None:
    os.rename(in_memory.path, f"{in_memory.path}-theirs")
    make, remove = SQUATS[squat]
    make(in_memory.path)
    assert [one["outbox"] for one in status(pbx, 0)["outboxes"]] == [pbx.outbox.path]
    remove(in_memory.path)
    os.rename(f"{in_memory.path}-theirs", in_memory.path)


def test_a_spool_of_a_wrong_owner_is_stuck(pbx: Pbx, in_memory: Outbox) -> None:
    """Made by root, say; Asterisk's user owns the folder above it."""
    os.chown(pbx.outbox.path, 0, 0)
    found = status(pbx, 1)
    assert found["stuck"] and "belongs to root" in found["outboxes"][0]["problem"]
    printed = pbx.screen_pop("status", status=1)
    assert printed.startswith("STUCK: 0 waiting") and f"chown -R --reference={Path(pbx.outbox.path).parent}" in printed
