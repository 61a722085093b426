"""Send a pop for an event of a call, as from the dialplan, and print the id by which later events follow it."""

from __future__ import annotations

import os
import sys

from ..spool.outbox import Outbox
from ..text import clean
from . import _spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..doors.fields import KINDS

    parser.add_argument("--number", dest="ani", help="the caller's number; needed unless a later event has an id")
    parser.add_argument("--name", dest="cnam", help="the caller's name")
    parser.add_argument("--dialled", dest="dnis", help="the extension or number that was dialled")
    parser.add_argument("--to", default="", help="recipients, JIDs joined by & (default: those of the configuration)")
    parser.add_argument("--event", choices=KINDS, help="what has become of the call (default: ringing)")
    parser.add_argument("--id", help="what ties the events of the call together: any text, or what was printed before")
    parser.add_argument("--peer", help="who has answered")
    parser.add_argument("--duration", metavar="SECONDS", help="how long the call lasted")


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status: 0 if the call is queued."""
    from ..doors import fields, intake

    path = _spool.path()
    given = {name: value for name in fields.NAMES if (value := getattr(arguments, name, None)) is not None}
    try:
        call = fields.call_from(given, arguments.to)
    except ValueError as error:
        return _failed(str(error))
    if os.stat(path).st_uid != os.geteuid():  # else the call would wait in a spool of this user, which nobody reads
        return _failed(f"{path} belongs to {_spool.user(os.stat(path).st_uid)}; run this as root or as that user")
    status, problems = intake.hand_over(Outbox(path), call, 0.0, lambda descriptor, seconds: False)
    for problem in problems:
        _failed(problem)
    if status == "FAILED":
        return 1
    print(fields.given(given) or call.id)
    return 0


def _failed(why: str) -> int:
    print(f"screen-pop: {clean(why, limit=1000)}", file=sys.stderr)
    return 1
