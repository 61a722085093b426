"""The HTTP door as a WSGI application: what it answers, and what is then in the spool."""

from __future__ import annotations

import hmac
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.spool import calls, outbox
from screenpop.call import Call
from screenpop.config import ConfigError
from screenpop.doors import fields, http
from screenpop.doors.http import FORM, LARGEST, Application
from screenpop.doors.options import HttpOptions
from screenpop.settings import load
from screenpop.spool import outbox as outbox_module
from screenpop.spool.outbox import Outbox
from screenpop.text import clean

__all__ = ["outbox"]

TOKEN = "0123456789abcdef"
BEARER = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}


class Client:
    """Sends requests to the application; `log` has the lines that it has logged."""

    def __init__(self, outbox: Outbox, token: str = TOKEN) -> None:
        self.outbox, self.log = outbox, list[str]()
        self.application = Application(outbox, lambda: token, self.log.append)

    def send(self, query: str = "", body: bytes = b"", **environ: Any) -> tuple[int, dict[str, str], str]:
        """With the token in the header, unless `environ` says otherwise."""
        well_formed = "CONTENT_LENGTH" not in environ
        if body:
            environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": str(len(body)), **environ}
        sent = {
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(body),
            "REMOTE_ADDR": "192.0.2.7",
            **BEARER,
            **environ,
        }
        setup_testing_defaults(sent)
        sent = {name: value for name, value in sent.items() if value is not None}
        answer: list[Any] = []
        application: Any = validator(self.application) if well_formed else self.application
        said = application(sent, lambda status, headers, *error: answer.extend([status, dict(headers)]))
        text = b"".join(said).decode()
        if well_formed:
            said.close()
        status, headers = answer
        assert headers["Content-Length"] == str(len(text.encode()))
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        return int(status[:3]), headers, text

    def refused(self, query: str = "", **request: Any) -> tuple[int, str]:
        """The status and the one line that says why. Nothing is queued."""
        before = len(calls(self.outbox))
        status, _, text = self.send(query, **request)
        assert status >= 400 and text.count("\n") == 1 and text.endswith("\n")
        assert len(calls(self.outbox)) == before
        return status, text.strip()

    def queued(self, query: str = "", **request: Any) -> Call:
        before = {call.id for call in calls(self.outbox)}
        status, _, text = self.send(query, **request)
        assert status == 200, text
        (call,) = (call for call in calls(self.outbox) if call.id not in before)
        return call


@pytest.fixture
def client(outbox: Outbox) -> Client:
    return Client(outbox)


# What is understood


def test_a_call_is_in_the_spool_before_it_is_answered_in_the_form_of_prophecy(client: Client) -> None:
    status, _, text = client.send("ani=%2B15551234567&cnam=Alice+Example&dnis=201")
    (call,) = calls(client.outbox)
    assert (status, text) == (200, f"screen_pop.queued\nid={call.id}\nstatus=QUEUED\n")
    assert (call.event, call.number, call.name) == ("ringing", "+15551234567", "Alice Example")
    assert (call.extension, call.dnid, call.to, call.follows) == ("201", "201", "", "")


@pytest.mark.parametrize("name", ["ani", "callerid", "number", "ANI", "CallerID"])
def test_the_number_has_several_names(client: Client, name: str) -> None:
    assert client.queued(f"{name}=1").number == "1"


@pytest.mark.parametrize(("name", "value"), [("cnam", "Bob"), ("callername", "Bob"), ("name", "")])
def test_the_name_has_several_names_but_not_the_one_that_ccxml_has_for_events(
    client: Client, name: str, value: str
) -> None:
    assert client.queued(f"ani=1&{name}=Bob").name == value


@pytest.mark.parametrize("name", ["dnis", "dialled", "extension"])
def test_the_extension_has_several_names(client: Client, name: str) -> None:
    assert client.queued(f"ani=1&{name}=201").extension == "201"


def test_query_and_form_are_read_both(client: Client) -> None:
    call = client.queued(f"ani=1&token={TOKEN}", body=b"callername=Bob&dialled=201", HTTP_AUTHORIZATION=None)
    assert (call.number, call.name, call.extension) == ("1", "Bob", "201")


@pytest.mark.parametrize("path", ["/", "/screen_pop.php", "/cgi-bin/../x", "/%00", ""])
def test_any_path_will_do(client: Client, path: str) -> None:
    assert client.queued("ani=1", PATH_INFO=path).number == "1"


def test_what_ccxml_adds_does_no_harm(client: Client) -> None:
    added = "name=screen_pop&sessionid=s1&eventid=e1&eventsource=http%3A%2F%2F192.0.2.1%2F&eventsourcetype=basichttp"
    call = client.queued(f"{added}&ani=1&hints=x&aai=")
    assert (call.number, call.name, call.event, call.extension) == ("1", "", "ringing", "")


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        ("+15551234567", "+15551234567"),  # in a query, + stands for a blank, and should have been %2B
        ("%2B15551234567", "+15551234567"),
        ("%2b1%20555", "+1 555"),
        ("sip:+15551234567@pbx.example.org:5060;user=phone", "+15551234567"),
        ("sips:alice@example.org", "alice"),
        ("tel:+1-555-123-4567;ext=9", "+1-555-123-4567"),
        ("SIP%3A201%40192.0.2.1", "201"),
        ("sip:pbx.example.org", "pbx.example.org"),
        ("sip:", "sip:"),
        ("++", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("field", ["ani", "dnis"])
def test_how_a_number_may_be_written(client: Client, field: str, sent: str, number: str) -> None:
    call = client.queued(f"{field}={sent}{'' if field == 'ani' else '&ani='}")
    assert (call.number if field == "ani" else call.extension) == number


def test_a_withheld_number_has_no_name(client: Client) -> None:
    for number in ("anonymous", "sip:anonymous@anonymous.invalid", "Restricted"):
        call = client.queued(f"ani={number}&cnam=Alice")
        assert (call.number, call.name, call.withheld) == ("", "", True)


@pytest.mark.parametrize("raw", ["%C3%A4", "%E4", "\xc3\xa4", "\xe4"])
def test_bytes_beyond_ascii_are_utf_8_or_else_latin_1(client: Client, raw: str) -> None:
    assert client.queued(f"ani=1&cnam={raw}").name == "ä"
    assert client.queued("ani=1", body=f"cnam={raw}".encode("latin-1")).name == "ä"


@pytest.mark.parametrize(
    ("event", "stored"),
    [
        ("ringing", "ringing"),
        ("", "ringing"),
        ("Answered", "answered"),
        ("missed", "missed"),
        ("busy", "busy"),
        ("voicemail", "voicemail"),
        ("ended", "ended"),
    ],
)
def test_events(client: Client, event: str, stored: str) -> None:
    call = client.queued(f"id=x&ani=1&event={event}&peer=bob")
    assert (call.event, call.talked, call.uniqueid) == (stored, -1.0, "x")
    assert bool(call.follows) == (stored != "ringing")


@pytest.mark.parametrize("event", ["answered", "ended"])
def test_with_a_duration_the_call_was_answered(client: Client, event: str) -> None:
    call = client.queued(f"id=x&event={event}&peer=bob&duration=192.4")
    assert (call.event, call.talked, call.peer) == ("answered", 192.4, "bob")


def test_a_later_event_names_the_call_as_its_caller_does_and_the_answer_does_too(client: Client) -> None:
    status, _, text = client.send("id=leg%201&event=missed")
    assert (status, text) == (200, "screen_pop.queued\nid=leg 1\nstatus=QUEUED\n")
    (call,) = calls(client.outbox)
    assert call.follows and call.id.endswith(f"-{call.follows}")


# What is refused


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "the caller's number is missing; it may be empty"),
        ("cnam=Bob", "the caller's number is missing; it may be empty"),
        ("event=missed", "the caller's number is missing; it may be empty"),
        ("id=x", "the caller's number is missing; it may be empty"),
        ("ani=1&event=hello", "event should be one of ringing, answered, missed, ended, busy, voicemail"),
        ("ani=1&event=connection.alerting", "event should be one of ringing, answered, missed, ended, busy, voicemail"),
        ("ani=1&duration=long", "duration should be a number of seconds, such as 192 or 0.5"),
        ("ani=1&duration=-1", "duration should be a number of seconds, such as 192 or 0.5"),
        ("ani=1&duration=NaN", "duration should be a number of seconds, such as 192 or 0.5"),
        ("ani=1&duration=1e9", "duration should be a number of seconds, such as 192 or 0.5"),
        ("ani=1&duration=99999999", "duration should be a number of seconds, such as 192 or 0.5"),
        ("ani=1&duration=٣", "duration should be a number of seconds, such as 192 or 0.5"),
        ("ani=1&ani=2", "ani is given twice, with different values"),
        ("callerid=1&number=2", "ani is given twice, with different values"),
        ("ani=1" + "&x=1" * 100, "there are more than 100 fields"),
    ],
)
def test_400_says_what_would_be_right(client: Client, query: str, why: str) -> None:
    assert client.refused(quote(query, safe="=&")) == (400, why)


def test_what_is_given_twice_is_compared_with_the_form_as_well(client: Client) -> None:
    assert client.refused("ani=1", body=b"ani=2") == (400, "ani is given twice, with different values")
    assert client.queued("ani=1&callerid=&number=1", body=b"ani=1&x=1&x=2&").number == "1"


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/xml", "x"])
def test_another_kind_of_body_is_refused(client: Client, kind: str) -> None:
    assert client.refused("ani=1", body=b"{}", CONTENT_TYPE=kind) == (400, f"the body should be {FORM}")


@pytest.mark.parametrize("kind", [f"{FORM}; charset=UTF-8", FORM.title(), "", None])
def test_a_form_may_say_its_charset_or_nothing(client: Client, kind: str | None) -> None:
    assert client.queued(body=b"ani=1", CONTENT_TYPE=kind).number == "1"


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "٣", " ", "+5"])
def test_a_length_that_is_no_number_is_refused(client: Client, length: str) -> None:
    assert client.refused(body=b"ani=1", CONTENT_LENGTH=length) == (400, "Content-Length should be a number")


def test_half_a_body_is_refused(client: Client) -> None:
    assert client.refused(body=b"ani=1", CONTENT_LENGTH="6") == (400, "the body is shorter than Content-Length")


class Unread(io.BytesIO):
    def read(self, *size: Any) -> bytes:
        raise AssertionError("it is read")


@pytest.mark.parametrize("length", [str(LARGEST + 1), "1" + "0" * 5000], ids=["", "of 5000 digits"])
def test_413_is_said_of_a_body_that_is_not_read(client: Client, length: str) -> None:
    """With and without the token."""
    environ: dict[str, Any]
    for environ in ({}, {"HTTP_AUTHORIZATION": None}):
        why = f"the body has more than {LARGEST} bytes"
        unread: dict[str, Any] = {"wsgi.input": Unread(), **environ}
        said = client.refused(body=b"x", CONTENT_LENGTH=length, **unread)
        assert said == (413, why)


def test_a_body_may_be_as_large_as_that(client: Client) -> None:
    body = b"ani=1&x=".ljust(LARGEST, b"x")
    assert client.queued(body=body).number == "1"
    chunked: dict[str, Any] = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}
    assert client.queued(body=body, **chunked).number == "1"
    assert client.refused(body=body + b"x", **chunked)[0] == 413


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_another_method_sends_no_call(client: Client, method: str) -> None:
    environ = {"QUERY_STRING": "ani=1", **BEARER, "REQUEST_METHOD": method}
    answer: list[Any] = []
    client.application(environ, lambda *said: answer.extend(said))
    status, headers = answer
    assert status.startswith("405") and ("Allow", "GET, POST") in headers
    assert not calls(client.outbox)


# The token


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", f"BEARER {TOKEN}"])
def test_the_token_in_the_header(client: Client, header: str) -> None:
    assert client.queued("ani=1", HTTP_AUTHORIZATION=header).number == "1"


def test_the_token_in_a_field_of_the_query_or_the_form(client: Client) -> None:
    assert client.queued(f"ani=1&token={TOKEN}", HTTP_AUTHORIZATION=None).number == "1"
    assert client.queued(body=f"ani=1&token={TOKEN}".encode(), HTTP_AUTHORIZATION=None).number == "1"
    assert client.queued(f"ani=1&token={TOKEN}", HTTP_AUTHORIZATION="Basic eDp5").number == "1"


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", f"Token {TOKEN}", TOKEN, "ä", "é "],
)
def test_401_without_the_token(client: Client, header: str) -> None:
    status, headers, text = client.send("ani=1", HTTP_AUTHORIZATION=header)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="screen_pop"')
    assert not calls(client.outbox)
    assert TOKEN not in text and TOKEN not in "".join(client.log)


def test_401_tells_who_has_no_token_how_to_send_it_and_nothing_else(client: Client) -> None:
    why = "a token is needed: Authorization: Bearer TOKEN, or a field token"
    for query in ("ani=1", "", "ani=1&ani=2", "event=hello"):
        assert client.refused(query, HTTP_AUTHORIZATION=None) == (401, why)
    assert client.log == ["HTTP: no token, from 192.0.2.7"] * 4


def test_without_a_token_in_the_configuration_nobody_is_let_in(outbox: Outbox) -> None:
    client = Client(outbox, token="")
    for header in (None, "Bearer ", "Bearer x"):
        assert client.refused("ani=1&token=", HTTP_AUTHORIZATION=header)[0] == 503


def test_a_changed_token_counts_at_once(outbox: Outbox) -> None:
    client = Client(outbox)
    tokens = iter(["another token...", "another token...", TOKEN])
    client.application.token = lambda: next(tokens)
    assert client.refused("ani=1")[0] == 401
    assert client.queued("ani=1", HTTP_AUTHORIZATION="Bearer another token...")
    assert client.queued("ani=1")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, in its first place; it stands still."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_time_of_an_answer_tells_nothing_of_the_token(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is given is compared in a time that does not depend on where it is wrong."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def compare_digest(given: bytes, right: bytes) -> bool:
        compared.append((given, right))
        return compare(given, right)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    given = [TOKEN, f"{TOKEN[:-1]}x", f"x{TOKEN[1:]}", "x", ""]
    assert [client.send(f"ani=1&token={one}", HTTP_AUTHORIZATION=None)[0] for one in given] == [200, *[401] * 4]
    assert compared == [(one.encode(), TOKEN.encode()) for one in given]


def test_wrong_tokens_fill_no_log_and_keep_the_right_one_not_out(clock: list[float], outbox: Outbox) -> None:
    client = Client(outbox)
    statuses = [client.refused("ani=1", HTTP_AUTHORIZATION="Bearer wrong")[0] for _ in range(1000)]
    assert statuses == [401] * 10 + [429] * 990
    assert client.log == ["HTTP: a wrong token, from 192.0.2.7"] * 10
    assert client.queued("ani=1").number == "1"
    assert client.send("ani=1", HTTP_AUTHORIZATION=None)[1]["Retry-After"] == "60"
    clock[0] += 60
    assert [client.refused("ani=1", HTTP_AUTHORIZATION=None)[0] for _ in range(11)] == [401] * 10 + [429]


def test_429_to_a_client_in_a_loop(clock: list[float], outbox: Outbox) -> None:
    client = Client(outbox)
    statuses = [client.send("ani=1")[0] for _ in range(600)]
    assert statuses == [200] * 500 + [429] * 100
    assert client.refused("ani=1") == (429, "more than 50 calls a second")
    clock[0] += 1
    assert [client.send("ani=1")[0] for _ in range(51)] == [200] * 50 + [429]


# The spool


def test_a_full_disk_sends_the_call_to_memory(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY", str(tmp_path / "memory"))
    Path(client.outbox.path, "new").rmdir()
    Path(client.outbox.path, "new").touch()  # nothing can be written there
    monkeypatch.setattr("screenpop.spool.trigger.start_sender", lambda *arguments: 1)
    assert client.send("ani=1")[0] == 200
    assert [call.number for call in calls(Outbox(client.outbox.spare_path))] == ["1"]
    (line,) = client.log
    assert line.startswith("HTTP: the spool can't be written") and "the call waits in memory" in line
    for _ in range(50):
        assert client.send("ani=1")[0] == 200
    assert len(client.log) < 20


def test_503_if_the_call_can_be_queued_nowhere(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(outbox_module, "MEMORY", str(tmp_path / "file"))
    for folder in ("new", "tmp"):
        os.rename(f"{client.outbox.path}/{folder}", f"{client.outbox.path}/{folder}.away")
        Path(client.outbox.path, folder).touch()
    status, _, text = client.send("ani=1")
    assert (status, text) == (503, "the call can be queued neither in the spool nor in memory\n")
    assert client.log and "nor can memory" in client.log[0]


# Hostile input

ANYTHING = st.one_of(
    st.text(max_size=300), st.sampled_from(["\r\nX: 1", "\n\nid=2", "\x00", "\u202e", "=", "&", "%", "+"])
)


FIELDS = st.dictionaries(st.one_of(st.sampled_from([*fields.NAMES, "name"]), st.text(max_size=9)), ANYTHING, max_size=9)


@given(sent=FIELDS)
@settings(deadline=None)
def test_whatever_is_sent_the_answer_has_its_three_lines_or_one(
    outbox_of_property: Outbox, sent: dict[str, str]
) -> None:
    client = Client(outbox_of_property)
    status, headers, text = client.send(urlencode({"ani": "1", **sent}, errors="replace"))
    lines = text.split("\n")
    assert all(name.isprintable() and value.isprintable() for name, value in headers.items())
    assert (status, len(lines)) in ((200, 4), (400, 2))
    if status == 200:
        assert lines[0] == "screen_pop.queued" and lines[1].startswith("id=") and lines[2:] == ["status=QUEUED", ""]
        assert len(text.splitlines()) == 3 and lines[1] == clean(lines[1], limit=2000)
    for call in calls(client.outbox):
        assert call.to == ""


@given(query=st.binary(max_size=400), body=st.binary(max_size=400))
@settings(deadline=None)
def test_whatever_the_bytes_are_it_is_an_answer(outbox_of_property: Outbox, query: bytes, body: bytes) -> None:
    client = Client(outbox_of_property)
    assert client.send(f"ani=1&{query.decode('latin-1')}", body=body)[0] in (200, 400)


@pytest.fixture(scope="module")
def outbox_of_property(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outbox]:
    """For all examples of a property; the senders that would be started are none."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("screenpop.spool.trigger.start_sender", lambda *arguments: 1)
        patches.setattr(http, "CALLS", (1e9, 1e9))
        made = Outbox(str(tmp_path_factory.mktemp("property") / "outbox"))
        made.make()
        yield made


@pytest.mark.parametrize(
    "hostile", ["1\r\nX-Evil: 1", "1\nscreen_pop.evil", "\x1b[31m1", "\u202e1", '"><script>', "1&to=eve@evil.test"]
)
def test_text_of_a_caller_is_no_line_no_field_and_no_recipient(client: Client, hostile: str) -> None:
    query = urlencode({"ani": hostile, "cnam": hostile, "id": hostile, "to": "eve@evil.test", "recipients": "eve"})
    status, headers, text = client.send(query)
    assert status == 200 and len(text.splitlines()) == 3 and "X-Evil" not in headers
    (call,) = calls(client.outbox)
    assert call.to == "" and call.number.isprintable() and "\u202e" not in call.number + call.name + text


# The configuration

ACCOUNT = "[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = alice@example.org\n[http]\n"


def configured(tmp_path: Path, text: str) -> HttpOptions:
    (tmp_path / "screen_pop.conf").write_text(ACCOUNT + text)
    return load(str(tmp_path / "screen_pop.conf")).http


def test_the_door_is_closed_by_default(tmp_path: Path) -> None:
    options = configured(tmp_path, "")
    assert (options.listen, options.token) == (None, "")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8088", ("127.0.0.1", 8088)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:65535", ("localhost", 65535)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
    ],
)
def test_where_it_listens(tmp_path: Path, text: str, address: tuple[str, int]) -> None:
    options = configured(tmp_path, f"listen = {text}\ntoken = {TOKEN}\n")
    assert (options.listen, options.token) == (address, TOKEN)


def test_the_token_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\nwhat follows\n")
    assert configured(tmp_path, f"listen = [::]:8088\ntoken_file = {tmp_path}/token\n").token == TOKEN


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("token = {0}\nlisten = 8088", "listen: '8088' should be host:port, such as 127.0.0.1:8088 or [::1]:8088"),
        ("token = {0}\nlisten = ::1:80", "listen: '::1:80' should be host:port"),
        ("token = {0}\nlisten = localhost:0", "listen: 'localhost:0' should be host:port"),
        ("token = {0}\nlisten = localhost:65536", "listen: 'localhost:65536' should be host:port"),
        ("token = {0}\nlisten = unix:/run/x", "listen: 'unix:/run/x' should be host:port"),
        ("listen = 127.0.0.1:80", "[http] token or token_file: missing; each request needs it"),
        ("token = {0}\ntoken_file = {1}", "[http] token or token_file: both are set; set one of them"),
        ("token = short", "token: should be at least 16 characters, in ASCII and without spaces"),
        ("token = äääääääääääääääää", "token: should be at least 16 characters, in ASCII and without spaces"),
        ("token = {0} ; comment", "token: a ; after a space begins a comment"),
        ("token_file = {1}.short", "token_file: the first line of {1}.short should be at least 16 characters"),
        ("token_file = {1}.none", "token_file: {1}.none: No such file or directory"),
        ("token_file = token", "token_file: 'token' should be an absolute path"),
    ],
)
def test_what_is_wrong_with_the_configuration(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.with_suffix(".short").write_text("short secret!")
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, text.format(TOKEN, file))
    (said,) = raised.value.complaints
    assert complaint.format(TOKEN, file) in said
    assert "short secret" not in said and TOKEN not in said and "ä" not in said


def test_the_example_of_the_document_is_accepted(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/http.md").read_text(encoding="utf-8")
    example = text[text.index("[http]\n") + len("[http]\n") : text.index("\n```\n")]
    (tmp_path / "token").write_text(TOKEN)
    options = configured(tmp_path, example.replace("/etc/asterisk/screen_pop.token", str(tmp_path / "token")))
    assert options.listen == ("127.0.0.1", 8088)
