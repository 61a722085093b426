"""What the sender leaves for others beside the queue: its state, for `screen-pop status`, and its XMPP resource."""

from __future__ import annotations

import json
import os

from . import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 262_144  # bytes of a state that is read


def write(spool: str, state: dict[str, object]) -> None:
    """Only the sender does this. On a full disk the state stays as it was."""
    try:
        _replace(spool, "sender", json.dumps(state))
    except OSError:
        pass


def read(spool: str) -> dict[str, Any]:
    """Empty when there is none, or none that can be read."""
    try:
        with open(f"{spool}/sender", "rb", opener=records.opener) as file:
            state = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
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
        _replace(spool, "resource", f"{made}\n")
    except OSError:  # a full disk: the next session has another one
        pass
    return made


def _replace(spool: str, name: str, text: str) -> None:
    written = f"{spool}/tmp/{os.urandom(8).hex()}"
    try:
        with open(written, "w", encoding="ascii") as file:
            file.write(text)
        os.rename(written, f"{spool}/{name}")
    except BaseException:  # also SIGTERM
        if os.path.exists(written):
            os.unlink(written)
        raise
