"""SCRAM: the published vectors, and the client against a server written for the tests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parts import scram as server_side
from parts.table import each
from screenpop.xmpp import saslprep, scram
from screenpop.xmpp.scram import Client, Offer, SCRAMError

NOTHING = Offer([], [])


@each(
    ("mechanism", "nonce", "server_first", "client_final", "server_final"),
    [
        (  # RFC 5802 section 5
            "SCRAM-SHA-1",
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 section 3
            "SCRAM-SHA-256",
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_published_vectors(mechanism: str, nonce: str, server_first: str, client_final: str, server_final: str) -> None:
    client = Client(mechanism, "user", "pencil", NOTHING, "n", nonce=nonce)
    assert client.first() == f"n,,n=user,r={nonce}"
    assert client.final(server_first) == client_final
    client.verify(server_final)


def test_the_digest_of_what_is_offered() -> None:
    """The example of XEP-0474 section 4.3."""
    offer = Offer(["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"], ["tls-server-end-point", "tls-exporter"])
    assert offer.digest("sha1") == "G6k/rBLDqgOhRRaCuuatSDFkJ08="


names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


@given(
    mechanism=st.sampled_from(sorted(scram.HASHES)),
    user=names,
    password=names,
    other=names,
    salt=st.binary(min_size=1, max_size=64),
    iterations=st.integers(4096, 5000),
    flag=st.sampled_from(["n", "y", "p=tls-server-end-point"]),
    extensions=st.sampled_from(["", ",x=anything=,z=", ",h=DIGEST"]),
)
@settings(max_examples=settings().max_examples // 2, deadline=None)
def test_both_sides_agree_exactly_when_the_password_is_right(
    mechanism: str, user: str, password: str, other: str, salt: bytes, iterations: int, flag: str, extensions: str
) -> None:
    try:
        passwords = {saslprep.query(user): saslprep.stored(password)}
        assume(saslprep.stored(other) != saslprep.stored(password))
    except saslprep.SASLprepError:
        assume(False)
    offer, algorithm = Offer([mechanism, "PLAIN"], ["a"]), scram.HASHES[mechanism]
    bindings = {"tls-server-end-point": b"\x00certificate,"} if flag.startswith("p") else {}
    extensions = extensions.replace("DIGEST", offer.digest(algorithm))

    def sides(password: str) -> tuple[Client, server_side.Server]:
        data = bindings.get("tls-server-end-point", b"")
        return Client(mechanism, user, password, offer, flag, data), server_side.Server(
            algorithm, passwords, bindings, iterations, salt, lambda first: first + extensions
        )

    client, server = sides(password)
    client.verify(server.final(client.final(server.first(client.first()))))
    client, server = sides(other)
    final = client.final(server.first(client.first()))
    with pytest.raises(server_side.Refused, match="invalid-proof"):
        server.final(final)


def begun(**known: Any) -> Client:
    return Client("SCRAM-SHA-256", "user", "pencil", Offer(["SCRAM-SHA-256", "PLAIN"], []), "n", nonce="ours", **known)


FIRST = "r=ours+theirs,s=QSXCR+Q6sek8bf92,i=4096"
DIGEST = Offer(["SCRAM-SHA-256", "PLAIN"], []).digest("sha256")


@each(
    ("server_first", "reason"),
    [
        ("r=theirs,s=QSXC,i=4096", "nonce does not begin with ours"),
        ("r=our+theirs,s=QSXC,i=4096", "nonce does not begin with ours"),
        ("r=ours,s=QSXC,i=4096", "added nothing to our nonce"),
        ("r=ours+\x07,s=QSXC,i=4096", "nonce does not begin with ours"),
        ("r=ours+theirs,s=,i=4096", "salt is empty"),
        ("r=ours+theirs,s=*,i=4096", "salt is not Base64"),
        ("r=ours+theirs,s=QSXC,i=1", r"asks for 1 iterations; 4,096 to 10,000,000 are accepted"),
        ("r=ours+theirs,s=QSXC,i=4095", "asks for 4,095 iterations"),
        ("r=ours+theirs,s=QSXC,i=100000000", "asks for 100,000,000 iterations"),
        ("r=ours+theirs,s=QSXC,i=0x1000", "iteration count is not a number"),
        ("r=ours+theirs,s=QSXC,i=-4096", "iteration count is not a number"),
        ("r=ours+theirs,s=QSXC,i=" + "9" * 5000, "iteration count is not a number"),
        ("r=ours+theirs,s=QSXC,i=", "iteration count is not a number"),
        ("m=x,r=ours+theirs,s=QSXC,i=4096", "demands an extension"),
        ("r=ours+theirs,s=QSXC,i=4096,m=x", "demands an extension"),
        ("r=ours+theirs,i=4096,s=QSXC", "is not nonce, salt and iteration count"),
        ("r=ours+theirs,s=QSXC", "is not nonce, salt and iteration count"),
        ("r=ours+theirs,s=QSXC,i=4096,i=9999", "is not nonce, salt and iteration count"),
        (f"{FIRST},h={DIGEST},h={DIGEST}", "is not nonce, salt and iteration count"),
        ("", "is not nonce, salt and iteration count"),
        ("e=other-error", "the server says other-error"),
        (f"{FIRST},h=AAAA", "not the one that the server sent"),
        (f"{FIRST},h=", "not the one that the server sent"),
    ],
)
def test_what_a_server_may_not_send_first(server_first: str, reason: str) -> None:
    with pytest.raises(SCRAMError, match=reason):
        begun().final(server_first)


@each("extension", ["", ",x=1", ",z=,y=a=b", f",h={DIGEST}", f",x=1,h={DIGEST}"])
def test_unknown_extensions_are_ignored(extension: str) -> None:
    assert ",p=" in begun().final(FIRST + extension)


def test_what_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that it would take is measured on this machine, and said."""
    monkeypatch.setattr(scram, "LONGEST_COMPUTATION", 0.0)
    with pytest.raises(
        SCRAMError, match=r"asks for 100,000 iterations, which take this machine \d+\.\d s; at most 0 s"
    ):
        begun().final("r=ours+theirs,s=QSXC,i=100000")


@each(
    ("server_final", "reason"),
    [
        ("v=" + base64.b64encode(b"x" * 32).decode(), "did not prove that it knows the password"),
        ("v=", "did not prove that it knows the password"),
        ("v=***", "signature is not Base64"),
        ("", "sent no signature"),
        ("x=1", "sent no signature"),
        ("e=invalid-proof", "the server says invalid-proof"),
        ("e=a\nforged line\x1b[2J", r"the server says a forged line \[2J$"),
    ],
)
def test_a_server_that_does_not_prove_that_it_knows_the_password(server_final: str, reason: str) -> None:
    client = begun()
    client.final(FIRST)
    with pytest.raises(SCRAMError, match=reason):
        client.verify(server_final)


def test_the_password_is_prepared() -> None:
    one, other = (
        Client("SCRAM-SHA-1", "user", password, NOTHING, "n", nonce="ours").final(FIRST)
        for password in ("I\u00adX\u2168", "IXIX")
    )
    assert one == other
    with pytest.raises(saslprep.SASLprepError):
        Client("SCRAM-SHA-1", "user", "bell\x07", NOTHING, "n")


def test_a_name_with_the_separators_in_it() -> None:
    client = Client("SCRAM-SHA-1", "a=b,c", "pencil", NOTHING, "y", nonce="ours")
    assert client.first() == "y,,n=a=3Db=2Cc,r=ours"
