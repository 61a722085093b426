"""`screen-pop status`: the sender, what waits, what has failed and why, the last deliveries."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from .. import config
from ..call import Call
from ..pop.message import ago
from ..spool import trigger
from ..spool.outbox import Broken, Outbox
from .terminal import show

SHOWN = 20  # of what has failed; the JSON has all


def run(path: str, as_json: bool) -> int:
    """Print it. Returns the exit status: 0 when nothing is stuck. Raises OSError."""
    try:
        late_after = config.load(config.path_from_environment()).late_after
    except config.ConfigError:  # the sender says what is wrong with it
        late_after = config.LATE_AFTER
    found = [find_out(outbox, late_after) for outbox in Outbox(path).and_spare()]
    stuck = any(one["stuck"] for one in found)
    if as_json:
        print(json.dumps({"stuck": stuck, "outboxes": found}, indent=2))
        return 1 if stuck else 0
    for place, one in enumerate(found):
        if place:
            show("")
        _describe(one)
    return 1 if stuck else 0


def find_out(outbox: Outbox, late_after: float) -> dict[str, Any]:
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
        "stuck": bool(failed) or age > late_after,
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


def _describe(found: dict[str, Any]) -> None:
    waiting, failed, sender = found["waiting"], found["failed"], found["sender"]
    oldest = f", the oldest for {ago(waiting['age'])}" if waiting["count"] else ""
    show(f"{'STUCK' if found['stuck'] else 'OK'}: {waiting['count']} waiting{oldest}; {len(failed)} failed")
    _line("outbox", found["outbox"])
    if not sender:
        _line("sender", "none; the next call starts one, and so does screen-pop flush")
    else:
        _line("sender", f"process {sender['pid']}, since {_clock(sender['since'])}")
        session = sender["session"]
        if isinstance(session, dict):
            as_whom = f"{session.get('jid')} at {session.get('host')}, since {_clock(session.get('since'))}"
            _line("signed in", as_whom)
        else:
            _line("signed in", "no")
    if waiting["count"]:
        _line("waiting", f"since {_clock(waiting['oldest'])} {waiting['reason']}")
    for one in failed[-SHOWN:]:
        reasons = "; ".join(f"{to}: {reason}" if to else str(reason) for to, reason in one["reasons"].items())
        _line("failed", f"{_clock(one['time'])} {one['name']} {one['caller']}: {reasons}")
    if len(failed) > SHOWN:
        _line("", f"and {len(failed) - SHOWN} older ones")
    for one in found["last"]:
        if isinstance(one, dict):
            outcome = f"{one.get('recipient')} {one.get('outcome')} {one.get('ms')} ms"
            _line("last", f"{_clock(one.get('time'))} {one.get('call')} {outcome}")


def _line(what: str, text: str) -> None:
    show(text, label=f"{what:11}")


def _clock(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 2**33:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
