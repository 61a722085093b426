"""Who is told of a call."""

from __future__ import annotations

from collections.abc import Sequence

from ..call import Call
from ..xmpp import jid


def recipients(call: Call, default: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The JIDs that the dialplan gave (joined by `&`, as in `Dial()`), else the configured ones.

    Returns those to be told, each once, and what is no JID, with the reason.
    """
    found: dict[str, None] = {}
    wrong = {}
    for text in filter(None, (part.strip() for part in call.to.split("&"))):
        try:
            found[str(jid.parse(text))] = None
        except ValueError as error:
            wrong[text] = str(error)
    if not found and not wrong:  # none given, or only empty ones
        return list(default), {}
    return list(found), wrong
