"""The fields of an answer, as a section of the phone book names them.

name = full_name                           the column, attribute or path `full_name` of the record
name = {first} {last}                      a template of them
url = https://crm.example.org/c/{id}       http or https; what is put in is percent-encoded; left out if it is too long
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..text import clean

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
LONGEST = 500  # characters of a field
_URL = re.compile(r"https?://[^\s/?#]+[^\s]*")


def field(text: str) -> str:
    """An option that names a field. Raises ValueError, saying what would be right."""
    if "{" in PLACEHOLDER.sub("", text) or "}" in PLACEHOLDER.sub("", text) or "{}" in text:
        raise ValueError(f"{text!r} should be a name, or a text with names in braces, such as {{first}} {{last}}")
    return text


def record_names(text: str) -> list[str]:
    """Of what a field is made: the names in a template, or the one name."""
    return PLACEHOLDER.findall(text) or [text]


def evaluate(fields: Mapping[str, str], record: Mapping[str, str]) -> dict[str, str]:
    """The fields that this record has, each as one clean line. A field of which nothing is known is left out."""
    found = {}
    for name, text in fields.items():
        names = PLACEHOLDER.findall(text)
        longest = LONGEST + 1 if name == "url" else LONGEST  # so that one that is too long is seen below
        values = {key: clean(record.get(key, ""), limit=longest) for key in names or [text]}
        if not any(values.values()):
            continue
        if name == "url" and names:
            from urllib.parse import quote  # here: most installations have no phone book

            values = {key: quote(value, safe="") for key, value in values.items()}
        value = clean(_fill(text, values) if names else values[text], limit=longest)
        if name != "url" or (len(value) <= LONGEST and _URL.fullmatch(value)):  # one that is cut would lead elsewhere
            found[name] = value
    return found


def _fill(text: str, values: Mapping[str, str]) -> str:
    """In one pass, so a value that looks like a placeholder stays what it is."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], text)
