"""A source of `type = http` with web servers that do what they should, and with others that don't."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from parts import documents
from parts.certificates import Authority, Certificate
from parts.debs import NotAvailable
from parts.nginx import TOKEN, Nginx
from parts.sources import read_http
from parts.web import Behaviour, Exchange, Web
from screenpop.phonebook.http import Source
from screenpop.phonebook.source import Number, SourceError

SOMEBODY = Number("+15551234567", "(555) 123-4567", "5551234567")
CONTACT = {"contact": {"first": "Ann", "last": "Müller", "company": "Example Ltd"}, "id": 12}
NAME = "name = {contact.first} {contact.last}"
ENOUGH = 30.0  # seconds, where nothing has to take long


def short(value: object) -> str:
    """For the names of tests."""
    return repr(value)[:40]


@pytest.fixture(scope="module")
def local_certificate(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority.issue(tmp_path_factory.mktemp("localhost"), "localhost")


@pytest.fixture
def web(local_certificate: Certificate) -> Iterator[Web]:
    with Web(local_certificate) as web:
        yield web


@pytest.fixture
def elsewhere(local_certificate: Certificate) -> Iterator[Web]:
    with Web(local_certificate) as web:
        yield web


@pytest.fixture
def plain() -> Iterator[Web]:
    with Web() as web:
        yield web


MakeSource = Callable[..., Source]


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("s3cret\n")
    return f"{tmp_path}/token"


@pytest.fixture
def source(tmp_path: Path, authority: Authority) -> Iterator[MakeSource]:
    """Makes one with this request, and other lines; it trusts the tests' CA."""
    made = []

    def make(request: str, *lines: str) -> Source:
        options = [f"request = {request}", f"ca_file = {authority.ca_file}", *lines]
        made.append(Source("crm", read_http(tmp_path, "\n".join(options))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(source: Source, number: Number = SOMEBODY, seconds: float = ENOUGH) -> dict[str, str]:
    return source.lookup(number, time.monotonic() + seconds)


def problem(source: Source, seconds: float = ENOUGH) -> str:
    with pytest.raises(SourceError) as error:
        ask(source, seconds=seconds)
    return str(error.value)


# Answers


def test_fields_by_their_paths(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: exchange.json(CONTACT))
    url = "url = https://crm.example.org/c/{id}"
    crm = source(f"{web.url}/contacts?phone={{number}}", NAME, "company = contact.company", url, "notes = notes")
    assert ask(crm) == {"name": "Ann Müller", "company": "Example Ltd", "url": "https://crm.example.org/c/12"}
    (asked,) = web.asked
    assert asked.path == "/contacts?phone=%2B15551234567"
    assert asked.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("document", "path", "text"),
    [
        ([{"name": "Ann"}, {"name": "Bob"}], "0.name", "Ann"),
        ({"results": [{"name": "Ann"}]}, "results.0.name", "Ann"),
        ({"company": [7, "Example Ltd"]}, "company.1", "Example Ltd"),
        ({"open": True}, "open", "true"),
        ({"open": False}, "open", ""),
        ({"open": None}, "open", ""),
        ({"contact": {"name": "Ann"}}, "contact", ""),
        ({"contact": ["Ann"]}, "contact", ""),
        ({"contact": "Ann"}, "contact.name", ""),
        ({"results": []}, "results.0.name", ""),
        ({"results": ["Ann"]}, "results.name", ""),
        ({"results": ["Ann"]}, "results.-1", ""),
        ({"name": "Ann\u0000\u202e\ud800\nBob"}, "name", "Ann Bob"),
        ({"name": "{id}"}, "name", "{id}"),
    ],
)
def test_a_path(plain: Web, source: MakeSource, document: object, path: str, text: str) -> None:
    plain.behaves(lambda exchange: exchange.json(document))
    assert ask(source(f"{plain.url}/{{number}}", f"name = {path}")) == ({"name": text} if text else {})


@pytest.mark.parametrize("digits", ["9" * 100_000, "1" + "0" * 30 + ".50", "1e999", "-0", "NaN"], ids=short)
def test_numbers_stay_as_they_are_written(plain: Web, source: MakeSource, digits: str) -> None:
    plain.behaves(lambda exchange: exchange.body(f'{{"name": "Ann", "id": {digits}}}'.encode()))
    found = ask(source(f"{plain.url}/{{number}}", "name = name", "account = id"))
    assert found["name"] == "Ann"
    assert found["account"][:400] == digits[:400]


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda exchange: exchange.body(b"", 404),
        lambda exchange: exchange.body(b"<h1>not here</h1>", 404),
        lambda exchange: exchange.body(b""),
        lambda exchange: exchange.body(b"", 204),
        lambda exchange: exchange.json([]),
        lambda exchange: exchange.json({}),
        lambda exchange: exchange.json(None),
        lambda exchange: exchange.json({"results": []}),
    ],
)
def test_strangers(plain: Web, source: MakeSource, behaviour: Behaviour) -> None:
    plain.behaves(behaviour)
    assert ask(source(f"{plain.url}/{{number}}", "name = results.0.name")) == {}


def test_the_content_type_says_nothing(plain: Web, source: MakeSource) -> None:
    body = json.dumps(CONTACT).encode("utf-16")
    plain.behaves(lambda exchange: exchange.body(body, Content_Type="text/html; charset=latin-1"))
    assert ask(source(f"{plain.url}/{{number}}", NAME)) == {"name": "Ann Müller"}


def in_chunks(exchange: Exchange, *chunks: bytes) -> None:
    exchange.send_response(200)
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    for chunk in (*chunks, b""):
        exchange.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))


def test_an_answer_in_chunks(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: in_chunks(exchange, b'{"contact": {"first"', b': "Ann"}}'))
    crm = source(f"{web.url}/{{number}}", NAME)
    assert [ask(crm), ask(crm)] == [{"name": "Ann"}] * 2
    assert web.connections == 1


# Numbers


@pytest.mark.parametrize(
    "written",
    [
        "anonymous",
        "+",
        "0",
        "9" * 40,
        "sip:alice@example.org",
        "*)(uid=*",
        "'; DROP TABLE contacts; --",
        "../../admin?x=1&y#z",
        "%2e%2e%2f{number}\\",
        "Zoë@::1/\u2028",
        "..",
    ],
)
def test_hostile_numbers_are_one_part_of_the_url(plain: Web, source: MakeSource, written: str) -> None:
    crm = source(f"{plain.url}/contacts/x{{written}}?phone={{written}}&limit=1", NAME)
    ask(crm, Number("", written, ""))
    for asked in plain.asked:
        url = urlsplit(asked.path)
        assert [unquote(part) for part in url.path.split("/")] == ["", "contacts", f"x{written}"]
        assert parse_qsl(url.query) == [("phone", written), ("limit", "1")]
    assert len(plain.asked) == (0 if written == ".." else 1)


def test_all_placeholders(plain: Web, source: MakeSource) -> None:
    ask(source(f"{plain.url}/{{national}}/{{number}}/{{written}}", NAME))
    assert plain.asked[0].path == "/5551234567/%2B15551234567/%28555%29%20123-4567"


def suitecrm(exchange: Exchange) -> None:
    """As its V8 API answers: attributes beside the id, and an empty list when there is nobody."""
    query = dict(parse_qsl(urlsplit(exchange.path).query))
    found = query.get("filter[phone_mobile][eq]") == SOMEBODY.e164
    record = {"type": "Contact", "id": "0b1c-2d", "attributes": {"first_name": "Ann", "last_name": "Müller"}}
    exchange.json({"meta": {"total-pages": int(found)}, "data": [record] if found else []})


def odoo(exchange: Exchange) -> None:
    """As its route /json/1 answers: false in an empty field, and a pair for a record of another model."""
    found = f"('phone_sanitized','=','{SOMEBODY.e164}')" in dict(parse_qsl(urlsplit(exchange.path).query))["domain"]
    record = {"id": 12, "complete_name": "Ann Müller", "email": False, "country_id": [233, "Germany"]}
    exchange.json({"length": int(found), "records": [record] if found else []})


def documented(web: Web, source: MakeSource, name: str, token: str) -> Source:
    """The source of a section in docs/phonebook.md, with this server and this file in it."""
    options = documents.section(name)
    assert options.pop("type") == "http"
    request = f"{web.url}{options.pop('request').removeprefix('https://').lstrip('abcdefghijklmnopqrstuvwxyz.')}"
    if "token_file" in options:
        options["token_file"] = token
    return source(request, *(f"{name} = {value}" for name, value in options.items()))


@pytest.mark.parametrize(
    ("name", "behaviour", "url"),
    [
        ("suitecrm_api", suitecrm, "https://crm.example.org/#/contacts/record/0b1c-2d"),
        ("odoo_json", odoo, "https://odoo.example.org/odoo/contacts/12"),
    ],
)
def test_well_known_systems(
    web: Web, source: MakeSource, token_file: str, name: str, behaviour: Behaviour, url: str
) -> None:
    web.behaves(behaviour)
    crm = documented(web, source, name, token_file)
    assert ask(crm) == {"name": "Ann Müller", "url": url}
    assert web.asked[0].headers["authorization"] == "Bearer s3cret"
    assert "knows nobody" in crm.check()


def test_the_example_of_the_documentation(web: Web, source: MakeSource, token_file: str) -> None:
    web.behaves(lambda exchange: exchange.body(documents.block("json").encode()))
    assert ask(documented(web, source, "crm", token_file)) == {
        "name": "Ann Miller",
        "company": "Example Ltd",
        "url": "https://crm.example.org/contacts/12",
    }
    assert web.asked[0].path == "/api/contacts?phone=%2B15551234567"


# Headers and redirects


@pytest.fixture
def token(token_file: str) -> str:
    return f"token_file = {token_file}\nheader = Authorization: Bearer {{token}} | accept: application/vnd.api+json"


def test_headers_with_a_token(web: Web, source: MakeSource, token: str) -> None:
    ask(source(f"{web.url}/{{number}}", token))
    (asked,) = web.asked
    assert asked.headers["authorization"] == "Bearer s3cret"
    assert asked.headers["accept"] == "application/vnd.api+json"


def redirect(url: str, status: int = 302) -> Behaviour:
    return lambda exchange: exchange.body(b"moved", status, Location=url)


def redirect_once(url: str, status: int = 302) -> Behaviour:
    def behaviour(exchange: Exchange) -> None:
        if exchange.path.startswith("/old/"):
            exchange.body(b"moved", status, Location=url)
        else:
            exchange.json(CONTACT)

    return behaviour


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_server(web: Web, source: MakeSource, token: str, status: int) -> None:
    web.behaves(redirect_once("../new/12?x=%2B1", status))
    assert ask(source(f"{web.url}/old/{{number}}", token, NAME)) == {"name": "Ann Müller"}
    assert [asked.path for asked in web.asked] == ["/old/%2B15551234567", "/new/12?x=%2B1"]
    assert [asked.headers["authorization"] for asked in web.asked] == ["Bearer s3cret"] * 2
    assert web.connections == 1


def test_no_other_server_gets_the_headers(web: Web, elsewhere: Web, source: MakeSource, token: str) -> None:
    web.behaves(redirect(f"{elsewhere.url.replace('://', '://us:er@')}/new"))
    elsewhere.behaves(lambda exchange: exchange.json(CONTACT))
    assert ask(source(f"{web.url}/old/{{number}}", token, NAME)) == {"name": "Ann Müller"}
    (asked,) = elsewhere.asked
    assert "authorization" not in asked.headers
    assert "s3cret" not in str(asked)


def test_the_headers_are_not_sent_back_to_the_first_server_by_another_one(
    web: Web, plain: Web, source: MakeSource, token: str
) -> None:
    """Over http, on the same host: another server."""
    plain.behaves(redirect(f"{web.url}/new"))
    web.behaves(lambda exchange: exchange.json(CONTACT))
    assert ask(source(f"{plain.url}/old/{{number}}", token, NAME)) == {"name": "Ann Müller"}
    assert "authorization" not in web.asked[0].headers


def test_never_from_https_to_http(web: Web, plain: Web, source: MakeSource) -> None:
    web.behaves(redirect(f"{plain.url}/new?token=s3cret"))
    assert problem(source(f"{web.url}/{{number}}", NAME)) == (
        f"{web.url} redirects to {plain.url}, which is refused; check request"
    )
    assert plain.asked == []


def test_not_from_https_to_http_by_way_of_another_server(
    web: Web, elsewhere: Web, plain: Web, source: MakeSource
) -> None:
    web.behaves(redirect(f"{elsewhere.url}/new"))
    elsewhere.behaves(redirect(f"{plain.url}/new"))
    assert f"{elsewhere.url} redirects to {plain.url}" in problem(source(f"{web.url}/{{number}}", NAME))
    assert plain.asked == []


def test_three_redirects_and_no_more(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: exchange.body(b"", 302, Location=f"/{len(web.asked)}"))
    assert problem(source(f"{web.url}/{{number}}", NAME)) == (f"{web.url} redirects more than 3 times; check request")
    assert [asked.path for asked in web.asked] == ["/%2B15551234567", "/1", "/2", "/3"]


@pytest.mark.parametrize(
    "location",
    ["", "file:///etc/passwd", "ftp://localhost/", "https://", "https://[::1", "https://a b/", "//localhost:99999999/",
     "https://ü.example.org/", "javascript:alert(1)", "https://" + "a" * 64 + ".invalid/", "https://a..b.invalid/"],
)  # fmt: skip
def test_redirects_to_nowhere(web: Web, source: MakeSource, location: str) -> None:
    def behaviour(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n")
        exchange.wfile.write(b"Location: %s\r\n\r\n" % location.encode())

    web.behaves(behaviour)
    assert "check request" in problem(source(f"{web.url}/{{number}}", NAME))


def test_a_redirect_that_says_not_whereto(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: exchange.body(b"", 302))
    assert problem(source(f"{web.url}/{{number}}", NAME)) == f"{web.url} redirects to what is no URL; check request"


# Errors


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "check header and token_file"),
        (403, "check header and token_file"),
        (429, "it allows fewer questions"),
        (500, "its log should say why"),
        (503, "its log should say why"),
        (400, "check request"),
        (304, "check request"),
        (206, "check request"),
    ],
)
def test_a_status_that_is_none_of_an_answer(web: Web, source: MakeSource, status: int, advice: str) -> None:
    web.behaves(lambda exchange: exchange.body(b"" if status == 304 else b'{"name": "Ann"}', status))
    crm = source(f"{web.url}/{{number}}?key=s3cret", "name = name")
    assert problem(crm) == f"{web.url} answers with the status {status}; {advice}"


def test_the_status_of_an_error_counts_more_than_its_page(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: exchange.body(b" " * 300_000, 500, Content_Encoding="gzip"))
    assert "answers with the status 500" in problem(source(f"{web.url}/{{number}}", NAME))


NOT_JSON = "answers with what is not JSON; check request, or is a token missing?"
NO_OBJECT = "answers with JSON that is no object and no list; check request"
TOO_MUCH = "answers with more than 256 kB; request should ask for less"
COMPRESSED = "compresses its answer, which nobody asked for; switch that off for this path"
NOT_HTTP = "answers with what is not HTTP; check request"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>please sign in</html>", NOT_JSON),
        (b'{"name": "Ann"', NOT_JSON),
        (b'{"name": "M\xfcller"}', NOT_JSON),
        (b"[" * 200_000, NOT_JSON),
        (b"\0" * 1000, NOT_JSON),
        (b'"Ann"', NO_OBJECT),
        (b"12", NO_OBJECT),
        (b"0", NO_OBJECT),
        (b"false", NO_OBJECT),
        (b" " * 10_000_000, TOO_MUCH),
    ],
    ids=short,
)
def test_bodies_that_are_no_answer(web: Web, source: MakeSource, body: bytes, what: str) -> None:
    web.behaves(lambda exchange: exchange.body(body))
    assert problem(source(f"{web.url}/{{number}}", "name = name")) == f"{web.url} {what}"


@pytest.mark.parametrize(
    "nested", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 40_000 + b"1" + b"}" * 40_000], ids=short
)
def test_deep_nesting_does_no_harm(web: Web, source: MakeSource, nested: bytes) -> None:
    """How deep it may be depends on the version of Python, and on the size of its stack."""
    crm = source(f"{web.url}/{{number}}", "name = name")
    web.behaves(lambda exchange: exchange.body(b'{"name": "Ann", "nested": %s}' % nested))
    try:
        assert ask(crm) == {"name": "Ann"}
    except SourceError as error:
        assert str(error) == f"{web.url} {NOT_JSON}"
    web.behaves(lambda exchange: exchange.json({"name": "Bob"}))
    assert ask(crm) == {"name": "Bob"}


def test_the_largest_answer(web: Web, source: MakeSource) -> None:
    largest = b'{"name": "Ann"}'.ljust(256 * 1024)
    crm = source(f"{web.url}/{{number}}", "name = name")
    web.behaves(lambda exchange: exchange.body(largest))
    assert ask(crm) == {"name": "Ann"}
    web.behaves(lambda exchange: exchange.body(largest + b" "))
    assert TOO_MUCH in problem(crm)


def test_too_much_in_chunks(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: in_chunks(exchange, *[b" " * 10_000] * 1000))
    assert TOO_MUCH in problem(source(f"{web.url}/{{number}}", NAME))


def test_a_bomb_is_not_opened(web: Web, source: MakeSource) -> None:
    bomb = gzip.compress(b" " * 100_000_000, 1)
    web.behaves(lambda exchange: exchange.body(bomb[: 200 * 1024], Content_Encoding="gzip"))
    assert COMPRESSED in problem(source(f"{web.url}/{{number}}", NAME))
    assert web.asked[0].headers["accept-encoding"] == "identity"


def raw(data: bytes) -> Behaviour:
    def behaviour(exchange: Exchange) -> None:
        exchange.wfile.write(data)
        exchange.cut()

    return behaviour


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "closed the connection without an answer; its log should say why"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NOT_HTTP),
        (b"HTTP/1.1 abc\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000_000 + b"\r\n\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n{}   ", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 10_000_000, NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", NOT_JSON),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5, "closed the connection without an answer; its log should say why"),
    ],
    ids=short,
)
def test_what_is_not_http(plain: Web, source: MakeSource, data: bytes, what: str) -> None:
    plain.behaves(raw(data))
    assert problem(source(f"{plain.url}/{{number}}?key=s3cret", NAME)) == f"{plain.url} {what}"


def test_nobody_at_home(source: MakeSource) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert problem(source(f"http://localhost:{port}/{{number}}", NAME)) == (
            f"http://localhost:{port} can't be reached: Connection refused; is it up, and is the port right?"
        )


def test_a_name_that_is_not_known(source: MakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert problem(source("https://crm.example.org/{number}", NAME)) == (
        "https://crm.example.org can't be found: Name or service not known; check request, or the DNS"
    )


# Certificates


def test_https_where_there_is_none(plain: Web, source: MakeSource) -> None:
    url = plain.url.replace("http:", "https:")
    assert problem(source(f"{url}/{{number}}?key=s3cret", NAME)) == (
        f"{url} can't agree with us on TLS: wrong version number; is that a port for https?"
    )


@pytest.mark.parametrize("name", ["other.example.org", "localhost"])
def test_a_certificate_that_is_not_to_be_trusted(
    authority: Authority, tmp_path: Path, source: MakeSource, name: str
) -> None:
    """For another host, and one that has expired."""
    with Web(authority.issue(tmp_path, name, expired=name == "localhost")) as web:
        found = problem(source(f"{web.url}/{{number}}?key=s3cret", NAME))
        assert found.startswith(f"{web.url} has a certificate that can't be trusted: ")
        assert web.asked == []


def test_a_certificate_of_an_unknown_ca(web: Web, tmp_path: Path) -> None:
    crm = Source("crm", read_http(tmp_path, f"request = {web.url}/{{number}}\n{NAME}"))
    assert "ca_file should be the certificate of that" in problem(crm)
    assert web.asked == []


# Time


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda exchange: exchange.slowly(
            b"HTTP/1.1 200 OK\r\nX-Slow: %s\r\nContent-Length: 2\r\n\r\n{}" % (b"y" * 100)
        ),
        lambda exchange: exchange.slowly(b"HTTP/1.1 100 Continue\r\n\r\n" * 5 + b"HTTP/1.1 404 No\r\n\r\n"),
        lambda exchange: (exchange.body(b"{", Content_Length="100"), exchange.slowly(b"}".ljust(99))),
        lambda exchange: (
            exchange.send_response(200),
            exchange.send_header("Transfer-Encoding", "chunked"),
            exchange.end_headers(),
            exchange.slowly(b"1\r\n{\r\n" + b"1\r\n \r\n" * 20 + b"1\r\n}\r\n0\r\n\r\n"),
        ),
        lambda exchange: (exchange.cut(), exchange.server.stopped.wait(5)),
    ],
    ids=["header", "interim answers", "body", "chunks", "silence"],
)
def test_the_deadline_is_for_all_of_the_answer(web: Web, source: MakeSource, behaviour: Behaviour) -> None:
    """Each of these takes 5 s to give an answer, with a byte every 50 ms, or none at all."""
    web.behaves(behaviour)
    crm = source(f"{web.url}/{{number}}", NAME)
    assert problem(crm, seconds=0.5) == f"{web.url} doesn't answer in time; is it up, and is the port right?"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_deadline_is_for_connecting(source: MakeSource, scheme: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"{scheme}://localhost:{silent.getsockname()[1]}"
        assert "doesn't answer in time" in problem(source(f"{url}/{{number}}", NAME), seconds=0.3)


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address that answers no attempt to connect: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_host_that_does_not_answer(deaf: tuple[str, int], source: MakeSource) -> None:
    crm = source(f"http://localhost:{deaf[1]}/{{number}}", NAME)
    assert "doesn't answer in time" in problem(crm, seconds=0.3)


def test_an_address_that_does_not_answer_leaves_time_for_the_next_one(
    deaf: tuple[str, int], web: Web, source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with IPv6 that a firewall swallows."""
    web.behaves(lambda exchange: exchange.json(CONTACT))
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in (deaf, ("127.0.0.1", web.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: addresses)
    assert ask(source(f"{web.url}/{{number}}", NAME), seconds=2) == {"name": "Ann Müller"}


def test_a_deadline_that_is_over(web: Web, source: MakeSource) -> None:
    assert "doesn't answer in time" in problem(source(f"{web.url}/{{number}}", NAME), seconds=-1)


def test_after_an_answer_that_came_too_late_the_next_one_is_its_own(web: Web, source: MakeSource) -> None:
    def behaviour(exchange: Exchange) -> None:
        if len(web.asked) == 1:
            exchange.slowly(json.dumps(["of another call"]).encode().rjust(60))
        else:
            exchange.json(["of this call"])

    web.behaves(behaviour)
    crm = source(f"{web.url}/{{number}}", "name = 0")
    problem(crm, seconds=0.3)
    assert ask(crm) == {"name": "of this call"}


# Connections


def test_the_connection_is_kept(web: Web, source: MakeSource) -> None:
    crm = source(f"{web.url}/{{number}}", NAME)
    for behaviour in (
        lambda exchange: exchange.json(CONTACT),
        lambda exchange: exchange.body(b"no", 404),
        lambda exchange: exchange.json(CONTACT),
    ):
        web.behaves(behaviour)
        ask(crm)
    web.behaves(lambda exchange: exchange.body(b"error", 500))
    problem(crm)
    assert [asked.connection for asked in web.asked] == [1, 1, 1, 1]


def test_a_connection_that_the_server_has_closed_meanwhile(web: Web, source: MakeSource) -> None:
    def answer_and_cut(exchange: Exchange) -> None:
        exchange.json(CONTACT)
        exchange.cut()

    web.behaves(answer_and_cut)
    crm = source(f"{web.url}/{{number}}", NAME)
    for _ in range(3):
        assert ask(crm) == {"name": "Ann Müller"}
        web.wait_until_it_closed_one()
    assert [asked.connection for asked in web.asked] == [1, 2, 3]


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    web: Web, source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.behaves(lambda exchange: exchange.json(CONTACT))
    crm = source(f"{web.url}/{{number}}", NAME)
    ask(crm)
    monkeypatch.setattr("screenpop.phonebook.web.connection.IDLE", 0.0)
    ask(crm)
    assert [asked.connection for asked in web.asked] == [1, 2]


def test_many_threads(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: exchange.json({"number": unquote(exchange.path[1:])}))
    crm = source(f"{web.url}/{{number}}", "name = number")
    numbers = [Number(f"+1555{n:07}", "", "") for n in range(400)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: ask(crm, number), numbers))
    assert found == [{"name": number.e164} for number in numbers]
    assert web.connections <= 8


def test_threads_wait_for_none_of_each_other(web: Web, source: MakeSource) -> None:
    together = threading.Barrier(8, timeout=30)

    def answer_together(exchange: Exchange) -> None:
        together.wait()
        exchange.json(CONTACT)

    web.behaves(answer_together)
    crm = source(f"{web.url}/{{number}}", NAME)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: ask(crm), range(8))) == [{"name": "Ann Müller"}] * 8


# check


def test_check(web: Web, source: MakeSource) -> None:
    crm = source(f"{web.url}/contacts?phone={{number}}", NAME)
    assert crm.check() == "the server answers, and knows nobody with +12025550123, as it should be"
    assert web.asked[0].path == "/contacts?phone=%2B12025550123"


def test_check_of_a_server_that_does_not_look_at_the_number(web: Web, source: MakeSource) -> None:
    web.behaves(lambda exchange: exchange.json(CONTACT))
    with pytest.raises(SourceError) as error:
        source(f"{web.url}/contacts?phnoe={{number}}", NAME).check()
    assert "a number that nobody has: {'name': 'Ann Müller'}; does the server look at" in str(error.value)


# nginx


@pytest.fixture(scope="module")
def nginx(server_folder: Path, local_certificate: Certificate) -> Iterator[Nginx]:
    contacts = {SOMEBODY.e164: json.dumps(CONTACT), "+15550000000": json.dumps(CONTACT).ljust(300_000)}
    try:
        server = Nginx(server_folder / "nginx", local_certificate, contacts)
    except NotAvailable as reason:
        pytest.skip(f"nginx: {reason}")
    with server:
        yield server


@pytest.fixture
def nginx_token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return f"token_file = {tmp_path}/token\nheader = Authorization: Bearer {{token}}"


def test_nginx(nginx: Nginx, source: MakeSource, nginx_token: str) -> None:
    crm = source(f"{nginx.url}/contacts/{{number}}", NAME, nginx_token)
    assert "knows nobody" in crm.check()
    assert ask(crm) == {"name": "Ann Müller"}
    assert TOO_MUCH in problem_of(crm, "+15550000000")
    assert ask(crm) == {"name": "Ann Müller"}
    first, second, third, fourth = nginx.connections()[-4:]
    assert first == second == third != fourth
    nginx.stop()
    assert "can't be reached: Connection refused" in problem(crm)
    nginx.start()
    assert ask(crm) == {"name": "Ann Müller"}
    assert ask(source(f"{nginx.url}/old/{{number}}", NAME, nginx_token)) == {"name": "Ann Müller"}


def problem_of(source: Source, number: str) -> str:
    with pytest.raises(SourceError) as error:
        ask(source, Number(number, "", ""))
    return str(error.value)


def test_nginx_that_is_slow(nginx: Nginx, source: MakeSource, nginx_token: str) -> None:
    """8 bytes a second."""
    assert "doesn't answer in time" in problem(source(f"{nginx.url}/slow/{{number}}", NAME, nginx_token), seconds=0.5)


def test_nginx_without_the_token(nginx: Nginx, source: MakeSource) -> None:
    crm = source(f"{nginx.url}/contacts/{{number}}", NAME)
    assert problem(crm) == f"{nginx.url} answers with the status 401; check header and token_file"
