"""The index of the phone book's files, made by a real sender while its calls pop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from parts.pbx import Pbx
from parts.recipient import Recipient
from parts.waiting import eventually

ROWS = 100_000  # so many that the index takes seconds


def write_customers(file: Path, name: str, rows: int = 0) -> None:
    others = "".join(f"+1212{number:07},Person {number}\n" for number in range(rows))
    written = file.with_suffix(".new")
    written.write_text(f"phone,full_name\n{others}+15551234567,{name}\n")
    written.rename(file)


def child_of(sender: int) -> int:
    """The process that the sender has started, which makes the index; 0 if there is none. Until that has its
    own command, the sender waits for it.
    """
    command = Path(f"/proc/{sender}/cmdline").read_bytes()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_child = int((process / "stat").read_text().rpartition(")")[2].split()[1]) == sender
            if is_child and (process / "cmdline").read_bytes() not in (b"", command):
                return int(process.name)
        except OSError:  # it has ended
            continue
    return 0


def test_calls_pop_with_the_old_index_while_a_new_one_is_made(pbx: Pbx, alice: Recipient) -> None:
    file = pbx.conf.with_name("customers.csv")
    write_customers(file, "Ann Miller")
    with pbx.conf.open("a") as conf:
        conf.write(f"[customers]\ntype = csv\nfile = {file}\nnumber = phone\nname = full_name\n")
    assert "entries: 1, numbers: 1, skipped: 0" in pbx.screen_pop("index")
    sender = pbx.sender()
    assert sender
    write_customers(file, "Ann Smith", ROWS)
    with pbx.start_screen_pop("index") as command:
        build = eventually(lambda: child_of(sender))
        os.kill(build, signal.SIGSTOP)  # in the middle of its work
        try:
            for _ in range(3):
                pbx.call()
                assert alice.wait_for_message().body == "Call from Ann Miller, +1 555-123-4567 to 123"
            assert command.poll() is None
        finally:
            os.kill(build, signal.SIGCONT)
        said, _ = command.communicate()
    assert command.returncode == 0 and f"entries: {ROWS + 1:,}, numbers: {ROWS + 1:,}, skipped: 0" in said
    pbx.call()
    assert alice.wait_for_message().body == "Call from Ann Smith, +1 555-123-4567 to 123"
    assert pbx.sender() == sender
