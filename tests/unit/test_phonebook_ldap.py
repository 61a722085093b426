"""The options of the source ldap, and how a number gets into its filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parts.table import each
from screenpop import config
from screenpop.phonebook.directory.filter import filled, for_any_number
from screenpop.phonebook.ldap import OPTIONS
from screenpop.phonebook.source import Number

SMALLEST = {
    "type": "ldap",
    "server": "ldap.example.org",
    "base": "dc=example,dc=org",
    "filter": "(telephoneNumber={number})",
    "name": "displayName",
}


def read(folder: Path, **options: str) -> Any:
    path = folder / "screen_pop.conf"
    path.write_text("[staff]\n" + "".join(f"{name} = {text}\n" for name, text in {**SMALLEST, **options}.items()))
    return config.read(str(path), {}, {"ldap": OPTIONS}, {}).sections["staff"]


@each(
    ("text", "host", "port", "direct_tls"),
    [
        ("ldap.example.org", "ldap.example.org", 389, False),
        ("ldap.example.org:3890", "ldap.example.org", 3890, False),
        ("ldap.example.org:636", "ldap.example.org", 636, True),
        ("ldap.example.org:3269", "ldap.example.org", 3269, True),
        ("ldap://ldap.example.org", "ldap.example.org", 389, False),
        ("ldap://ldap.example.org:636", "ldap.example.org", 636, False),
        ("ldaps://ldap.example.org", "ldap.example.org", 636, True),
        ("LDAPS://ldap.example.org:1636/", "ldap.example.org", 1636, True),
        ("ldaps://[2001:db8::1]", "2001:db8::1", 636, True),
        ("[2001:db8::1]:3890", "2001:db8::1", 3890, False),
        ("192.0.2.7:389", "192.0.2.7", 389, False),
    ],
)
def test_server(tmp_path: Path, text: str, host: str, port: int, direct_tls: bool) -> None:
    assert read(tmp_path, server=text).server == (host, port, direct_tls)


@each(
    "text",
    [
        *("http://ldap.example.org", "ldapi:///var/run/ldapi", "ldaps://", ":636", "ldap.example.org:port"),
        *("ldap.example.org:70000", "ldap://[2001:db8::1", "ldaps://user@ldap.example.org", "ldap://h/dc=example?cn"),
        *("ldap.example.org:0", "a.example.org b.example.org", "ldap://h#f"),
    ],
)
def test_server_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.ConfigError, match=r"should be host:port, or a URL such as ldaps://ldap\.example\.org"):
        read(tmp_path, server=text)


@each("text", ["(telephoneNumber=*)", "(telephoneNumber={phone})", "(a={number})(b={e164})"])
def test_filter_without_a_place_for_the_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.ConfigError, match=r"should have \{number\}, \{national\} or \{written\}"):
        read(tmp_path, filter=text)


@each("text", ["display name", "{displayName} {1}", "*", "+", "a=*)(b", "ädresse", "x;"])
def test_field_that_is_no_attribute(tmp_path: Path, text: str) -> None:
    with pytest.raises(config.ConfigError, match="should be the name of an attribute, such as displayName"):
        read(tmp_path, name=text)


@each("text", ["cn;lang-en", "2.5.4.3", "{givenName} {sn}", "msDS-cloudExtensionAttribute1"])
def test_field(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, name=text).others == {"name": text}


@pytest.mark.parametrize("missing", ["server", "base", "filter"])
def test_what_is_needed(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SMALLEST, missing)
    with pytest.raises(config.ConfigError, match=rf"\[staff\] {missing} is missing; "):
        read(tmp_path)


@each("given", [{"bind_dn"}, {"password"}, {"password_file"}, {"bind_dn", "password", "password_file"}])
def test_bind_dn_and_password_go_together(tmp_path: Path, given: set[str]) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    options = {"bind_dn": "cn=a", "password": "secret", "password_file": str(file)}
    with pytest.raises(config.ConfigError, match="bind_dn goes with password or password_file, one of them"):
        read(tmp_path, **{name: options[name] for name in given})


def test_password_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("the secret\n")
    assert read(tmp_path, bind_dn="cn=a", password_file=str(file)).secret == "the secret"


E164 = Number("+15551234567", "001 555 123-4567", "5551234567")


@each(
    ("number", "text", "expected"),
    [
        (E164, "(|(a={number})(b={national}))", "(|(a=+15551234567)(b=5551234567))"),
        (E164, "(a={written})", r"(a=001\20555\20123\2d4567)"),
        (E164, "(a=*{national}*)", "(a=*5551234567*)"),
        (Number("", "123", ""), "(|(a={number})(b=*{national})(c={written}))", "(|(a=123)(b=*123)(c=123))"),
        (Number("", "*)(uid=*", ""), "(a={number})", r"(a=\2a\29\28uid\3d\2a)"),
        (Number("", "\\2a\x00", ""), "(a={number})", r"(a=\5c2a\00)"),
        (Number("", "{national}", ""), "(a={written})", r"(a=\7bnational\7d)"),
        (Number("", "é", ""), "(a={written})", r"(a=\c3\a9)"),
    ],
)
def test_filter_with_a_number(number: Number, text: str, expected: str) -> None:
    assert filled(text, number) == expected


@each(
    ("text", "expected"),
    [
        ("(|(a={number})(b=*{national}*))", "(|(a=*)(b=*))"),
        ("(&(objectClass=person)(a={number}))", "(&(objectClass=person)(a=*))"),
        ("(a:caseExactMatch:={number})", ""),
    ],
)
def test_filter_for_any_number(text: str, expected: str) -> None:
    assert for_any_number(text) == expected
