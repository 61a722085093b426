"""Address books of a real CardDAV server, Radicale, that vdirsyncer has copied into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parts import documents
from parts.certificates import Authority
from parts.debs import NotAvailable
from parts.phonebook import build, look_up, open_index, sources
from parts.radicale import DOMAIN, Radicale

CARD = """\
BEGIN:VCARD
VERSION:{version}
UID:{name}
FN:{full_name}
N:{full_name};;;;
{more}
END:VCARD
"""


def card(name: str, full_name: str, *more: str, version: str = "3.0") -> str:
    text = CARD.format(version=version, name=name, full_name=full_name, more="\n".join(more))
    return text.replace("\n", "\r\n")


@pytest.fixture
def radicale(authority: Authority, new_server_folder: Path, tmp_path: Path) -> Iterator[Radicale]:
    try:
        server = Radicale(new_server_folder, authority.issue(tmp_path, DOMAIN))
    except NotAvailable as why:
        pytest.skip(f"Radicale: {why}")
    with server:
        yield server


def test_an_address_book_and_its_changes(radicale: Radicale, tmp_path: Path) -> None:
    long_name = "Bob " + "Very-Long-Name " * 10 + "Example"
    radicale.put(
        "alice", card("alice", "Alice Müller", "ORG:Example Ltd\\, Sons;Sales", "TEL;TYPE=WORK:+1 555 123-4567")
    )
    radicale.put("bob", card("bob", long_name, "TEL;TYPE=HOME:(555) 123-4568", "item1.TEL:555.123.4569", "NOTE:a\\nb"))
    uri = "TEL;VALUE=uri;PREF=1:tel:+49-30-1234567"
    radicale.put("carol", card("carol", "Carol", uri, "URL:https://example.org/carol", version="4.0"))
    folder = radicale.sync()
    options = {**documents.section("contacts"), "file": str(folder), "notes": "NOTE", "url": "URL"}
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    index = open_index(tmp_path, sources(tmp_path, f"[contacts]\n{lines}"))
    assert build(index) == []
    assert index.contents["contacts"].skipped == 0
    assert look_up(index, "+15551234567") == {
        "contacts": {"name": "Alice Müller", "company": "Example Ltd, Sons, Sales"}
    }
    bob = {"contacts": {"name": long_name, "notes": "a b"}}
    assert look_up(index, "+15551234568") == look_up(index, "5551234569") == bob
    assert look_up(index, "+49301234567") == {"contacts": {"name": "Carol", "url": "https://example.org/carol"}}

    radicale.put("bob", card("bob", "Robert", "TEL:+15551234570"))
    radicale.delete("carol")
    assert index.is_current()
    radicale.sync()
    assert not index.is_current()
    assert build(index) == []
    assert look_up(index, "+15551234570") == {"contacts": {"name": "Robert"}}
    assert look_up(index, "+15551234568") == look_up(index, "+49301234567") == {}
    assert look_up(index, "+15551234567")["contacts"]["name"] == "Alice Müller"
