"""The log: each entry is one line, with any text in it."""

from __future__ import annotations

import errno
import os
import re
import syslog
from pathlib import Path

import pytest

from screenpop.log import Log

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d screen_pop\[\d+\] (.*)")


@pytest.fixture
def to_syslog(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(syslog, "syslog", said.append)
    return said


def lines(file: Path) -> list[str]:
    """What was written, without the stamps; each line has one."""
    found = [LINE.fullmatch(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [line[1] if line else "no stamp" for line in found]


@pytest.mark.parametrize("forged", ["\n", "\r\n", "\u2028", "\x85", "\0", "\x1b[2K", "\ud800"], ids=ascii)
def test_whatever_is_written_is_one_line(tmp_path: Path, to_syslog: list[str], forged: str) -> None:
    Log(f"{tmp_path}/log").write(f"a{forged}2026-01-01 00:00:00 screen_pop[1] b")
    (line,) = lines(tmp_path / "log")
    assert to_syslog == [line]
    assert line.startswith("a") and line.endswith("2026-01-01 00:00:00 screen_pop[1] b")
    assert line.isprintable()


def test_a_line_has_an_end(tmp_path: Path, to_syslog: list[str]) -> None:
    Log(f"{tmp_path}/log").write("x" * 5000)
    assert lines(tmp_path / "log") == to_syslog == ["x" * 999 + "…"]


def test_a_message_has_a_line_with_its_call_its_recipient_the_outcome_and_the_milliseconds(
    tmp_path: Path, to_syslog: list[str]
) -> None:
    Log(f"{tmp_path}/log").message("1700000000.5-ab", "alice@example.org", "delivered", 0.75)
    assert lines(tmp_path / "log") == ["1700000000.5-ab alice@example.org delivered 750 ms"]


def test_each_line_goes_to_the_file_that_is_there_now(tmp_path: Path, to_syslog: list[str]) -> None:
    """logrotate moves it."""
    log = Log(f"{tmp_path}/log")
    log.write("before")
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.write("after")
    assert lines(tmp_path / "log.1") == ["before"]
    assert lines(tmp_path / "log") == ["after"]


def test_a_file_that_cant_be_written_is_told_to_syslog_once_and_stops_nothing(
    tmp_path: Path, to_syslog: list[str]
) -> None:
    log = Log(f"{tmp_path}/missing/log")
    log.write("one")
    log.write("two")
    complaint = f"{tmp_path}/missing/log: No such file or directory: logging to syslog only"
    assert to_syslog == ["one", complaint, "two"]
    (tmp_path / "missing").mkdir()
    log.write("three")
    assert lines(tmp_path / "missing" / "log") == ["three"]


def test_a_line_that_a_full_disk_cuts_is_told_to_syslog(
    tmp_path: Path, to_syslog: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [10]
    real_write = os.write

    def write(file: int, data: bytes) -> int:
        if not blocks:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(file, data[: blocks.pop()])

    monkeypatch.setattr(os, "write", write)
    Log(f"{tmp_path}/log").write("delivered")
    assert to_syslog == ["delivered", f"{tmp_path / 'log'}: No space left on device: logging to syslog only"]
