"""What a sender leaves behind that can't work: it runs in the background, and nobody sees its stderr."""

from __future__ import annotations

import contextlib
import os

from .. import config, libraries, settings
from ..call import Call
from ..log import Log, default_file
from ..spool.outbox import Outbox


def report(path: str, error: Exception) -> None:
    """Tell the log, `screen-pop status`, and those who wait for an answer. `path`: of the outbox."""
    reason = "; ".join(libraries.problems()) or f"{type(error).__name__}: {error}"
    try:
        log_file = settings.load(settings.path_from_environment()).log.path
    except config.ConfigError:
        log_file = default_file()
    Log(log_file).write(f"the sender ends: {reason}")
    outbox = Outbox(path)
    outbox.say({**outbox.said(), "session": None, "trouble": reason})
    with contextlib.suppress(OSError):
        for name in os.listdir(f"{path}/tmp"):
            if name.endswith(".answer"):
                outbox.tell(Call(id=name[: -len(".answer")]), status="QUEUED", reason=reason)
