"""Replaces the modules `os` and `posix` in the spool's code: plays a kill at a change of a file, or a full disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

CHANGES = ("open", "write", "rename", "unlink", "mkfifo", "makedirs")


class Killed(BaseException):
    """As `kill -9`: nothing after it changes anything."""


class Kernel:
    def __init__(self) -> None:
        self.changes_left: int | None = None  # before the kill; None: no kill
        self.full = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._changing(name, real) if name in CHANGES else real

    def _changing(self, name: str, real: Any) -> Any:
        def change(*arguments: Any, **named: Any) -> Any:
            if self.changes_left is not None:
                if not self.changes_left:  # and it stays dead, until it is set anew
                    raise Killed
                self.changes_left -= 1
            if self.full and name == "write":
                raise OSError(28, "No space left on device")
            return real(*arguments, **named)

        return change

    def kills(self) -> Iterator[int]:
        """Kill at the first change, at the second, … until the work is done without being killed. Use it as

        for _ in kernel.kills(): with contextlib.suppress(Killed): …
        """
        number = 0
        while True:
            self.changes_left = number
            yield number
            done, self.changes_left = self.changes_left, None
            if done:  # changes that were not needed
                return
            number += 1
