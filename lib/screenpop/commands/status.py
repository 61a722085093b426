"""Show the sender, what waits, what has failed and why; the exit status is 0 only if nothing is stuck."""

from __future__ import annotations

import json
import os
import time

from ..call import Call
from ..spool import trigger
from ..spool.outbox import Broken, Outbox
from ..text import clean
from . import _spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

WITHOUT_ARGUMENTS = {"json": False, "retry": False}
SHOWN = 20  # of what has failed; the JSON has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for programs")
    how.add_argument("--retry", action="store_true", help="put what has failed back, and send it now")


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status: 0 when nothing is stuck. Raises OSError."""
    outbox = _spool.existing()
    if arguments.retry:
        from . import flush

        print(f"{sum(one.retry() for one in outbox.and_spare())} put back")
        return flush.flush(outbox)
    found = [find_out(one) for one in outbox.and_spare()]
    stuck = any(one["stuck"] for one in found)
    as_json = arguments.json
    print(json.dumps({"stuck": stuck, "outboxes": found}, indent=2) if as_json else "\n\n".join(map(described, found)))
    return 1 if stuck else 0


def find_out(outbox: Outbox) -> dict[str, Any]:
    """Times in seconds since the epoch, ages in seconds. Raises OSError.

    Stuck is what waits for longer than a pop may take before it is late, and what has failed: somebody must look at it.
    """
    said = outbox.said()
    session = said.get("session")
    names = outbox.waiting()
    age = max((_age(outbox, name) for name in names), default=0.0)
    failed = [_failure(name, call) for name, call in outbox.all_failed()]
    last = said.get("last")
    return {
        "stuck": bool(failed) or (age > 0 and age > _late_after()),
        "outbox": outbox.path,
        "sender": {"pid": said.get("pid"), "since": said.get("since"), "session": session}
        if trigger.is_heard(outbox.path)
        else None,
        "waiting": {
            "count": len(names),
            "oldest": time.time() - age if names else None,
            "age": age,
            "reason": said.get("trouble") or "" if names else "",
        },
        "failed": failed,
        "last": last if isinstance(last, list) else [],
    }


def _late_after() -> float:
    from .. import config, settings
    from ..pop.options import PopOptions  # here: when nothing waits, this takes longer than all the rest

    try:
        return settings.load(settings.path_from_environment()).pop.late_after
    except config.ConfigError:  # the sender says what is wrong with it
        return PopOptions.late_after


def _age(outbox: Outbox, name: str) -> float:
    """Seconds; of a file that is no call, since it was changed."""
    try:
        return outbox.read(name).age()
    except FileNotFoundError:
        return 0.0
    except (Broken, OSError):
        return max(0.0, time.time() - os.lstat(f"{outbox.path}/new/{name}").st_mtime)


def _failure(name: str, call: Call | str) -> dict[str, Any]:
    if isinstance(call, str):
        return {"name": name, "time": None, "caller": "", "reasons": {"": call.strip()}}
    return {
        "name": name,
        "time": time.time() - call.age(),
        "caller": f"{call.name} {call.number}".strip(),
        "reasons": call.failed,
    }


def described(found: dict[str, Any]) -> str:
    waiting, failed, sender = found["waiting"], found["failed"], found["sender"]
    oldest = ""
    if waiting["count"]:
        from ..pop.message import ago

        oldest = f", the oldest for {ago(waiting['age'])}"
    lines = [
        f"{'STUCK' if found['stuck'] else 'OK'}: {waiting['count']} waiting{oldest}; {len(failed)} failed",
        _line("outbox", found["outbox"]),
    ]
    if not sender:
        lines.append(_line("sender", "none; the next call starts one, and so does screen-pop flush"))
    else:
        lines.append(_line("sender", f"process {sender['pid']}, since {_clock(sender['since'])}"))
        session = sender["session"]
        if isinstance(session, dict):
            as_whom = f"{session.get('jid')} at {session.get('host')}, since {_clock(session.get('since'))}"
            lines.append(_line("signed in", as_whom))
        else:
            lines.append(_line("signed in", "no"))
    if waiting["count"]:
        lines.append(_line("waiting", f"since {_clock(waiting['oldest'])} {waiting['reason']}"))
    for one in failed[-SHOWN:]:
        reasons = "; ".join(f"{to}: {reason}" if to else str(reason) for to, reason in one["reasons"].items())
        lines.append(_line("failed", f"{_clock(one['time'])} {one['name']} {one['caller']}: {reasons}"))
    if len(failed) > SHOWN:
        lines.append(_line("", f"and {len(failed) - SHOWN} older ones"))
    for one in found["last"]:
        if isinstance(one, dict):
            outcome = f"{one.get('recipient')} {one.get('outcome')} {one.get('ms')} ms"
            lines.append(_line("last", f"{_clock(one.get('time'))} {one.get('call')} {outcome}"))
    return "\n".join(lines)


def _line(what: str, text: str) -> str:
    """What stood in files is as hostile as what stands in calls."""
    return f"{what:11}{clean(text, limit=1000)}"


def _clock(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 2**33:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
