"""The recipients of a call."""

from __future__ import annotations

from collections.abc import Sequence

from ..call import Call
from ..xmpp import jid


def recipients(call: Call, default: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The JIDs that the dialplan gives (joined by `&`, as in `Dial()`), else the configured ones.

    Returns the recipients, each once, and a dictionary of the texts that are not JIDs, each with the reason.
    """
    valid: dict[str, None] = {}
    invalid = {}
    for text in filter(None, (part.strip() for part in call.to.split("&"))):
        try:
            valid[jid.recipient(text)] = None
        except ValueError as error:
            invalid[text] = str(error)
    if not valid and not invalid:  # none given, or only empty ones
        return list(default), {}
    return list(valid), invalid
