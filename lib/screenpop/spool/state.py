"""What the sender leaves for others beside the queue: its state, for `screen-pop status`, and its XMPP resource."""

from __future__ import annotations

import json
import os

from . import files, records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write(spool: str, state: dict[str, object]) -> None:
    """Only the sender does this. On a full disk the state stays as it was."""
    try:
        files.replace(spool, "sender", json.dumps(state).encode())
    except OSError:
        pass


def read(spool: str) -> dict[str, Any]:
    """Empty when there is none, or none that can be read."""
    try:
        state = records.read(f"{spool}/sender")
    except (OSError, records.InvalidFile):
        return {}
    return state if isinstance(state, dict) else {}


def resource(spool: str) -> str:
    """The XMPP resource of this spool, made once: each of its sessions has the same full JID. Only the sender asks."""
    try:
        with open(f"{spool}/resource", "rb") as file:
            made = file.read(100).decode("ascii", "replace").strip()
            if made.startswith("screen-pop-"):
                return made
    except FileNotFoundError:
        pass
    made = f"screen-pop-{os.urandom(4).hex()}"
    try:
        files.replace(spool, "resource", f"{made}\n".encode())
    except OSError:  # a full disk: the next session has another one
        pass
    return made
