"""The log: syslog, and a file of our own. Each entry is one line. It never contains a password."""

from __future__ import annotations

import os
import syslog
import time
from functools import lru_cache

from .config import Option, Section, absolute_path
from .text import clean

REMEMBERED = 20  # messages
PROBLEMS = 100  # problems of one kind that are remembered
SESSION, SPOOL, MESSAGE = "session", "spool", "message"  # the kinds of problem: what it concerns


class LogOptions(Section):
    file: Option[str | None] = Option(absolute_path, None)

    @property
    def path(self) -> str:
        return self.file or default_file()


def default_file() -> str:
    folder = os.environ.get("AST_LOG_DIR") or "/var/log/asterisk"
    return f"{folder}/screen_pop.log"


@lru_cache(maxsize=1)
def _stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


class Log:
    def __init__(self, file: str) -> None:
        self.file = file
        self._problems: dict[str, list[str]] = {SESSION: [], SPOOL: [], MESSAGE: []}  # present ones, each logged once
        self._file_problem = ""
        self.last: list[dict[str, object]] = []  # the results of the last messages
        syslog.openlog("screen_pop", syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, text: str) -> None:
        """Write one line. The file is opened for each line, so that logrotate may move it at any time."""
        line = clean(text, limit=1000)
        syslog.syslog(line)
        stamp = _stamp(int(time.time()))
        try:
            file = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                data = f"{stamp} screen_pop[{os.getpid()}] {line}\n".encode()
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        except OSError as error:
            if self._file_problem != str(error):
                self._file_problem = str(error)
                syslog.syslog(clean(f"{self.file}: {error.strerror}: logging to syslog only", limit=1000))

    @property
    def current_problem(self) -> str:
        """Why messages wait: the last problem of the session, which concerns all messages, else of another kind."""
        return next((problems[-1] for problems in self._problems.values() if problems), "")

    def problem(self, kind: str, reason: str, waiting: int = 0) -> None:
        """Log why messages wait, and how many. A reason is logged again only after `problems_are_over`."""
        known = self._problems[kind]
        if reason in known:
            known.remove(reason)
        else:
            self.write(f"not sent yet, {waiting} waiting: {reason}" if waiting else f"not sent yet: {reason}")
        self._problems[kind] = [*known[1 - PROBLEMS :], reason]

    def problems_are_over(self, kind: str) -> None:
        self._problems[kind] = []

    def message(self, call_id: str, recipient: str, outcome: str, age: float) -> None:
        """Log the result of a message, `age` seconds after the call."""
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
