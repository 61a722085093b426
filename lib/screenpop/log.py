"""The log: syslog, and a file of our own. One line each, whatever stands in the text; never a password."""

from __future__ import annotations

import os
import syslog
import time
from pathlib import Path

from .config import Option, Section, absolute_path
from .text import clean

REMEMBERED = 20  # pops


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
        self.said = ""
        self.last: list[dict[str, object]] = []  # what became of the last pops
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
            if self.said != str(error):
                self.said = str(error)
                syslog.syslog(clean(f"{self.file}: {error.strerror}: logging to syslog only", limit=1000))

    def pop(self, call_id: str, recipient: str, outcome: str, age: float) -> None:
        """What became of one pop, `age` seconds after the call came."""
        self.write(f"{call_id} {recipient} {outcome} {age * 1000:.0f} ms")
        pop = {
            "time": time.time(),
            "call": call_id,
            "recipient": recipient,
            "outcome": outcome,
            "ms": round(age * 1000),
        }
        self.last = [*self.last[1 - REMEMBERED :], pop]
