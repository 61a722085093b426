"""The spool, as commands find it. Commands ring the trigger and read; they write nothing but calls, as a door."""

from __future__ import annotations

import os
import pwd
import re
import sys

from ..spool import outbox
from ..spool.outbox import Outbox, path_from_environment


def path() -> str:
    """Where it is. As root, become its owner first: Asterisk's user could not remove root's files."""
    path = path_from_environment()
    if os.geteuid() == 0:
        try:
            _become_owner(path)
        except OSError as error:
            sys.exit(f"screen-pop: {error}")
    return path


def own(path: str) -> list[str]:
    """The spool, and the one in memory if this user has one."""
    spare = Outbox(path).spare_path
    return [path, spare] if os.path.isdir(spare) and os.lstat(spare).st_uid == os.geteuid() else [path]


def all_users(path: str) -> list[str]:
    """The spool, and those in memory that this user may read: as root, those of all users."""
    suffix = re.escape(Outbox(path).spare_path.removeprefix(f"{outbox.MEMORY}/screen_pop-{os.geteuid()}"))
    try:
        names = sorted(os.listdir(outbox.MEMORY))
    except OSError:
        names = []
    memory = [f"{outbox.MEMORY}/{name}" for name in names if re.fullmatch(rf"screen_pop-\d+{suffix}", name)]
    return [path, *(spare for spare in memory if os.path.isdir(spare) and os.access(spare, os.R_OK | os.X_OK))]


def wrong_owner(path: str) -> str:
    """What is wrong with the owner of the spool, if anything: doors run as the user that the folder above belongs to.

    Raises OSError.
    """
    owner, above = os.stat(path).st_uid, os.stat(os.path.dirname(path)).st_uid
    if path.startswith(f"{outbox.MEMORY}/") or above in (0, owner):
        return ""
    return (
        f"{path} belongs to {user(owner)}, and the folder above it to {user(above)}, as whom Asterisk runs;"
        f" chown -R --reference={os.path.dirname(path)} {path}"
    )


def user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _become_owner(path: str) -> None:
    try:
        owner = pwd.getpwuid(os.stat(path).st_uid)
    except FileNotFoundError as error:
        raise OSError(f"{path} isn't there yet; install -d -o asterisk -g asterisk -m 0700 {path}") from error
    except KeyError as error:
        raise OSError(f"{path} belongs to a user that isn't there; chown -R asterisk: {path}") from error
    if problem := wrong_owner(path):
        raise OSError(problem)
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
