"""Calls by the HTTP door and by `screen-pop send`, with a real Prosody."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from parts import ccxml
from parts.pbx import CHECKOUT, Pbx
from parts.recipient import Received, Recipient
from parts.server import free_port
from parts.service import Service
from parts.spool import files

TOKEN = "0123456789abcdef"
HOST = "127.0.0.1"
SERVER = """\
import sys
from screenpop.doors.http_server import HttpDoor
from screenpop.wsgi import application
door = HttpDoor(("127.0.0.1", 0), application)
print(door.port, flush=True)
sys.stdin.read()
door.close()
"""
# what CCXML's processor adds to each request (W3C CCXML 1.0 appendix K.4; Prophecy has `sessionid`)
BY_PLATFORM = {
    "session": "s-1",
    "name": "screen_pop",
    "eventid": "e-1",
    "eventsource": "http://192.0.2.1/",
    "hints": "",
}
CALL = {"id": "c-1", "ani": "sip:+15551234567@192.0.2.9", "dnis": "201"}


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def send(self, **fields: str) -> str:
        """As basichttp does: a form by POST. The answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"/screen_pop.php?token={TOKEN}", urlencode({**BY_PLATFORM, **fields}), form)
        answered = connection.getresponse()
        text = answered.read().decode()
        connection.close()
        assert answered.status == 200, text
        return text


@pytest.fixture
def client(pbx: Pbx) -> Iterator[Client]:
    """For the door of this box, in a process of its own that is no sender."""
    with pbx.conf.open("a") as conf:
        conf.write(f"[http]\ntoken = {TOKEN}\n")
    env = {**pbx.env, "PYTHONPATH": str(CHECKOUT / "lib")}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        yield Client(int(process.stdout.readline()))
        process.stdin.close()
    assert process.returncode == 0


def corrects(received: Received) -> str:
    """The id of the message that it takes the place of (XEP-0308); empty if it is none."""
    found = re.search("<replace [^>]*id=\"([^\"]+)\"|<replace [^>]*id='([^']+)'", received.xml)
    return (found[1] or found[2]) if found else ""


def test_a_ccxml_call_that_is_answered_is_one_message_and_its_correction(client: Client, alice: Recipient) -> None:
    assert client.send(**CALL, event="ringing") == "screen_pop.queued\nid=c-1\nstatus=QUEUED\n"
    first = alice.wait_for_message()
    client.send(**CALL, event="answered", duration="192.4")
    second = alice.wait_for_message()
    assert first.body == "Call from +1 555-123-4567 to 201"
    assert second.body == "Call from +1 555-123-4567 to 201: answered, 3 min 12 s"
    assert (corrects(first), corrects(second)) == ("", first.id)
    assert second.from_jid == first.from_jid


def test_a_call_that_is_missed_and_one_of_another_session_with_the_same_id(client: Client, alice: Recipient) -> None:
    client.send(**CALL)
    first = alice.wait_for_message()
    client.send(**{**CALL, "ani": "+15557654321"}, session="s-2")
    assert alice.wait_for_message().body == "Call from +1 555-765-4321 to 201"
    client.send(**CALL, event="missed")
    last = alice.wait_for_message()
    assert last.body.startswith("Missed call from +1 555-123-4567 to 201, ") and corrects(last) == first.id


def test_a_request_that_is_sent_again_is_no_other_message(pbx: Pbx, client: Client, alice: Recipient) -> None:
    for _ in range(5):
        client.send(**CALL)
    pbx.wait_until_sent()
    alice.sync()
    assert len(alice.messages) == 1


def test_the_later_event_finds_the_call_although_the_sender_has_been_killed(
    pbx: Pbx, client: Client, alice: Recipient
) -> None:
    client.send(**CALL)
    first = alice.wait_for_message()
    pbx.wait_until_sent()
    pbx.kill_sender()
    client.send(id="c-1", event="missed")
    assert corrects(alice.wait_for_message()) == first.id


def test_a_configuration_that_becomes_wrong_keeps_no_call_out_and_is_logged_once(pbx: Pbx, client: Client) -> None:
    client.send(**CALL)
    pbx.conf.write_text("[http]\nlisten = nowhere\n")
    for which in range(3):
        client.send(id=f"x-{which}", ani="1")
    assert pbx.log.count("HTTP: ") == 1


# What CCXML applications send to the door of `screen-pop serve`


@pytest.fixture
def port(pbx: Pbx, alice: Recipient, tmp_path: Path) -> Iterator[int]:
    """Of the door."""
    port = free_port()
    with pbx.conf.open("a") as conf:
        conf.write(f"[http]\nlisten = {HOST}:{port}\ntoken = {TOKEN}\n")
    with Service(pbx, tmp_path) as service:
        service.wait_for("READY=1")
        yield port


def basichttp(method: str, url: str, fields: dict[str, str]) -> None:
    """As CCXML's basichttp sends them, in a form or in the query."""
    parts = urlsplit(url)
    assert parts.hostname
    client = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    path, sent = f"{parts.path}?{parts.query}", urlencode({**BY_PLATFORM, **fields})
    if method == "GET":
        client.request("GET", f"{path}{'&' * bool(parts.query)}{sent}")
    else:
        client.request("POST", path, sent, {"Content-Type": "application/x-www-form-urlencoded"})
    answered = client.getresponse()
    assert (answered.status, answered.read()[:18]) == (200, b"screen_pop.queued\n")
    client.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_requests_of_the_ccxml_document_are_one_message_and_its_correction(
    port: int, alice: Recipient, method: str
) -> None:
    connection = {"remote": "sip:+15551234567@192.0.2.1", "local": "201"}
    events: list[tuple[float, str, dict[str, object]]] = [
        (1000, "connection.alerting", {"connectionid": "c1", "connection": connection}),
        (1008, "connection.connected", {}),
        (1200.5, "connection.disconnected", {}),
    ]
    try:
        requests = ccxml.requests(CHECKOUT / "docs/ccxml/screen_pop.ccxml", events)
    except ccxml.NotAvailable as why:
        pytest.skip(str(why))
    first, last = ({**request, "token": TOKEN} for request in requests)
    door = f"http://{HOST}:{port}/screen_pop.php"
    basichttp(method, door, first)
    told = alice.wait_for_message()
    assert told.body == "Call from +1 555-123-4567 to 201"
    basichttp(method, door, last)
    corrected = alice.wait_for_message()
    assert corrected.body == "Call from +1 555-123-4567 to 201: answered, 3 min 12 s"
    assert corrects(corrected) == told.id
    alice.sync()
    assert len(alice.messages) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_line_of_an_application_that_exists_needs_only_another_target(
    port: int, alice: Recipient, method: str
) -> None:
    """The documented line is the one that the first version of this project had, with our target."""
    before = """<send target="'screen_pop.php'" targettype="'basichttp'" namelist="ani"/>"""
    lines = re.findall("^ *(<send .*/>)$", (CHECKOUT / "docs/http.md").read_text(), re.MULTILINE)
    old, new = (dict(ET.fromstring(line).attrib) for line in lines)
    assert old == ET.fromstring(before).attrib
    target = new.pop("target").strip("'").replace("TOKEN", TOKEN).replace("127.0.0.1:8088", f"{HOST}:{port}")
    assert new == {name: value for name, value in old.items() if name != "target"}
    basichttp(method, target, dict.fromkeys(new["namelist"].split(), "+15551234567"))
    assert alice.wait_for_message().body.startswith("Call from +1 555-123-4567")
    alice.sync()
    assert len(alice.messages) == 1


# screen-pop send


def test_send_prints_the_id_by_which_later_events_follow_the_call(pbx: Pbx, alice: Recipient) -> None:
    said = pbx.screen_pop("send", "--number", "+15551234567", "--name", "Bob Example", "--dialled", "201")
    first = alice.wait_for_message()
    assert first.body == "Call from Bob Example, +1 555-123-4567 to 201"
    pbx.wait_until_sent()
    assert said.count("\n") == 1 and files(pbx.outbox, "sent")[0].startswith(said.strip())
    pbx.screen_pop("send", "--id", said.strip(), "--event", "answered", "--peer", "alice", "--duration", "5")
    second = alice.wait_for_message()
    assert second.body == "Call from Bob Example, +1 555-123-4567 to 201: answered by alice, 5 s"
    assert corrects(second) == first.id


def test_send_with_an_id_of_ones_own(pbx: Pbx, alice: Recipient) -> None:
    assert pbx.screen_pop("send", "--number", "1", "--id", "call 7", "--to", alice.jid) == "call 7\n"
    first = alice.wait_for_message()
    assert pbx.screen_pop("send", "--id", "call 7", "--event", "ended") == "call 7\n"
    assert corrects(alice.wait_for_message()) == first.id


def test_send_and_the_http_door_speak_of_the_same_calls(pbx: Pbx, client: Client, alice: Recipient) -> None:
    client.send(id="x", ani="1", session="")
    first = alice.wait_for_message()
    pbx.screen_pop("send", "--id", "x", "--event", "missed")
    assert corrects(alice.wait_for_message()) == first.id


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "screen-pop: the caller's number is missing; it may be empty\n"),
        (["--id", "x"], "screen-pop: the caller's number is missing; it may be empty\n"),
        (
            ["--number", "1", "--duration", "x"],
            "screen-pop: duration should be a number of seconds, such as 192 or 0.5\n",
        ),
    ],
)
def test_what_send_refuses(pbx: Pbx, arguments: list[str], why: str) -> None:
    assert pbx.screen_pop("send", *arguments, status=1) == why
    assert not pbx.waiting()


def test_send_knows_no_other_event(pbx: Pbx) -> None:
    said = pbx.screen_pop("send", "--number", "1", "--event", "hello", status=2)
    assert "invalid choice: 'hello'" in said


def test_send_says_that_the_spool_is_missing(pbx: Pbx, tmp_path: Path) -> None:
    pbx.env["SCREEN_POP_SPOOL"] = str(tmp_path / "nowhere")
    said = pbx.screen_pop("send", "--number", "1", status=1)
    assert said.startswith("screen-pop: ") and "nowhere" in said
    assert not (tmp_path / "nowhere").exists()


def test_send_queues_although_nothing_else_is_configured(pbx: Pbx) -> None:
    """As the script does: what is wrong with the configuration keeps no call out."""
    pbx.conf.unlink()
    pbx.screen_pop("send", "--number", "1")
    assert len(pbx.waiting()) == 1
