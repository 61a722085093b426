"""Replaces the modules `os` and `posix` in the spool's code: plays a kill at a change of a file, or a full disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

CHANGES = ("open", "write", "rename", "unlink", "mkfifo", "makedirs")


class Killed(BaseException):
    """As `kill -9`: nothing after it changes anything."""


class Kernel:
    def __init__(self, module: Any = os) -> None:
        self.module = module
        self.changes_left: int | None = None  # before the kill; None: no kill
        self.was_killed = self.full = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.module, name)
        return self._changing(name, real) if name in CHANGES else real

    def _changing(self, name: str, real: Any) -> Any:
        def change(*arguments: Any, **named: Any) -> Any:
            if self.changes_left is not None:
                if not self.changes_left:  # and it stays dead until this is set anew
                    self.was_killed = True
                    raise Killed
                self.changes_left -= 1
            if self.full and name == "write":
                raise OSError(28, "No space left on device")
            return real(*arguments, **named)

        return change

    def kills(self) -> Iterator[int]:
        """`for _ in kernel.kills(): …` is killed at its first change, at its second, …, and in the end not at all."""
        for number in itertools.count():
            self.changes_left, self.was_killed = number, False
            yield number
            self.changes_left = None
            if not self.was_killed:
                return
