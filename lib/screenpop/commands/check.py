"""`screen-pop check`: tries all that a pop needs, in the order in which a pop needs it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from .. import config
from ..spool.outbox import FOLDERS, Outbox
from ..xmpp.errors import SessionError
from ..xmpp.session import Session
from .terminal import show


def run(outbox: str) -> int:
    """Print a line for each thing tried. Returns the exit status: 0 when calls would pop."""
    try:
        given = config.load(config.path_from_environment())
    except config.ConfigError as error:
        for complaint in error.complaints:
            _say(False, "configuration", complaint)
        return 1
    _say(True, "configuration", f"{given.path}: {given.jid} tells {' & '.join(given.to)}")
    fine = [_permissions(file) for file in (given.path, given.password_file) if file]
    fine += [_outbox(outbox), _log(given.log_file), _session(given)]
    return 0 if all(fine) else 1


def _say(fine: bool, step: str, detail: str) -> bool:
    show(detail, label=f"{'ok' if fine else 'PROBLEM':9}{step:15}")
    return fine


def _permissions(path: Path) -> bool:
    """A file with the password in it is the business of root and of Asterisk's group."""
    state = path.stat()
    found = f"{path}: {_owner_and_mode(state)}"
    if state.st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        return _say(False, "permissions", f"{found}: others could read or change the password; chmod 0640 {path}")
    return _say(True, "permissions", found)


def _outbox(path: str) -> bool:
    outbox = Outbox(path)
    me = _user(os.geteuid())
    try:
        state = os.stat(path)
        outbox.make()
        waiting, failed = len(outbox.waiting()), len(os.listdir(f"{path}/failed"))
    except OSError as error:
        advice = f"as root: install -d -o {me} -g {me} -m 0700 {path}"
        return _say(False, "outbox", f"{error.filename}: {error.strerror}; {advice}")
    found = f"{path}: {_owner_and_mode(state)}, {waiting} waiting, {failed} failed"
    files = [
        f"{path}/{name}" for name in ("lock", "doorbell", "resource", "sender") if os.path.lexists(f"{path}/{name}")
    ]
    if not all(os.access(f"{path}/{folder}", os.W_OK | os.X_OK) for folder in ("", *FOLDERS)) or not all(
        os.access(file, os.R_OK | os.W_OK) for file in files
    ):
        return _say(False, "outbox", f"{found}: {me} can't write to it; chown -R {me} {path}")
    if state.st_mode & 0o077:
        return _say(False, "outbox", f"{found}: others could read who calls; chmod 0700 {path}")
    return _say(True, "outbox", found)


def _log(path: Path) -> bool:
    if os.access(path if path.exists() else path.parent, os.W_OK):
        return _say(True, "log", f"{path}, and syslog")
    return _say(False, "log", f"{path} can't be written: only syslog tells; set [log] file, or chown {path}")


def _session(given: config.Config) -> bool:
    """Sign in. A sender may be up: the resource must not be that of the outbox."""
    try:
        session = Session(
            given,
            f"screen-pop-check-{os.urandom(4).hex()}",
            on_step=lambda step, detail: _say(True, step, detail),
            on_error=lambda *_: None,
            on_receipt=lambda *_: None,
        )
        session.close()
    except SessionError as trouble:
        return _say(False, trouble.step, f"{trouble.what}; {trouble.advice}")
    return True


def _owner_and_mode(state: os.stat_result) -> str:
    try:
        group = grp.getgrgid(state.st_gid).gr_name
    except KeyError:
        group = str(state.st_gid)
    return f"{_user(state.st_uid)}:{group} {stat.S_IMODE(state.st_mode):04o}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
