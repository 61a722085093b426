"""Send a pop the whole way, as for a call, and say how long each step takes."""

from __future__ import annotations

import os
import select
import time

from ..call import Call
from ..spool import trigger
from ..spool.outbox import Outbox
from ..spool.replies import Replies
from ..text import clean
from . import _spool
from ._terminal import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

PATIENCE = 60.0  # seconds for the server's confirmation; each step of the sign-in has 10
RECEIPT_PATIENCE = 3.0  # seconds for the recipient's client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="NUMBER", help="the caller's number")
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="the caller's name")


def run(arguments: argparse.Namespace) -> int:
    """Queue a call, ring, and print what the sender says. Returns the exit status: 0 when the server took the pop."""
    from .. import config, settings

    path = _spool.path()
    try:
        to = settings.load(settings.path_from_environment()).pop.to
    except config.ConfigError as error:
        for complaint in error.complaints:
            show(complaint, label="PROBLEM  ")
        return 1
    outbox = Outbox(path)
    call = Call(number=clean(arguments.number), name=clean(arguments.name), extension="test", receipt=True)
    began = time.monotonic()
    try:
        os.stat(path)  # the installer makes it, or the first call: as Asterisk's user
        outbox.make()
        answers = Replies(outbox, call)
    except OSError as error:
        advice = f"as root: install -d -o asterisk -g asterisk -m 0700 {path}"
        show(f"{error.filename}: {error.strerror}; {advice}", label="PROBLEM  ")
        return 1
    try:
        outbox.put(call)
        _say("outbox", (time.monotonic() - began) * 1000, call.id)
        trigger.ring(path)
        return _report(answers, began, len(to))
    except OSError as error:
        show(f"{error.filename}: {error.strerror}; screen-pop check says more", label="PROBLEM  ")
        return 1
    finally:
        answers.close()


def _say(step: str, milliseconds: float, detail: str) -> None:
    show(detail, label=f"{step:15}{milliseconds:8.1f} ms  ")


def _report(answers: Replies, began: float, recipients: int) -> int:
    """Print what is answered until the server, and then the clients, have confirmed it; either may come first."""
    end, confirmed, receipts = began + PATIENCE, False, 0
    while not (confirmed and receipts >= recipients):
        if not select.select([answers], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        for answer in answers.read():
            since = (time.monotonic() - began) * 1000
            if "step" in answer:
                _say(answer["step"], answer["ms"], answer["detail"])
            elif "receipt" in answer:
                receipts += 1
                _say("receipt", since, f"{answer['receipt']} has it, since the start")
            elif answer["status"] == "DELIVERED":
                confirmed, end = True, time.monotonic() + RECEIPT_PATIENCE
                _say("in all", since, f"DELIVERED {answer.get('reason', '')}".rstrip())
            else:
                show(_problem(answer), label="PROBLEM  ")
                return 1
    if not confirmed:
        show(f"the sender says nothing for {PATIENCE:.0f} s; its log says more", label="PROBLEM  ")
        return 1
    if receipts < recipients:
        show("the recipient's client is offline, or doesn't confirm messages (XEP-0184)", label="no receipt      ")
    return 0


def _problem(answer: dict[str, Any]) -> str:
    if answer["status"] == "FAILED":
        return f"not delivered: {answer['reason']}"
    return f"not sent yet; it waits in the outbox and is tried again: {answer['reason']}"
