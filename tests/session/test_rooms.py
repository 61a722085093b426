"""Rooms (XEP-0045): at a real Prosody and a real ejabberd, and at a scripted server for what those don't do wrong."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from slixmpp.exceptions import IqError

from parts.certificates import Certificate
from parts.ejabberd import Ejabberd, NotInstalled
from parts.pbx import DOMAIN, Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.room import Room
from parts.scripted import Conversation, ScriptedServer
from parts.spool import messages
from parts.waiting import eventually
from screenpop.xmpp import rooms
from screenpop.xmpp.rooms import NotJoined
from screenpop.xmpp.session import Session
from screenpop.xmpp.stanza import chat

SERVICE = f"conference.{DOMAIN}"
WAITING = {"SCREEN_POP_WAIT": "20"}
ACCOUNTS = {"pbx": "pbx's secret", "alice": "alice's secret", "bob": "bob's secret"}


@pytest.fixture(scope="module")
def prosody_with_rooms(server_folder: Path, certificate: Certificate) -> Iterator[Prosody]:
    with Prosody(
        server_folder / "rooms", certificate, accounts=ACCOUNTS, extra=f'Component "{SERVICE}" "muc"\n'
    ) as server:
        yield server


@pytest.fixture(scope="module")
def ejabberd_with_rooms(server_folder: Path, certificate: Certificate) -> Iterator[Ejabberd]:
    modules = {"mod_muc": {"hosts": [SERVICE]}}
    try:
        server = Ejabberd(server_folder / "rooms-ejabberd", certificate, accounts=ACCOUNTS, modules=modules)
    except NotInstalled as reason:
        pytest.skip(f"ejabberd: {reason}")
    with server:
        yield server


@pytest.fixture(params=["prosody_with_rooms", "ejabberd_with_rooms"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def alice(server: Any) -> Iterator[Recipient]:
    with Recipient.at(server) as one:
        yield one


@pytest.fixture
def jid(request: pytest.FixtureRequest) -> str:
    """Of a room that no other test has."""
    return f"room{abs(hash(request.node.name))}@{SERVICE}"


class Box:
    """A session, and what became of its messages."""

    def __init__(self, folder: Path, server: Any) -> None:
        self.errors: list[tuple[str, str, str, str]] = []
        self.receipts: list[tuple[str, str]] = []
        pbx = Pbx(folder, server, server.ca_file if hasattr(server, "ca_file") else server.certificate.ca_file)
        self.session = Session(
            pbx.config.xmpp,
            "box",
            on_step=lambda *step: None,
            on_error=lambda *error: self.errors.append(error),
            on_receipt=lambda *receipt: self.receipts.append(receipt),
        )

    def enter(self, recipient: str, password: str = "") -> bool:
        self.session.rooms.prepare(recipient, password)
        return self.session.rooms.enter(recipient)

    def refusal(self, recipient: str, password: str = "") -> tuple[str, str]:
        """Type and reason."""
        with pytest.raises(NotJoined) as refused:
            self.enter(recipient, password)
        return refused.value.type, refused.value.reason

    def send(self, recipient: str, stanza_id: str = "1", password: str = "") -> None:
        assert self.enter(recipient, password)
        self.session.rooms.expect(stanza_id, recipient)
        self.session.send(chat(stanza_id, recipient.replace("room:", ""), "Call from +1", in_room=True))
        self.session.confirm()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


@pytest.fixture
def box(server: Any, tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path, server) as one:
        yield one


def said(alice: Recipient) -> list[str]:
    alice.sync()
    return [message.body for message in alice.messages if message.type == "groupchat" and message.body]


def exists(alice: Recipient, jid: str) -> bool:
    async def ask() -> bool:
        try:
            await alice._client.plugin["xep_0030"].get_info(jid)
        except IqError:
            return False
        return True

    return alice._do(ask())


# At real servers


def test_a_room_gets_each_pop_once_is_joined_once_and_left(
    server: Any, alice: Recipient, jid: str, tmp_path: Path
) -> None:
    room = Room(alice, jid)
    with Pbx(tmp_path, server, server.ca_file, to=f"{jid} & alice@{DOMAIN}", linger=0) as pbx:
        pbx.outbox.make()
        pbx.call("+15551234567", variables=WAITING)
        result = pbx.call("+15551234568", variables=WAITING)
        assert result.variables["SCREEN_POP_STATUS"] == "DELIVERED"
        pbx.wait_for_sender_to_leave()
        room.wait_until_gone("pbx")
        assert len(said(alice)) == 2 and "+1 555-123-4568" in said(alice)[1]
        assert {message.to for message in messages(pbx.outbox, "sent")} == {jid, f"alice@{DOMAIN}"}
    assert "failed" not in pbx.log and "not sent yet" not in pbx.log


def test_a_second_message_needs_no_second_join(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid)
    box.send(jid, "1")
    box.send(jid, "2")
    assert len(said(alice)) == 2 and room.nicks.count("pbx") == 1
    assert box.errors == []


def test_a_prefix_says_that_a_recipient_is_a_room(alice: Recipient, box: Box, jid: str) -> None:
    Room(alice, jid)
    box.send(f"room:{jid}")
    assert len(said(alice)) == 1 and box.errors == []
    assert box.session.rooms._domains == {}


def test_what_was_said_before_is_not_sent_to_us(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid)
    for number in range(3):
        room.say(f"before {number}")
    said(alice)
    seen: list[str] = []
    box.session.client.RegisterHandler("message", lambda conn, message: seen.append(str(message)), makefirst=True)
    box.send(jid)
    assert any("Call from" in message for message in seen)
    assert not any("before" in message for message in seen)


def test_a_nickname_that_is_taken(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid, nick="pbx")
    box.send(jid)
    assert len(said(alice)) == 1 and room.nicks[-1] == "pbx2"
    assert box.errors == []


def test_a_room_with_a_password(alice: Recipient, box: Box, jid: str) -> None:
    Room(alice, jid, passwordprotectedroom=True, roomsecret="let me in")
    kind, reason = box.refusal(jid)
    assert kind == "auth"
    assert reason.startswith("the room's password is missing or wrong; set it in a section with type = room")


def test_the_password_of_the_configuration(server: Any, alice: Recipient, jid: str, tmp_path: Path) -> None:
    Room(alice, jid, passwordprotectedroom=True, roomsecret="let me in")
    section = f"[sales]\ntype = room\nroom = {jid}\npassword = let me in\n"
    with Pbx(tmp_path, server, server.ca_file, to=jid) as pbx:
        pbx.outbox.make()
        pbx.conf.write_text(pbx.conf.read_text() + section)
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        pbx.conf.write_text(pbx.conf.read_text().replace("let me in", "something else"))
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "FAILED"
        (failed,) = messages(pbx.outbox, "failed")
    assert failed.reason.startswith("the room's password is missing or wrong")
    assert len(said(alice)) == 1


def test_a_room_for_members(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid, membersonly=True)
    kind, reason = box.refusal(jid)
    assert kind == "auth" and reason.startswith(f"the room lets only members in; make pbx@{DOMAIN} a member")
    room.affiliate(f"pbx@{DOMAIN}", "member")
    box.session.rooms._rooms.clear()  # a refusal counts for some seconds
    box.send(jid)
    assert len(said(alice)) == 1


def test_a_full_room(ejabberd_with_rooms: Ejabberd, jid: str, tmp_path: Path) -> None:
    """Prosody has no such limit."""
    server = ejabberd_with_rooms
    with Recipient.at(server) as alice, Box(tmp_path, server) as box:
        Room(alice, jid, maxusers="1")
        kind, reason = box.refusal(jid)
    assert kind == "wait" and reason.startswith("the room is full, or its service is not available")


def test_a_room_in_which_we_are_banned(alice: Recipient, box: Box, jid: str) -> None:
    Room(alice, jid).affiliate(f"pbx@{DOMAIN}", "outcast")
    kind, reason = box.refusal(jid)
    assert kind == "auth" and reason.startswith(f"the room doesn't let pbx@{DOMAIN} in: it is banned")


def test_a_room_that_does_not_exist_is_not_made(server: Any, alice: Recipient, box: Box, jid: str) -> None:
    kind, reason = box.refusal(jid)
    assert kind == "cancel" and reason.startswith("the room doesn't exist; create it, and make it persistent")
    box.session.confirm()
    eventually(lambda: not exists(alice, jid))


def test_a_moderated_room(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid, moderatedroom=True)
    assert box.enter(jid)
    room.mute("pbx")
    box.send(jid)
    ((_, sender, kind, reason),) = box.errors
    assert (sender, kind) == (jid, "auth") and f"the room is moderated; give pbx@{DOMAIN} voice" in reason


def test_a_room_that_puts_us_out_is_joined_again(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid)
    box.send(jid, "1")
    room.kick("pbx")
    box.session.confirm()
    box.send(jid, "2")
    assert len(said(alice)) == 2 and room.nicks.count("pbx") == 2 and box.errors == []


def test_a_room_that_bans_us(alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid)
    box.send(jid, "1")
    room.affiliate(f"pbx@{DOMAIN}", "outcast")
    box.session.confirm()
    kind, reason = box.refusal(jid)
    assert kind == "auth" and "it is banned" in reason


@pytest.mark.parametrize("place", ["", f"other@{SERVICE}"])
def test_a_room_that_is_destroyed_while_we_are_in_it(place: str, alice: Recipient, box: Box, jid: str) -> None:
    room = Room(alice, jid)
    box.send(jid, "1")
    room.destroy("no longer needed", place)
    box.session.confirm()
    kind, reason = box.refusal(jid)
    told = f"the room has moved to {place}; change the recipient" if place else "the room was destroyed"
    assert (kind, reason) == ("cancel", f"{told}: no longer needed")


def test_a_room_that_has_moved(prosody_with_rooms: Prosody, jid: str, tmp_path: Path) -> None:
    """Prosody remembers where a destroyed room went."""
    server, place = prosody_with_rooms, f"other@{SERVICE}"
    with Recipient.at(server) as alice, Box(tmp_path, server) as box:
        Room(alice, jid).destroy("no longer needed", place)
        kind, reason = box.refusal(jid)
    assert (kind, reason) == ("cancel", f"the room has moved to {place}; change the recipient: no longer needed")


def test_the_other_recipients_of_a_window_are_told_although_a_room_refuses(
    server: Any, alice: Recipient, jid: str, tmp_path: Path
) -> None:
    Room(alice, jid).affiliate(f"pbx@{DOMAIN}", "outcast")
    with Pbx(tmp_path, server, server.ca_file, to=f"{jid} & alice@{DOMAIN}") as pbx:
        pbx.outbox.make()
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert [message.to for message in messages(pbx.outbox, "sent")] == [f"alice@{DOMAIN}"]
        (failed,) = messages(pbx.outbox, "failed")
        assert "it is banned" in failed.reason
