"""Looks at the files of the index, in a thread. A folder of 20,000 vCards takes 0.2 s or more; a file server that
doesn't answer takes forever. No pop waits for this, because other threads run during system calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Look:
    """`find` returns the states of the files, by the name of the source; `wake` is called when it has. Both are called
    from the thread. Raises RuntimeError when the system has no more threads.
    """

    def __init__(self, find: Callable[[], dict[str, str]], wake: Callable[[], None]) -> None:
        self.has_ended = False
        self.seconds = 0.0  # that it took
        self._find, self._wake = find, wake
        self._found: dict[str, str] = {}
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="phone book: files", daemon=True).start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self._found = self._find()
        except Exception as error:  # a bug, or a path that nobody can open
            self._error = error
        self.seconds = time.monotonic() - began
        self.has_ended = True
        self._wake()

    def found(self) -> dict[str, str]:
        """When it has ended. Raises what `find` has raised."""
        if self._error:
            raise self._error
        return self._found
