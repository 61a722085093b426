"""`screen-pop introduce`, with real servers, and slixmpp as the recipient."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts.certificates import Certificate
from parts.contact import Contact
from parts.ejabberd import Ejabberd, NotInstalled
from parts.pbx import CHECKOUT, DOMAIN, Pbx
from parts.prosody import Prosody
from parts.scripted import Conversation, Fault, ScriptedServer
from parts.server import Server
from screenpop.commands.introduce import PICTURE

OURS = Path(PICTURE).read_bytes()
PEOPLE = 12  # one of each for each test
ACCOUNTS = {f"{who}{number}": "pbx's secret" for who in ("pbx", "alice", "mallory") for number in range(PEOPLE)}
EJABBERD_MODULES = {
    "mod_caps": {},
    "mod_pubsub": {"plugins": ["flat", "pep"]},
    "mod_vcard": {},
    "mod_vcard_xupdate": {},
}
NICK = "{http://jabber.org/protocol/nick}nick"


@pytest.fixture(scope="module", params=["Prosody", "ejabberd"])
def server(request: pytest.FixtureRequest, server_folder: Path, certificate: Certificate) -> Iterator[Server]:
    folder = server_folder / f"introduce-{request.param}"
    made: Server
    if request.param == "Prosody":
        modules = 'modules_enabled = { "pep", "vcard4", "vcard_legacy" }'
        made = Prosody(folder, certificate, accounts=ACCOUNTS, extra=modules)
    else:
        try:
            made = Ejabberd(folder, certificate, accounts=ACCOUNTS, modules=EJABBERD_MODULES)
        except NotInstalled as reason:
            pytest.skip(f"ejabberd: {reason}")
    with made:
        yield made


class Office:
    """A box whose account nobody knows yet, and its recipient."""

    numbers = itertools.count()

    def __init__(self, folder: Path, server: Server) -> None:
        number = next(self.numbers) % PEOPLE
        self.server, self.account, self.alice = server, server.jid(f"pbx{number}"), f"alice{number}"
        self.mallory = f"mallory{number}"
        self.pbx = Pbx(folder, server, server.ca_file)
        self.pbx.configure(jid=self.account, to=server.jid(self.alice))
        self.pbx.outbox.make()

    def introduce(self, status: int = 0) -> dict[str, str]:
        return lines(self.pbx.screen_pop("introduce", status=status))

    def check(self) -> str:
        (line,) = (line for line in self.pbx.screen_pop("check").splitlines() if " contacts " in line)
        return line

    def accept(self, alice: Contact) -> dict[str, str]:
        """Introduce; alice accepts, and asks back, as clients do."""
        with self.pbx.start_screen_pop("introduce") as process:
            alice.wait_for_presence(self.account, "subscribe")
            alice.send_presence(self.account, "subscribed")
            alice.send_presence(self.account, "subscribe")
            output, _ = process.communicate()
        assert process.returncode == 0, output
        return lines(output)


def lines(output: str) -> dict[str, str]:
    """The text behind each label, and what is said of the recipient."""
    found = dict(line.split(maxsplit=1) for line in output.splitlines())
    if "contact" in found:
        found["contact"] = found["contact"].partition(": ")[2]
    return found


@pytest.fixture
def office(server: Server, tmp_path: Path) -> Office:
    return Office(tmp_path, server)


def test_the_recipient_is_asked_by_name_and_accepts(office: Office) -> None:
    assert office.check().startswith("note     contacts       ")
    stranger = f"{office.server.jid(office.alice)} has not accepted yet: Converse.js shows strangers nothing"
    assert stranger in office.check()
    assert "Kaidan 0.8 opens no chat; run screen-pop introduce" in office.check()
    with Contact.at(office.server, office.alice) as alice:
        said = office.accept(alice)
        assert said["contact"].startswith("accepted")
        assert alice.wait_for_presence(office.account, "subscribe").findtext(NICK) == "Phone calls"
        alice.wait_for_presence(office.account, "subscribed")
        assert alice.subscription(office.account) == "both"
    assert office.check() == f"ok       contacts       {office.server.jid(office.alice)} has accepted"


def test_name_and_picture_arrive(office: Office) -> None:
    office.pbx.conf.write_text(office.pbx.conf.read_text().replace("[pop]", "name = Zoë & Söhne\n[pop]"))
    with Contact.at(office.server, office.alice) as alice:
        office.accept(alice)
        alice.wait_for_presence(office.account, "subscribed")
        card = alice.vcard(office.account)
        assert (card["FN"], str(card["NICKNAME"])) == ("Zoë & Söhne", "Zoë & Söhne") or card["NICKNAME"] == [
            "Zoë & Söhne"
        ]
        assert bytes(card["PHOTO"]["BINVAL"]) == OURS
        nick = alice.published(office.account, "http://jabber.org/protocol/nick")
        assert next(nick.iter(NICK)).text == "Zoë & Söhne"
        info = next(alice.published(office.account, "urn:xmpp:avatar:metadata").iter("{urn:xmpp:avatar:metadata}info"))
        assert info.get("id") == hashlib.sha1(OURS).hexdigest() and info.get("bytes") == str(len(OURS))
        assert (info.get("type"), info.get("width"), info.get("height")) == ("image/png", "96", "96")


def test_the_contacts_see_the_hash_of_the_picture_while_it_runs(office: Office) -> None:
    with Contact.at(office.server, office.alice) as alice:
        office.accept(alice)
        alice.wait_for_presence(office.account, "subscribed")
        office.introduce()
        photo = next(alice.wait_for_presence(office.account).iter("{vcard-temp:x:update}photo"))
        assert photo.text == hashlib.sha1(OURS).hexdigest()
        alice.wait_for_presence(office.account, "unavailable")


def test_a_second_run_changes_nothing(office: Office) -> None:
    with Contact.at(office.server, office.alice) as alice:
        first = office.accept(alice)
        assert first["vCard"] == first["PEP"] == "Phone calls (set)"
        assert office.introduce() == {"vCard": "Phone calls", "PEP": "Phone calls", "contact": "accepted"}
        alice.sync()
        assert len(alice.presences_of(office.account, "subscribe")) == 1


def test_who_asked_before_is_approved(office: Office) -> None:
    with Contact.at(office.server, office.alice) as alice:
        alice.send_presence(office.account, "subscribe")
        assert office.introduce()["contact"] == "asked, no answer yet; asked by them, and approved"
        alice.wait_for_presence(office.account, "subscribed")
        assert alice.subscription(office.account) == "to"
    assert office.check().endswith(" has accepted")


def test_who_asks_later_is_approved_by_the_next_run(office: Office) -> None:
    with Contact.at(office.server, office.alice) as alice:
        office.introduce()
        alice.send_presence(office.account, "subscribe")
        office.introduce()
        alice.wait_for_presence(office.account, "subscribed")
        assert alice.subscription(office.account) == "to"


def test_a_stranger_is_not_approved(office: Office) -> None:
    with Contact.at(office.server, office.mallory) as mallory:
        mallory.send_presence(office.account, "subscribe")
        with office.pbx.start_screen_pop("introduce") as process:
            mallory.send_presence(office.account, "subscribe")
            process.communicate()
        office.introduce()
        mallory.sync()
        assert mallory.presences_of(office.account, "subscribed") == mallory.presences_of(office.account) == []
        assert mallory.subscription(office.account) == "none"


def test_a_recipient_who_declines(office: Office) -> None:
    with Contact.at(office.server, office.alice) as alice:
        with office.pbx.start_screen_pop("introduce") as process:
            alice.wait_for_presence(office.account, "subscribe")
            alice.send_presence(office.account, "unsubscribed")
            output, _ = process.communicate()
        assert process.returncode == 1
        assert lines(output)["contact"] == "asked: declined, or there is no such account"


def test_what_somebody_has_put_into_the_vcard_stays(office: Office) -> None:
    with Contact.at(office.server, office.account.partition("@")[0]) as owner:
        owner.change_vcard("Example Ltd", b"their picture")
        assert office.introduce()["vCard"] == "Phone calls (set)"
        card = owner.vcard(office.account)
        assert card["FN"] == "Phone calls" and card["ORG"]["ORGNAME"] == "Example Ltd"
        assert bytes(card["PHOTO"]["BINVAL"]) == b"their picture"
    assert office.introduce()["vCard"] == "Phone calls"


def test_a_server_without_vcards_and_pep(prosody: Prosody, tmp_path: Path) -> None:
    with Pbx(tmp_path, prosody, prosody.ca_file) as pbx:
        pbx.outbox.make()
        said = lines(pbx.screen_pop("introduce"))
    assert said["vCard"] == "the server keeps none: service-unavailable"
    assert said["PEP"] == "the server has none: service-unavailable"
    assert said["contact"] == "asked, no answer yet"


def roster(items: str, and_then: str = "") -> Fault:
    """The server's answer to the request for the contact list, and more."""

    def answer(conversation: Conversation) -> None:
        conversation.reply(conversation.stanza, "result", f"<query xmlns='jabber:iq:roster'>{items}</query>")
        conversation.send(and_then)

    return answer


def push(sender: str, subscription: str) -> str:
    item = f"<item jid='alice@{DOMAIN}' subscription='{subscription}'/>"
    return f"<iq type='set' id='p' {sender}><query xmlns='jabber:iq:roster'>{item}</query></iq>"


def from_scripted(command: str, folder: Path, certificate: Certificate, answer: Fault, status: int = 0) -> str:
    with ScriptedServer(certificate, faults={"roster": answer}) as server:
        with Pbx(folder, server, certificate.ca_file) as pbx:
            pbx.outbox.make()
            return pbx.screen_pop(command, status=status)


def test_a_contact_list_with_5000_people(server_folder: Path, certificate: Certificate, tmp_path: Path) -> None:
    """As of an account in a shared group."""
    extra = 'modules_enabled = { "pep", "vcard4", "vcard_legacy" }'
    crowded = Prosody(server_folder / "introduce-crowded", certificate, extra=extra)
    contact = '["{}@{}"] = {{ name = "Colleague", subscription = "both", groups = {{ Staff = true }} }};'
    people = [contact.format(name, DOMAIN) for name in ["alice", *(f"colleague{number}" for number in range(4999))]]
    stored = crowded.folder / "data" / "screenpop%2etest" / "roster" / "pbx.dat"
    stored.parent.mkdir(parents=True)
    stored.write_text(f"return {{ {' '.join(people)} }};")
    with crowded, Pbx(tmp_path, crowded, crowded.ca_file) as pbx:
        pbx.outbox.make()
        assert lines(pbx.screen_pop("introduce"))["contact"] == "accepted"
        assert f"ok       contacts       alice@{DOMAIN} has accepted" in pbx.screen_pop("check")


def test_a_contact_list_with_20000_people(certificate: Certificate, tmp_path: Path) -> None:
    item = "<item jid='{}@{}' name='Colleague' subscription='both'><group>Staff</group><group>All</group></item>"
    people = roster("".join(item.format(name, DOMAIN) for name in ["alice", *map(str, range(19_999))]))
    assert lines(from_scripted("introduce", tmp_path, certificate, people))["contact"].startswith("accepted")


def test_a_contact_list_that_is_too_long(certificate: Certificate, tmp_path: Path) -> None:
    endless = roster("".join(f"<item jid='u{number}@example.org'/>" for number in range(100_000)))
    said = from_scripted("introduce", tmp_path, certificate, endless, status=1)
    assert "PROBLEM  contacts: the server sends more than 65536 XML elements in the contact list" in said
    said = from_scripted("check", tmp_path, certificate, endless)
    assert "note     contacts       can't be read: the server sends more than 65536 XML elements" in said


@pytest.mark.parametrize(
    ("sender", "said"),
    [
        ("", "accepted"),
        (f"from='pbx@{DOMAIN}'", "accepted"),
        (f"from='mallory@{DOMAIN}'", "asked, no answer yet"),
        (f"from='{DOMAIN}'", "asked, no answer yet"),
    ],
)
def test_a_change_of_the_contact_list_is_believed_only_if_it_is_ours(
    sender: str, said: str, certificate: Certificate, tmp_path: Path
) -> None:
    """RFC 6121 section 2.1.6"""
    answer = roster("", and_then=push(sender, "both"))
    output = from_scripted("introduce", tmp_path, certificate, answer)
    assert lines(output)["contact"].startswith(said)


def test_what_a_server_says_does_not_reach_the_terminal_as_it_is(certificate: Certificate, tmp_path: Path) -> None:
    text = "\x9b31m\u202eforged" + "x" * 5000
    error = f"<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text>{text}</text></error>"
    answer = roster("<item jid='&#x202e;'/>", f"<presence type='error' from='alice@{DOMAIN}'>{error}</presence>")
    output = from_scripted("introduce", tmp_path, certificate, answer, status=1)
    assert f"contact  alice@{DOMAIN}: asked: gone: 31mforgedxx" in output
    assert "\x9b" not in output and "\u202e" not in output and len(output) < 1500


def test_a_shared_group_of_prosody_needs_no_acceptance(
    new_server_folder: Path, certificate: Certificate, tmp_path: Path
) -> None:
    """As docs/contacts.md says."""
    text = (CHECKOUT / "docs/contacts.md").read_text(encoding="utf-8")
    group = re.findall(r"^    (\[\+\w+\])\n    pbx@example\.org=(.*)$", text, re.M)[0]
    groups = new_server_folder / "groups.txt"
    groups.write_text(f"{group[0]}\npbx0@{DOMAIN}={group[1]}\n")
    extra = f'modules_enabled = {{ "groups" }}\ngroups_file = "{groups}"'
    with Prosody(new_server_folder / "groups", certificate, accounts=ACCOUNTS, extra=extra) as server:
        pbx = Pbx(tmp_path, server, server.ca_file)
        pbx.configure(jid=f"pbx0@{DOMAIN}", to=f"alice0@{DOMAIN}")
        pbx.outbox.make()
        with Contact.at(server, "alice0") as alice:
            assert alice.subscription(f"pbx0@{DOMAIN}") == "both"
        assert "has not accepted yet" in pbx.screen_pop("check")  # as the document says: it is in alice's list only
