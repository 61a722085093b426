"""What the callers of the HTTP door, and `screen-pop send`, say of an event, as a Call."""

from __future__ import annotations

import hashlib
import re

from ..call import EVENTS, OUTCOMES, Call, stands_for_no_number
from ..text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The fields, and other names for them. `name` is not among them: it is CCXML's word for an event.
NAMES = {
    "ani": ("callerid", "number"),
    "cnam": ("callername",),
    "dnis": ("dialled", "extension"),
    "event": (),
    "id": ("connectionid",),  # what ties a call's events together
    "session": ("sessionid",),  # in which that id is unique: what CCXML adds to each request (appendix K.4)
    "peer": (),  # who has answered
    "duration": (),  # seconds that the call lasted, if it was answered
}
KINDS = tuple(dict.fromkeys((*EVENTS, *OUTCOMES)))
LONGEST_ID = 1024  # characters
LONGEST_CALL = 10_000_000.0  # seconds
_OUR_ID = re.compile(r"\d{10}\.\d{6}-[0-9a-f]{12}(-[0-9a-f]{16})?")
_URI = re.compile(r"(?:sips?|tel):([^@:;?]+).*", re.IGNORECASE)


def call_from(fields: Mapping[str, str], to: str = "") -> Call:
    """`fields`: text from anywhere, by the names in NAMES. Raises ValueError, saying what would be right.

    Without an id, a later event follows the call by the call's own one.
    """
    event = clean(fields.get("event", "")).lower() or EVENTS[0]
    if event not in KINDS:
        raise ValueError(f"event should be one of {', '.join(KINDS)}")
    given_id, is_later = given(fields), event != EVENTS[0]
    if "ani" not in fields and not (is_later and given_id):
        raise ValueError("the caller's number is missing; it may be empty")
    talked = _seconds(fields.get("duration", ""))
    if event == "ended" and talked >= 0:
        event = "answered"
    tie = _tie(clean(fields.get("session", "")), given_id) if given_id else ""
    follows = [given_id] if _OUR_ID.fullmatch(given_id) else []
    number, dialled = _number(fields.get("ani", "")), _number(fields.get("dnis", ""))
    withheld = stands_for_no_number(number)
    return Call(
        event=event,
        number="" if withheld else number,
        name="" if withheld else clean(fields.get("cnam", "")),
        withheld=withheld,
        dnid=dialled,
        extension=dialled,
        uniqueid=clean(given_id),
        follows="&".join([*follows, tie]) if is_later and given_id else "",
        peer=clean(fields.get("peer", "")),
        talked=talked if event == "answered" else -1.0,
        to=clean(to, limit=8192),
        tie=tie,
    )


def given(fields: Mapping[str, str]) -> str:
    """The id that the caller of the door has for the call: one line of text, or empty."""
    return clean(fields.get("id", ""), limit=LONGEST_ID)


def _tie(session: str, given_id: str) -> str:
    """The same for each event of a call. It can be part of a file name, for any id."""
    return hashlib.sha256(f"{session}\n{given_id}".encode()).hexdigest()[:16]


def _number(text: str) -> str:
    """Of a SIP or tel URI (RFC 3261 section 19.1.1, RFC 3966) the user or the number."""
    text = clean(text)
    uri = _URI.fullmatch(text)
    return uri[1] if uri else text


def _seconds(text: str) -> float:
    """-1 if it isn't known. Raises ValueError."""
    text = clean(text)
    if not text:
        return -1.0
    if not re.fullmatch(r"\d{1,8}(\.\d{1,20})?", text, re.ASCII) or float(text) > LONGEST_CALL:
        raise ValueError("duration should be a number of seconds, such as 192 or 0.5")
    return float(text)
