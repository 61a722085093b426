"""Check everything that a pop needs, and print a line for each step."""

from __future__ import annotations

import grp
import os
import stat
from functools import partial

from ..spool import records
from ..spool.outbox import FOLDERS
from . import _service, _spool
from ._terminal import show

SHOWN = 5  # recipients in a line

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..phonebook.files import FileSource
    from ..phonebook.index import Index
    from ..settings import Settings
    from ..xmpp.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Check everything in the order in which a pop needs it. Returns the exit status: 0 if there is no problem, except
    one of the phone book, without which calls are shown.
    """
    from .. import config, libraries, settings

    spool = _spool.path()
    broken = libraries.problems()
    old = libraries.problem_of_python()
    for problem in [*broken, old] if old else broken:
        show(problem, label="PROBLEM  ")
    try:
        given = settings.load(settings.path_from_environment())
    except config.ConfigError as error:
        for complaint in error.complaints:
            _report(False, "configuration", complaint)
        return 1
    routes = f", or by one of {len(given.routes)} routes" if given.routes else ""
    _report(True, "configuration", f"{given.path}: from {given.xmpp.jid} to {' & '.join(given.pop.to)}{routes}")
    password_file = given.xmpp.password_file
    passed = [_permissions(file) for file in (given.path, password_file and password_file.path) if file]
    passed += [_spool_folders(spool), _log(given.log.path), _resident(spool), not old]
    _phone_book(given, spool)
    passed.append(not broken and _session(given))
    return 0 if all(passed) else 1


def _report(passed: bool, step: str, detail: str) -> bool:
    show(detail, label=f"{'ok' if passed else 'PROBLEM':9}{step:14} ")
    return passed


def _permissions(path: str) -> bool:
    """Only root and Asterisk's group may read a file with the password."""
    state = os.stat(path)
    found = f"{path}: {_owner_and_mode(state)}"
    if state.st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        return _report(False, "permissions", f"{found}: others could read or change the password; chmod 0640 {path}")
    return _report(True, "permissions", found)


def _spool_folders(path: str) -> bool:
    me = _spool.user(os.geteuid())
    folders = [folder for folder in FOLDERS if os.path.isdir(f"{path}/{folder}")]
    try:
        state = os.stat(path)
        waiting = len(records.waiting(path)) if "queue" in folders else 0
        failed = len(records.failed(path)) if "failed" in folders else 0
    except OSError as error:
        advice = f"as root: install -d -o {me} -g {me} -m 0700 {path}"
        return _report(False, "spool", f"{error.filename}: {error.strerror}; {advice}")
    found = f"{path}: {_owner_and_mode(state)}, {waiting} waiting, {failed} failed"
    files = [
        f"{path}/{name}" for name in ("lock", "trigger", "resource", "sender") if os.path.lexists(f"{path}/{name}")
    ]
    if not all(os.access(f"{path}/{folder}", os.W_OK | os.X_OK) for folder in ("", *folders)) or not all(
        os.access(file, os.R_OK | os.W_OK) for file in files
    ):
        return _report(False, "spool", f"{found}: {me} can't write to it; chown -R {me} {path}")
    if state.st_mode & 0o077:
        return _report(False, "spool", f"{found}: others could read who calls; chmod 0700 {path}")
    return _report(True, "spool", found)


def _log(path: str) -> bool:
    if os.access(path if os.path.exists(path) else os.path.dirname(path), os.W_OK):
        return _report(True, "log", f"{path}, and syslog")
    return _report(False, "log", f"{path} can't be written: only syslog is used; set [log] file, or chown {path}")


def _resident(spool: str) -> bool:
    found = _service.examine(spool)
    if found["after_restart"]:
        return _report(not _service.is_down(found), "service", _service.describe(found))
    show(_service.describe(found), label=f"{'note':9}{'service':14} ")
    return True


def _phone_book(given: Settings, spool: str) -> None:
    """Try each source."""
    if given.sources:
        from ..phonebook import files
        from ..phonebook.index import Index
        from ..phonebook.types import module

        index = Index(spool, files.sources(given.sources), given.pop.country)
        index.open()
        for name, options in given.sources.items():
            source = module(options.type).Source(name, options)
            if _try(name, source.check) and isinstance(source, files.FileSource):
                _try(name, partial(_indexed, index, source))
    if given.pop.places:
        _try("places", _places)


def _try(name: str, check: Callable[[], str]) -> bool:
    from ..phonebook.source import SourceError

    try:
        return _report(True, name, check())
    except SourceError as error:
        return _report(False, name, str(error))
    except OSError as error:
        return _report(False, name, f"{error.filename}: {error.strerror}")
    except Exception as error:  # a bug in the source or its library
        return _report(False, name, f"{type(error).__name__}: {error}")


def _session(given: Settings) -> bool:
    """Sign in, with a resource of its own: a sender may be using the resource of the spool."""
    from ..xmpp.errors import SessionError
    from ..xmpp.session import Session

    try:
        session = Session(
            given.xmpp,
            f"screen-pop-check-{os.urandom(4).hex()}",
            on_step=lambda step, detail: _report(True, step, detail),
            on_error=lambda *_: None,
            on_receipt=lambda *_: None,
        )
        _contacts(session, given)
        session.close()
    except SessionError as error:
        return _report(False, error.step, f"{error.what}; {error.advice}")
    return True


def _contacts(session: Session, given: Settings) -> None:
    """Who has the account in the contact list. Calls are sent to the others, too."""
    from ..xmpp.errors import SessionError
    from ..xmpp.roster import Roster
    from ._contacts import recipients

    label = f"{'note':9}{'contacts':14} "
    try:
        contacts = Roster(session, recipients(given)).contacts
    except SessionError as error:
        show(f"can't be read: {error.what}", label=label)
        return
    strangers = [address for address, contact in contacts.items() if not contact.has_us]
    if strangers:
        have = "has" if len(strangers) == 1 else "have"
        lost = "Converse.js shows strangers nothing, Kaidan 0.8 opens no chat; run screen-pop introduce"
        show(f"{_listed(strangers)} {have} not accepted yet: {lost}", label=label)
    elif contacts:
        _report(True, "contacts", f"{_listed(list(contacts))} {'has' if len(contacts) == 1 else 'have'} accepted")


def _listed(addresses: list[str]) -> str:
    others = len(addresses) - SHOWN
    return ", ".join(addresses[:SHOWN]) + (f" and {others} more" if others > 0 else "")


def _indexed(index: Index, source: FileSource) -> str:
    """What the index has of a source. Raises SourceError."""
    from ..phonebook import files
    from ..phonebook.source import SourceError

    contents = index.contents.get(source.name)
    if not contents:
        raise SourceError("the index doesn't have it yet; the next call makes it, or: screen-pop index")
    if contents.problem:
        raise SourceError(f"when the index was made: {contents.problem}; to make it again: screen-pop index")
    is_current = contents.state == files.state(source, index.country)
    skipped = f", {contents.skipped:,} were skipped: {contents.reasons[0]}" if contents.skipped else ""
    return f"the index has {contents.entries:,} entries{'' if is_current else ' of what it was before'}{skipped}"


def _places() -> str:
    from ..phonebook import numbers

    return f"+1 202-555-0123 is in {numbers.place(numbers.parse('+12025550123', 'US'))}"


def _owner_and_mode(state: os.stat_result) -> str:
    try:
        group = grp.getgrgid(state.st_gid).gr_name
    except KeyError:
        group = str(state.st_gid)
    return f"{_spool.user(state.st_uid)}:{group} {stat.S_IMODE(state.st_mode):04o}"
