"""A web service: GET of a URL with the number in it, and an answer in JSON."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from .fields import PLACEHOLDER, evaluate, record_names
from .source import Number, SourceError
from .web.document import parsed, text_at
from .web.options import HttpOptions

if TYPE_CHECKING:
    from .web.client import Client

OPTIONS = HttpOptions
CHECKED_WITHIN = 10.0  # seconds
_NOBODY = Number("+12025550123", "+12025550123", "2025550123")
_ADVICE = {401: "check header and token_file", 403: "check header and token_file", 429: "it allows fewer questions"}


class Source:
    def __init__(self, name: str, options: HttpOptions) -> None:
        self._options = options
        self._client: Client | None = None
        self._lock = threading.Lock()

    def lookup(self, number: Number, deadline: float) -> dict[str, str]:
        """A status of 404, an empty body and an empty list are those of a stranger."""
        values = {"number": number.e164, "written": number.written, "national": number.national}
        used = set(PLACEHOLDER.findall(self._options.request))
        if not all(values[name].strip(".") for name in used):  # dots alone would shorten the path
            return {}
        url = PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), self._options.request)
        answer = self._connected().get(url, deadline)
        if answer.status == 404 or (answer.status in (200, 204) and not answer.body):
            return {}
        if answer.status != 200:
            advice = _ADVICE.get(answer.status, "its log should say why" if answer.status >= 500 else "check request")
            raise SourceError(f"{answer.origin} answers with the status {answer.status}; {advice}")
        document, fields = parsed(answer.body, answer.origin), self._options.others
        return evaluate(
            fields, {name: text_at(document, name) for text in fields.values() for name in record_names(text)}
        )

    def check(self) -> str:
        found = self.lookup(_NOBODY, time.monotonic() + CHECKED_WITHIN)
        if found:
            what = f"request finds somebody for {_NOBODY.e164}, a number that nobody has: {found}"
            raise SourceError(f"{what}; does the server look at the number?")
        return f"the server answers, and knows nobody with {_NOBODY.e164}, as it should be"

    def close(self) -> None:
        if self._client:
            self._client.close()

    def _connected(self) -> Client:
        with self._lock:
            if not self._client:
                ca_file = self._options.ca_file
                try:
                    from .web.client import Client
                except ImportError as error:
                    raise SourceError("urllib3 is not installed: ./install.sh --with http adds it") from error
                self._client = Client(ca_file.path if ca_file else None, self._options.filled_header())
            return self._client
