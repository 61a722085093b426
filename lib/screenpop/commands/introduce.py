"""Give the account a name and a picture, and ask the recipients to accept it as a contact."""

from __future__ import annotations

import os

from . import _spool
from ._terminal import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ..settings import Settings
    from ..xmpp.roster import Roster
    from ..xmpp.session import Session

WAIT = 5.0  # seconds for the recipients' answers
PICTURE = f"{os.path.dirname(__file__)}/telephone.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Change what isn't right yet, and print a line for each part of it and for each recipient. Returns the exit
    status: 0 unless there was no session, or a recipient could not be asked.
    """
    from ..xmpp.errors import SessionError
    from ..xmpp.session import Session
    from . import _settings

    _spool.path()
    given = _settings.load()
    if given is None:
        return 1
    try:
        session = Session(
            given.xmpp,
            f"screen-pop-introduce-{os.urandom(4).hex()}",
            on_step=lambda *_: None,
            on_error=lambda *_: None,
            on_receipt=lambda *_: None,
        )
        picture = _show_who_we_are(session, given.xmpp.name)
        roster = _meet(session, given, picture)
        session.close()
    except SessionError as error:
        show(f"{error.step}: {error.what}; {error.advice}", label="PROBLEM  ")
        return 1
    reached = [_report(roster, address) for address in roster.contacts]
    return 0 if all(reached) else 1


def _show_who_we_are(session: Session, name: str) -> bytes:
    """Name and picture, in the vCard and by PEP. Returns the picture that the vCard has then.

    A picture that somebody else has chosen for the account stays.
    """
    from ..xmpp import xep_0084, xep_0172
    from ..xmpp.xep_0054 import NoVCard, VCard
    from ..xmpp.xep_0163 import NoPEP

    with open(PICTURE, "rb") as file:
        ours = file.read()
    card = published = None
    try:
        card = VCard(session)
    except NoVCard as reason:
        show(f"the server keeps none: {reason}", label="vCard    ")
    try:
        published = xep_0084.published(session)
    except NoPEP as reason:
        show(f"the server has none: {reason}", label="PEP      ")
    is_ours = (not card or card.picture in (b"", ours)) and published in (None, "", xep_0084.sha1(ours))
    if card:
        right = card.name == name and (card.picture or not is_ours)
        try:
            if not right:
                card.change(name, ours if is_ours else None)
            show(name if right else f"{name} (set)", label="vCard    ")
        except NoVCard as reason:
            show(f"can't be changed: {reason}", label="vCard    ")
    if published is not None:
        try:
            changed = xep_0172.publish(session, name)
            if is_ours and not published:
                xep_0084.publish(session, ours)
                changed = True
            show(f"{name} (set)" if changed else name, label="PEP      ")
        except NoPEP as reason:
            show(f"can't be changed: {reason}", label="PEP      ")
    return card.picture if card else b""


def _meet(session: Session, given: Settings, picture: bytes) -> Roster:
    """Ask the recipients, and approve what they ask for."""
    from ..xmpp import xep_0153, xep_0172
    from ..xmpp.roster import Roster
    from ._contacts import recipients

    roster = Roster(session, recipients(given))
    roster.appear([xep_0153.element(picture)])
    roster.approve()
    for address, contact in roster.contacts.items():
        if not contact.has_accepted:
            roster.ask(address, [xep_0172.element(given.xmpp.name)])
    roster.wait(
        WAIT,
        lambda: all(
            contact.subscription == "both" or address in roster.refused for address, contact in roster.contacts.items()
        ),
    )
    roster.approve()  # what has come meanwhile
    session.confirm()
    return roster


def _report(roster: Roster, address: str) -> bool:
    """Returns whether the recipient could be asked."""
    contact = roster.contacts[address]
    refused = not contact.has_accepted and roster.refused.get(address)
    said = f"asked: {refused}" if refused else "accepted" if contact.has_accepted else "asked, no answer yet"
    if contact.is_subscribed and not roster.before[address].is_subscribed:
        said += "; asked by them, and approved"
    show(f"{address}: {said}", label="contact  ")
    return not refused
