"""The spool, as commands find it."""

from __future__ import annotations

import os
import pwd
import sys

from ..spool.outbox import Outbox, path_from_environment


def path() -> str:
    """Where it is. As root, become its owner first: Asterisk's user couldn't remove root's files."""
    path = path_from_environment()
    if os.geteuid() == 0:
        try:
            _become_owner(path)
        except OSError as error:
            sys.exit(f"screen-pop: {error}")
    return path


def existing() -> Outbox:
    """Raises OSError if it isn't there: the installer makes it, or the first call, as Asterisk's user."""
    outbox = Outbox(path())
    os.stat(outbox.path)
    outbox.make()
    return outbox


def _become_owner(path: str) -> None:
    try:
        owner = pwd.getpwuid(os.stat(path).st_uid)
    except FileNotFoundError as error:
        raise OSError(f"{path} isn't there yet; install -d -o asterisk -g asterisk -m 0700 {path}") from error
    except KeyError as error:
        raise OSError(f"{path} belongs to a user that isn't there; chown -R asterisk: {path}") from error
    above = os.path.dirname(path)
    if owner.pw_uid == 0 and os.stat(above).st_uid:
        raise OSError(f"{path} belongs to root, who isn't Asterisk; chown -R --reference={above} {path}")
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
