"""An answer in JSON (RFC 8259), and the values in it by their paths."""

from __future__ import annotations

import json
from typing import Any

from ..source import SourceError


def parsed(body: bytes, origin: str) -> Any:
    """Numbers stay as they are written. Raises SourceError if it is neither an object nor a list; null is {}."""
    try:
        document = json.loads(body, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{origin} answers with what is not JSON; check request, or is a token missing?") from error
    if not isinstance(document, (dict, list, type(None))):
        raise SourceError(f"{origin} answers with JSON that is no object and no list; check request")
    return document or {}


def text_at(document: Any, path: str) -> str:
    """The value at `contact.name` or `results.0.name`: empty if it is missing, null, false, an object or a list."""
    for key in path.split("."):
        if isinstance(document, list):
            document = document[int(key)] if key.isdecimal() and int(key) < len(document) else None
        else:
            document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) else "true" if document is True else ""
