"""Rooms (XEP-0045): at a real Prosody and a real ejabberd, and at a scripted server for what those don't do wrong."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError, IqTimeout

from parts.certificates import Certificate
from parts.ejabberd import Ejabberd, NotInstalled
from parts.pbx import DOMAIN, Pbx
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.room import Room
from parts.scripted import STANZAS, Conversation, ScriptedServer, stream_error
from parts.spool import messages
from parts.waiting import eventually
from screenpop.xmpp import rooms, session
from screenpop.xmpp.errors import UNCONFIRMED
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

    def __init__(self, folder: Path, server: Any, ca_file: Path | None = None) -> None:
        self.server = server
        self.errors: list[tuple[str, str, str, str]] = []
        self.receipts: list[tuple[str, str]] = []
        pbx = Pbx(folder, server, ca_file or server.ca_file)
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
        while self.session.awaited():
            self.session.process(self.session.keep_alive())

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
            await alice._client.plugin["xep_0030"].get_info(JID(jid), timeout=1)
        except IqError:
            return False
        except IqTimeout:  # ejabberd drops what reaches a room that is about to end
            return True
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


def test_the_end_of_a_call_corrects_its_message_in_the_room(
    server: Any, alice: Recipient, jid: str, tmp_path: Path
) -> None:
    Room(alice, jid)
    with Pbx(tmp_path, server, server.ca_file, to=f"room:{jid}", linger=0) as pbx:
        pbx.outbox.make()
        popped = pbx.call("+15551234567", variables=WAITING)
        pbx.wait_for_sender_to_leave()
        ids = {"SCREEN_POP_ID": popped.variables["SCREEN_POP_ID"]}
        ended = pbx.call("", "", "answered", variables={**WAITING, **ids}, channel="PJSIP/bob-00000002")
        assert ended.variables["SCREEN_POP_STATUS"] == "DELIVERED"
    alice.sync()
    first, second = (ET.fromstring(one.xml) for one in alice.messages if one.type == "groupchat" and one.body)
    replaced = second.find("{urn:xmpp:message-correct:0}replace")
    assert replaced is not None and replaced.get("id") == first.get("id")
    assert second.findtext("{*}body", "").endswith("to 123: answered by bob")
    assert first.get("from") == second.get("from") == f"{jid}/pbx"


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
    assert kind == "wait" and reason.startswith("the room is full")


def test_a_room_in_which_we_are_banned(alice: Recipient, box: Box, jid: str) -> None:
    Room(alice, jid).affiliate(f"pbx@{DOMAIN}", "outcast")
    kind, reason = box.refusal(jid)
    assert kind == "auth" and reason.startswith(f"the room doesn't let pbx@{DOMAIN} in: it is banned")


def test_a_room_that_does_not_exist_is_not_made(server: Any, alice: Recipient, box: Box, jid: str) -> None:
    kind, reason = box.refusal(jid)
    assert kind == "cancel" and reason.startswith("the room doesn't exist; create it, and make it persistent")
    box.session.confirm()
    eventually(lambda: not exists(alice, jid))
    if isinstance(server, Prosody):  # which may keep a destroyed room from being made again; ejabberd takes a moment
        assert Room(alice, jid).nicks == ["alice"]


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


# At a scripted server

ROOM = f"sales@{SERVICE}"
CONFERENCE = '<identity category="conference" type="text"/>'
ACCOUNT_SERVER = '<identity category="server" type="im"/>'
USER = "http://jabber.org/protocol/muc#user"


class Rooms:
    """Plays the service of rooms. Each part of what it does can be replaced."""

    def __init__(self) -> None:
        self.asked = 0
        self.joins: list[str] = []  # the addresses that were asked for
        self.identity: str | None = CONFERENCE  # None: it never answers
        self.join: Callable[[Conversation, ET.Element, str], None] = self.let_in
        self.message: Callable[[Conversation, ET.Element], None] = self.reflect

    def __call__(self, conversation: Conversation, stanza: ET.Element) -> bool:
        to, kind = stanza.get("to", ""), stanza.tag.rpartition("}")[2]
        if kind == "iq" and stanza.find("{*}query") is not None and to == SERVICE:
            self.asked += 1
            if self.identity is not None:
                info = "http://jabber.org/protocol/disco#info"
                conversation.reply(stanza, "result", f"<query xmlns='{info}'>{self.identity}</query>")
            return True
        if kind == "presence" and stanza.get("type") is None:
            self.joins.append(to)
            self.join(conversation, stanza, to)
            return True
        if kind == "message" and stanza.get("type") == "groupchat":
            self.message(conversation, stanza)
            return True
        return kind == "presence"

    def let_in(self, conversation: Conversation, stanza: ET.Element, to: str) -> None:
        conversation.send(
            f"<presence from={quoteattr(to)} to={quoteattr(conversation.full_jid())}>"
            f"<x xmlns='{USER}'><item affiliation='none' role='participant'/><status code='110'/></x></presence>"
        )

    def reflect(self, conversation: Conversation, stanza: ET.Element) -> None:
        conversation.send(reflection(stanza, f"{ROOM}/pbx"))


def reflection(stanza: ET.Element, sender: str, stanza_id: str | None = None, extra: str = "") -> str:
    """`stanza_id`: if the room changes it."""
    original = stanza.get("id", "")
    return (
        f"<message type='groupchat' from={quoteattr(sender)} id={quoteattr(stanza_id or original)}><body>Call</body>"
        f"<origin-id xmlns='urn:xmpp:sid:0' id={quoteattr(original)}/>{extra}</message>"
    )


@pytest.fixture
def played() -> Rooms:
    return Rooms()


@pytest.fixture
def scripted(played: Rooms, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setattr(session, "STEP_DEADLINE", 1.0)
    monkeypatch.setattr(rooms, "WAIT", 0.3)
    monkeypatch.setattr(rooms, "REFLECTION", 0.3)
    with ScriptedServer(certificate, handles=played) as server:
        yield server


@pytest.fixture
def visit(scripted: ScriptedServer, certificate: Certificate, tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path, scripted, certificate.ca_file) as one:
        yield one


NOT_SENT_BACK = ("1", ROOM, UNCONFIRMED, "the room has not sent the message back")


def test_a_room_that_sends_the_message_back(visit: Box, played: Rooms) -> None:
    visit.send(ROOM, "1")
    visit.send(ROOM, "2")
    assert (visit.errors, played.asked, played.joins) == ([], 1, [f"{ROOM}/pbx"])


def test_a_room_that_sends_nothing_back_gets_nothing_for_a_minute(visit: Box, played: Rooms) -> None:
    played.message = lambda conversation, stanza: None
    visit.send(ROOM)
    assert visit.errors == [NOT_SENT_BACK]
    began = time.monotonic()
    assert visit.refusal(ROOM) == ("wait", NOT_SENT_BACK[3])
    assert time.monotonic() - began < 0.2


@pytest.mark.parametrize(
    "forged",
    [
        lambda stanza: reflection(stanza, f"{ROOM}/eve"),
        lambda stanza: reflection(stanza, ROOM),
        lambda stanza: reflection(stanza, f"other@{SERVICE}/pbx"),
        lambda stanza: reflection(stanza, f"pbx@{DOMAIN}/box"),
        lambda stanza: reflection(stanza, f"{ROOM}/pbx").replace("groupchat", "chat"),
        lambda stanza: reflection(
            stanza, f"{ROOM}/pbx", extra="<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"
        ),
        lambda stanza: f"<message type='error' from='{ROOM}/eve' id='1'><error type='cancel'/></message>",
        lambda stanza: f"<message from='{ROOM}/eve'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
    ],
    ids=["other nickname", "no nickname", "other room", "our account", "private", "history", "error", "receipt"],
)
def test_only_the_rooms_own_reflection_confirms(forged: Callable[[ET.Element], str], visit: Box, played: Rooms) -> None:
    played.message = lambda conversation, stanza: conversation.send(forged(stanza))
    visit.send(ROOM)
    assert visit.errors == [NOT_SENT_BACK]
    assert visit.receipts == []


def test_a_room_confirms_no_message_to_another_room(visit: Box, played: Rooms) -> None:
    other = f"other@{SERVICE}"
    assert visit.enter(other)
    played.message = lambda conversation, stanza: conversation.send(reflection(stanza, f"{other}/pbx"))
    visit.send(ROOM)
    assert visit.errors == [NOT_SENT_BACK]


def test_a_room_that_changes_the_id(visit: Box, played: Rooms) -> None:
    played.message = lambda conversation, stanza: conversation.send(reflection(stanza, f"{ROOM}/pbx", "changed"))
    visit.send(ROOM)
    assert visit.errors == []


def test_a_reflection_after_the_servers_confirmation_is_waited_for(visit: Box, played: Rooms) -> None:
    held: list[ET.Element] = []
    played.message = lambda conversation, stanza: held.append(stanza)

    def answer(conversation: Conversation, stanza: ET.Element) -> bool:
        if stanza.find("{*}ping") is None:
            return played(conversation, stanza)
        conversation.reply(stanza, "result")
        played.reflect(conversation, held.pop())
        return True

    visit.server.handles = answer
    visit.send(ROOM)
    assert visit.errors == [] and held == []


def test_a_room_with_5000_people_is_entered(visit: Box, played: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "WAIT", 20.0)
    item = f"<x xmlns='{USER}'><item affiliation='member' role='participant'/></x>"

    def crowd(conversation: Conversation, stanza: ET.Element, to: str) -> None:
        people = [f"<presence from='{ROOM}/{n}'><show>away</show>{item}</presence>" for n in range(5000)]
        conversation.send("".join(people))
        played.let_in(conversation, stanza, to)

    played.join = crowd
    before = resident()
    visit.send(ROOM)
    assert visit.errors == []
    assert resident() - before < 4096


def resident() -> int:
    """kB of memory."""
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])


def test_a_domain_that_never_answers_is_taken_as_none_of_rooms(visit: Box, played: Rooms) -> None:
    played.identity = None
    began = time.monotonic()
    assert not visit.enter(ROOM)
    assert 0.3 <= time.monotonic() - began < 1
    began = time.monotonic()
    assert not visit.enter(f"other@{SERVICE}")
    assert time.monotonic() - began < 0.2
    assert (played.asked, played.joins) == (1, [])


def test_a_domain_of_accounts_has_no_rooms(visit: Box, played: Rooms) -> None:
    played.identity = ACCOUNT_SERVER
    assert not visit.enter(ROOM) and not visit.enter(ROOM)
    assert (played.asked, played.joins) == (1, [])


def test_a_domain_that_was_down_is_asked_again(
    visit: Box, scripted: ScriptedServer, played: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_down(conversation: Conversation, stanza: ET.Element) -> bool:
        if stanza.get("to") == SERVICE and stanza.find("{*}query") is not None:
            played.asked += 1
            conversation.reply(stanza, "error", "<error type='wait'/>")
            return True
        return played(conversation, stanza)

    scripted.handles = is_down
    assert not visit.enter(ROOM) and not visit.enter(ROOM)
    assert played.asked == 1
    scripted.handles = played
    monkeypatch.setattr(rooms, "PAUSE", 0.0)
    visit.send(ROOM)
    assert (visit.errors, played.asked, set(played.joins)) == ([], 2, {f"{ROOM}/pbx"})


def test_what_a_person_of_another_domain_answers_is_told(visit: Box, scripted: ScriptedServer, played: Rooms) -> None:
    played.identity = ACCOUNT_SERVER
    assert not visit.enter(ROOM)
    scripted.send(f"<message type='error' from='{ROOM}/phone' id='1'><error type='cancel'/></message>")
    scripted.send(f"<message from='{ROOM}/phone'><received xmlns='urn:xmpp:receipts' id='2'/></message>")
    visit.session.confirm()
    assert visit.errors == [("1", f"{ROOM}/phone", "cancel", "undefined-condition")]
    assert visit.receipts == [("2", f"{ROOM}/phone")]


def test_a_room_that_never_lets_us_in_is_waited_for_once(visit: Box, played: Rooms) -> None:
    played.join = lambda conversation, stanza, to: None
    for _ in range(2):
        assert visit.refusal(ROOM) == ("wait", "the room doesn't answer")
    assert len(played.joins) == 1


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ("not-authorized", "auth", "the room's password is missing or wrong; set it in a section with type = room"),
        ("registration-required", "auth", f"the room lets only members in; make pbx@{DOMAIN} a member"),
        ("service-unavailable", "wait", "the room is full, or its service is not available"),
        ("item-not-found", "cancel", "the room doesn't exist; create it, and make it persistent"),
        ("gone", "cancel", "the room was destroyed"),
        ("not-acceptable", "cancel", f"the room lets pbx@{DOMAIN} in only with the nickname that is registered for it"),
        ("conflict", "wait", "the nicknames that were tried are taken in the room"),
        ("remote-server-timeout", "wait", "the server of the room can't be reached"),
        ("something-else", "modify", f"the room doesn't let pbx@{DOMAIN} in: something-else"),
    ],
)
def test_why_a_room_cant_be_entered(error: str, kind: str, reason: str, visit: Box, played: Rooms) -> None:
    xml = f"<error type='modify'><{error} xmlns='{STANZAS}'/></error>"
    played.join = lambda conversation, stanza, to: conversation.send(
        f"<presence type='error' from={quoteattr(to)}>{xml}</presence>"
    )
    assert visit.refusal(ROOM) == (kind, reason)
    nicks = [join.partition("/")[2] for join in played.joins]
    assert nicks == (["pbx", "pbx2", "pbx3", "pbx4", "pbx5"] if error == "conflict" else ["pbx"])


@pytest.mark.parametrize("codes", [(), (307,), (332,)])
def test_a_room_that_puts_us_out_before_it_sends_the_message_back(
    codes: tuple[int, ...], visit: Box, played: Rooms
) -> None:
    status = "".join(f"<status code='{code}'/>" for code in codes)
    played.message = lambda conversation, stanza: conversation.send(
        f"<presence type='unavailable' from='{ROOM}/pbx'><x xmlns='{USER}'>{status}</x></presence>"
    )
    visit.send(ROOM)
    assert visit.errors == [("1", ROOM, "wait", "the room has put us out")]
    played.message = played.reflect
    visit.send(ROOM)
    assert len(visit.errors) == 1 and len(played.joins) == 2


def test_a_room_that_has_forgotten_us_is_joined_again(visit: Box, played: Rooms) -> None:
    visit.send(ROOM, "1")
    played.message = lambda conversation, stanza: conversation.reply(
        stanza, "error", f"<error type='modify'><not-acceptable xmlns='{STANZAS}'/></error>"
    )
    visit.send(ROOM, "2")
    assert visit.errors == [("2", ROOM, "wait", "the room has put us out: not-acceptable")]
    played.message = played.reflect
    visit.send(ROOM, "2")
    assert len(visit.errors) == 1 and len(played.joins) == 2


def test_a_room_that_gives_us_another_nickname(visit: Box, scripted: ScriptedServer, played: Rooms) -> None:
    played.message = lambda conversation, stanza: conversation.send(reflection(stanza, f"{ROOM}/phone"))
    played.join = lambda conversation, stanza, to: played.let_in(conversation, stanza, f"{ROOM}/phone")
    visit.send(ROOM, "1")
    scripted.send(
        f"<presence type='unavailable' from='{ROOM}/phone'><x xmlns='{USER}'><item nick='calls'/>"
        f"<status code='303'/></x></presence>"
    )
    played.message = lambda conversation, stanza: conversation.send(reflection(stanza, f"{ROOM}/calls"))
    visit.session.confirm()
    visit.send(ROOM, "2")
    assert visit.errors == [] and len(played.joins) == 1


def test_what_the_server_has_confirmed_counts_although_it_ends_the_stream_before_a_reflection(
    scripted: ScriptedServer, certificate: Certificate, played: Rooms, tmp_path: Path
) -> None:
    lost: list[ET.Element] = []
    again: list[ET.Element] = []
    played.message = lambda conversation, stanza: lost.append(stanza)

    def sent_back(conversation: Conversation, stanza: ET.Element) -> None:
        again.append(stanza)
        played.reflect(conversation, stanza)

    def answer(conversation: Conversation, stanza: ET.Element) -> bool:
        if stanza.find("{*}ping") is not None:
            scripted.handles, played.message = played, sent_back
            conversation.reply(stanza, "result")
            stream_error("system-shutdown")(conversation)
        return played(conversation, stanza)

    scripted.handles = answer
    with Pbx(tmp_path, scripted, certificate.ca_file, to=f"{ROOM} & alice@{DOMAIN}") as pbx:
        pbx.outbox.make()
        pbx.call(variables=WAITING)
        eventually(lambda: len(messages(pbx.outbox, "sent")) == 2)
    assert [message.get("to") for message in scripted.messages] == [f"alice@{DOMAIN}"]
    assert [message.get("id") for message in lost] == [message.get("id") for message in again]


def test_calls_to_people_are_delivered_while_a_room_is_silent(
    scripted: ScriptedServer, certificate: Certificate, played: Rooms, tmp_path: Path
) -> None:
    held: list[tuple[Conversation, ET.Element]] = []
    played.message = lambda conversation, stanza: held.append((conversation, stanza))
    with Pbx(tmp_path, scripted, certificate.ca_file, to=f"alice@{DOMAIN}") as pbx:
        pbx.outbox.make()
        pbx.call("+1", ROOM)
        eventually(lambda: held)
        assert pbx.call("+2", variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
        assert [message.to for message in messages(pbx.outbox, "sent")] == [f"alice@{DOMAIN}"]
        assert [message.to for message in messages(pbx.outbox, "queue")] == [ROOM]
        played.reflect(*held.pop())
        eventually(lambda: len(messages(pbx.outbox, "sent")) == 2)


def test_the_people_of_a_window_are_told_while_a_domain_is_asked(
    scripted: ScriptedServer, certificate: Certificate, played: Rooms, tmp_path: Path
) -> None:
    questions: list[ET.Element] = []

    def answer(conversation: Conversation, stanza: ET.Element) -> bool:
        if stanza.get("to") == SERVICE and stanza.find("{*}query") is not None:
            questions.append(stanza)
            return True
        if stanza.get("to") == f"alice@{DOMAIN}" and questions:
            played(conversation, questions.pop())
        return played(conversation, stanza)

    scripted.handles = answer
    with Pbx(tmp_path, scripted, certificate.ca_file, to=f"{ROOM} & alice@{DOMAIN}") as pbx:
        pbx.outbox.make()
        assert pbx.call(variables=WAITING).variables["SCREEN_POP_STATUS"] == "DELIVERED"
    assert [message.get("to") for message in scripted.messages] == [f"alice@{DOMAIN}"]
    assert played.joins == [f"{ROOM}/pbx"]
