"""The command line: `screen-pop`."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from pathlib import Path

from . import __version__
from .commands import check, flush, status, test
from .spool.outbox import Outbox, path_from_environment


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="screen-pop",
        description="Shows people who is calling, on their XMPP client. The dialplan runs screen_pop.py.",
    )
    parser.add_argument("--version", action="version", version=f"screen_pop {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("check", help="try all that a pop needs, and say line by line what was found")
    tests = commands.add_parser("test", help="send a pop the whole way, and say how long each step took")
    tests.add_argument("number", metavar="NUMBER", help="the caller's number")
    tests.add_argument("name", metavar="NAME", nargs="?", default="", help="the caller's name")
    commands.add_parser("flush", help="send what is queued now")
    looks = commands.add_parser("status", help="the sender, what waits, what failed; 0 only if nothing is stuck")
    how = looks.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for programs")
    how.add_argument("--retry", action="store_true", help="put what has failed back, and send it now")
    arguments = parser.parse_args()
    outbox = path_from_environment()
    try:
        act_as_owner(Path(outbox))
    except OSError as error:
        sys.exit(f"screen-pop: {error}")
    try:
        sys.exit(_run(arguments, outbox))
    except OSError as error:
        sys.exit(f"screen-pop: {error.filename}: {error.strerror}; screen-pop check says more")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(arguments: argparse.Namespace, outbox: str) -> int:
    """Returns the exit status. Raises OSError."""
    if arguments.command == "check":
        return check.run(outbox)
    if arguments.command == "test":
        return test.run(outbox, arguments.number, arguments.name)
    os.stat(outbox)  # the installer makes it, or the first call: as Asterisk's user
    Outbox(outbox).make()
    if arguments.command == "status" and not arguments.retry:
        return status.run(outbox, arguments.json)
    if arguments.command == "status":
        print(f"{sum(one.retry() for one in Outbox(outbox).and_spare())} put back")
    return flush.run(outbox)


def act_as_owner(outbox: Path) -> None:
    """As root, become the owner of the outbox: Asterisk's user couldn't remove root's files. Raises OSError."""
    if os.geteuid() != 0:
        return
    try:
        owner = pwd.getpwuid(outbox.stat().st_uid)
    except FileNotFoundError as error:
        raise OSError(f"{outbox} isn't there yet; install -d -o asterisk -g asterisk -m 0700 {outbox}") from error
    except KeyError as error:
        raise OSError(f"{outbox} belongs to a user that isn't there; chown -R asterisk: {outbox}") from error
    above = outbox.parent.stat()
    if owner.pw_uid == 0 and above.st_uid:
        raise OSError(f"{outbox} belongs to root, who isn't Asterisk; chown -R --reference={outbox.parent} {outbox}")
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)


if __name__ == "__main__":
    main()
