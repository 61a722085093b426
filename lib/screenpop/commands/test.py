"""Send a test pop in the same way as for a call, and print the duration of each step."""

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

TIMEOUT = 60.0  # seconds for the server's confirmation; each step of the sign-in has 10
RECEIPT_TIMEOUT = 3.0  # seconds for the recipient's client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="NUMBER", help="the caller's number")
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="the caller's name")


def run(arguments: argparse.Namespace) -> int:
    """Queue a call and print the sender's replies. Returns the exit status: 0 if the server confirmed the pop."""
    from .. import config, settings

    path = _spool.path()
    try:
        given = settings.load(settings.path_from_environment())
    except config.ConfigError as error:
        for complaint in error.complaints:
            show(complaint, label="PROBLEM  ")
        return 1
    outbox = Outbox(path)
    call = Call(number=clean(arguments.number), name=clean(arguments.name), extension="test", receipt=True)
    began = time.monotonic()
    try:
        os.stat(path)  # not made here, because it must belong to Asterisk's user
        outbox.make()
        replies = Replies(outbox, call)
    except OSError as error:
        advice = f"as root: install -d -o asterisk -g asterisk -m 0700 {path}"
        show(f"{error.filename}: {error.strerror}; {advice}", label="PROBLEM  ")
        return 1
    try:
        outbox.put(call)
        _print_step("spool", (time.monotonic() - began) * 1000, call.id)
        trigger.ring(path)
        return _print_replies(replies, began, len(given.routes.route(call).to))
    except OSError as error:
        show(f"{error.filename}: {error.strerror}; for details run: screen-pop check", label="PROBLEM  ")
        return 1
    finally:
        replies.close()


def _print_step(step: str, milliseconds: float, detail: str) -> None:
    show(detail, label=f"{step:15}{milliseconds:8.1f} ms  ")


def _print_replies(replies: Replies, began: float, recipients: int) -> int:
    """Print the replies until the server and the clients have confirmed the message, in either order."""
    end, confirmed, receipts = began + TIMEOUT, False, 0
    while not (confirmed and receipts >= recipients):
        if not select.select([replies], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        for reply in replies.read():
            elapsed = (time.monotonic() - began) * 1000
            if "step" in reply:
                _print_step(reply["step"], reply["ms"], reply["detail"])
            elif "receipt" in reply:
                receipts += 1
                _print_step("receipt", elapsed, f"{reply['receipt']} has it (time since the start)")
            elif reply["status"] == "DELIVERED":
                confirmed, end = True, time.monotonic() + RECEIPT_TIMEOUT
                _print_step("total", elapsed, f"DELIVERED {reply.get('reason', '')}".rstrip())
            else:
                show(_problem(reply), label="PROBLEM  ")
                return 1
    if not confirmed:
        show(f"no reply from the sender for {TIMEOUT:.0f} s; see its log", label="PROBLEM  ")
        return 1
    if receipts < recipients:
        show("the recipient's client is offline, or doesn't send receipts (XEP-0184)", label="no receipt      ")
    return 0


def _problem(reply: dict[str, Any]) -> str:
    if reply["status"] == "FAILED":
        return f"not delivered: {reply['reason']}"
    return f"not sent yet; it stays in the spool and is tried again: {reply['reason']}"
