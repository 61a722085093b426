"""The source ldap, with a real slapd; and with servers that no administrator would run."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from parts import documents
from parts.certificates import Authority, Certificate, Signed
from parts.debs import NotAvailable
from parts.slapd import PASSWORD, READER, SUFFIX, Slapd
from screenpop import config
from screenpop.phonebook.directory import connection, sessions
from screenpop.phonebook.ldap import OPTIONS, Source
from screenpop.phonebook.source import Number, SourceError

HOST = "127.0.0.1"
PEOPLE = f"ou=people,{SUFFIX}"
FIELDS = {"name": "displayName", "company": "company"}
EVERYWHERE = "(|(telephoneNumber={number})(mobile={number}))"
HOSTILE = (
    *("anonymous", "+", "0", "1" * 40, "sip:alice@example.org", "*", "*)(uid=*", "+15551234567)(uid=*))(|(uid=*"),
    *("\\", "\\2a", "\x00", "a\x00b", "(", ")", "&", "'; DROP TABLE", "é", "\N{PILE OF POO}", "", " ", "-", "- -"),
)


def person(uid: str, *lines: str, classes: str = "inetOrgPerson extensibleObject") -> str:
    kinds = "\n".join(f"objectClass: {name}" for name in classes.split())
    return "\n".join((f"dn: uid={uid},{PEOPLE}", kinds, f"uid: {uid}", f"cn: {uid}", f"sn: {uid}", *lines, "", ""))


def entries(elsewhere: int) -> str:
    """`elsewhere`: the port of the server that the referrals name."""
    rene = base64.b64encode("René Exemple".encode()).decode()
    photo = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(range(256))).decode()
    guid = base64.b64encode(bytes(range(0xF0, 0x100))).decode()
    return "\n".join(
        (
            f"dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n",
            person(
                "alice",
                "telephoneNumber: +1 555-123-4567",
                "displayName: Alice Example",
                "company: Example Ltd",
                "title: Head of Tests",
                "title: Treasurer",
                "ipPhone: 123",
            ),
            person("rene", "mobile: +15551234568", f"displayName:: {rene}"),
            person("family1", "telephoneNumber: +15551234500", "employeeNumber: 17"),
            person("family2", "telephoneNumber: +15551234500", "displayName: Carol Example"),
            person("photo", "telephoneNumber: +15551234569", f"jpegPhoto:: {photo}", f"objectGUID:: {guid}"),
            person("large", "telephoneNumber: +15551234570", f"description: {'x' * 400_000}"),
            *(person(f"crowd{n}", "telephoneNumber: +15550000000", "displayName: One of many") for n in range(50)),
            f"dn: ou=branch,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: branch",
            f"ref: ldap://{HOST}:{elsewhere}/ou=branch,{PEOPLE}\n",
        )
    )


@pytest.fixture(scope="module")
def for_loopback(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority.issue(tmp_path_factory.mktemp("certificate"), HOST, "localhost")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def slapd(server_folder: Path, for_loopback: Certificate, elsewhere: socket.socket) -> Iterator[Slapd]:
    with made(server_folder / "slapd", for_loopback, entries(elsewhere.getsockname()[1])) as server:
        yield server


def made(folder: Path, certificate: Certificate, ldif: str = "", **options: bool) -> Slapd:
    try:
        return Slapd(folder, certificate, ldif, **options)
    except NotAvailable as reason:
        pytest.skip(f"slapd: {reason}")


Make = Callable[..., Source]


@pytest.fixture
def source(tmp_path: Path, slapd: Slapd) -> Iterator[Make]:
    """Makes a source as a file configures it; by default for the slapd of this module, with ldaps."""
    open_ones = []

    def make(**options: str | None) -> Source:
        given = {
            "type": "ldap",
            "server": f"ldaps://{HOST}:{slapd.ldaps_port}",
            "ca_file": str(slapd.ca_file),
            "base": PEOPLE,
            "filter": EVERYWHERE,
            "bind_dn": READER,
            "password": PASSWORD,
            **(options if "name" in options else {**FIELDS, **options}),
        }
        path = tmp_path / "screen_pop.conf"
        path.write_text("[staff]\n" + "".join(f"{name} = {value}\n" for name, value in given.items() if value))
        section: Any = config.read(str(path), {}, {"ldap": OPTIONS}, {}).sections["staff"]
        open_ones.append(Source("staff", section))
        return open_ones[-1]

    yield make
    for one in open_ones:
        one.close()


def number(text: str) -> Number:
    is_one = text.startswith("+1555") and len(text) == 12
    return Number(text, text, text[2:]) if is_one else Number("", text, "")


def look_up(source: Source, text: str = "+15551234567", seconds: float = 20) -> dict[str, str]:
    return source.lookup(number(text), time.monotonic() + seconds)


def complaint(source: Source) -> str:
    """What both a lookup and a check say is wrong."""
    with pytest.raises(SourceError) as looked_up:
        look_up(source)
    with pytest.raises(SourceError) as checked:
        source.check()
    assert str(looked_up.value) == str(checked.value)
    assert PASSWORD not in str(checked.value)
    return str(checked.value)


# What it finds


@pytest.mark.parametrize("tls", ["ldaps", "StartTLS", "no scheme"])
def test_hit(source: Make, slapd: Slapd, tls: str) -> None:
    ports = {"ldaps": slapd.ldaps_port, "StartTLS": slapd.port, "no scheme": slapd.port}
    scheme = {"ldaps": "ldaps://", "StartTLS": "ldap://", "no scheme": ""}[tls]
    one = source(server=f"{scheme}{HOST}:{ports[tls]}")
    assert look_up(one) == {"name": "Alice Example", "company": "Example Ltd"}


def test_the_host_may_have_several_addresses(source: Make, slapd: Slapd) -> None:
    """slapd listens at the IPv4 address of localhost only."""
    assert look_up(source(server=f"ldaps://localhost:{slapd.ldaps_port}"))["name"] == "Alice Example"


def test_first_address_of_the_host_does_not_answer(source: Make, slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, port: int, *more: Any, **options: Any) -> list[Any]:
        addresses = ("127.0.0.2", HOST) if host == "localhost" else (host,)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in addresses]

    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.2", slapd.ldaps_port))
        full.listen(0)
        waiting.connect(full.getsockname())  # there is no room for another
        one = source(server=f"ldaps://localhost:{slapd.ldaps_port}")
        monkeypatch.setattr(socket, "getaddrinfo", found)
        assert look_up(one, seconds=2)["name"] == "Alice Example"


def test_ca_made_by_hand(source: Make, new_server_folder: Path, tmp_path: Path) -> None:
    """Without the key identifiers that Python 3.13 asks for by default."""
    ca = Signed("a CA", is_ca=True)
    certificate = Signed("ldap", ca, ["localhost"]).for_a_server(tmp_path, ca)
    with made(new_server_folder / "slapd", certificate, entries(1)) as server:
        one = source(server=f"ldaps://localhost:{server.ldaps_port}", ca_file=str(certificate.ca_file))
        assert look_up(one)["name"] == "Alice Example"


def test_stranger(source: Make) -> None:
    assert look_up(source(), "+15559999999") == {}


def test_attributes_that_are_missing_are_left_out(source: Make) -> None:
    assert look_up(source(), "+15551234568") == {"name": "René Exemple"}


def test_first_value_counts(source: Make) -> None:
    assert look_up(source(title="title"))["title"] == "Head of Tests"


def test_templates_and_other_spellings_of_attributes(source: Make) -> None:
    one = source(name="{DISPLAYNAME} ({uid})", url="https://crm.example.org/?q={displayname}")
    assert look_up(one) == {
        "name": "Alice Example (alice)",
        "url": "https://crm.example.org/?q=Alice%20Example",
    }


def test_bytes_that_are_not_text_are_left_out(source: Make) -> None:
    one = source(photo="jpegPhoto", guid="objectGUID", id="uid")
    assert look_up(one, "+15551234569") == {"id": "photo"}


def test_of_several_entries_the_first_with_a_field(source: Make) -> None:
    assert look_up(source(), "+15551234500") == {"name": "Carol Example"}


def test_only_a_few_entries_are_asked_for(source: Make, slapd: Slapd) -> None:
    assert look_up(source(), "+15550000000")["name"] == "One of many"
    found = slapd.log().rpartition("SEARCH RESULT")[2].splitlines()[0]
    assert "err=4 " in found and "nentries=5 " in found


def test_only_the_attributes_of_the_fields_are_asked_for(source: Make, slapd: Slapd) -> None:
    look_up(source(name="{givenName} {sn}", company="company"))
    assert slapd.log().rpartition("SRCH attr=")[2].splitlines()[0] == "givenName sn company"


def test_anonymous(source: Make, for_loopback: Certificate, new_server_folder: Path) -> None:
    with made(new_server_folder / "open", for_loopback, entries(1), anonymous=True) as server:
        one = source(server=f"ldap://{HOST}:{server.port}", bind_dn=None, password=None)
        assert look_up(one)["name"] == "Alice Example"
        assert "as anonymous" in one.check()


def test_password_from_a_file(source: Make, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    assert look_up(source(password=None, password_file=str(file)))["name"] == "Alice Example"


def test_last_digits(source: Make) -> None:
    one = source(filter="(telephoneNumber=*{national})")
    assert one.lookup(Number("+445551234567", "+445551234567", "5551234567"), time.monotonic() + 20)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("filter", ["(|(telephoneNumber={number})(uid={written})(mobile={national}))"])
def test_hostile_numbers_find_nobody(source: Make, filter: str, text: str) -> None:
    one = source(filter=filter)
    assert look_up(one, text) == {}
    assert look_up(one)["name"] == "Alice Example"


@pytest.mark.parametrize("text", ["anonymous", "+", "*", "*)(uid=*", "\\", "\x00", "", " ", "-", "- -"])
def test_a_wildcard_beside_a_number_that_is_none_finds_nobody(source: Make, text: str) -> None:
    assert look_up(source(filter="(|(telephoneNumber=*{number})(telephoneNumber=*{national}*))"), text) == {}


def test_examples_of_the_documentation(source: Make) -> None:
    """They find Alice in a directory that has the attributes of Active Directory."""
    for name in ("staff", "ad"):
        given = documents.section(name)
        for ours in ("type", "server", "ca_file", "base", "bind_dn", "password_file"):
            given.pop(ours, None)
        assert look_up(source(**given))["name"] == "Alice Example", name


# Referrals


def test_referrals_are_not_followed(source: Make, slapd: Slapd, elsewhere: socket.socket) -> None:
    """The search of all below PEOPLE gets a reference to another server beside its entries."""
    assert look_up(source(filter="(|(uid={number})(objectClass=inetOrgPerson))"))
    assert look_up(source())["name"] == "Alice Example"
    with pytest.raises(BlockingIOError):
        elsewhere.accept()


def test_base_at_another_server(source: Make, elsewhere: socket.socket) -> None:
    base = f"ou=branch,{PEOPLE}"
    said = complaint(source(base=base))
    assert said.partition(" doesn't have the base ")[2].startswith(f"{base}, and refers to another server: ldap://")
    with pytest.raises(BlockingIOError):
        elsewhere.accept()


# Connections


def test_connection_is_kept(source: Make, slapd: Slapd) -> None:
    one, before = source(), slapd.log().count("ACCEPT")
    for _ in range(3):
        assert look_up(one)
    assert slapd.log().count("ACCEPT") == before + 1


def test_connection_that_was_idle_for_long_is_not_used_again(
    source: Make, slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, before = source(), slapd.log().count("ACCEPT")
    look_up(one)
    monkeypatch.setattr(sessions, "IDLE", 0.0)
    look_up(one)
    assert slapd.log().count("ACCEPT") == before + 2


def test_server_that_is_restarted_between_two_lookups(source: Make, slapd: Slapd) -> None:
    one = source()
    assert look_up(one)
    slapd.stop()
    slapd.start()
    assert look_up(one)["name"] == "Alice Example"
    slapd.stop()
    try:
        assert "can't be reached: Connection refused" in complaint(one)
    finally:
        slapd.start()
    assert look_up(one)["name"] == "Alice Example"


def test_server_that_hangs_for_a_while(source: Make, slapd: Slapd) -> None:
    one = source()
    assert look_up(one)
    os.kill(slapd.pid, signal.SIGSTOP)
    os.waitpid(slapd.pid, os.WUNTRACED)  # until all of its threads have stopped
    try:
        with pytest.raises(SourceError, match="doesn't answer in time"):
            look_up(one, seconds=0.2)
    finally:
        os.kill(slapd.pid, signal.SIGCONT)
    assert look_up(one)["name"] == "Alice Example"


def test_several_threads_get_their_own_answers(source: Make) -> None:
    one = source()
    expected = {
        "+15551234567": "Alice Example",
        "+15551234568": "René Exemple",
        "+15551234500": "Carol Example",
        "+15559999999": None,
    }
    numbers = [*expected] * 40
    with ThreadPoolExecutor(8) as pool:
        found = [answer.get("name") for answer in pool.map(lambda text: look_up(one, text), numbers)]
    assert found == [expected[text] for text in numbers]


# What is wrong


def test_check_of_what_is_right(source: Make, slapd: Slapd) -> None:
    said = source().check()
    assert said == f"{HOST}:{slapd.ldaps_port} as {READER}: people below {PEOPLE} have displayName, company"


def test_missing_library(source: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldap3", None)
    assert complaint(source()) == "ldap3 is not installed: ./install.sh --with ldap adds it"


def test_unknown_host(source: Make) -> None:
    assert complaint(source(server="ldaps://ldap.invalid")).startswith("ldap.invalid can't be found: ")


def test_wrong_password(source: Make) -> None:
    said = complaint(source(password="not the secret"))
    assert said.endswith(f"does not accept this bind_dn with this password: {READER}")
    assert "not the secret" not in said


def test_bind_dn_that_is_no_dn(source: Make) -> None:
    assert " refuses to bind screen_pop: invalidDNSyntax" in complaint(source(bind_dn="screen_pop"))


def test_no_right_to_read(source: Make) -> None:
    """To whom slapd shows nothing, it says that there is nothing."""
    assert f" has no base {PEOPLE}, or hides it" in complaint(source(bind_dn=None, password=None))


@pytest.mark.parametrize("base", [f"ou=nobody,{SUFFIX}", "dc=example,dc=com", "people"])
def test_wrong_base(source: Make, base: str) -> None:
    assert f" has no base {base}, or hides it from this bind_dn: " in complaint(source(base=base))


@pytest.mark.parametrize("wrong", ["(telephoneNumber={number}", "(|(a=b)(c={number})", "telephoneNumber={number}"])
def test_filter_that_is_none(source: Make, wrong: str) -> None:
    assert complaint(source(filter=wrong)).startswith("filter is no LDAP filter (RFC 4515): ")


def test_check_of_a_filter_that_nothing_matches(source: Make) -> None:
    with pytest.raises(SourceError, match=r"filter can't find anybody .* nothing matches \(telefoneNumber=\*\); "):
        source(filter="(telefoneNumber=*{number})").check()


@pytest.mark.parametrize("attribute", ["displayNme", "surname", "jpegPhoto", "userPassword"])
def test_check_of_an_attribute(source: Make, attribute: str) -> None:
    """One that doesn't exist, an alias (slapd answers with `sn`), one that is no text, one that may not be read."""
    with pytest.raises(SourceError, match=f"nobody below {PEOPLE} has the attribute {attribute} as text; "):
        source(name=attribute).check()


def test_check_of_a_filter_with_a_matching_rule(source: Make) -> None:
    assert source(filter="(telephoneNumber:telephoneNumberMatch:={number})").check()
    assert look_up(source(filter="(telephoneNumber:telephoneNumberMatch:={number})"))["name"] == "Alice Example"


def test_check_tries_the_password_again(source: Make, for_loopback: Certificate, new_server_folder: Path) -> None:
    with made(new_server_folder / "closed", for_loopback, entries(1)) as server:
        one = source(server=f"{HOST}:{server.port}")
        one.check()
        before = server.log().count("BIND dn")
        one.check()
        assert server.log().count("BIND dn") > before


def test_unknown_ca(source: Make, tmp_path: Path) -> None:
    said = complaint(source(ca_file=str(Authority(tmp_path).ca_file)))
    assert "the certificate of 127.0.0.1:" in said and "ca_file should be the certificate of the CA" in said


def test_ca_that_the_system_does_not_know(source: Make) -> None:
    assert "ca_file should be the certificate of the CA" in complaint(source(ca_file=None))


def test_ca_file_that_is_none(source: Make, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-")
    assert complaint(source(ca_file=str(file))) == f"{file} has no CA certificate; ca_file should be a PEM file"


@pytest.mark.parametrize("start_tls", [False, True])
@pytest.mark.parametrize(
    ("expired", "name", "said"),
    [(True, HOST, "certificate has expired; renew it on the server"), (False, "ldap.example.org", "mismatch")],
)
def test_certificate_that_is_not_to_be_trusted(
    source: Make,
    authority: Authority,
    new_server_folder: Path,
    tmp_path: Path,
    expired: bool,
    name: str,
    said: str,
    start_tls: bool,
) -> None:
    with made(new_server_folder / "slapd", authority.issue(tmp_path, name, expired=expired)) as server:
        where = f"ldap://{HOST}:{server.port}" if start_tls else f"ldaps://{HOST}:{server.ldaps_port}"
        assert said in complaint(source(server=where))
        assert "BIND" not in server.log()


def test_certificate_with_a_common_name_alone(source: Make, new_server_folder: Path, tmp_path: Path) -> None:
    ca = Signed("a CA", is_ca=True)
    certificate = Signed("localhost", ca).for_a_server(tmp_path, ca)
    with made(new_server_folder / "slapd", certificate) as server:
        one = source(server=f"ldaps://localhost:{server.ldaps_port}", ca_file=str(certificate.ca_file))
        assert "server should be a name that stands in it" in complaint(one)


def test_server_without_tls(source: Make, for_loopback: Certificate, new_server_folder: Path) -> None:
    """Nothing is sent in the clear but the request for TLS."""
    with made(new_server_folder / "slapd", for_loopback, tls=False) as server:
        assert " refuses StartTLS: " in complaint(source(server=f"{HOST}:{server.port}"))
        assert " can't agree with us on TLS: " in complaint(source(server=f"ldaps://{HOST}:{server.port}"))
        assert "BIND" not in server.log() and "SRCH" not in server.log()


def test_start_tls_where_there_is_tls_from_the_start(source: Make, slapd: Slapd) -> None:
    assert "server should begin with ldaps://" in complaint(source(server=f"ldap://{HOST}:{slapd.ldaps_port}"))


# Servers that no administrator would run


@contextmanager
def played(talk: Callable[[socket.socket], None], certificate: Certificate | None = None) -> Iterator[str]:
    """A server that does with each connection what `talk` does, behind TLS with a certificate."""
    ended = threading.Event()
    threads = []

    def serve(accepted: socket.socket) -> None:
        with suppress(OSError), accepted:
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate.cert_file, certificate.key_file)
                accepted = context.wrap_socket(accepted, server_side=True)
            with accepted:
                talk(accepted)
                accepted.settimeout(0.05)
                while not ended.is_set():
                    with suppress(socket.timeout):
                        if not accepted.recv(65536):
                            return

    def accept() -> None:
        with suppress(OSError):
            while not ended.is_set():
                threads.append(threading.Thread(target=serve, args=(listening.accept()[0],)))
                threads[-1].start()

    with socket.create_server((HOST, 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            scheme = "ldaps" if certificate else "ldap"
            yield f"{scheme}://{HOST}:{listening.getsockname()[1]}"
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def say_nothing(accepted: socket.socket) -> None:
    pass


def drip(accepted: socket.socket) -> None:
    """An answer that never ends, a byte at a time, as long as somebody listens."""
    accepted.sendall(b"\x30\x84\x00\x10\x00\x00")
    while True:
        accepted.sendall(b"x")
        time.sleep(0.01)


def flood(accepted: socket.socket) -> None:
    accepted.sendall(b"\x30\x84\x7f\xff\xff\xff")
    while True:
        accepted.sendall(b"x" * 65536)


def answer_once(accepted: socket.socket) -> None:
    """The first search finds nothing; before the second, the server takes its leave (RFC 4511 section 4.4.1)."""
    request = accepted.recv(65536)
    start = 2 if request[1] < 0x80 else 2 + (request[1] & 0x7F)
    message_id = request[start : start + 2 + request[start + 1]]
    nothing = message_id + b"\x65\x07\x0a\x01\x00\x04\x00\x04\x00"
    accepted.sendall(bytes((0x30, len(nothing))) + nothing)
    if accepted.recv(65536):
        accepted.sendall(b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036")


def test_notice_of_disconnection(source: Make, for_loopback: Certificate) -> None:
    with played(answer_once, for_loopback) as server:
        one = source(server=server, bind_dn=None, password=None)
        assert [look_up(one), look_up(one)] == [{}, {}]
        one.close()  # or the server would wait for more


@pytest.mark.parametrize("talk", [say_nothing, drip])
@pytest.mark.parametrize("with_tls", [False, True])
def test_deadline(
    source: Make, for_loopback: Certificate, talk: Callable[[socket.socket], None], with_tls: bool
) -> None:
    with played(talk, for_loopback if with_tls else None) as server:
        with pytest.raises(SourceError, match="doesn't answer in time"):
            look_up(source(server=server), seconds=0.3)


def test_deadline_of_a_handshake(source: Make) -> None:
    with played(say_nothing) as server:
        with pytest.raises(SourceError, match="doesn't answer in time"):
            look_up(source(server=server.replace("ldap:", "ldaps:")), seconds=0.3)


def test_deadline_that_has_passed(source: Make) -> None:
    one = source()
    look_up(one)
    with pytest.raises(SourceError, match="doesn't answer in time"):
        look_up(one, seconds=-1)


@pytest.mark.parametrize("with_tls", [False, True])
def test_endless_answer(source: Make, for_loopback: Certificate, with_tls: bool) -> None:
    with played(flood, for_loopback if with_tls else None) as server:
        with pytest.raises(SourceError, match=f"answers with more than {connection.MOST_BYTES} bytes"):
            look_up(source(server=server))


def test_large_entry(source: Make) -> None:
    one = source(notes="description")
    with pytest.raises(SourceError, match="answers with more than"):
        look_up(one, "+15551234570")
    assert look_up(one)["name"] == "Alice Example"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + b" " * 100,
        b"\x30\x03\x02\x01\x01",  # without an operation
        b"\x30\x05\x02\x01\x07\x61\x00",  # with the id of another request
        b"\x30\x80" + b"\x30\x80" * 100,
        b"\x00" * 100,
        bytes(range(256)),
    ],
    ids=["HTTP", "no operation", "another id", "nested", "zeros", "all bytes"],
)
def test_answer_that_is_not_ldap(source: Make, for_loopback: Certificate, answer: bytes) -> None:
    for certificate in (None, for_loopback):
        with played(lambda accepted: accepted.sendall(answer), certificate) as server:
            with pytest.raises(SourceError, match=r"is it LDAP|doesn't answer in time|closes the connection"):
                look_up(source(server=server), seconds=0.3)


def test_server_that_closes_at_once(source: Make) -> None:
    with played(lambda accepted: accepted.shutdown(socket.SHUT_RDWR)) as server:
        assert "closes the connection when asked for StartTLS" in complaint(source(server=server))
