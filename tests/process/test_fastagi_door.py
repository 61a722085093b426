"""The FastAGI door over TCP: the harness plays Asterisk, others do wrong things. The test plays the sender."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from fake_agi import FROM_SCRIPT, Channel, Result
from parts.spool import calls, files, outbox, tell
from parts.waiting import eventually
from screenpop.call import Call
from screenpop.doors import fastagi
from screenpop.doors.fastagi import Door
from screenpop.phonebook import numbers
from screenpop.phonebook.book import Book
from screenpop.pop import routes
from screenpop.spool import trigger
from screenpop.spool.outbox import Outbox

__all__ = ["outbox"]

LOOPBACK = ("127.0.0.1", 0)
ENVIRONMENT = (
    b"agi_network: yes\nagi_network_script: screen_pop\nagi_callerid: +15551234567\nagi_calleridname: Ann\n"
    b"agi_callingpres: 0\nagi_extension: 123\nagi_threadid: 1\n"
)
SET_STATUS = 'SET VARIABLE "SCREEN_POP_STATUS" "{}"'.format
NO_MORE = "screen_pop: {} conversations are in progress, no more are possible".format


class Listening:
    """A door that listens; its log."""

    def __init__(self, outbox: Outbox, listen: tuple[str, int] = LOOPBACK, **how: Any) -> None:
        self.log: list[str] = []
        self.door = Door(listen, outbox, self.log.append, **how)
        self.address = (listen[0], self.door.port)
        self.door.start()

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.door.close()

    @property
    def url(self) -> str:
        host, port = self.address
        return f"agi://{f'[{host}]' if ':' in host else host}:{port}/screen_pop"

    def connect(self, said: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.address, timeout=30)
        client.sendall(said)
        return client

    def call(self, *arguments: str, how: dict[str, Any] | None = None, **channel: Any) -> Result:
        result = Channel(**{"callerid": "+15551234567", **channel}).run([self.url, *arguments], **(how or {}))
        assert result.agistatus in ("SUCCESS", "HANGUP")
        return result


@pytest.fixture
def listening(outbox: Outbox) -> Iterator[Listening]:
    with Listening(outbox) as made:
        yield made


def queued(outbox: Outbox) -> Call:
    (call,) = calls(outbox)
    return call


def everything(client: socket.socket) -> str:
    """Until the door has ended the conversation."""
    with client, client.makefile("r") as lines:
        return lines.read()


def is_open(client: socket.socket) -> bool:
    ready, _, _ = select.select([client], [], [], 0)
    return not ready or bool(client.recv(65536, socket.MSG_PEEK))


# What it does as the script does


def test_a_call_is_queued_and_the_dialplan_is_told(listening: Listening, outbox: Outbox) -> None:
    result = listening.call(
        "+15551234567", calleridname="Ann Example", dnid="100", extension="123", variables={"SCREEN_POP_WAIT": "0"}
    )
    call = queued(outbox)
    assert (call.number, call.name, call.dnid, call.extension) == ("+15551234567", "Ann Example", "100", "123")
    assert (call.event, call.withheld, call.to) == ("ringing", False, "")
    assert (result.agistatus, result.variables["SCREEN_POP_STATUS"], result.verbose) == ("SUCCESS", "QUEUED", [])
    assert result.variables["SCREEN_POP_ID"] == call.id


def test_the_call_is_in_the_spool_before_the_dialplan_is_told(listening: Listening, outbox: Outbox) -> None:
    with listening.connect(ENVIRONMENT + b"\n") as client:
        assert b"GET FULL VARIABLE" in client.recv(65536)
        Path(outbox.path, "new").rename(f"{outbox.path}/gone")
        client.sendall(b"200 result=0\n")
        assert SET_STATUS("QUEUED") in everything(client)
    assert queued(outbox)


def test_the_name_in_asterisks_database(listening: Listening, outbox: Outbox) -> None:
    listening.call(variables={"DB(cidname/+15551234567)": "Jörg ) Ex"})
    assert queued(outbox).cidname == "Jörg ) Ex"


def test_recipients_and_the_event_come_from_the_dialplan(listening: Listening, outbox: Outbox) -> None:
    listening.call("1", "alice@example.org&bob@example.org/desk", "missed")
    call = queued(outbox)
    assert (call.to, call.event) == ("alice@example.org&bob@example.org/desk", "missed")


def test_the_end_of_a_call_follows_it(listening: Listening, outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan={"screen_pop,ended": ["1"]})
    result = channel.run([listening.url])
    assert (FROM_SCRIPT, 'SET VARIABLE "CHANNEL(hangup_handler_push)" "screen_pop,ended,1"') in result.conversation
    first = queued(outbox)
    channel.state.hung_up = True
    channel.state.write("DIALSTATUS", "NOANSWER")
    channel.run([listening.url, "", "", "ended"])
    ended = calls(outbox)[1]
    assert (ended.event, ended.follows) == ("missed", first.id)


def test_a_call_that_was_answered_before_the_channel_pops_again(listening: Listening, outbox: Outbox) -> None:
    channel = Channel(callerid="1", variables={"CDR(billsec)": "9"})
    channel.run([listening.url])
    first = queued(outbox)
    channel.state.variables.update(DIALSTATUS="ANSWER", DIALEDPEERNAME="PJSIP/reception-00000001")
    result = channel.run([listening.url])
    event, second = sorted((call for call in calls(outbox) if call.id != first.id), key=lambda call: call.event)
    assert (event.event, event.follows, event.peer, event.talked) == ("answered", first.id, "reception", 9.0)
    assert (second.event, result.variables["SCREEN_POP_OWN"]) == ("ringing", second.id)


def test_a_withheld_number_is_kept_nowhere(listening: Listening, outbox: Outbox) -> None:
    listening.call("+15551234567", calleridname="Ann", callingpres=0x20)
    call = queued(outbox)
    assert (call.withheld, call.number, call.name) == (True, "", "")


@pytest.mark.parametrize(
    ("raw_name", "name"),
    [
        ("Zoë", "Zoë"),
        ("Zoë".encode("latin-1"), "Zoë"),
        (b"\xff\xfe", "ÿþ"),
        ("a: b", "a: b"),
        ("x" * 500, "x" * 127 + "…"),
    ],
)
def test_a_name_may_be_any_bytes(listening: Listening, outbox: Outbox, raw_name: str | bytes, name: str) -> None:
    listening.call(calleridname=raw_name)
    assert queued(outbox).name == name


@pytest.mark.parametrize(
    "number",
    [
        "1,eve@evil.test",
        '1"',
        "1\n,eve@evil.test",
        "1\nagi_arg_2: eve@evil.test",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test",
        "1\nagi_foo: x",
        "1\nagi_calleridname: x",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test\n\nx",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test\n\n200 result=1 (x",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test\n\n200 result=1 ()",
        "1\nagi_arg_1: 1\nagi_arg_2: eve@evil.test\n\nHANGUP",
    ],
)
@pytest.mark.parametrize("is_argument", [True, False])
def test_a_caller_doesnt_choose_the_recipients(
    listening: Listening, outbox: Outbox, number: str, is_argument: bool
) -> None:
    """Over FastAGI the arguments are lines, as the caller's number is one."""
    result = listening.call(*(number.split(",") if is_argument else []), callerid=number)
    call = queued(outbox)
    assert (call.to, call.event) == ("", "ringing")
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
    assert not is_argument or result.verbose


def test_a_hostile_value_changes_no_command(listening: Listening, outbox: Outbox) -> None:
    hostile = 'x" 1 SET VARIABLE PWNED 1 \\" "${PWNED} `id` \\'
    result = listening.call("1", "", hostile, calleridname=hostile, variables={"SCREEN_POP_WAIT": hostile})
    assert "PWNED" not in result.variables
    assert [text.partition("=")[0] for text in result.verbose] == [
        f"screen_pop: event {hostile} is none of ringing, answered, missed, ended: taken as ringing",
        "screen_pop: SCREEN_POP_WAIT",
    ]


def test_without_a_spool_the_dialplan_is_told(outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("screenpop.spool.outbox.MEMORY", str(tmp_path / "file"))
    with Listening(Outbox(str(tmp_path / "file" / "outbox"))) as listening:
        result = listening.call()
    assert result.variables["SCREEN_POP_STATUS"] == "FAILED"
    assert "the spool can't be written (" in result.verbose[0]


# Waiting for the server's confirmation


def reply_when_queued(outbox: Outbox, **reply: str) -> threading.Thread:
    def play() -> None:
        eventually(lambda: files(outbox, "new"))
        tell(outbox, queued(outbox), **reply)

    thread = threading.Thread(target=play)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("reply", "told"), [({"status": "DELIVERED"}, []), ({"status": "FAILED", "reason": "no"}, ["screen_pop: no"])]
)
def test_the_dialplan_waits_if_it_asks_to(
    listening: Listening, outbox: Outbox, reply: dict[str, str], told: list[str]
) -> None:
    sender = reply_when_queued(outbox, **reply)
    result = listening.call(variables={"SCREEN_POP_WAIT": "30"})
    sender.join()
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == (reply["status"], told)
    assert result.variables["SCREEN_POP_ID"] == queued(outbox).id
    assert files(outbox, "tmp") == []


def test_a_wait_that_is_over_says_why(listening: Listening, outbox: Outbox) -> None:
    result = listening.call(variables={"SCREEN_POP_WAIT": "0.01"})
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == ("QUEUED", ["screen_pop: no confirmation yet"])
    assert files(outbox, "tmp") == []


def test_a_hang_up_ends_the_wait(listening: Listening, outbox: Outbox) -> None:
    reads, writes = os.pipe()

    def hang_up() -> None:
        eventually(lambda: files(outbox, "new"))
        os.write(writes, b".")

    caller = threading.Thread(target=hang_up)
    caller.start()
    result = listening.call(variables={"SCREEN_POP_WAIT": "60"}, how={"hangup_when": reads, "timeout": 20})
    caller.join()
    os.close(reads)
    os.close(writes)
    assert (result.agistatus, result.variables["SCREEN_POP_STATUS"], result.verbose) == ("HANGUP", "QUEUED", [])
    assert files(outbox, "tmp") == []


@pytest.mark.parametrize("how", [{"hangup_after": 0}, {"hangup_at": "GET FULL"}, {"hangup_at": "SET"}])
def test_a_caller_who_has_hung_up_before_the_wait_isnt_waited_for(
    listening: Listening, outbox: Outbox, how: dict[str, Any]
) -> None:
    result = listening.call(variables={"SCREEN_POP_WAIT": "60"}, how={**how, "timeout": 20})
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == ("QUEUED", [])
    assert queued(outbox)


def until_it_waits(client: socket.socket, more: bytes = b"") -> None:
    """Asterisk's part, on a channel with SCREEN_POP_WAIT; `more` comes together with the last reply."""
    client.sendall(ENVIRONMENT + b"\n")
    question = client.recv(65536).decode().split('"')[1]
    mark = question.partition("$")[0]
    client.sendall(f"200 result=1 ({mark}60{mark * (question.count(mark) - 1)})\n".encode())
    for rest in (b"", more):
        client.recv(65536)
        client.sendall(b"200 result=1\n" + rest)


def test_a_hang_up_that_comes_with_the_last_reply_is_seen(listening: Listening) -> None:
    client = listening.connect()
    until_it_waits(client, b"HANGUP\n")
    assert SET_STATUS("QUEUED") in everything(client)


def test_the_end_of_the_connection_ends_the_wait(listening: Listening, outbox: Outbox) -> None:
    with listening.connect() as client:
        until_it_waits(client)
        eventually(lambda: files(outbox, "tmp"))
    eventually(lambda: not files(outbox, "tmp"))
    assert queued(outbox)


def test_waiting_calls_keep_nobody_waiting(listening: Listening, outbox: Outbox) -> None:
    with ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(listening.call, variables={"SCREEN_POP_WAIT": "30"}) for _ in range(30)]
        eventually(lambda: len(files(outbox, "tmp")) == 30)
        assert listening.call(callerid="1").variables["SCREEN_POP_STATUS"] == "QUEUED"
        for call in calls(outbox):
            if call.number != "1":
                tell(outbox, call, status="DELIVERED")
        assert {one.result().variables["SCREEN_POP_STATUS"] for one in waiting} == {"DELIVERED"}


# Clients that do wrong things


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DESCRIBE_WITHIN", "REPLY_WITHIN", "END_WITHIN"):
        monkeypatch.setattr(fastagi, name, 0.2)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("said", [b"", b"agi_callerid: 1\n", ENVIRONMENT, b"GET / HTTP/1.1\r\nHost: pbx\r\n\r\n"])
def test_who_says_nothing_or_half_of_it_is_told_and_left(listening: Listening, outbox: Outbox, said: bytes) -> None:
    told = everything(listening.connect(said))
    assert "has not described a call within" in told and SET_STATUS("FAILED") in told
    eventually(lambda: listening.log)
    assert listening.log == ["FastAGI: 127.0.0.1 has not described a call within 0 s"]
    assert not files(outbox, "new")


@pytest.mark.usefixtures("hasty")
def test_the_time_is_for_all_of_the_lines(listening: Listening) -> None:
    """A client that sends one byte at a time (slow loris)."""
    client = listening.connect()
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while is_open(client) and time.monotonic() < began + 20:
            client.sendall(b"a")
            select.select([client], [], [], 0.01)
    assert time.monotonic() < began + 20
    client.close()
    eventually(lambda: listening.log)


@pytest.mark.parametrize(
    "said",
    [b"agi_x: 1\n" * 200 + b"\n", b"agi_x: 1\n" * 200, b"x" * 100_000, b"agi_x: " + b"x" * 100_000 + b"\n\n", b"\n\n"],
)
def test_who_says_too_much_is_told_and_left(listening: Listening, outbox: Outbox, said: bytes) -> None:
    client = listening.connect()
    with contextlib.suppress(ConnectionError):
        client.sendall(said)
    with contextlib.suppress(ConnectionError):
        assert SET_STATUS("FAILED") in everything(client)
    eventually(lambda: listening.log)
    assert "doesn't describe a call in 100 lines and 65536 bytes" in listening.log[0]
    assert not files(outbox, "new")


def test_who_goes_before_all_is_said_is_logged(listening: Listening, outbox: Outbox) -> None:
    listening.connect(ENVIRONMENT).close()
    eventually(lambda: listening.log)
    assert listening.log == ["FastAGI: 127.0.0.1 has gone before it had described a call"]
    assert not files(outbox, "new")


def test_who_only_looks_whether_somebody_listens_is_not_logged(listening: Listening) -> None:
    listening.connect().close()
    listening.call()
    assert listening.log == []


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


@pytest.mark.parametrize("said", [b"", ENVIRONMENT])
def test_a_reset_ends_only_its_own_connection(listening: Listening, outbox: Outbox, said: bytes) -> None:
    reset(listening.connect(said))
    eventually(lambda: listening.log)
    assert listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED"


@pytest.mark.parametrize("how", [reset, socket.socket.close])
def test_once_all_is_said_the_call_is_queued(listening: Listening, outbox: Outbox, how: Any) -> None:
    how(listening.connect(ENVIRONMENT + b"\n"))
    eventually(lambda: files(outbox, "new"))
    assert queued(outbox).number == "+15551234567"


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("reply", [b"", b"200 result=1 (", b"200 res"])
def test_without_a_reply_the_call_is_queued(listening: Listening, outbox: Outbox, reply: bytes) -> None:
    with listening.connect(ENVIRONMENT + b"\n") as client:
        client.recv(65536)
        client.sendall(reply)
        assert SET_STATUS("QUEUED") in everything(client)
    assert queued(outbox).number == "+15551234567"
    assert listening.log == ["FastAGI: 127.0.0.1 has not replied within 0 s"]


@pytest.mark.parametrize("reply", [b"510 Invalid or unknown command\n", b"\n", b"x" * 100_000, b"\xff\0\n"])
def test_a_strange_reply_doesnt_make_a_queued_call_a_failed_one(
    listening: Listening, outbox: Outbox, reply: bytes
) -> None:
    with listening.connect(ENVIRONMENT + b"\n") as client:
        client.recv(65536)
        client.sendall(reply)
        assert SET_STATUS("QUEUED") in everything(client)
    assert queued(outbox)


@pytest.mark.usefixtures("hasty")
def test_who_never_ends_is_left(listening: Listening, outbox: Outbox) -> None:
    with listening.connect(ENVIRONMENT + b"\n") as client:
        client.recv(65536)
        client.sendall(b"200 result=0\n")
        with contextlib.suppress(ConnectionError):
            began = time.monotonic()
            while time.monotonic() < began + 20:
                client.sendall(b"HANGUP\n")
        assert time.monotonic() < began + 20


def test_the_log_has_each_kind_of_trouble_once_a_minute(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    def trouble(said: bytes, times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(ConnectionError):
                everything(listening.connect(said))

    trouble(b"\n\n", 20)
    listening.connect(b"agi_x: 1\n").close()
    eventually(lambda: len(listening.log) == 2)
    monkeypatch.setattr(fastagi, "LOGGED_EVERY", 0.0)
    trouble(b"\n\n", 1)
    eventually(lambda: len(listening.log) == 3)
    assert listening.log[2].endswith("(19 more of this kind before)")


# Limits


def test_more_conversations_than_there_may_be_are_refused_with_the_reason(outbox: Outbox) -> None:
    with Listening(outbox, most=3) as listening:
        held = [listening.connect(b"agi_callerid: 1\n") for _ in range(3)]
        for _ in range(2):
            result = listening.call()
            assert (result.agistatus, result.variables["SCREEN_POP_STATUS"]) == ("SUCCESS", "FAILED")
            assert result.verbose == [NO_MORE(3)]
        held.pop().close()
        eventually(lambda: listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED")
        for client in held:
            client.close()
    assert listening.log[0] == "FastAGI: 3 conversations are in progress, no more are possible"
    assert sum("no more are possible" in line for line in listening.log) == 1


def test_those_that_wait_count(outbox: Outbox) -> None:
    with Listening(outbox, most=1) as listening, ThreadPoolExecutor() as pool:
        waiting = pool.submit(listening.call, variables={"SCREEN_POP_WAIT": "30"})
        eventually(lambda: files(outbox, "tmp"))
        assert listening.call().verbose == [NO_MORE(1)]
        tell(outbox, queued(outbox), status="DELIVERED")
        assert waiting.result().variables["SCREEN_POP_STATUS"] == "DELIVERED"


def test_a_flood_of_connections_is_held_off(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastagi, "MOST_REFUSED", 5)
    before = len(os.listdir("/proc/self/fd"))
    with Listening(outbox, most=5) as listening:
        clients = [listening.connect() for _ in range(40)]
        told = [client.makefile("r").read() for client in clients[5:]]
        assert all(SET_STATUS("FAILED") in one for one in told)
        assert len(os.listdir("/proc/self/fd")) < before + 40 + 20
        for client in clients:
            client.close()
        eventually(lambda: listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED")


def test_without_file_descriptors_calls_go_on_and_the_door_rests(listening: Listening, outbox: Outbox) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(3)]
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 3, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        told = []
        for client in clients:
            client.settimeout(30)
            client.connect(listening.address)
            told.append(client.recv(65536).decode())
        before = time.process_time()
        select.select([], [], [], 0.2)
        worked = time.process_time() - before
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            client.close()
    assert all(SET_STATUS("FAILED") in one for one in told)
    assert worked < 0.1
    assert listening.log == ["FastAGI: no file descriptors are left"]
    assert listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED"


# Who may connect, and whom the dialplan may name


@pytest.mark.parametrize(
    ("networks", "status"),
    [
        ((), "QUEUED"),
        (("127.0.0.0/8",), "QUEUED"),
        (("192.0.2.0/24", "127.0.0.1/32"), "QUEUED"),
        (("192.0.2.0/24", "2001:db8::/32"), "FAILED"),
    ],
)
def test_only_the_networks_that_are_allowed_may_connect(outbox: Outbox, networks: tuple[str, ...], status: str) -> None:
    with Listening(outbox, networks=[ip_network(network) for network in networks]) as listening:
        result = listening.call()
    assert result.variables["SCREEN_POP_STATUS"] == status
    refused = "127.0.0.1 is not in [fastagi] allow"
    assert (result.verbose, listening.log) == (
        ([], []) if status == "QUEUED" else ([f"screen_pop: {refused}"], [f"FastAGI: {refused}"])
    )


def test_ipv6(outbox: Outbox) -> None:
    try:
        listening = Listening(outbox, ("::1", 0), networks=[ip_network("::1/128")])
    except OSError as reason:
        pytest.skip(f"no IPv6: {reason}")
    with listening:
        assert listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED"


@pytest.mark.parametrize(
    ("given", "told", "left_out"),
    [
        ("alice@example.org", "alice@example.org", ""),
        ("Alice@Example.org/desk&eve@evil.test", "Alice@Example.org/desk", "eve@evil.test"),
        ("eve@evil.test & no jid", "", "eve@evil.test, no jid"),
        ("sales@rooms.example.org&room:sales@rooms.example.org",) * 2 + ("",),
    ],
)
def test_the_dialplan_may_only_name_recipients_that_are_configured(
    outbox: Outbox, given: str, told: str, left_out: str
) -> None:
    configured = ["alice@example.org", "room:sales@rooms.example.org"]
    with Listening(outbox, permitted=lambda to: routes.permitted(to, configured)) as listening:
        result = listening.call("1", given)
    assert (queued(outbox).to, result.variables["SCREEN_POP_STATUS"]) == (told, "QUEUED")
    text = f"screen_pop: not told, as they are not configured: {left_out}"
    assert result.verbose == ([text] if left_out else [])


# Its beginning and its end


def test_a_port_that_somebody_else_has_is_an_error_at_once(listening: Listening, outbox: Outbox) -> None:
    with pytest.raises(OSError, match="in use"):
        Door(listening.address, outbox, listening.log.append)


def test_a_port_that_it_had_can_be_had_again_at_once(outbox: Outbox) -> None:
    with Listening(outbox) as listening:
        listening.call()
    with Listening(outbox, listening.address) as again:
        assert again.call().variables["SCREEN_POP_STATUS"] == "QUEUED"


def test_a_door_that_was_not_started_can_be_closed(outbox: Outbox) -> None:
    before = os.listdir("/proc/self/fd")
    Door(LOOPBACK, outbox, print).close()
    assert os.listdir("/proc/self/fd") == before


def test_no_descriptor_is_left_open(outbox: Outbox) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Listening(outbox) as listening:
        listening.call(variables={"SCREEN_POP_WAIT": "0.01"})
        listening.connect(b"agi_x: 1\n").close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_those_in_progress_are_told_when_the_door_closes(outbox: Outbox) -> None:
    with ThreadPoolExecutor() as pool:
        with Listening(outbox) as listening:
            waiting = pool.submit(listening.call, variables={"SCREEN_POP_WAIT": "60"})
            eventually(lambda: files(outbox, "tmp"))
        result = waiting.result(timeout=10)
    assert (result.variables["SCREEN_POP_STATUS"], result.verbose) == ("QUEUED", ["screen_pop: no confirmation yet"])
    with pytest.raises(ConnectionRefusedError):
        listening.connect()


def test_those_who_say_nothing_dont_keep_it(outbox: Outbox) -> None:
    with Listening(outbox) as listening:
        clients = [listening.connect(b"agi_x: 1\n") for _ in range(20)]
        began = time.monotonic()
    assert time.monotonic() < began + 10
    for client in clients:
        assert not is_open(client) or SET_STATUS("FAILED") in everything(client)
        client.close()


# The sender


@pytest.fixture
def rings(outbox: Outbox) -> Iterator[int]:
    """A descriptor that can be read when the sender is rung."""
    fifo = os.open(f"{outbox.path}/trigger", os.O_RDONLY | os.O_NONBLOCK)
    yield fifo
    os.close(fifo)


@pytest.mark.parametrize("others", [0, 3])
def test_the_sender_is_rung_whatever_other_clients_do(listening: Listening, rings: int, others: int) -> None:
    clients = [listening.connect(b"agi_callerid: 1\n") for _ in range(others)]
    listening.call()
    assert select.select([rings], [], [], 3)[0]
    assert os.read(rings, 100) == b"\n"
    for client in clients:
        client.close()


def test_clients_that_describe_no_call_delay_no_pop(
    listening: Listening, rings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastagi, "RING_WITHIN", 1000.0)
    clients = [listening.connect(said) for said in (b"", b"agi_callerid: 1\n")]
    listening.call()
    assert select.select([rings], [], [], 3)[0]  # before these are left, after 5 s
    for client in clients:
        client.close()


def test_the_sender_is_rung_while_its_reply_is_waited_for(listening: Listening, rings: int, outbox: Outbox) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(listening.call, variables={"SCREEN_POP_WAIT": "30"})
        assert select.select([rings], [], [], 20)[0]
        tell(outbox, queued(outbox), status="DELIVERED")
        assert waiting.result().variables["SCREEN_POP_STATUS"] == "DELIVERED"


def test_a_sender_that_cant_be_started_is_logged(
    listening: Listening, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ring(path: str) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(trigger, "ring", ring)
    assert listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED"
    eventually(lambda: listening.log)
    assert listening.log == [f"FastAGI: no sender can be started (no more processes): calls wait in {outbox.path}"]


class SenderBeside:
    """Plays the sender in the door's process: what it is told, and what is in the spool by then."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.told: list[tuple[str, list[str]]] = []
        self.is_broken = False

    def expect(self, number: str) -> None:
        self.told.append((number, [call.number for call in calls(self.outbox)]))

    def send_at_once(self) -> None:
        self.told.append(("send", [call.number for call in calls(self.outbox)]))
        if self.is_broken:
            raise RuntimeError("a bug")


def test_a_sender_beside_it_is_told_of_a_call_before_and_after_it_is_queued(outbox: Outbox, rings: int) -> None:
    beside = SenderBeside(outbox)
    with Listening(outbox, sender=beside) as listening:
        listening.call()
        assert select.select([rings], [], [], 3)[0]
    assert beside.told == [("+15551234567", []), ("send", ["+15551234567"])]


def test_a_sender_beside_it_is_only_rung_while_other_calls_wait(
    outbox: Outbox, rings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastagi, "RING_WITHIN", 0.0)
    beside = SenderBeside(outbox)
    with Listening(outbox, sender=beside) as listening, listening.connect(ENVIRONMENT + b"\n") as other:
        assert b"GET FULL VARIABLE" in other.recv(65536)
        eventually(lambda: beside.told)
        del beside.told[:]
        listening.call()
        assert select.select([rings], [], [], 3)[0]
        assert beside.told == []


def test_a_sender_beside_it_that_fails_is_rung_all_the_same(outbox: Outbox, rings: int) -> None:
    beside = SenderBeside(outbox)
    beside.is_broken = True
    with Listening(outbox, sender=beside) as listening:
        assert listening.call().variables["SCREEN_POP_STATUS"] == "QUEUED"
        assert select.select([rings], [], [], 3)[0]
    assert listening.log == ["FastAGI: RuntimeError: a bug"]


@pytest.mark.parametrize("error", [ImportError("the library is being replaced"), OSError("no file descriptors")])
def test_a_damaged_library_of_numbers_harms_no_call(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def parse(*number: str) -> None:
        raise error

    monkeypatch.setattr(numbers, "parse", parse)
    beside = SenderBeside(outbox)
    monkeypatch.setattr(beside, "expect", Book({}, outbox.path, "US", places=False, wait=1.0).expect)
    with Listening(outbox, sender=beside) as listening:
        result = listening.call(variables={"DB(cidname/+15551234567)": "Ann"})
    assert (result.variables["SCREEN_POP_STATUS"], queued(outbox).cidname, listening.log) == ("QUEUED", "Ann", [])


# Many at once


def test_sixty_calls_at_once(listening: Listening, outbox: Outbox) -> None:
    with ThreadPoolExecutor(60) as pool:
        results = list(pool.map(lambda number: listening.call(callerid=str(number)), range(60)))
    assert {result.variables["SCREEN_POP_STATUS"] for result in results} == {"QUEUED"}
    assert {call.number for call in calls(outbox)} == set(map(str, range(60)))
    assert listening.log == []
