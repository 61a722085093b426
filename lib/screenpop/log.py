"""The log: syslog, and a file of our own. One line each, whatever stands in the text; never a password."""

from __future__ import annotations

import os
import syslog
import time
from pathlib import Path

from .config import Option, Section, absolute_path
from .text import clean

REMEMBERED = 20  # messages
PROBLEMS = 100  # of one kind that are remembered
SESSION, SPOOL, MESSAGE = "session", "spool", "message"  # what a problem concerns


class LogOptions(Section):
    file: Option[Path | None] = Option(absolute_path, None)

    @property
    def path(self) -> Path:
        return self.file or default_file()


def default_file() -> Path:
    return Path(os.environ.get("AST_LOG_DIR") or "/var/log/asterisk", "screen_pop.log")


class Log:
    def __init__(self, file: Path) -> None:
        self.file = file
        self._problems: dict[str, list[str]] = {SESSION: [], SPOOL: [], MESSAGE: []}  # each is logged once
        self._file_problem = ""
        self.last: list[dict[str, object]] = []  # what became of the last messages
        syslog.openlog("screen_pop", syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, text: str) -> None:
        """One line. The file is opened for each, so that logrotate may move it at any time."""
        line = clean(text, limit=1000)
        syslog.syslog(line)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} screen_pop[{os.getpid()}] {line}\n")
        except OSError as error:
            if self._file_problem != str(error):
                self._file_problem = str(error)
                syslog.syslog(clean(f"{self.file}: {error.strerror}: logging to syslog only", limit=1000))

    @property
    def current_problem(self) -> str:
        """Why messages wait: the last problem of the session, which concerns all of them, or of another kind."""
        return next((problems[-1] for problems in self._problems.values() if problems), "")

    def problem(self, kind: str, reason: str, waiting: int = 0) -> None:
        """Why messages wait, and how many: one line for each reason, until problems of this kind are over."""
        known = self._problems[kind]
        if reason in known:
            known.remove(reason)
        else:
            self.write(f"not sent yet, {waiting} waiting: {reason}" if waiting else f"not sent yet: {reason}")
        self._problems[kind] = [*known[1 - PROBLEMS :], reason]

    def problems_are_over(self, kind: str) -> None:
        self._problems[kind] = []

    def message(self, call_id: str, recipient: str, outcome: str, age: float) -> None:
        """What became of a message, `age` seconds after the call came."""
        milliseconds = round(age * 1000)
        self.write(f"{call_id} {recipient} {outcome} {milliseconds} ms")
        entry = {
            "time": time.time(),
            "call": call_id,
            "recipient": recipient,
            "outcome": outcome,
            "ms": milliseconds,
        }
        self.last = [*self.last[1 - REMEMBERED :], entry]
