"""`screen-pop index`, with a sender that is played: it makes the index when it is rung, as the real one does."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from parts.pbx import CHECKOUT, configuration
from parts.phonebook import Waiting, look_up
from screenpop.phonebook import files
from screenpop.phonebook.files import FileSource
from screenpop.phonebook.index import Index
from screenpop.settings import load
from screenpop.spool import trigger
from screenpop.spool.outbox import Outbox
from screenpop.spool.trigger import Trigger

SECTION = "[customers]\ntype = csv\nfile = {}/customers.csv\nnumber = phone\nname = full_name\n"
ALICE = "phone,full_name\n+15551234567,Alice\n+15551234568,Bob\n1,2,3\n"


class Box:
    def __init__(self, folder: Path, sections: str = SECTION) -> None:
        self.spool, self.file, self.conf = f"{folder}/spool", folder / "customers.csv", folder / "screen_pop.conf"
        Outbox(self.spool).make()
        self.file.write_text(ALICE)
        text = configuration("pbx@screenpop.test", "secret", "127.0.0.1:1", "/etc/hostname", "alice@screenpop.test")
        self.conf.write_text(text + sections.format(folder))

    def start(self, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "screenpop", "index"],
            env={
                **os.environ,
                "PYTHONPATH": f"{CHECKOUT}/lib",
                "SCREEN_POP_CONF": str(self.conf),
                "SCREEN_POP_SPOOL": self.spool,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def index(self, status: int = 0) -> list[str]:
        """The lines that the command prints."""
        process = self.start()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == status, output
        return output.splitlines()

    @contextlib.contextmanager
    def sender(self, sources: Sequence[FileSource] | None = None) -> Iterator[Index]:
        wake = Trigger.acquire(self.spool)
        assert wake
        given = load(str(self.conf))
        played = Index(self.spool, sources or files.sources(given.sources), given.pop.country)
        stop, stopped = os.pipe()
        thread = threading.Thread(target=_send, args=(wake, played, stop))
        thread.start()
        try:
            yield played
        finally:
            os.close(stopped)
            thread.join()
            os.close(stop)
            wake.close()
            os.close(wake.lock)


def _send(wake: Trigger, played: Index, stop: int) -> None:
    building: list[int] = []
    while stop not in (ready := select.select([wake, stop, *building], [], [])[0]):
        if wake in ready and trigger.INDEX in wake.read():
            played.start_build()
        played.poll()
        building = [pipe] if (pipe := played.fileno()) is not None else []


def test_it_tells_what_is_in_the_new_index(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.sender() as played:
        said = box.index()
        assert said == [
            "ok       customers      entries: 2, numbers: 2, skipped: 1",
            f"{'':24}{box.file}:4: the line has 3 columns, the header line 2",
        ]
        made = Index(box.spool, played.sources, "")
        assert look_up(made, "+15551234567") == {"customers": {"name": "Alice"}}
        box.file.write_text("phone,full_name\n1234567,New\n")
        assert box.index() == box.index() == ["ok       customers      entries: 1, numbers: 1, skipped: 0"]
        assert look_up(made, "1234567") == {"customers": {"name": "New"}}


def test_it_tells_what_is_wrong(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with box.sender():
        box.index()
        box.file.unlink()
        problem = f"PROBLEM  customers      {box.file}: No such file or directory; its former entries stay"
        assert box.index(1) == box.index(1) == [problem]
        os.chmod(f"{box.spool}/tmp", 0o500)
        Path(f"{box.spool}/tmp/index.sqlite").mkdir()  # so that nothing can be written there, not even by root
        (problem,) = box.index(1)[:1]
        assert problem.startswith("PROBLEM  no index can be made: ")


def test_it_writes_nothing_into_the_spool_and_a_sender_that_is_down_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path)
    monkeypatch.setattr("screenpop.commands.index.PATIENCE", 0.2)
    monkeypatch.setenv("SCREEN_POP_CONF", str(box.conf))
    monkeypatch.setenv("SCREEN_POP_SPOOL", box.spool)
    wake = Trigger.acquire(box.spool)
    assert wake
    before = sorted(os.listdir(box.spool))
    from screenpop.commands import index as command

    assert command.run(None) == 1  # type: ignore[arg-type]
    assert sorted(os.listdir(box.spool)) == before
    assert trigger.INDEX in wake.read()
    os.close(wake.lock)


def test_without_files_there_is_nothing_to_do(tmp_path: Path) -> None:
    said = Box(tmp_path, "").index()
    assert said == [
        f"{tmp_path}/screen_pop.conf has no section with type = csv or type = vcard, which would be in an index"
    ]


def test_a_mistake_in_the_configuration_is_told(tmp_path: Path) -> None:
    (said,) = Box(tmp_path, SECTION + "delimiter = x\n").index(1)
    assert said.startswith("PROBLEM  ") and "delimiter: 'x' should be one of" in said


def test_on_a_terminal_it_shows_how_far_it_is(tmp_path: Path) -> None:
    box = Box(tmp_path)
    (source,) = files.sources(load(str(box.conf)).sources)
    waiting = Waiting(source.name, source.options)
    waiting.gate = f"{tmp_path}/gate"
    os.mkfifo(waiting.gate)
    ours, its = pty.openpty()
    shown = b""
    with box.sender([waiting]), box.start(its) as process:
        os.close(its)
        with open(waiting.gate, "w"):
            while b"customers: 0 entries, 0 % of its files" not in shown:
                shown += os.read(ours, 1000)
        with contextlib.suppress(OSError):  # as a terminal ends
            while more := os.read(ours, 1000):
                shown += more
    os.close(ours)
    assert process.returncode == 0
    last = re.split(r"\r(?!\n)", shown.decode())[-1]
    assert last.startswith("\x1b[Kok       customers      entries: 2")
