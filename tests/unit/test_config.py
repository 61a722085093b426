"""The configuration: what it may say, and that each mistake is named with its place and with what would be right."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from parts.table import each
from screenpop import config, settings
from screenpop.config import ConfigError
from screenpop.pop.options import PopOptions
from screenpop.settings import Settings

SMALLEST = """\
[xmpp]
jid = pbx@example.org
password = secret
[pop]
to = alice@example.org
"""
NEXT = SMALLEST.count("\n") + 1  # the line after it, in [pop]


def load(folder: Path, text: str | bytes) -> Settings:
    path = folder / "screen_pop.conf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return settings.load(str(path))


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
    xmpp, pop = given.xmpp, given.pop
    assert str(xmpp.jid) == "pbx@example.org"
    assert (xmpp.password, xmpp.password_file, xmpp.ca_file, xmpp.server) == ("secret", None, None, ())
    assert pop.to == ("alice@example.org",)
    assert pop.message == "Call from {caller} to {extension}\n{company}\n{place}\n{country}\n{url}"
    assert (pop.country, pop.places, pop.lookup_wait) == ("US", False, 1)
    assert (pop.late_after, pop.give_up_after, pop.linger) == (30, 86400, 300)
    assert pop.remember == 86400
    assert (given.spool.calls, given.spool.megabytes) == (10_000, 64)
    assert given.log.path == "/var/log/pbx/screen_pop.log"


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
        message = {{caller}} → {{extension}}\\n{{account}}\\n {{url}}
        country = DE
        places = yes
        late_after = 1.5
        give_up_after = 0
        linger = 10
        remember = 3600
        [spool]
        calls = 5
        megabytes = 1
        [log]
        file = /tmp/pop.log
        """,
    )
    xmpp, pop = given.xmpp, given.pop
    assert str(xmpp.jid) == "pbx@example.org"
    assert xmpp.password == "from a file"
    assert xmpp.server == (("xmpp.example.org", 5222), ("2001:db8::1", 443), ("192.0.2.1", 5223))
    assert xmpp.ca_file and xmpp.ca_file.path == f"{tmp_path}/ca.pem"
    assert pop.to == ("alice@example.org", "bob@example.org/desk")
    assert pop.message == "{caller} → {extension}\n{account}\n {url}"
    assert (pop.country, pop.places) == ("DE", True)
    assert (pop.late_after, pop.give_up_after, pop.linger, pop.remember) == (1.5, 0, 10, 3600)
    assert (given.spool.calls, given.spool.megabytes) == (5, 1)
    assert given.log.path == "/tmp/pop.log"


def test_the_sample_shows_each_option_at_its_default_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AST_LOG_DIR", raising=False)
    path = Path(__file__).parents[2] / "screen_pop.conf.sample"
    given = settings.load(str(path))
    section, shown = "", {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(";["):
            break  # an example of a source, which has no defaults: test_documents.py
        if line.startswith("["):
            section = line.strip("[]")
        elif found := re.fullmatch(r"(;?)(\w+) =(?: (.*))?", line):
            shown[section, found[2]] = (found[1], found[3] or "")
    declared = {
        (name, option): declaration
        for name, kind in settings.SECTIONS.items()
        for option, declaration in kind.options().items()
    }
    assert set(shown) == set(declared)
    named = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    assert {option for kind in settings.TYPES.values() for option in kind.options()} <= named
    for (name, option), (commented, text) in shown.items():
        declaration = declared[name, option]
        if (name, option) == ("log", "file"):
            assert commented and text == str(given.log.path)  # it depends on the environment
        elif isinstance(declaration, config.Required) or (name, option) == ("xmpp", "password"):
            assert not commented and text
        else:
            assert commented and (declaration.read(text) if text else declaration.default) == declaration.default
            assert text or not declaration.default


@each(
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
    assert load(tmp_path, SMALLEST.replace("password = secret", settings)).xmpp.password == "secret"


@each("password", ["a;b", "a;b;", "a=b", "=a", ">a", "[a]", "a b", "#a", "%(a)s", "{a}", "${a}", "pässwörd", '"a"'])
def test_a_password_is_taken_as_it_stands(tmp_path: Path, password: str) -> None:
    assert load(tmp_path, SMALLEST.replace("= secret", f"= {password}")).xmpp.password == password


@each("password", ["a ;b", "a ; b", ";a", "secret ; not the account's", "secret\t;"])
def test_a_password_that_would_be_cut_as_a_comment_is_told_where_to_go(tmp_path: Path, password: str) -> None:
    (complaint,) = complaints(tmp_path, SMALLEST.replace("= secret", f"= {password}"))
    assert complaint.startswith("3: password: a ; after a space begins a comment")
    assert complaint.endswith("use password_file")


def test_a_byte_order_mark_and_the_case_of_names_dont_matter(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + SMALLEST.replace("[xmpp]", "[ XMPP ]").replace("jid", "JID").encode())


@each(
    ("line", "wrong", "right"),
    [
        ("linger = soon", "linger: 'soon'", "seconds, such as 30"),
        ("linger = -1", "linger: '-1'", "seconds, such as 30"),
        ("late_after = nan", "late_after: 'nan'", "seconds, such as 30"),
        ("give_up_after = 1 day", "give_up_after: '1 day'", "seconds, such as 30"),
        ("country = us", "country: 'us'", "two capital letters, such as US"),
        ("country = USA", "country: 'USA'", "two capital letters, such as US"),
        ("country = UK", "country: 'UK'", "two capital letters, such as US or GB"),
        ("message = {name} {url}", "message: {url} needs a line of its own", r"put \n before it"),
        (r"message = {name}\n{URL}.", "message: {url} needs a line of its own", "behind it if something follows"),
        ("places = true", "places: 'true'", "should be one of the words yes, no"),
        ("message =", "message has no value", "add one, or remove the line"),
        ("lingre = 3", "[pop] has no option 'lingre'", "there are to, message, message_answered, message_missed"),
        ("jid = pbx@example.org", "[pop] has no option 'jid'", "there are to, message"),
        ("to = bob@example.org", "to is set twice", "the first time in line 5"),
        ("[pops]", "[pops] is unknown", "there are [xmpp], [pop], [routes], [spool], [log]"),
        ("linger 3", "neither a [section]", "nor a setting such as name = value"),
        ("[log]\nfile = pop.log", "", "an absolute path, such as"),
        ("[xmpp]\nca_file = ca.pem", "", "an absolute path, such as"),
        ("[pop", "neither a [section]", "nor a setting such as name = value"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_would_be_right(
    tmp_path: Path, line: str, wrong: str, right: str
) -> None:
    (complaint,) = complaints(tmp_path, f"{SMALLEST}{line}\n")
    assert complaint.startswith(f"{NEXT + line.count(chr(10))}: {wrong}")
    assert right in complaint


@each(
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
    assert found == ["6", "7", "8", "10", "11"]


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
    assert jid == "[xmpp] jid is missing; it should be the account that sends, such as pbx@example.org"
    assert to == "[pop] to is missing; it should be a recipient, such as alice@example.org"
    assert password == "[xmpp] password or password_file: missing; set one of them"


def test_settings_before_the_first_section_are_told_where_to_go(tmp_path: Path) -> None:
    found = complaints(tmp_path, "linger = 1\n" + SMALLEST)
    assert found == ["1: linger is before the first section, such as [xmpp]"]


def test_a_password_and_a_password_file_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    found = complaints(tmp_path, SMALLEST.replace("[pop]", f"password_file = {tmp_path}/password\n[pop]"))
    assert found == ["[xmpp] password or password_file: both are set; set one of them"]


@each(
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


@each("content", ["a;b = c\n", "a;b = c\r\n", "a;b = c", "a;b = c\nmore\n"])
def test_the_password_is_the_first_line_of_its_file_whatever_stands_in_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "password").write_bytes(content.encode())
    text = SMALLEST.replace("password = secret", f"password_file = {tmp_path}/password")
    assert load(tmp_path, text).xmpp.password == "a;b = c"


def test_a_file_that_is_not_utf8_is_told_the_line(tmp_path: Path) -> None:
    found = complaints(tmp_path, SMALLEST.encode() + b"message = \xfc\n")
    assert found == [f"{NEXT}: not UTF-8: save the file in that encoding"]


def test_a_missing_file_is_told_where_to_come_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        settings.load(f"{tmp_path}/missing.conf")
    assert error.value.complaints == [
        f"{tmp_path}/missing.conf: No such file or directory; copy screen_pop.conf.sample there and fill it in"
    ]


def test_a_folder_is_told_that_it_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory; it should be a file"):
        settings.load(str(tmp_path))


def test_a_file_of_somebody_else_is_told_whose_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:  # root, as whom the tests may run, may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigError, match="Permission denied; it should have owner root, Asterisk's group"):
        settings.load(f"{tmp_path}/screen_pop.conf")


def test_nothing_shows_the_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    for line in ("password = geheim", f"password_file = {tmp_path}/password"):
        given = load(tmp_path, SMALLEST.replace("password = secret", line))
        assert given.xmpp.password == "geheim"
        assert "geheim" not in repr([given, given.xmpp, given.xmpp.password_file, given.files])
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
    assert settings.path_from_environment() == path


# The section [spool] was [outbox]


def test_the_former_name_of_a_section_still_works(tmp_path: Path) -> None:
    given = load(tmp_path, f"{SMALLEST}[outbox]\ncalls = 5\n[spool]\nmegabytes = 1\n")
    assert (given.spool.calls, given.spool.megabytes) == (5, 1)


def test_an_option_that_is_set_by_both_names_of_its_section_is_set_twice(tmp_path: Path) -> None:
    found = complaints(tmp_path, f"{SMALLEST}[outbox]\ncalls = 5\ncals = 6\n[spool]\ncalls = 7\n")
    assert found == [
        f"{NEXT + 2}: [outbox] has no option 'cals'; there are calls, megabytes",
        f"{NEXT + 4}: calls is set twice; the first time in line {NEXT + 1}",
    ]


# What is read can't be changed


def test_nothing_that_was_read_can_be_set(tmp_path: Path) -> None:
    given = load(tmp_path, SMALLEST)
    with pytest.raises(AttributeError):
        given.pop.linger = 1.0
    with pytest.raises(AttributeError):
        given.pop = PopOptions({})  # type: ignore[misc]
    assert given.pop.linger == 300


# Sections of a type, as in pjsip.conf


class Main(config.Section):
    size = config.Option(config.positive_number, 1)


class Csv(config.Section):
    file = config.Required(config.absolute_path, "the file with the entries")
    wait = config.Option(config.seconds, 2.0)


class Sql(config.Section):
    query = config.Required(str, "the query")


def read(folder: Path, text: str) -> config.Document:
    path = folder / "screen_pop.conf"
    path.write_text(text)
    return config.read(str(path), {"main": Main}, {"csv": Csv, "sql": Sql}, {})


def test_sections_of_a_type_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        [staff]
        query = SELECT 1
        type = sql
        [main]
        size = 2
        [customers-old]
        type = csv
        file = /old.csv
        [customers]
        type = csv
        file = /new.csv
        wait = 0.5
        """,
    ).sections
    assert list(found) == ["main", "staff", "customers-old", "customers"]
    main, staff, old, new = found.values()
    assert isinstance(main, Main) and main.size == 2
    assert isinstance(staff, Sql) and staff.query == "SELECT 1"
    assert isinstance(old, Csv) and (old.file, old.wait) == ("/old.csv", 2.0)
    assert isinstance(new, Csv) and (new.file, new.wait) == ("/new.csv", 0.5)


@each(
    ("text", "found"),
    [
        ("[staff]\n", "1: [staff] is unknown; there are [main], and sections with a type: csv, sql"),
        ("[staff]\nfile = /a\ntype = csvs\n", "3: type: 'csvs' is unknown; there are csv, sql"),
        ("[staff]\ntype = csv\n", ": [staff] file is missing; it should be the file with the entries"),
        ("[staff]\ntype = csv\nfile = a\n", "3: file: 'a' should be an absolute path, such as /etc/asterisk/a"),
        ("[staff]\ntype = csv\nfile = /a\nquery = b\n", "4: [staff] has no option 'query'; there are file, wait, type"),
        ("[staff]\ntype = csv\nfile = /a\ntype = sql\n", "4: type is set twice; the first time in line 2"),
        ("[main]\ntype = csv\n", "2: [main] has no option 'type'; there are size"),
    ],
)
def test_a_mistake_in_a_section_of_a_type(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    (complaint,) = error.value.complaints
    assert complaint.startswith(f"{tmp_path}/screen_pop.conf:")
    assert complaint.endswith(f"screen_pop.conf:{found}" if found[0] != ":" else found)


SALES = "sales@conference.example.org"


def test_a_room_has_a_section_with_its_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    given = load(
        tmp_path,
        f"{SMALLEST}[a]\ntype = room\nroom = Sales@conference.example.org\npassword = secret\n"
        f"[b]\ntype = room\nroom = b@conference.example.org\npassword_file = {tmp_path}/password\n",
    )
    assert {room: options.password for room, options in given.rooms.items()} == {
        SALES: "secret",
        "b@conference.example.org": "from a file",
    }
    assert given.sources == {}


@each(
    ("lines", "complaint"),
    [
        ("password = x", "[a] room is missing; it should be the room, such as sales@conference.example.org"),
        (f"room = {SALES}", "[a] password or password_file: missing; set one of them"),
        (
            f"room = {SALES}/pbx\npassword = x",
            f"{NEXT + 2}: room: should be a room such as {SALES}, with nothing after the domain",
        ),
        (f"room = {SALES}\npassword = x\nnick = y", f"{NEXT + 4}: [a] has no option 'nick'; there are "),
        (f"room = {SALES}\npassword = x ; y", f"{NEXT + 3}: password: a ; after a space begins a comment"),
    ],
)
def test_a_room_without_what_it_needs_is_named(tmp_path: Path, lines: str, complaint: str) -> None:
    (found,) = complaints(tmp_path, f"{SMALLEST}[a]\ntype = room\n{lines}\n")
    assert found.startswith(complaint)


ACCOUNT = "[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = alice@example.org\n[fastagi]\n"


@pytest.mark.parametrize(
    ("lines", "listen", "allow"),
    [
        ("", ("127.0.0.1", 4573), []),
        ("listen = no", None, []),
        ("listen = 127.0.0.2:4574", ("127.0.0.2", 4574), []),
        ("listen = [::1]:4573", ("::1", 4573), []),
        ("listen = 192.0.2.1:4573\nallow = 192.0.2.0/24", ("192.0.2.1", 4573), ["192.0.2.0/24"]),
        ("listen = [::]:4573\nallow = 192.0.2.7, 2001:db8::/32", ("::", 4573), ["192.0.2.7/32", "2001:db8::/32"]),
    ],
)
def test_where_the_fastagi_door_listens(
    tmp_path: Path, lines: str, listen: tuple[str, int] | None, allow: list[str]
) -> None:
    given = load(tmp_path, ACCOUNT + lines).fastagi
    assert (given.listen, list(map(str, given.allow))) == (listen, allow)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("listen = 192.0.2.1:4573", "[fastagi] allow: missing; who else than this box may connect"),
        ("listen = 0.0.0.0:4573", "[fastagi] allow: missing"),
        ("listen = [::]:4573", "[fastagi] allow: missing"),
        ("listen = pbx.example.org:4573", "listen: 'pbx.example.org:4573' should be an IP address of this box"),
        ("listen = 127.0.0.1", "listen: '127.0.0.1' should be host:port"),
        ("listen = 127.0.0.1:0", "listen: '127.0.0.1:0' should be host:port"),
        ("listen = yes", "listen: 'yes' should be host:port"),
        ("allow = 192.0.2.1/24", "allow: '192.0.2.1/24' should be a network or an address, such as 192.0.2.0/24"),
        ("allow = office", "allow: 'office' should be a network"),
    ],
)
def test_what_is_wrong_with_the_fastagi_door(tmp_path: Path, lines: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, ACCOUNT + lines)
    assert len(caught.value.complaints) == 1
    assert complaint in caught.value.complaints[0]
