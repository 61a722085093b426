"""The HTTP door: a WSGI application (PEP 3333). http_server.py runs it, or any other WSGI server, or a CGI host.

It takes what CCXML's <send> with `targettype="'basichttp'"` sends (W3C CCXML 1.0, appendix K), and answers in the form
that Voxeo Prophecy makes an event of: text/plain, in the first line the event's name, in the others name=value.
"""

from __future__ import annotations

import hmac
import re
import threading
import time
from urllib.parse import parse_qsl

from ..text import clean, decode
from . import fields as fields_module
from . import intake
from .fields import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..call import Call
    from ..spool.outbox import Outbox

LARGEST = 65_536  # bytes of a body
MOST_FIELDS = 100
FORM = "application/x-www-form-urlencoded"
CALLS = (50.0, 500.0)  # per second, and at once
WRONG_TOKENS = LINES = (10 / 60, 10.0)

_FIELD = {other: name for name, others in NAMES.items() for other in (name, *others)} | {"token": "token"}
# The blank in `?ani=+15551234567` is a plus sign that should have been written as %2B.
_PLUS = re.compile(r"^((?:sips?:|tel:)?) (?=\d)", re.IGNORECASE)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    405: "Method Not Allowed",
    413: "Content Too Large",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


class Refusal(Exception):
    """The answer if the call is not queued: a status, and a line that says why."""

    def __init__(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


class Limit:
    """At most `rate` a second, and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._left, self._at = rate, burst, burst, time.monotonic()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Application:
    """`token`: returns the present one, empty if there is none. `log`: writes a line; it may be called by any thread.

    The limits hold for all clients together, as behind a proxy all have one address: a client in a loop can't fill the
    spool, nor wrong tokens the log. Wrong tokens never keep the right one out; it is too long to be guessed.
    """

    def __init__(self, outbox: Outbox, token: Callable[[], str], log: Callable[[str], None]) -> None:
        self.outbox, self.token, self.log = outbox, token, log
        self._calls, self._wrong, self._lines = Limit(*CALLS), Limit(*WRONG_TOKENS), Limit(*LINES)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers: tuple[tuple[str, str], ...] = ()
        try:
            status, text = 200, self._queue(environ)
        except Refusal as refusal:
            status, text, headers = refusal.status, str(refusal), refusal.headers
        body = f"{text}\n".encode()
        always = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response(f"{status} {_REASONS[status]}", [*always, *headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _queue(self, environ: dict[str, Any]) -> str:
        """The answer. Raises Refusal."""
        if environ["REQUEST_METHOD"] not in ("GET", "POST"):
            raise Refusal(405, "a call is sent by GET or POST", ("Allow", "GET, POST"))
        body = _body(environ)  # first: a body that is too large is never read
        fields, complaint = _fields(environ, body)
        self._check_token(environ, fields.pop("token", ""))
        if complaint:
            raise Refusal(400, complaint)
        if not self._calls.allows():
            raise Refusal(429, f"more than {CALLS[0]:.0f} calls a second", ("Retry-After", "1"))
        try:
            call = fields_module.call_from(fields)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        self._hand_over(call)
        return f"screen_pop.queued\nid={fields_module.given(fields) or call.id}\nstatus=QUEUED"

    def _check_token(self, environ: dict[str, Any], field: str) -> None:
        """Raises Refusal. In a field, the token can stand in a URL where nothing else can be set."""
        token = self.token()
        if not token:
            raise Refusal(503, "[http] token is not set in screen_pop.conf")
        scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else field
        if hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return
        if not self._wrong.allows():
            raise Refusal(429, "too many requests without the right token", ("Retry-After", "60"))
        self.report(f"HTTP: {'a wrong' if given else 'no'} token, from {environ.get('REMOTE_ADDR', 'somebody')}")
        why = "the token is wrong" if given else "a token is needed: Authorization: Bearer TOKEN, or a field token"
        raise Refusal(401, why, ("WWW-Authenticate", 'Bearer realm="screen_pop"'))

    def _hand_over(self, call: Call) -> None:
        """Raises Refusal."""
        status, problems = intake.hand_over(self.outbox, call, 0.0, lambda descriptor, seconds: False)
        for problem in problems:
            self.report(f"HTTP: {problem}")
        if status == "FAILED":
            raise Refusal(503, "the call can be queued neither in the spool nor in memory", ("Retry-After", "10"))

    def report(self, text: str) -> None:
        if self._lines.allows():
            self.log(clean(text, limit=1000))


def _body(environ: dict[str, Any]) -> bytes:
    """Raises Refusal. One that is too large is not read."""
    length = environ.get("CONTENT_LENGTH") or ""
    too_large = Refusal(413, f"the body has more than {LARGEST} bytes")
    if not length:
        ends = environ.get("wsgi.input_terminated")  # where a server has undone `Transfer-Encoding: chunked`
        body: bytes = environ["wsgi.input"].read(LARGEST + 1) if ends else b""
        if len(body) > LARGEST:
            raise too_large
        return body
    if not (length.isascii() and length.isdigit()):
        raise Refusal(400, "Content-Length should be a number")
    if len(length) > 10 or int(length) > LARGEST:
        raise too_large
    body = environ["wsgi.input"].read(int(length))
    if len(body) < int(length):
        raise Refusal(400, "the body is shorter than Content-Length")
    return body


def _fields(environ: dict[str, Any], body: bytes) -> tuple[dict[str, str], str]:
    """Those of the query and the form that we know, by their names here; and what is wrong, if anything is."""
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    complaint = f"the body should be {FORM}" if body and kind not in ("", FORM) else ""
    found: dict[str, str] = {}
    for text in (environ.get("QUERY_STRING", ""), "" if complaint else body.decode("latin-1")):
        try:
            pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=MOST_FIELDS)
        except ValueError:
            return found, f"there are more than {MOST_FIELDS} fields"
        for written, raw in pairs:
            name = _FIELD.get(written.lower(), "")
            value = decode(raw.encode("latin-1", "replace"))
            if name in ("ani", "dnis"):
                value = _PLUS.sub(r"\1+", value)
            if not name or (name in found and not value):
                continue
            if found.get(name, value) not in ("", value) and not complaint:
                complaint = f"{name} is given twice, with different values"
            found[name] = found.get(name) or value
    return found, complaint
