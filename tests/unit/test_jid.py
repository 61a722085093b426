"""XMPP addresses are taken apart, and what is none is refused."""

from __future__ import annotations

import pytest

from parts.table import each
from screenpop.text import clean
from screenpop.xmpp import jid


@each(
    ("text", "parts"),
    [
        ("alice@example.org", ("alice", "example.org", "")),
        ("Alice@Example.ORG/Phone", ("alice", "example.org", "Phone")),  # only a resource is case-sensitive
        ("alice@example.org/at@home/desk 1", ("alice", "example.org", "at@home/desk 1")),
        ("example.org", ("", "example.org", "")),
        ("example.org/a@b", ("", "example.org", "a@b")),
        ("alice@example.org.", ("alice", "example.org", "")),
        ("zoë@müller.example", ("zoë", "müller.example", "")),
        ("alice@192.0.2.1", ("alice", "192.0.2.1", "")),
        ("a#!$%*+-.=?^_`{|}~b@example.org", ("a#!$%*+-.=?^_`{|}~b", "example.org", "")),
        ("x" * 1023 + "@example.org", ("x" * 1023, "example.org", "")),
    ],
)
def test_an_address_has_three_parts(text: str, parts: tuple[str, str, str]) -> None:
    assert jid.parse(text) == parts


@each(
    "text",
    [
        "",
        "@",
        "@example.org",
        "alice@",
        "alice@.",
        "alice@/phone",
        "alice@example.org/",
        "alice@bob@example.org",
        "alice smith@example.org",
        "alice@example org",
        " alice@example.org",
        "alice@example.org\n",
        "alice\0@example.org",
        *(f"al{char}ice@example.org" for char in "\"&'<>:"),
        *(f"alice@exa{char}mple.org" for char in "\"&'<>:\\"),
        "alice@[example.org]",
        "alice@example..org",
        "alice@" + "x" * 64 + ".org",
        "x" * 1024 + "@example.org",
        "alice@" + "x." * 512 + "org",
        "alice\u202e@example.org",
        "alice@example.org/de\nsk",
        "alice@example.org/" + "x" * 1024,
    ],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JID") as refused:
        jid.parse(text)
    assert repr(text) in str(refused.value) or str(refused.value).startswith(repr(clean(text)))


@each("text", ["alice@example.org/phone", "alice@example.org", "example.org", "example.org/x"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(jid.parse(text)) == text


@each(
    ("one", "other", "same"),
    [
        ("alice@example.org", "Alice@EXAMPLE.org/phone", True),
        ("stra\u00dfe@example.org", "STRASSE@example.org", True),
        ("\uff41lice@example.org", "alice@example.org", True),  # a full-width letter
        ("example.org", "example.org.", True),
        ("alice@example.org", "example.org", False),
        ("alice@example.org", "alice@sub.example.org", False),
        ("alice@example.org", "bob@example.org/alice@example.org", False),
        ("", "", False),  # no address at all
    ],
)
def test_an_account_is_the_same_however_it_is_written(one: str, other: str, same: bool) -> None:
    assert jid.same_account(one, other) == same


@each(
    ("sender", "may"),
    [
        ("bob@example.net", True),
        ("bob@example.net/phone", True),
        ("BOB@Example.net", True),
        ("example.net", True),
        ("Example.NET", True),
        ("example.org", True),
        ("pbx@example.org", True),
        ("PBX@example.org", True),
        ("pbx@example.org/other", False),
        ("example.org/x", False),
        ("example.net/x", False),
        ("carol@example.net", False),
        ("bob@example.org", False),
        ("sub.example.net", False),
        ("", False),
        ("/", False),
        ("@", False),
        ("@/", False),
        ("@example.org", False),
        ("bob@", False),
        ("bob@example.net/", False),
        ("carol@example.org/bob@example.net", False),
        ("x" * 5000, False),
    ],
)
def test_who_may_say_that_a_message_has_come_back(sender: str, may: bool) -> None:
    assert jid.may_bounce(sender, jid.parse("pbx@example.org"), "bob@example.net") == may


@each(
    ("text", "stored"),
    [
        ("Alice@Example.ORG/Desk", "alice@example.org/Desk"),
        ("room:Sales@conference.example.org", "room:sales@conference.example.org"),
        ("room: sales@conference.example.org", "room:sales@conference.example.org"),
    ],
)
def test_a_recipient_may_say_that_it_is_a_room(text: str, stored: str) -> None:
    assert jid.recipient(text) == stored
    assert jid.recipient(stored) == stored
    assert jid.address(stored) == stored.removeprefix("room:")


@each("text", ["room:", "room:example.org", "room:sales@conference.example.org/alice", "ROOM:a@b"])
def test_what_is_no_room_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a "):
        jid.recipient(text)


@each(
    ("recipient", "may"),
    [
        ("alice@example.org", False),
        ("Alice@EXAMPLE.org", False),
        ("alice@example.net/desk", False),
        ("example.net", False),
        ("sales@conference.example.org", True),
        ("room:sales@example.org", True),
    ],
)
def test_the_server_of_our_own_account_is_never_asked_for_rooms(recipient: str, may: bool) -> None:
    assert jid.may_be_room(recipient, jid.parse("pbx@example.org")) == may
