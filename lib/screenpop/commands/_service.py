"""What sends waiting messages after a restart of the machine: the resident sender as a service, or cron."""

from __future__ import annotations

import os

from ..spool import state, trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# install.sh makes the first two.
ENABLED = "/etc/systemd/system/multi-user.target.wants/screen_pop.service"
CRON = "/etc/cron.d/screen_pop"
SYSTEMD = "/run/systemd/system"  # sd_booted(3)
CRON_PID = "/run/crond.pid"  # of Debian's cron and of cronie


def examine(spool: str) -> dict[str, Any]:
    """`pid` and `doors` of the resident sender, and what sends waiting messages `after_restart` of the machine:
    systemd, which starts it, or cron, or None. Raises OSError.
    """
    reported = state.read(spool)
    is_resident = bool(reported.get("resident")) and trigger.has_sender(spool)
    doors = reported.get("doors") if is_resident else None
    by_systemd = os.path.isdir(SYSTEMD) and os.path.lexists(ENABLED)
    by_cron = os.path.exists(CRON) and _cron_runs()
    return {
        "pid": reported.get("pid") if is_resident else None,
        "doors": doors if isinstance(doors, list) else [],
        "after_restart": "systemd" if by_systemd else "cron" if by_cron else None,
    }


def _cron_runs() -> bool:
    try:
        with open(CRON_PID, encoding="ascii") as file:
            os.kill(max(1, int(file.read(20))), 0)
    except PermissionError:  # it is root's
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return True


def is_down(report: dict[str, Any]) -> bool:
    """Whether systemd should run it, and it isn't running."""
    return report["after_restart"] == "systemd" and report["pid"] is None


def describe(report: dict[str, Any]) -> str:
    after_restart, pid = report["after_restart"], report["pid"]
    if is_down(report):
        return "not running; to see why: systemctl status screen_pop"
    after = {
        "systemd": "",
        "cron": f"after a restart of the machine, {CRON} sends what waits",
        None: "after a restart of the machine, what waits is sent with the next call",
    }[after_restart]
    if pid is None:
        return f"cron: {after}" if after_restart else f"neither service nor cron: {after}"
    running = f"running as process {pid}{' (systemd)' if after_restart == 'systemd' else ''}"
    doors = "".join(f", {door}" for door in report["doors"])
    return f"{running}{doors}{'; ' if after else ''}{after}"
