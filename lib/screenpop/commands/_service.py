"""What sends waiting messages after a restart of the machine: the resident sender as a service, or cron."""

from __future__ import annotations

import os

from ..spool import state, trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# install.sh makes these.
ENABLED = "/etc/systemd/system/multi-user.target.wants/screen_pop.service"
CRON = "/etc/cron.d/screen_pop"
SYSTEMD = "/run/systemd/system"  # sd_booted(3)


def examine(spool: str) -> dict[str, Any]:
    """`pid` and `doors` of the resident sender, and who `starts` it with the machine: systemd, cron (which runs flush
    instead), or None. Raises OSError.
    """
    reported = state.read(spool)
    is_resident = bool(reported.get("resident")) and trigger.has_sender(spool)
    doors = reported.get("doors") if is_resident else None
    by_systemd = os.path.isdir(SYSTEMD) and os.path.lexists(ENABLED)
    return {
        "pid": reported.get("pid") if is_resident else None,
        "doors": doors if isinstance(doors, list) else [],
        "starts": "systemd" if by_systemd else "cron" if os.path.exists(CRON) else None,
    }


def is_missing(report: dict[str, Any]) -> bool:
    """Whether systemd should run it, and it isn't running."""
    return report["starts"] == "systemd" and report["pid"] is None


def describe(report: dict[str, Any]) -> str:
    starts, pid = report["starts"], report["pid"]
    if is_missing(report):
        return "not running; to see why: systemctl status screen_pop"
    after = {
        "systemd": "",
        "cron": f"after a restart of the machine, {CRON} sends what waits",
        None: "after a restart of the machine, what waits is sent with the next call",
    }[starts]
    if pid is None:
        return f"none, but {after}" if starts else f"neither service nor cron: {after}"
    running = f"running as process {pid}{' (systemd)' if starts == 'systemd' else ''}"
    doors = "".join(f", {door}" for door in report["doors"])
    return f"{running}{doors}{'; ' if after else ''}{after}"
