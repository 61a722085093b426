"""The section of a source of `type = http`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ...config import File, Option, Required
from ..fields import PLACEHOLDER
from ..source import SourceError, SourceOptions, SourceSecret, source_file, source_secret

_PLACEHOLDERS = {"number", "written", "national"}
# What is in the host part comes from the file only, and there is no user and no password in it.
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?[/?][!\"$-~]*", re.ASCII)
_HEADER = re.compile(r"([A-Za-z0-9-]+):\s*([!-~]([ -~]*[!-~])?)")


def _request(text: str) -> str:
    """No complaint repeats the text: there may be a secret in it."""
    placeholders = PLACEHOLDER.findall(text)
    if not _URL.fullmatch(text):
        raise ValueError(
            "should be a URL such as https://crm.example.org/contacts?phone={number}, with no {…} and no user:password@"
            " in its host, and in ASCII"
        )
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a % should be followed by two hexadecimal digits; %25 is a % itself")
    if not placeholders or not set(placeholders) <= _PLACEHOLDERS:
        raise ValueError("should have {number}, {written} or {national} in it, and no other {…}")
    return text


def _headers(text: str) -> dict[str, str]:
    found = [_HEADER.fullmatch(part.strip()) for part in re.split(r"\s\|\s", text)]
    if not all(found):
        raise ValueError("should be such as Authorization: Bearer {token}, in ASCII; between two of them stands ' | '")
    return {header[1]: header[2] for header in found if header}


class HttpOptions(SourceOptions):
    request = Required(_request, "what is asked for, such as https://crm.example.org/contacts?phone={number}")
    header: Option[dict[str, str]] = Option(_headers, {})
    token_file: Option[SourceSecret | None] = Option(source_secret, None)  # {token} in a header
    ca_file: Option[File | None] = Option(source_file, None)

    def filled_header(self) -> dict[str, str]:
        """With the token. Raises SourceError."""
        file = self.token_file
        if not file and any("{token}" in value for value in self.header.values()):
            raise SourceError("header has {token} in it; token_file should be the file that has it")
        if file and not re.fullmatch("[ -~]+", file.secret):
            raise SourceError(f"the first line of {file.path} has a character that no header may have")
        return {name: value.replace("{token}", file.secret if file else "") for name, value in self.header.items()}

    @classmethod
    def complaints(cls, given: Collection[str]) -> Iterator[str]:
        if "token_file" in given and "header" not in given:
            yield "token_file is not used: there should be a header, such as header = Authorization: Bearer {token}"
