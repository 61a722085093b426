"""Show the sender, what waits, what has failed and why; the exit status is 0 only if nothing is stuck."""

from __future__ import annotations

import json
import os
import time

from ..spool import records, state, trigger
from ..spool.outbox import path_from_environment
from . import _spool
from ._terminal import show

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
    if arguments.retry:
        return _retry()
    path = path_from_environment()
    os.stat(path)  # the installer makes it, or the first call: as Asterisk's user
    found = [examine(spool) for spool in _spool.all_users(path)]
    stuck = any(one["stuck"] for one in found)
    if arguments.json:
        print(json.dumps({"stuck": stuck, "outboxes": found}, indent=2))
    else:
        for number, one in enumerate(found):
            if number:
                print()
            for label, text in lines(one):
                show(text, label)
    return 1 if stuck else 0


def _retry() -> int:
    from . import flush

    path = _spool.path()
    spools = _spool.own(path)
    show(f"{sum(len(records.failed_messages(spool)) for spool in spools)} put back")
    return max([flush.flush(spool, retry=True) for spool in spools])


def examine(spool: str) -> dict[str, Any]:
    """Times in seconds since the epoch, ages in seconds. Raises OSError.

    Stuck is what an administrator must look at: what waits for longer than a pop may take before it is late, what has
    failed, a spool that doors can't write to.
    """
    reported = state.read(spool)
    waiting = [f"{folder}/{name}" for folder in ("new", "queue") for name in _names(spool, folder)]
    age = max((_age(f"{spool}/{name}") for name in waiting), default=0.0)
    failed = [_failure(spool, name) for name in _names(spool, "failed") if not name.endswith(".reason")]
    problem = _spool.wrong_owner(spool)
    last = reported.get("last")
    is_up = trigger.has_sender(spool)
    return {
        "stuck": bool(failed or problem) or (age > 0 and age > _late_after()),
        "outbox": spool,
        "problem": problem,
        "sender": {name: reported.get(name) for name in ("pid", "since", "session")} if is_up else None,
        "waiting": {
            "count": len(waiting),
            "oldest": time.time() - age if waiting else None,
            "age": age,
            "reason": str(reported.get("problem") or "") if waiting else "",
        },
        "failed": failed,
        "last": last if isinstance(last, list) else [],
    }


def _names(spool: str, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(f"{spool}/{folder}"))
    except FileNotFoundError:  # nothing was there yet
        return []


def _late_after() -> float:
    from .. import config, settings
    from ..pop.options import PopOptions  # here: when nothing waits, this takes longer than all the rest

    try:
        return settings.load(settings.path_from_environment()).pop.late_after
    except config.ConfigError:  # the sender says what is wrong with it
        return PopOptions.late_after


def _age(path: str) -> float:
    """Seconds; of a file that is no call, since it was changed."""
    try:
        if "~" in os.path.basename(path):
            return records.read_message(path).call.age()
        return records.read_call(path).age()
    except FileNotFoundError:
        return 0.0
    except (records.InvalidFile, OSError):
        try:
            return max(0.0, time.time() - os.lstat(path).st_mtime)
        except FileNotFoundError:
            return 0.0


def _failure(spool: str, name: str) -> dict[str, Any]:
    path = f"{spool}/failed/{name}"
    try:
        message = records.read_message(path)
    except (records.InvalidFile, OSError) as error:
        return {"name": name, "time": None, "caller": "", "reasons": {"": _reason(path) or str(error)}}
    return {
        "name": name,
        "time": time.time() - message.call.age(),
        "caller": f"{message.call.name} {message.call.number}".strip(),
        "reasons": {message.to: message.reason},
    }


def _reason(path: str) -> str:
    """Why a foreign file was moved to failed/, as the sender has written it beside it."""
    try:
        with open(f"{path}.reason", encoding="utf-8", errors="replace") as file:
            return file.read(1000).strip()
    except OSError:
        return ""


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """A label and a text for each."""
    waiting, failed, sender = found["waiting"], found["failed"], found["sender"]
    oldest = ""
    if waiting["count"]:
        from ..pop.message import ago

        oldest = f", the oldest for {ago(waiting['age'])}"
    summary = f"{waiting['count']} waiting{oldest}; {len(failed)} failed"
    told = [("STUCK: " if found["stuck"] else "OK: ", summary), _line("outbox", found["outbox"])]
    if found["problem"]:
        told.append(_line("owner", found["problem"]))
    if not sender:
        told.append(_line("sender", "none; the next call starts one, and so does screen-pop flush"))
    else:
        told.append(_line("sender", f"process {sender['pid']}, since {_clock(sender['since'])}"))
        session = sender["session"]
        if isinstance(session, dict):
            as_whom = f"{session.get('jid')} at {session.get('host')}, since {_clock(session.get('since'))}"
            told.append(_line("signed in", as_whom))
        else:
            told.append(_line("signed in", "no"))
    if waiting["count"]:
        told.append(_line("waiting", f"since {_clock(waiting['oldest'])} {waiting['reason']}"))
    for one in failed[-SHOWN:]:
        reasons = "; ".join(f"{to}: {reason}" if to else str(reason) for to, reason in one["reasons"].items())
        told.append(_line("failed", f"{_clock(one['time'])} {one['name']} {one['caller']}: {reasons}"))
    if len(failed) > SHOWN:
        told.append(_line("", f"and {len(failed) - SHOWN} older ones"))
    for one in found["last"]:
        if isinstance(one, dict):
            outcome = f"{one.get('recipient')} {one.get('outcome')} {one.get('ms')} ms"
            told.append(_line("last", f"{_clock(one.get('time'))} {one.get('call')} {outcome}"))
    return told


def _line(label: str, text: str) -> tuple[str, str]:
    return f"{label:11}", text


def _clock(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 2**33:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
