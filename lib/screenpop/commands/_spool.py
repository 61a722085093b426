"""Finds the spools. Commands read them and wake the sender; they write nothing except new calls, as a door does."""

from __future__ import annotations

import os
import pwd
import re
import stat
import sys

from ..spool import outbox
from ..spool.outbox import Outbox, path_from_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


def path() -> str:
    """The path of the spool. If run as root, become its owner: Asterisk's user could not remove root's files."""
    path = path_from_environment()
    if os.geteuid() == 0:
        try:
            _become_owner(path)
        except OSError as error:
            sys.exit(f"screen-pop: {error}")
    return path


def own(path: str) -> list[str]:
    """The spool, and the spool in memory if this user has one."""
    spare = Outbox(path).spare_path
    return [path, spare] if _is_spool_of(os.geteuid(), spare) else [path]


def in_memory(path: str) -> list[str]:
    """The spools in memory that this user may read; root sees those of all users."""
    suffix = re.escape(Outbox(path).spare_path.removeprefix(f"{outbox.MEMORY}/screen_pop-{os.geteuid()}"))
    try:
        names = sorted(os.listdir(outbox.MEMORY))
    except OSError:
        names = []
    found = []
    for name in names:
        owner = re.fullmatch(rf"screen_pop-(\d+){suffix}", name)
        spare = f"{outbox.MEMORY}/{name}"
        if owner and _is_spool_of(int(owner[1]), spare) and os.access(spare, os.R_OK | os.X_OK):
            found.append(spare)
    return found


def _is_spool_of(uid: int, path: str) -> bool:
    """Whether that user has made it: in /dev/shm anybody may make a folder, or a link, of any name."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid


def with_rights_of_owner(spool: str, read: Callable[[str], T]) -> T:
    """`read(spool)`; if run as root, with the rights of its owner, whose links could lead to files of others."""
    if os.geteuid() != 0:
        return read(spool)
    state, groups = os.lstat(spool), os.getgroups()
    os.setgroups([])
    os.setegid(state.st_gid)
    os.seteuid(state.st_uid)
    try:
        return read(spool)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def wrong_owner(path: str) -> str:
    """A sentence if the spool has the wrong owner, else empty. It must belong to Asterisk's user, which owns the folder
    that contains it. Raises OSError.
    """
    folder = os.path.dirname(path)
    owner, folder_owner = os.stat(path).st_uid, os.stat(folder).st_uid
    if path.startswith(f"{outbox.MEMORY}/") or folder_owner in (0, owner):
        return ""
    return (
        f"{path} belongs to {user(owner)}, but {folder} belongs to {user(folder_owner)}, Asterisk's user;"
        f" chown -R --reference={folder} {path}"
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
        raise OSError(f"{path} doesn't exist yet; install -d -o asterisk -g asterisk -m 0700 {path}") from error
    except KeyError as error:
        raise OSError(f"{path} belongs to a user that doesn't exist; chown -R asterisk: {path}") from error
    if problem := wrong_owner(path):
        raise OSError(problem)
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
