"""What a sender leaves behind that can't work: it runs in the background, and nobody sees its stderr."""

from __future__ import annotations

import contextlib
import os

from .. import config, libraries, settings
from ..log import Log, default_file
from ..spool import state
from . import replies


def report(spool: str, error: Exception) -> None:
    """Tell the log, `screen-pop status`, and those who wait for a reply."""
    reason = "; ".join(libraries.problems()) or f"{type(error).__name__}: {error}"
    try:
        log_file = settings.load(settings.path_from_environment()).log.path
    except config.ConfigError:
        log_file = default_file()
    Log(log_file).write(f"the sender ends: {reason}")
    state.write(spool, {**state.read(spool), "session": None, "problem": reason})
    with contextlib.suppress(OSError):
        for name in os.listdir(f"{spool}/tmp"):
            if name.endswith(".replies"):
                replies.tell(f"{spool}/tmp/{name}", status="QUEUED", reason=reason)
