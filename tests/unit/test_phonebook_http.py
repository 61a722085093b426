"""The section of a source of `type = http`, and what it does without a server."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from parts.sources import read_http
from parts.table import each
from screenpop.config import ConfigError
from screenpop.phonebook.http import Source
from screenpop.phonebook.source import Number, SourceError

SOMEBODY = Number("+15551234567", "5551234567", "5551234567")
REQUEST = "request = https://crm.example.org/contacts?phone={number}"


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read_http(folder, text)
    (found,) = error.value.complaints
    return found


@each(
    "url",
    [
        "https://crm.example.org/contacts/{number}",
        "http://127.0.0.1:8080/contacts?phone={written}&or={national}",
        "https://[2001:db8::1]:8443/{national}.json",
        "https://crm.example.org?filter[phone][eq]={number}&name=%25",
    ],
)
def test_urls_that_can_be_asked_for(tmp_path: Path, url: str) -> None:
    assert read_http(tmp_path, f"request = {url}").request == url


@each(
    "url",
    [
        "crm.example.org/{number}",
        "ftp://crm.example.org/{number}",
        "https://{number}.example.org/",
        "https://{number}/",
        "https://crm.example.org:{number}/",
        "https://crm.example.org{number}",
        "https://user:s3cret@crm.example.org/{number}",
        "https://user:123@crm.example.org/{number}",
        "https://crm.example.org\\@example.net/{number}",
        "https://crm.example.org#/{number}",
        "https://crm.example.org/#{number}",
        "https://crm.example.org/a b/{number}",
        "https://crm.example.org/ü/{number}",
        "https://crm.example.org/100%/{number}",
        "https://crm.example.org/s3cret",
        "https://crm.example.org/{number}/{token}",
        "https://crm.example.org/{number}/{}",
    ],
)
def test_other_urls_are_refused_without_being_repeated(tmp_path: Path, url: str) -> None:
    found = complaint(tmp_path, f"request = {url}")
    assert found.startswith(f"{tmp_path}/screen_pop.conf:3: request: ")
    assert url not in found and "s3cret" not in found


def test_headers(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    text = f"{REQUEST}\nheader = Authorization: Bearer {{token}} | X-Tenant: a|b, c\ntoken_file = {tmp_path}/token"
    assert read_http(tmp_path, text).header == {"Authorization": "Bearer {token}", "X-Tenant": "a|b, c"}


@each("header", ["s3cret", "X Y: s3cret", "X-Key: s3cret | s3cret", "X-Key: s3crét", "X-Key:"])
def test_headers_that_are_none_are_refused_without_being_repeated(tmp_path: Path, header: str) -> None:
    found = complaint(tmp_path, f"{REQUEST}\nheader = {header}")
    assert "header: should be such as Authorization: Bearer {token}" in found
    assert "s3c" not in found


def test_a_token_that_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    found = complaint(tmp_path, f"{REQUEST}\ntoken_file = {tmp_path}/token")
    assert "header = Authorization: Bearer {token}" in found


def ask(folder: Path, text: str) -> str:
    """What is wrong."""
    with pytest.raises(SourceError) as error:
        Source("crm", read_http(folder, text)).lookup(SOMEBODY, time.monotonic() + 10)
    return str(error.value)


@pytest.mark.parametrize("host", ["crm.example.org:99999", "[::::]"])
def test_a_host_or_port_that_there_is_none_of(tmp_path: Path, host: str) -> None:
    found = ask(tmp_path, f"request = http://{host}/{{number}}?key=s3cret")
    assert found == "request has no host and port that can be asked; check it"


def test_a_header_without_its_token(tmp_path: Path) -> None:
    found = ask(tmp_path, f"{REQUEST}\nheader = X-Key: {{token}}")
    assert found == "header has {token} in it; token_file should be the file that has it"


def test_a_token_that_no_header_may_have(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3crét\n", encoding="utf-8")
    found = ask(tmp_path, f"{REQUEST}\nheader = X-Key: {{token}}\ntoken_file = {tmp_path}/token")
    assert found == f"the first line of {tmp_path}/token has a character that no header may have"


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing\n")
    found = ask(tmp_path, f"{REQUEST}\nca_file = {tmp_path}/ca.pem")
    assert found == f"{tmp_path}/ca.pem has no CA certificate; ca_file should be a PEM file"


def test_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    for name in ("client", "connection"):
        monkeypatch.delitem(sys.modules, f"screenpop.phonebook.web.{name}", raising=False)
    assert ask(tmp_path, REQUEST) == "urllib3 is not installed: ./install.sh --with http adds it"


@each(
    ("template", "number"),
    [
        ("{number}", Number("", "201", "")),  # an extension
        ("{national}", Number("", "sip:alice@example.org", "")),
        ("{written}/{number}", Number("", "anonymous", "")),
        ("{written}", Number("", "..", "")),
        ("{written}", Number("", "", "")),
    ],
)
def test_what_does_not_fill_the_url_is_not_asked_for(tmp_path: Path, template: str, number: Number) -> None:
    """Without the number, many servers answer with all that they have."""
    options = read_http(tmp_path, f"request = http://does-not-exist.invalid/contacts/{template}\nname = 0.name")
    assert Source("crm", options).lookup(number, time.monotonic() + 10) == {}
