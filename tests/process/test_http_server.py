"""The server of the HTTP door, with clients that are not ours: curl, http.client, and bare sockets."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from parts.spool import calls, files, outbox
from parts.waiting import PATIENCE, eventually
from screenpop.doors import http_server
from screenpop.doors.http import LARGEST, Application
from screenpop.doors.http_server import HttpDoor
from screenpop.spool.outbox import Outbox

__all__ = ["outbox"]

TOKEN = "0123456789abcdef"
HOST = "127.0.0.1"
CHECKOUT = Path(__file__).parents[2]


class Door(HttpDoor):
    def __init__(self, outbox: Outbox) -> None:
        self.log: list[str] = []
        super().__init__((HOST, 0), Application(outbox, lambda: TOKEN, self.log.append))

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/screen_pop.php"

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=PATIENCE)


@pytest.fixture
def door(outbox: Outbox) -> Iterator[Door]:
    made = Door(outbox)
    yield made
    made.close()


def curl(*arguments: str) -> tuple[str, str]:
    """The status and the body."""
    program = shutil.which("curl")
    if not program:
        pytest.skip("this machine has no curl")
    command = [program, "-sS", "-m", str(PATIENCE), "-w", "\n%{http_code}", *arguments]
    text, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return status, text


def answer(connection: socket.socket) -> bytes:
    """All until the server closes the connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:  # it was closed with bytes unread
        pass
    return found


def send_all(connection: socket.socket, *parts: bytes) -> None:
    """And nothing more. The server may have closed the connection before the end."""
    with contextlib.suppress(OSError):
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)


def request(head: str, body: bytes = b"") -> bytes:
    lines = [head, "Host: pbx.example.org", f"Authorization: Bearer {TOKEN}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def test_curl_by_get_and_by_post(door: Door, outbox: Outbox) -> None:
    status, text = curl("-H", f"Authorization: Bearer {TOKEN}", "-G", door.url, "--data-urlencode", "ani=+15551234567")
    assert (status, text.splitlines()[0]) == ("200", "screen_pop.queued")
    status, text = curl(door.url, "-d", "ani=2", "--data-urlencode", "cnam=Zoë & Bob", "-d", f"token={TOKEN}")
    assert status == "200"
    assert [(call.number, call.name) for call in calls(outbox)] == [("+15551234567", ""), ("2", "Zoë & Bob")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-d", "ani=1"], "401"),
        (["-d", "ani=1", "-H", "Authorization: Bearer wrong"], "401"),
        (["-d", f"token={TOKEN}"], "400"),
        (["-F", "ani=1", "-H", f"Authorization: Bearer {TOKEN}"], "400"),
        (["-I", "-H", f"Authorization: Bearer {TOKEN}"], "405"),
        (["-X", "PUT", "-d", "ani=1", "-H", f"Authorization: Bearer {TOKEN}"], "405"),
    ],
)
def test_what_curl_is_refused(door: Door, outbox: Outbox, arguments: list[str], expected: str) -> None:
    assert curl(door.url, *arguments)[0] == expected
    assert not files(outbox, "new")


def test_a_hundred_calls_over_one_connection(door: Door, outbox: Outbox) -> None:
    client = http.client.HTTPConnection(HOST, door.port, timeout=PATIENCE)
    for which in range(100):
        client.request("POST", "/", f"ani={which}", {"Authorization": f"Bearer {TOKEN}"})
        answered = client.getresponse()
        assert answered.status == 200 and answered.read().startswith(b"screen_pop.queued\n")
        assert len(files(outbox, "new")) == which + 1
    client.close()
    assert [call.number for call in calls(outbox)] == [str(which) for which in range(100)]


def test_two_hundred_calls_at_once(door: Door, outbox: Outbox) -> None:
    statuses: list[bytes] = []

    def call(which: int) -> None:
        with door.connect() as connection:
            connection.sendall(request(f"GET /?ani={which} HTTP/1.1"))
            statuses.append(answer(connection)[:12])

    threads = [threading.Thread(target=call, args=(which,)) for which in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [b"HTTP/1.1 200"] * 200
    assert {call.number for call in calls(outbox)} == {str(which) for which in range(200)}


def test_the_headers_tell_nothing_of_the_program(door: Door) -> None:
    with door.connect() as connection:
        connection.sendall(request("GET /?ani=1 HTTP/1.1"))
        head = answer(connection).partition(b"\r\n\r\n")[0].lower()
    assert b"server:" not in head and b"waitress" not in head and b"python" not in head


@pytest.mark.parametrize(
    "hostile",
    ["\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200", "x\nscreen_pop.evil\nid=1", "\x00\x0b\x85", "\u2028id=2", "x" * 30000],
)
def test_nothing_that_is_sent_is_a_header_or_a_line_of_the_answer(door: Door, outbox: Outbox, hostile: str) -> None:
    fields = urlencode(dict.fromkeys(("ani", "cnam", "dnis", "id", "session", "peer", "x"), hostile))
    with door.connect() as connection:
        connection.sendall(request(f"GET /?{fields[:60000] if len(hostile) < 99 else 'ani=1&id=' + hostile} HTTP/1.1"))
        head, _, body = answer(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"Evil" not in head
    assert len(body.decode().splitlines()) == 3
    assert len(files(outbox, "new")) == 1


def test_a_body_of_100_megabytes_is_refused_before_it_is_sent(door: Door, outbox: Outbox) -> None:
    for expect in ("", "Expect: 100-continue\r\n"):
        with door.connect() as connection:
            head = f"POST / HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: {100 * 1024 * 1024}\r\n\r\n"
            connection.sendall(head.encode())
            assert answer(connection).startswith(b"HTTP/1.1 413 ")  # and no 100 before it
    assert not files(outbox, "new")


def test_a_body_in_chunks_is_refused_once_it_is_too_large(door: Door, outbox: Outbox) -> None:
    chunk = b"%x\r\n" % 4096 + b"x" * 4096 + b"\r\n"
    with door.connect() as connection:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        send_all(connection, head, *[chunk] * (LARGEST // 4096 + 1))
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 413 ") and said.partition(b"\r\n\r\n")[2].count(b"\n") == 1
    assert not files(outbox, "new")


def test_a_body_in_chunks_is_read(door: Door, outbox: Outbox) -> None:
    head = request("POST / HTTP/1.1").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    with door.connect() as connection:
        connection.sendall(head + b"5\r\nani=1\r\n0\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 ")
    assert [call.number for call in calls(outbox)] == ["1"]


def test_a_wrong_token_a_thousand_times_and_then_the_right_one(door: Door, outbox: Outbox) -> None:
    client = http.client.HTTPConnection(HOST, door.port, timeout=PATIENCE)
    statuses = set()
    for which in range(1000):
        client.request("GET", f"/?ani=1&token={which:016}")
        answered = client.getresponse()
        answered.read()
        statuses.add(answered.status)
    assert statuses == {401, 429}
    assert len(door.log) < 30
    client.request("GET", f"/?ani=1&token={TOKEN}")
    assert client.getresponse().status == 200
    client.close()
    assert len(files(outbox, "new")) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET /?ani=1 HTTP/1.1\r\nHost: x\r\n",
        f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\nani=1".encode(),
    ],
)
def test_half_a_request_is_no_call(door: Door, outbox: Outbox, sent: bytes) -> None:
    with door.connect() as connection:
        send_all(connection, sent)
        answer(connection)
    assert curl(door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"
    assert [call.number for call in calls(outbox)] == ["2"]


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n" * 99, b"GET\r\n\r\n", b"x" * 70_000, b"\x00" * 200],
    ids=["TLS", "empty lines", "no path", "long", "zeros"],
)
def test_what_is_no_request_is_refused(door: Door, outbox: Outbox, sent: bytes) -> None:
    with door.connect() as connection:
        send_all(connection, sent)
        assert not answer(connection).startswith(b"HTTP/1.1 200")
    assert curl(door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"
    assert len(files(outbox, "new")) == 1


def test_after_head_the_connection_goes_on_without_a_body(door: Door) -> None:
    with door.connect() as connection:
        connection.sendall(request("HEAD /?ani=1 HTTP/1.1").replace(b"Connection: close\r\n", b""))
        connection.sendall(request("GET /?ani=1 HTTP/1.1"))
        head, _, rest = answer(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ") and rest.startswith(b"HTTP/1.1 200 ")


# Clients that take the door's connections and don't use them


@pytest.fixture
def quick_door(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """It waits for a client for a shorter time."""
    monkeypatch.setattr(http_server, "SLOWEST", 2.0)
    made = Door(outbox)
    yield made
    made.close()


def all_are_thrown_out(clients: list[socket.socket], drip: bytes = b"") -> None:
    """Wait for that. Meanwhile each client sends this again and again."""
    for client in clients:
        client.setblocking(False)

    def is_empty() -> bool:
        for client in list(clients):
            try:
                client.send(drip)
                is_over = client.recv(65536) == b""
            except BlockingIOError:
                is_over = False
            except OSError:
                is_over = True
            if is_over:
                client.close()
                clients.remove(client)
        return not clients

    eventually(is_empty)


@pytest.mark.parametrize(
    ("first", "drip"),
    [(b"", b""), (b"GET / HT", b""), (b"", b"x"), (b"", b"\r\n"), (b"\r\n", b""), (b"GET / HTTP/1.1\r\n", b"a: b\r\n")],
    ids=["nothing", "half a request", "byte by byte", "empty lines", "an empty line", "header by header"],
)
def test_a_client_without_a_request_is_thrown_out_and_others_are_not(
    quick_door: Door, first: bytes, drip: bytes
) -> None:
    clients = [quick_door.connect() for _ in range(http_server.CONNECTIONS - 1)]
    for client in clients:
        client.sendall(first)
    assert curl(quick_door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"
    all_are_thrown_out(clients, drip)
    assert curl(quick_door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"


def test_clients_are_thrown_out_although_the_clock_is_set_back(
    quick_door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [quick_door.connect() for _ in range(20)]
    for client in clients[:10]:
        client.sendall(b"GET / HT")
    assert curl(quick_door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 3600)
    all_are_thrown_out(clients)


def test_clients_are_not_thrown_out_because_the_clock_is_set_forward(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door.connect() as connection:
        connection.sendall(b"GET /?ani=1 HT")
        assert curl(door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 3600)
        assert curl(door.url, "-d", f"ani=2&token={TOKEN}")[0] == "200"
        connection.sendall(request("").replace(b"\r\n", b"TP/1.1\r\n", 1))
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_takes_no_answers_is_thrown_out(quick_door: Door) -> None:
    """What is seen is that the door's end is closed: the client hears of it only when it reads."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        before = descriptors()
        client.connect((HOST, quick_door.port))
        eventually(lambda: descriptors() == before + 1)
        client.setblocking(False)

        def is_closed() -> bool:
            with contextlib.suppress(OSError):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
            return descriptors() == before

        eventually(is_closed)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_half_requests_keep_no_call_waiting(
    door: Door, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor do they take many descriptors, or many lines of the log."""
    with contextlib.ExitStack() as stack:
        before = descriptors()
        for which in range(1, 1501):
            stack.enter_context(door.connect()).sendall(b"GET /?ani=1 HTTP/1.1\r\n")
            if which % 100 == 0:
                assert curl("-m", "5", door.url, "-d", f"ani={which}&token={TOKEN}")[0] == "200"
        assert descriptors() - before - 1500 < 250
    assert 0 < len(door.log) < 30 and not caplog.records  # of waitress
    assert [call.number for call in calls(outbox)] == [str(which) for which in range(100, 1501, 100)]


def descriptors() -> int:
    """Those of this process, which has both ends of each connection."""
    return len(os.listdir("/proc/self/fd"))


def test_a_port_that_is_taken(door: Door, outbox: Outbox) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        HttpDoor((HOST, door.port), Application(outbox, lambda: TOKEN, print))


def test_a_host_that_is_not_here(outbox: Outbox) -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(OSError):
            HttpDoor((host, 0), Application(outbox, lambda: TOKEN, print))


def test_ipv6(outbox: Outbox) -> None:
    try:
        door = HttpDoor(("::1", 0), Application(outbox, lambda: TOKEN, print))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    assert curl(f"http://[::1]:{door.port}/", "-d", f"ani=1&token={TOKEN}")[0] == "200"
    door.close()


def test_a_closed_door_frees_its_port_and_its_threads(outbox: Outbox) -> None:
    before = threading.active_count()
    door = Door(outbox)
    idle = door.connect()
    assert curl(door.url, "-d", f"ani=1&token={TOKEN}")[0] == "200"
    door.close()
    assert answer(idle) == b""
    idle.close()
    assert threading.active_count() == before
    again = HttpDoor((HOST, door.port), Application(outbox, lambda: TOKEN, print))
    again.close()


# Other servers

CGI = """\
from wsgiref.handlers import CGIHandler
from screenpop.wsgi import application
CGIHandler().run(application)
"""


def run_cgi(tmp_path: Path, outbox: Outbox, body: bytes = b"", **environ: str) -> str:
    """As a CGI host runs it (RFC 3875): its output."""
    environment = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/screen_pop.php",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "pbx",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "SCREEN_POP_CONF": str(tmp_path / "screen_pop.conf"),
        "SCREEN_POP_SPOOL": outbox.path,
        "AST_LOG_DIR": str(tmp_path),
        "PYTHONPATH": str(CHECKOUT / "lib"),
        **environ,
    }
    done = subprocess.run([sys.executable, "-c", CGI], input=body, env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def configure(tmp_path: Path, more: str = f"[http]\ntoken = {TOKEN}\n") -> None:
    account = "[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = alice@example.org\n"
    (tmp_path / "screen_pop.conf").write_text(account + more)


def test_a_cgi_host_runs_the_door(tmp_path: Path, outbox: Outbox) -> None:
    configure(tmp_path)
    assert run_cgi(tmp_path, outbox, QUERY_STRING=f"ani=%2B1&cnam=Zo%C3%AB&token={TOKEN}").startswith(
        "Status: 200 OK\r\n"
    )
    form = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": "5"}
    said = run_cgi(tmp_path, outbox, b"ani=2", HTTP_AUTHORIZATION=f"Bearer {TOKEN}", **form)
    assert said.startswith("Status: 200 OK\r\n")
    assert [(call.number, call.name) for call in calls(outbox)] == [("+1", "Zoë"), ("2", "")]


@pytest.mark.parametrize(
    ("more", "status"), [("", "503"), (f"[http]\ntoken = {TOKEN}x\n", "401"), ("[http]\ntoken = x\n", "503")]
)
def test_a_cgi_host_refuses_without_the_token(tmp_path: Path, outbox: Outbox, more: str, status: str) -> None:
    configure(tmp_path, more)
    assert run_cgi(tmp_path, outbox, QUERY_STRING=f"ani=1&token={TOKEN}").startswith(f"Status: {status} ")
    assert not files(outbox, "new")
