"""Show the sender and the waiting and failed messages; the exit status is 0 only if nothing is stuck."""

from __future__ import annotations

import json
import os
import time

from ..spool import records, state, trigger
from ..spool.outbox import path_from_environment
from . import _service, _spool
from ._terminal import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

WITHOUT_ARGUMENTS = {"json": False, "retry": False}
SHOWN = 20  # failed messages, and floods, that are printed; the JSON has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options = parser.add_mutually_exclusive_group()
    options.add_argument("--json", action="store_true", help="print JSON")
    options.add_argument("--retry", action="store_true", help="send failed messages again")


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status: 0 if nothing is stuck. Raises OSError."""
    if arguments.retry:
        return _retry()
    path = path_from_environment()
    os.stat(path)  # not made here, because it must belong to Asterisk's user
    reports = [examine(path)]
    for spool in _spool.in_memory(path):
        try:
            reports.append(examine(spool))
        except OSError:  # of another user, who may have made anything of it
            continue
    service = _spool.with_rights_of_owner(path, _service.examine)
    is_down = _service.is_down(service)  # then its doors refuse calls
    stuck = is_down or any(report["stuck"] for report in reports)
    if arguments.json:
        print(json.dumps({"stuck": stuck, "service": service, "outboxes": reports}, indent=2))
    else:
        for number, report in enumerate(reports):
            if number:
                print()
            printed = lines({**report, "stuck": report["stuck"] or (is_down and not number)})
            if not number:
                printed.insert(2, _line("service", _service.describe(service)))
            for label, text in printed:
                show(text, label)
    return 1 if stuck else 0


def _retry() -> int:
    from . import flush

    path = _spool.path()
    spools = _spool.own(path)
    show(f"{sum(len(records.failed_messages(spool)) for spool in spools)} put back")
    return max([flush.flush(spool, retry=True) for spool in spools])


def examine(spool: str) -> dict[str, Any]:
    """The report about one spool. Times are in seconds since the epoch, ages in seconds. Raises OSError.

    Stuck means that an administrator must act: a message has waited for longer than `late_after`, one has failed, or
    the spool has the wrong owner.
    """
    report = _spool.with_rights_of_owner(spool, _examine)
    age = report["waiting"]["age"]
    return {"stuck": bool(report["failed"] or report["problem"]) or (age > 0 and age > _late_after()), **report}


def _examine(spool: str) -> dict[str, Any]:
    reported = state.read(spool)
    floods = [
        flood for name in _names(spool, "queue") if name.endswith(records.SUMMARY) for flood in _flood(spool, name)
    ]
    held = {flood["name"] for flood in floods}
    waiting = [f"{folder}/{name}" for folder in ("new", "queue") for name in _names(spool, folder) if name not in held]
    age = max((_age(f"{spool}/{name}") for name in waiting), default=0.0)
    failed = [_failure(spool, name) for name in _names(spool, "failed") if not name.endswith(".reason")]
    last = reported.get("last")
    is_up = trigger.has_sender(spool)
    return {
        "outbox": spool,
        "problem": _spool.wrong_owner(spool),
        "sender": {name: reported.get(name) for name in ("pid", "since", "session")} if is_up else None,
        "waiting": {
            "count": len(waiting),
            "oldest": time.time() - age if waiting else None,
            "age": age,
            "reason": str(reported.get("problem") or "") if waiting else "",
        },
        "floods": floods,
        "failed": failed,
        "last": last if isinstance(last, list) else [],
    }


def _names(spool: str, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(f"{spool}/{folder}"))
    except FileNotFoundError:  # the folder is made with the first call
        return []


def _late_after() -> float:
    from .. import config, settings
    from ..pop.options import PopOptions  # imported here, because it is slow and not needed if nothing waits

    try:
        return settings.load(settings.path_from_environment()).pop.late_after
    except config.ConfigError:  # the sender reports it
        return PopOptions.late_after


def _age(path: str) -> float:
    """The seconds since a call, or since what a message tells; of a foreign file, since its last change."""
    try:
        if path.endswith(records.SUMMARY):
            from ..pop.flood import MINUTE

            return max(0.0, records.read_message(path).event.age() - MINUTE)
        if "~" in os.path.basename(path):
            return records.read_message(path).event.age()
        return records.read_call(path).age()
    except FileNotFoundError:
        return 0.0
    except (records.InvalidFile, OSError):
        try:
            return max(0.0, time.time() - os.lstat(path).st_mtime)
        except FileNotFoundError:
            return 0.0


def _flood(spool: str, name: str) -> list[dict[str, Any]]:
    """The flood of which this summary will tell; none if it is over, and the summary waits like any message."""
    from ..pop.flood import MINUTE

    path = f"{spool}/queue/{name}"
    try:
        summary, age = records.read_message(path), time.time() - os.lstat(path).st_mtime
    except (records.InvalidFile, OSError):
        return []
    if age > MINUTE:
        return []
    return [
        {
            "name": name,
            "caller": f"{summary.call.name} {summary.call.number}".strip(),
            "recipient": summary.to,
            "count": len(summary.counted),
            "since": time.time() - summary.call.age(),
        }
    ]


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
    """Why a foreign file was moved to failed/. The sender writes this into a file beside it."""
    try:
        return records.content(f"{path}.reason").decode("utf-8", "replace")[:1000].strip()
    except (records.InvalidFile, OSError):
        return ""


def lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of a report, each as label and text."""
    waiting, failed, sender = report["waiting"], report["failed"], report["sender"]
    oldest = ""
    if waiting["count"]:
        from ..pop.message import ago

        oldest = f", the oldest came {ago(waiting['age'])}"
    summary = f"{waiting['count']} waiting{oldest}; {len(failed)} failed"
    printed = [("STUCK: " if report["stuck"] else "OK: ", summary), _line("spool", report["outbox"])]
    if report["problem"]:
        printed.append(_line("owner", report["problem"]))
    if not sender:
        printed.append(_line("sender", "none; the next call or screen-pop flush starts one"))
    else:
        printed.append(_line("sender", f"process {sender['pid']}, since {_clock(sender['since'])}"))
        session = sender["session"]
        if isinstance(session, dict):
            account = f"{session.get('jid')} at {session.get('host')}, since {_clock(session.get('since'))}"
            printed.append(_line("signed in", account))
        else:
            printed.append(_line("signed in", "no"))
    if waiting["count"]:
        printed.append(_line("waiting", f"since {_clock(waiting['oldest'])} {waiting['reason']}"))
    for flood in report["floods"][-SHOWN:]:
        what = f"{flood['caller']}: {flood['count']} more calls to {flood['recipient']} are counted"
        printed.append(_line("flood", f"since {_clock(flood['since'])} {what}"))
    for failure in failed[-SHOWN:]:
        reasons = "; ".join(f"{to}: {reason}" if to else str(reason) for to, reason in failure["reasons"].items())
        call = f"{failure['name']} {failure['caller']}".rstrip()  # a withheld number is empty
        printed.append(_line("failed", f"{_clock(failure['time'])} {call}: {reasons}"))
    if len(failed) > SHOWN:
        printed.append(_line("", f"and {len(failed) - SHOWN} older ones"))
    for result in report["last"]:
        if isinstance(result, dict):
            outcome = f"{result.get('recipient')} {result.get('outcome')} {result.get('ms')} ms"
            printed.append(_line("last", f"{_clock(result.get('time'))} {result.get('call')} {outcome}"))
    return printed


def _line(label: str, text: str) -> tuple[str, str]:
    return f"{label:11}", text


def _clock(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 2**33:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
