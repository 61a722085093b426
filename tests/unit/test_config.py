"""The configuration: what it may say, and that each mistake is named with its place and with what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from screenpop import config
from screenpop.config import Config, ConfigError

SMALLEST = """\
[xmpp]
jid = pbx@example.org
password = secret
[pop]
to = alice@example.org
"""
NEXT = SMALLEST.count("\n") + 1  # the line after it, in [pop]


def load(folder: Path, text: str | bytes) -> Config:
    path = folder / "screen_pop.conf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.load(path)


def complaints(folder: Path, text: str | bytes) -> list[str]:
    """Without the name of the file, with which each of them must begin."""
    with pytest.raises(ConfigError) as error:
        load(folder, text)
    path = f"{folder}/screen_pop.conf:"
    assert all(complaint.startswith(path) for complaint in error.value.complaints)
    assert str(error.value) == "; ".join(error.value.complaints)
    return [complaint[len(path) :].strip() for complaint in error.value.complaints]


def test_the_smallest_one_has_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AST_LOG_DIR", "/var/log/pbx")
    given = load(tmp_path, SMALLEST)
    assert str(given.jid) == "pbx@example.org"
    assert (given.password, given.password_file, given.ca_file, given.servers) == ("secret", None, None, ())
    assert given.to == ("alice@example.org",)
    assert given.message == "{event} from {caller} to {extension}"
    assert (given.country, given.late_after, given.give_up_after, given.linger) == ("US", 30, 86400, 300)
    assert given.log_file == Path("/var/log/pbx/screen_pop.log")


def test_all_of_it_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\nand not this\n")
    (tmp_path / "ca.pem").write_text("")
    given = load(
        tmp_path,
        f"""
        [xmpp]
        jid = PBX@Example.org
        password_file = {tmp_path}/password
        server = xmpp.example.org:5222 [2001:db8::1]:443 192.0.2.1:5223
        ca_file = {tmp_path}/ca.pem
        [pop]
        to = alice@example.org & bob@example.org/desk
        message = {{caller}} → {{extension}}
        country = DE
        late_after = 1.5
        give_up_after = 0
        linger = 10
        [log]
        file = /tmp/pop.log
        """,
    )
    assert str(given.jid) == "pbx@example.org"
    assert given.password == "from a file"
    assert given.servers == (("xmpp.example.org", 5222), ("2001:db8::1", 443), ("192.0.2.1", 5223))
    assert given.ca_file == tmp_path / "ca.pem"
    assert given.to == ("alice@example.org", "bob@example.org/desk")
    assert given.message == "{caller} → {extension}"
    assert (given.country, given.late_after, given.give_up_after, given.linger) == ("DE", 1.5, 0, 10)
    assert given.log_file == Path("/tmp/pop.log")


def test_the_sample_is_right_and_shows_each_option_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AST_LOG_DIR", raising=False)
    sample = (Path(__file__).parents[2] / "screen_pop.conf.sample").read_text(encoding="utf-8")
    given = load(tmp_path, sample)
    shown = {
        line[1:].partition("=")[0].strip(): line.partition("=")[2].strip()
        for line in sample.splitlines()
        if line.startswith(";") and line[1:2].isalpha() and "=" in line
    }
    named = {line.partition("=")[0].strip() for line in sample.splitlines() if line[:1].isalpha()}
    assert {name for _, name in config._OPTIONS} == set(shown) | named
    for name, default in shown.items():
        if name == "file":
            assert default == str(given.log_file)
        elif default:
            assert str(getattr(given, name)) in (default, f"{default}.0")


@pytest.mark.parametrize(
    "settings",
    [
        "; password = another\npassword = secret",
        "  ;; password = another\n\npassword=secret",
        "password => secret",
        "password=>secret",
        "Password  =  secret  ",
        "password = secret\n[log] ; where\nfile = /tmp/log\t; there",
        "password = secret\r",
    ],
)
def test_comments_and_blanks_are_as_in_asterisks_own_files(tmp_path: Path, settings: str) -> None:
    assert load(tmp_path, SMALLEST.replace("password = secret", settings)).password == "secret"


@pytest.mark.parametrize(
    "password", ["a;b", "a;b;", "a=b", "=a", ">a", "[a]", "a b", "#a", "%(a)s", "{a}", "${a}", "pässwörd", '"a"']
)
def test_a_password_is_taken_as_it_stands(tmp_path: Path, password: str) -> None:
    assert load(tmp_path, SMALLEST.replace("= secret", f"= {password}")).password == password


@pytest.mark.parametrize("password", ["a ;b", "a ; b", ";a", "secret ; not the account's", "secret\t;"])
def test_a_password_that_would_be_cut_as_a_comment_is_told_where_to_go(tmp_path: Path, password: str) -> None:
    (complaint,) = complaints(tmp_path, SMALLEST.replace("= secret", f"= {password}"))
    assert complaint.startswith("3: password: a ; behind a blank begins a comment")
    assert complaint.endswith("such a password into password_file")


def test_a_byte_order_mark_and_the_case_of_names_dont_matter(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + SMALLEST.replace("[xmpp]", "[ XMPP ]").replace("jid", "JID").encode())


@pytest.mark.parametrize(
    ("line", "wrong", "right"),
    [
        ("linger = soon", "linger: 'soon'", "seconds, such as 30"),
        ("linger = -1", "linger: '-1'", "seconds, such as 30"),
        ("late_after = nan", "late_after: 'nan'", "seconds, such as 30"),
        ("give_up_after = 1 day", "give_up_after: '1 day'", "seconds, such as 30"),
        ("country = us", "country: 'us'", "two capital letters, such as US"),
        ("country = USA", "country: 'USA'", "two capital letters, such as US"),
        ("message = {who} calls", "message: {who} is not known", "there are {event} {caller} {number}"),
        ("message = {} calls", "message: {} is not known", "there are {event} {caller} {number}"),
        ("message =", "message has no value", "give one, or take the line out"),
        ("lingre = 3", "[pop] has no option 'lingre'", "there are to, message, country, late_after"),
        ("jid = pbx@example.org", "[pop] has no option 'jid'", "there are to, message"),
        ("to = bob@example.org", "to is set again", "it stands in line 5 already"),
        ("[pops]", "no section [pops] is known", "there are [xmpp], [pop], [outbox], [log]"),
        ("linger 3", "neither a [section]", "nor a setting such as name = value"),
        ("[log]\nfile = pop.log", "", "a whole path, such as"),
        ("[xmpp]\nca_file = ca.pem", "", "a whole path, such as"),
        ("[pop", "neither a [section]", "nor a setting such as name = value"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_would_be_right(
    tmp_path: Path, line: str, wrong: str, right: str
) -> None:
    (complaint,) = complaints(tmp_path, f"{SMALLEST}{line}\n")
    assert complaint.startswith(f"{NEXT + line.count(chr(10))}: {wrong}")
    assert right in complaint


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("jid", "pbx@", "looks like alice@example.org"),
        ("jid", "example.org", "an account such as pbx@example.org"),
        ("jid", "pbx@example.org/box", "an account such as pbx@example.org"),
        ("to", "alice@example.org & Bob Example", "looks like alice@example.org"),
        ("to", "alice@example.org &", "looks like alice@example.org"),
        ("to", "alice@example.org, bob@example.org", "is not a JID"),
        ("password", "secret\nserver = xmpp.example.org", "host:port, such as xmpp.example.org:5222"),
        ("password", "secret\nserver = xmpp.example.org:", "host:port, such as xmpp.example.org:5222"),
        ("password", "secret\nserver = a.example:5222, b.example:5222", "host:port, such as xmpp.example.org:5222"),
        ("password", "secret\nserver = xmpp.example.org:0", "host:port, such as xmpp.example.org:5222"),
        ("password", "secret\nserver = xmpp.example.org:65536", "host:port, such as xmpp.example.org:5222"),
        ("password", "secret\nserver = 2001:db8::1:5222", "[2001:db8::1]:5222"),
    ],
)
def test_a_wrong_address_is_named_with_what_would_be_right(tmp_path: Path, name: str, value: str, right: str) -> None:
    text = SMALLEST.replace(next(line for line in SMALLEST.splitlines() if line.startswith(name)), f"{name} = {value}")
    (complaint,) = complaints(tmp_path, text)
    number = next(number for number, line in enumerate(text.splitlines(), 1) if value.splitlines()[-1] in line)
    assert complaint.startswith(f"{number}: ")
    assert right in complaint


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = f"{SMALLEST}linger = soon\nlingre = 3\n[pops]\n[xmpp]\nserver = here\nca_file = /missing/ca.pem\n"
    found = [complaint.partition(":")[0] for complaint in complaints(tmp_path, text)]
    assert sorted(found, key=int) == ["6", "7", "8", "10", "11"]


def test_what_is_missing_is_named_together_with_what_is_wrong(tmp_path: Path) -> None:
    found = complaints(tmp_path, "[xmpp]\npassword = secret\n[pop]\nto = alice@example.org\nlinger = soon\n")
    assert len(found) == 2
    assert any(complaint.startswith("5: linger") for complaint in found)
    assert any("[xmpp] jid is missing" in complaint for complaint in found)


def test_a_wrong_value_is_not_called_missing_as_well(tmp_path: Path) -> None:
    for jid in ("", "pbx@"):
        (complaint,) = complaints(tmp_path, SMALLEST.replace("pbx@example.org", jid))
        assert complaint.startswith("2: jid")


def test_an_empty_file_is_told_all_that_it_needs(tmp_path: Path) -> None:
    jid, to, password = complaints(tmp_path, "")
    assert jid == "[xmpp] jid is missing: the account that sends, such as pbx@example.org"
    assert to == "[pop] to is missing: who is told, such as alice@example.org"
    assert password == "[xmpp] password or password_file: missing; one of them is needed"


def test_settings_before_the_first_section_are_told_where_to_go(tmp_path: Path) -> None:
    found = complaints(tmp_path, "linger = 1\n" + SMALLEST)
    assert found == ["1: linger stands before the first section, such as [xmpp]"]


def test_a_password_and_a_password_file_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    found = complaints(tmp_path, SMALLEST.replace("[pop]", f"password_file = {tmp_path}/password\n[pop]"))
    assert found == ["[xmpp] password or password_file: both are there; one of them is needed"]


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(None, "No such file or directory"), (b"", "is empty"), (b"\nsecret\n", "is empty"), (b"\xff\n", "not UTF-8")],
)
def test_a_password_file_without_a_password_is_named(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    (complaint,) = complaints(tmp_path, SMALLEST.replace("password = secret", f"password_file = {file}"))
    assert complaint.startswith(f"3: password_file: {file}")
    assert wrong in complaint


@pytest.mark.parametrize("content", ["a;b = c\n", "a;b = c\r\n", "a;b = c", "a;b = c\nmore\n"])
def test_the_password_is_the_first_line_of_its_file_whatever_stands_in_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "password").write_bytes(content.encode())
    text = SMALLEST.replace("password = secret", f"password_file = {tmp_path}/password")
    assert load(tmp_path, text).password == "a;b = c"


def test_a_file_that_is_not_utf8_is_told_the_line(tmp_path: Path) -> None:
    found = complaints(tmp_path, SMALLEST.encode() + b"message = \xfc\n")
    assert found == [f"{NEXT}: not UTF-8: save the file in that encoding"]


def test_a_missing_file_is_told_where_to_come_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "missing.conf")
    assert error.value.complaints == [
        f"{tmp_path}/missing.conf: No such file or directory; copy screen_pop.conf.sample there and fill it in"
    ]


def test_a_folder_is_told_that_it_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory; it should be a file"):
        config.load(tmp_path)


def test_a_file_of_somebody_else_is_told_whose_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:  # root, as whom the tests may run, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="Permission denied; owner root, Asterisk's group and mode 0640"):
        config.load(tmp_path / "screen_pop.conf")


def test_nothing_shows_the_password(tmp_path: Path) -> None:
    assert "secret" not in repr(load(tmp_path, SMALLEST))
    (tmp_path / "password").write_text("geheim\n")
    text = f"[xmpp]\npassword = geheim\npassword = geheim\npassword_file = {tmp_path}/password\nlinger = 1\n"
    assert "geheim" not in " ".join(complaints(tmp_path, text))


@pytest.mark.parametrize("changed", ["screen_pop.conf", "password", "ca.pem"])
def test_a_configuration_is_stale_when_a_file_of_it_changes_or_goes(tmp_path: Path, changed: str) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "ca.pem").write_text("-")
    files = f"password_file = {tmp_path}/password\nca_file = {tmp_path}/ca.pem"
    given = load(tmp_path, SMALLEST.replace("password = secret", files))
    assert not given.is_stale()
    state = (tmp_path / changed).stat()
    os.utime(tmp_path / changed, (state.st_atime, state.st_mtime + 1))
    assert given.is_stale()
    os.utime(tmp_path / changed, (state.st_atime, state.st_mtime))
    os.utime(tmp_path / changed, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert not given.is_stale()
    (tmp_path / changed).unlink()
    assert given.is_stale()


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({}, "/etc/asterisk/screen_pop.conf"),
        ({"AST_CONFIG_DIR": "/opt/pbx"}, "/opt/pbx/screen_pop.conf"),
        ({"AST_CONFIG_DIR": "/opt/pbx", "SCREEN_POP_CONF": "/srv/pop.conf"}, "/srv/pop.conf"),
    ],
)
def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], path: str) -> None:
    for name in ("AST_CONFIG_DIR", "SCREEN_POP_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert config.path_from_environment() == Path(path)
