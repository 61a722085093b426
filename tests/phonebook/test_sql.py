"""The phone book's type = sql with a real PostgreSQL, a real MariaDB and SQLite."""

from __future__ import annotations

import re
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Union

import pytest
import sqlalchemy

from parts import documents
from parts.certificates import Authority, Certificate
from parts.databases import PASSWORD, DatabaseServer, MariaDB, PostgreSQL
from parts.debs import NotAvailable
from screenpop import config
from screenpop.phonebook.source import Number, SourceError
from screenpop.phonebook.sql import OPTIONS, Source

ALICE = Number("+15551234567", "0015551234567", "5551234567")
MANY = Number("+15550001000", "5550001000", "5550001000")  # 1,000 rows
SLOW = Number("+15550009999", "5550009999", "5550009999")
STRANGER = Number("+4930123456", "030123456", "30123456")
WITHHELD = Number("", "", "")
HOSTILE = [
    "anonymous",
    "+",
    "0",
    "1" * 40,
    "sip:alice@example.org",
    "*)(uid=*",
    "'; DROP TABLE contacts; --",
    "%",
    "\\",
    ":number",
]

SCHEMA = [
    "CREATE TABLE contacts (id INTEGER PRIMARY KEY, phone VARCHAR(40), phone_number BIGINT, name VARCHAR(100),"
    " company VARCHAR(100), since DATE, balance NUMERIC(10, 2), notes VARCHAR(100))",
    "INSERT INTO contacts VALUES (1, '+15551234567', 15551234567, 'Alice Example', 'Example & Söhne 客', '2024-02-29',"
    " 1234.50, NULL)",
    "INSERT INTO contacts VALUES (2, '', 0, 'Somebody without a number', NULL, NULL, NULL, NULL)",
    "INSERT INTO contacts VALUES (3, '+15550009999', 15550009999, 'Slow', NULL, NULL, NULL, NULL)",
    "INSERT INTO contacts VALUES "
    + ", ".join(f"({n}, '+15550001000', 15550001000, 'Row {n}', NULL, NULL, NULL, NULL)" for n in range(1000, 2000)),
]
QUERY = "SELECT id, name, company, since, balance, notes FROM contacts WHERE phone = :number ORDER BY id"


class SQLite:
    """The same as a server, for what goes for all three."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "contacts 100%.db"

    def url(self, database: str, user: str = "", password: str = "", host: str = "") -> str:
        return f"sqlite:///{self._file}"

    def execute(self, database: str, *statements: str) -> None:
        with sqlite3.connect(self._file) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()


Server = Union[DatabaseServer, SQLite]
SLEEP = {  # an expression that takes half a minute or more
    PostgreSQL: "CAST(pg_sleep(30) AS TEXT)",
    MariaDB: "SLEEP(30)",
    SQLite: "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n)",
}
LONG = {PostgreSQL: "repeat('x', {})", MariaDB: "REPEAT('x', {})", SQLite: "printf('%.{}c', 'x')"}


@pytest.fixture(scope="module")
def localhost(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return authority.issue(tmp_path_factory.mktemp("localhost"), "localhost")


def started(kind: type[DatabaseServer], folder: Path, certificate: Certificate) -> Iterator[DatabaseServer]:
    try:
        server = kind(folder / kind.__name__, certificate)
    except NotAvailable as reason:
        pytest.skip(f"{kind.__name__}: {reason}")
    with server:
        server.execute(server.first_database, "CREATE DATABASE crm")
        server.execute("crm", *SCHEMA)
        yield server


@pytest.fixture(scope="module")
def postgresql(server_folder: Path, localhost: Certificate) -> Iterator[DatabaseServer]:
    yield from started(PostgreSQL, server_folder, localhost)


@pytest.fixture(scope="module")
def mariadb(server_folder: Path, localhost: Certificate) -> Iterator[DatabaseServer]:
    yield from started(MariaDB, server_folder, localhost)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SQLite:
    made = SQLite(tmp_path_factory.mktemp("sqlite"))
    made.execute("", *SCHEMA)
    return made


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server


MakeSource = Callable[..., Source]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MakeSource]:
    """Makes a source out of the options of its section, as the configuration file has them."""
    made = []

    def make(**options: str) -> Source:
        lines = [f"{name} = {value}\n" for name, value in {"type": "sql", **options}.items()]
        section = read("".join(["[customers]\n", *lines]), tmp_path)["customers"]
        made.append(Source("customers", section))
        return made[-1]

    yield make
    for one in made:
        one.close()


def read(text: str, folder: Path) -> dict[str, OPTIONS]:
    file = folder / "screen_pop.conf"
    file.write_text(text)
    sections: dict[str, OPTIONS] = config.read(str(file), {}, {"sql": OPTIONS}, {}).sections  # type: ignore[assignment]
    return sections


def soon() -> float:
    return time.monotonic() + 10


# Who is there, and who isn't


def test_a_customer(database: Server, source: MakeSource) -> None:
    fields = {"name": "name", "company": "company", "url": "https://crm.example.org/{id}", "notes": "notes"}
    values = {"since": "customer since {since}", "balance": "balance"}
    found = source(database=database.url("crm"), query=QUERY, **fields, **values).lookup(ALICE, soon())
    assert found.pop("balance") in ("1234.50", "1234.5")  # SQLite has no decimal numbers
    assert found == {
        "name": "Alice Example",
        "company": "Example & Söhne 客",
        "url": "https://crm.example.org/1",
        "since": "customer since 2024-02-29",
    }


def test_a_stranger(database: Server, source: MakeSource) -> None:
    assert source(database=database.url("crm"), query=QUERY, name="name").lookup(STRANGER, soon()) == {}


@pytest.mark.parametrize("parameter", ["number", "written", "national"])
def test_a_withheld_number_is_not_an_empty_one(database: Server, source: MakeSource, parameter: str) -> None:
    query = f"SELECT name FROM contacts WHERE phone = :{parameter}"
    assert source(database=database.url("crm"), query=query, name="name").lookup(WITHHELD, soon()) == {}


def test_all_three_parameters(database: Server, source: MakeSource) -> None:
    query = (
        "SELECT :number AS a, :written AS b, :national AS c, ':' AS d FROM contacts WHERE id = 1 AND name LIKE 'Al%'"
    )
    found = source(database=database.url("crm"), query=query, name="{a} {b} {c} {d}").lookup(ALICE, soon())
    assert found == {"name": "+15551234567 0015551234567 5551234567 :"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_numbers(database: Server, source: MakeSource, text: str) -> None:
    asked = source(database=database.url("crm"), query=QUERY, name="name")
    assert asked.lookup(Number("", text, ""), soon()) == {}
    assert asked.lookup(Number(text, text, text), soon()) == {}
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}


def test_a_hostile_number_is_what_the_database_sees(database: Server, source: MakeSource) -> None:
    query = "SELECT :written AS name FROM contacts WHERE id = 1"
    asked = source(database=database.url("crm"), query=query, name="name")
    for text in HOSTILE:
        assert asked.lookup(Number("", text, ""), soon()) == {"name": text}


def test_the_first_of_a_thousand_rows(database: Server, source: MakeSource) -> None:
    query = (
        f"SELECT name, {LONG[type(database)].format(100_000)} AS notes FROM contacts WHERE phone = :number ORDER BY id"
    )
    asked = source(database=database.url("crm"), query=query, name="name", notes="notes")
    asked.lookup(ALICE, soon())
    tracemalloc.start()
    try:
        found = asked.lookup(MANY, soon())
        assert tracemalloc.get_traced_memory()[1] < 10_000_000  # a thousand rows are 100 MB
    finally:
        tracemalloc.stop()
    assert found["name"] == "Row 1000"
    assert asked.lookup(ALICE, soon())["name"] == "Alice Example"


def test_the_first_of_a_billion_rows(database: Server, source: MakeSource) -> None:
    query = "SELECT a.name FROM contacts a, contacts b, contacts c WHERE a.phone = :number"
    asked = source(database=database.url("crm"), query=query, name="name")
    assert asked.lookup(MANY, time.monotonic() + 3600)["name"].startswith("Row 1")


def test_a_row_that_is_found_first_in_the_second_part_of_a_query(database: Server, source: MakeSource) -> None:
    query = (
        "WITH several AS (SELECT id, name FROM contacts WHERE phone = :number UNION ALL"
        " SELECT id, name FROM contacts WHERE id IN (SELECT id FROM contacts WHERE id > 1900)) "
        "SELECT id, name FROM contacts WHERE phone = :number"
        " UNION ALL SELECT MAX(id), MAX(name) FROM several ORDER BY id DESC"
    )
    found = source(database=database.url("crm"), query=query, name="name", id="id").lookup(ALICE, soon())
    assert found == {"name": "Row 1999", "id": "1999"}


def test_a_value_of_10_megabytes(database: Server, source: MakeSource) -> None:
    query = f"SELECT {LONG[type(database)].format(10_000_000)} AS name FROM contacts WHERE phone = :number"
    found = source(database=database.url("crm"), query=query, name="name").lookup(ALICE, soon())
    assert len(found["name"]) == 500


def test_bytes_are_text(database: Server, source: MakeSource) -> None:
    kind = "BYTEA" if isinstance(database, PostgreSQL) else "BINARY" if isinstance(database, MariaDB) else "BLOB"
    query = f"SELECT CAST(name AS {kind}) AS name FROM contacts WHERE phone = :number"
    found = source(database=database.url("crm"), query=query, name="name").lookup(ALICE, soon())
    assert found == {"name": "Alice Example"}


# Time, and servers that go away


def test_a_slow_query_ends_at_the_deadline_and_the_connection_is_used_again(
    database: Server, source: MakeSource
) -> None:
    connection = {PostgreSQL: "pg_backend_pid()", MariaDB: "CONNECTION_ID()", SQLite: "1"}[type(database)]
    slow = f"CASE WHEN phone = '{SLOW.e164}' THEN {SLEEP[type(database)]} END"
    query = f"SELECT name, {connection} AS connection, {slow} AS slow FROM contacts WHERE phone = :number"
    asked = source(database=database.url("crm"), query=query, name="name", connection="connection")
    before = asked.lookup(ALICE, soon())
    with pytest.raises(SourceError, match=r"(crm|contacts 100%.db).*: the query took too long: "):
        asked.lookup(SLOW, time.monotonic() + 0.5)
    assert asked.lookup(ALICE, soon()) == before


def test_a_server_that_says_nothing(server: DatabaseServer, source: MakeSource) -> None:
    asked = source(database=server.url("crm"), query=QUERY, name="name")
    with server.frozen():
        with pytest.raises(SourceError, match="connecting took too long"):
            asked.lookup(ALICE, time.monotonic() + 0.5)
    assert asked.lookup(ALICE, time.monotonic() + 3600) == {"name": "Alice Example"}
    with server.frozen():
        with pytest.raises(SourceError, match="connecting took too long"):  # over the connection that is there
            asked.lookup(ALICE, time.monotonic() + 0.5)
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}


def test_no_time_is_left(database: Server, source: MakeSource) -> None:
    asked = source(database=database.url("crm"), query=QUERY, name="name")
    with pytest.raises(SourceError, match="no time left"):
        asked.lookup(ALICE, time.monotonic() - 1)


def test_a_server_that_is_restarted_between_two_calls(server: DatabaseServer, source: MakeSource) -> None:
    asked = source(database=server.url("crm"), query=QUERY, name="name")
    asked.lookup(ALICE, soon())
    server.stop()
    server.start()
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}


def test_a_server_that_dies_and_comes_back(
    server: DatabaseServer, source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    asked = source(database=server.url("crm"), query=QUERY, name="name")
    asked.lookup(ALICE, soon())
    server.kill()
    try:
        with pytest.raises(SourceError, match=r"crm at 127.0.0.1: connecting failed: .*Connection refused"):
            asked.lookup(ALICE, soon())
    finally:
        server.start()
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}
    assert not caplog.records  # SQLAlchemy would log tracebacks


def test_calls_at_the_same_time(database: Server, source: MakeSource) -> None:
    query = "SELECT :written AS name FROM contacts WHERE id = 1"
    asked = source(database=database.url("crm"), query=query, name="name")
    with ThreadPoolExecutor(20) as threads:
        found = threads.map(lambda n: asked.lookup(Number("", f"number {n}", ""), soon()), range(200))
        assert list(found) == [{"name": f"number {n}"} for n in range(200)]


def test_more_slow_calls_than_connections_end_at_the_deadline(server: DatabaseServer, source: MakeSource) -> None:
    query = f"SELECT {SLEEP[type(server)]} AS name FROM contacts WHERE phone = :number"
    asked = source(database=server.url("crm"), query=query, name="name")
    asked.lookup(STRANGER, soon())
    deadline = time.monotonic() + 1

    def why(n: int) -> str:
        with pytest.raises(SourceError) as raised:
            asked.lookup(ALICE, deadline)
        return str(raised.value)

    with ThreadPoolExecutor(20) as threads:
        assert all(
            re.search("took too long|are under way already|no time left", text) for text in threads.map(why, range(20))
        )


# What is only read


def test_the_query_can_change_nothing(database: Server, source: MakeSource) -> None:
    if isinstance(database, PostgreSQL):
        statement = (
            "CREATE OR REPLACE FUNCTION forget() RETURNS TEXT LANGUAGE sql AS 'DELETE FROM contacts; SELECT ''gone'''"
        )
        query = "SELECT forget() AS name WHERE :number <> ''"
    elif isinstance(database, MariaDB):
        statement = "CREATE OR REPLACE FUNCTION forget() RETURNS TEXT BEGIN DELETE FROM contacts; RETURN 'gone'; END"
        query = "SELECT forget() AS name FROM contacts WHERE phone = :number"
    else:
        statement = "SELECT 1"
        query = "WITH one AS (SELECT 1) DELETE FROM contacts WHERE phone = :number RETURNING name"
    database.execute("crm", statement)
    with pytest.raises(SourceError, match=r"(?i)read.?only"):
        source(database=database.url("crm"), query=query, name="name").lookup(ALICE, soon())
    assert source(database=database.url("crm"), query=QUERY, name="name").lookup(ALICE, soon())


def test_a_missing_file_is_not_made(tmp_path: Path, source: MakeSource) -> None:
    missing = tmp_path / "missing.db"
    with pytest.raises(SourceError, match="unable to open database file"):
        source(database=f"sqlite:///{missing}", query=QUERY, name="name").check()
    assert not missing.exists()


def test_a_file_that_is_replaced(tmp_path: Path, source: MakeSource) -> None:
    old = SQLite(tmp_path)
    old.execute("", *SCHEMA)
    asked = source(database=old.url(""), query=QUERY, name="name")
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}
    (tmp_path / "new").mkdir()
    new = SQLite(tmp_path / "new")
    new.execute("", *SCHEMA, "UPDATE contacts SET name = 'Alice Other' WHERE id = 1")
    Path(new.url("")[len("sqlite:///") :]).rename(old.url("")[len("sqlite:///") :])
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Other"}


def test_a_locked_file(tmp_path: Path, source: MakeSource) -> None:
    file = SQLite(tmp_path)
    file.execute("", *SCHEMA)
    lock = sqlite3.connect(file.url("")[len("sqlite:///") :], isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    asked = source(database=file.url(""), query=QUERY, name="name")
    with pytest.raises(SourceError, match="took too long: database is locked"):
        asked.lookup(ALICE, time.monotonic() + 0.3)
    lock.execute("COMMIT")
    lock.close()
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}


# What check says


def test_check_of_what_works(database: Server, source: MakeSource) -> None:
    said = source(database=database.url("crm"), query=QUERY, name="name").check()
    assert said.endswith(": the query works, its columns are id, name, company, since, balance, notes")
    assert PASSWORD not in said


def test_check_of_a_wrong_password(server: DatabaseServer, source: MakeSource) -> None:
    url = server.url("crm", password="wr0ng-secret")
    with pytest.raises(SourceError, match=r"connecting failed: .*(?i:password)") as raised:
        source(database=url, query=QUERY, name="name").check()
    assert "wr0ng" not in str(raised.value)


def test_the_password_from_a_file(server: DatabaseServer, source: MakeSource, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{PASSWORD}\nand more\n")
    url = server.url("crm", password="")
    asked = source(database=url, password_file=str(tmp_path / "secret"), query=QUERY, name="name")
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT nothing FROM contacts WHERE phone = :number", "the query failed: .*nothing"),
        ("SELECT name FROM nowhere WHERE phone = :number", "the query failed: .*nowhere"),
        ("SELECT name FROM contacts WHERE phone = :number AND", "the query failed: .*(?i:syntax|incomplete)"),
        ("SELECT name FROM contacts WHERE phone = :number AND id = :id", "bind parameter 'id'"),
        ("SELECT id, phone AS telephone FROM contacts WHERE phone = :number", "no column 'name'.* id, telephone$"),
        ("SELECT name FROM contacts WHERE :number <> ''", "finds a row for .999.*, which nobody has"),
    ],
)
def test_check_of_a_wrong_query(database: Server, source: MakeSource, query: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint) as raised:
        source(database=database.url("crm"), query=query, name="name").check()
    assert PASSWORD not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_column_of_numbers(server: DatabaseServer, source: MakeSource) -> None:
    query = "SELECT name FROM contacts WHERE CONCAT('+', phone_number) = :number"
    asked = source(database=server.url("crm"), query=query, name="name")
    assert asked.lookup(ALICE, soon()) == {"name": "Alice Example"}
    for text in HOSTILE:
        assert asked.lookup(Number(text, text, text), soon()) == {}


def test_a_column_of_numbers_is_a_complaint_and_not_one_only_for_some_callers(
    postgresql: DatabaseServer, source: MakeSource
) -> None:
    query = "SELECT name FROM contacts WHERE phone_number = :number"
    with pytest.raises(SourceError, match="operator does not exist: bigint"):
        source(database=postgresql.url("crm"), query=query, name="name").check()


def test_a_server_that_is_not_there(source: MakeSource) -> None:
    for backend in ("postgresql", "mariadb"):
        url = f"{backend}://screenpop:se-cret@127.0.0.1:1/crm"
        with pytest.raises(
            SourceError, match=f"{backend} crm at 127.0.0.1: connecting failed: .*Connection refused"
        ) as raised:
            source(database=url, query=QUERY, name="name").check()
        assert "se-cret" not in str(raised.value)


# TLS


TLS = {
    PostgreSQL: (
        "?sslmode=verify-full&sslrootcert={}",
        "SELECT version AS name FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND :number <> ''",
    ),
    MariaDB: (
        "?ssl_ca={}",
        "SELECT VARIABLE_VALUE AS name FROM information_schema.SESSION_STATUS"
        " WHERE VARIABLE_NAME = 'SSL_VERSION' AND :number <> ''",
    ),
}


def test_tls(server: DatabaseServer, source: MakeSource, localhost: Certificate) -> None:
    options, query = TLS[type(server)]
    url = server.url("crm", host="localhost") + options.format(localhost.ca_file)
    found = source(database=url, query=query, name="name").lookup(ALICE, soon())
    assert found["name"].startswith("TLSv1.")


def test_tls_with_another_name(server: DatabaseServer, source: MakeSource, localhost: Certificate) -> None:
    options, query = TLS[type(server)]
    url = server.url("crm", host="127.0.0.1") + options.format(localhost.ca_file)
    with pytest.raises(SourceError, match=r"connecting failed: .*(?i:certificate)"):
        source(database=url, query=query, name="name").check()


def test_tls_with_another_authority(
    server: DatabaseServer, source: MakeSource, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options, query = TLS[type(server)]
    other = Authority(tmp_path_factory.mktemp("other")).ca_file
    with pytest.raises(SourceError, match=r"connecting failed: .*(?i:certificate)"):
        source(database=server.url("crm", host="localhost") + options.format(other), query=query, name="name").check()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("?sslmode=require", "sslmode=require doesn't verify the server"),
        ("?sslrootcert=/etc/hostname", "sslmode=verify-full does"),
    ],
)
def test_tls_that_verifies_nothing(
    postgresql: DatabaseServer, source: MakeSource, options: str, complaint: str
) -> None:
    with pytest.raises(SourceError, match=complaint):
        source(database=postgresql.url("crm", host="localhost") + options, query=QUERY, name="name").check()


def test_an_authority_that_is_missing(server: DatabaseServer, source: MakeSource) -> None:
    options, query = TLS[type(server)]
    url = server.url("crm") + options.format("/nowhere.pem")
    with pytest.raises(SourceError, match=r"(sslrootcert|ssl_ca): /nowhere.pem .*can't be read"):
        source(database=url, query=query, name="name").check()


# The examples of docs/phonebook.md, with the tables of these systems, as far as the examples use them

# FreePBX/contactmanager, release/17.0, module.xml
FREEPBX = [
    "CREATE TABLE contactmanager_groups (id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY, owner INTEGER NOT NULL,"
    " name VARCHAR(80) NOT NULL, type VARCHAR(25) NOT NULL)",
    "CREATE TABLE contactmanager_group_entries (id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " groupid INTEGER NOT NULL, user INTEGER NOT NULL, displayname VARCHAR(100) NOT NULL DEFAULT '',"
    " fname VARCHAR(100) NOT NULL DEFAULT '', lname VARCHAR(100) NOT NULL DEFAULT '',"
    " title VARCHAR(100) NOT NULL DEFAULT '', company VARCHAR(100) NOT NULL DEFAULT '',"
    " address VARCHAR(200) NOT NULL DEFAULT '', uuid VARCHAR(36) UNIQUE)",
    "CREATE TABLE contactmanager_entry_numbers (id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " entryid INTEGER NOT NULL, number VARCHAR(100), extension VARCHAR(100), countrycode VARCHAR(4),"
    " nationalnumber VARCHAR(100), regioncode VARCHAR(2), locale VARCHAR(2), stripped VARCHAR(100), type VARCHAR(100),"
    " flags VARCHAR(100), E164 VARCHAR(100), possibleshort TINYINT(1))",
    "INSERT INTO contactmanager_groups VALUES (1, -1, 'Customers', 'external'), (2, 7, 'My contacts', 'private')",
    "INSERT INTO contactmanager_group_entries (id, groupid, user, displayname, fname, lname, title, company) VALUES"
    " (1, 1, -1, '', 'Alice', 'Example', 'Dr.', 'Example Inc.'), (2, 1, -1, 'The Bobs', 'Bob', '', '', ''),"
    " (3, 2, -1, 'A secret friend', '', '', '', ''), (4, 1, -1, 'Without a number', '', '', '', '')",
    # as addNumbersByEntryID() fills it: with a country, without one, private, empty
    "INSERT INTO contactmanager_entry_numbers (entryid, number, stripped, E164, type, flags) VALUES"
    " (1, '(555) 123-4567', '15551234567', '+15551234567', 'work', ''),"
    " (2, '030 123456', '030123456', NULL, 'work', ''),"
    " (3, '+1 555 000 9999', '15550009999', '+15550009999', 'cell', ''), (4, '', '', NULL, 'work', '')",
]
# salesagility/SuiteCRM, the vardefs of the templates person and company, and metadata/accounts_contactsMetaData.php
SUITECRM = [
    "CREATE TABLE contacts (id CHAR(36) NOT NULL PRIMARY KEY, deleted TINYINT(1) DEFAULT 0, first_name VARCHAR(100),"
    " last_name VARCHAR(100), phone_home VARCHAR(100), phone_mobile VARCHAR(100), phone_work VARCHAR(100),"
    " phone_other VARCHAR(100))",
    "CREATE TABLE accounts (id CHAR(36) NOT NULL PRIMARY KEY, name VARCHAR(150), deleted TINYINT(1) DEFAULT 0,"
    " phone_office VARCHAR(100), phone_alternate VARCHAR(100))",
    "CREATE TABLE accounts_contacts (id VARCHAR(36) NOT NULL PRIMARY KEY, contact_id VARCHAR(36),"
    " account_id VARCHAR(36), date_modified DATETIME, deleted TINYINT(1) DEFAULT 0)",
    "INSERT INTO accounts VALUES ('a-1', 'Example Inc.', 0, '+1 (555) 123-4567', NULL),"
    " ('a-2', 'Other', 0, '+49 30 123456', NULL), ('a-3', 'Without a number', 0, '', '')",
    "INSERT INTO contacts VALUES ('c-0', 1, 'Alice', 'Deleted', NULL, '+15551234567', NULL, NULL),"
    " ('c-1', 0, 'Alice', 'Example', NULL, NULL, '+1 555 123-4567', NULL), ('c-2', 0, NULL, 'Without', '', '', '', '')",
    "INSERT INTO accounts_contacts VALUES ('x-1', 'c-1', 'a-1', NULL, 0), ('x-2', 'c-1', 'a-2', NULL, 1)",
]
# odoo/odoo, addons/base/models/res_partner.py and addons/phone_validation/models/mail_thread_phone.py
ODOO = [
    "CREATE TABLE res_partner (id SERIAL PRIMARY KEY, name VARCHAR, active BOOLEAN, is_company BOOLEAN,"
    " commercial_company_name VARCHAR, phone VARCHAR, phone_sanitized VARCHAR)",
    "INSERT INTO res_partner (name, active, is_company, commercial_company_name, phone, phone_sanitized) VALUES"
    " ('Alice Archived', FALSE, FALSE, NULL, '+1 555-123-4567', '+15551234567'),"
    " ('Example Inc.', TRUE, TRUE, 'Example Inc.', '+1 555-123-4567', '+15551234567'),"
    " ('Alice Example', TRUE, FALSE, 'Example Inc.', '+1 555-123-4567', '+15551234567'),"
    " ('Without a number', TRUE, FALSE, NULL, NULL, NULL), ('Without one', TRUE, FALSE, NULL, '', '')",
]
ODOO16 = [
    *ODOO,
    "ALTER TABLE res_partner ADD mobile VARCHAR",
    "UPDATE res_partner SET mobile = phone, phone = '+1 555-000-0001', phone_sanitized = '+15550000001'",
]
CUSTOMERS = [
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR, company VARCHAR, phone VARCHAR)",
    "INSERT INTO customers VALUES (1, 'Alice Example', 'Example Inc.', '+15551234567'), (2, 'Without one', NULL, '')",
]
OTHER = {  # a query that needs other rights
    "postgresql": "SELECT passwd AS name FROM pg_shadow WHERE usename = :number",
    "mariadb": "SELECT authentication_string AS name FROM mysql.user WHERE User = :number",
}
ACCOUNT = {
    "postgresql": "CREATE USER screenpop PASSWORD 'secret'",
    "mariadb": "CREATE USER screenpop@'%' IDENTIFIED BY 'secret'",
}
GERMAN = Number("+4930123456", "030123456", "30123456")
EXAMPLES = {
    "accounts": (
        CUSTOMERS,
        [
            (
                ALICE,
                {"name": "Alice Example", "company": "Example Inc.", "url": "https://crm.example.org/customer/1"},
            ),
            (SLOW, {}),
        ],
    ),
    "contactmanager": (
        FREEPBX,
        [
            (ALICE, {"name": "Alice Example", "company": "Example Inc.", "title": "Dr."}),
            (GERMAN, {"name": "The Bobs"}),
            (SLOW, {}),  # somebody's private contact
        ],
    ),
    "suitecrm": (
        SUITECRM,
        [
            (
                ALICE,
                {
                    "name": "Alice Example",
                    "company": "Example Inc.",
                    "url": "https://crm.example.org/#/contacts/record/c-1",
                },
            ),
            (GERMAN, {"name": "Other", "url": "https://crm.example.org/#/accounts/record/a-2"}),
            (SLOW, {}),
        ],
    ),
    "odoo": (
        ODOO,
        [
            (
                ALICE,
                {
                    "name": "Alice Example",
                    "company": "Example Inc.",
                    "url": "https://odoo.example.org/odoo/contacts/3",
                },
            ),
            (SLOW, {}),
        ],
    ),
    "odoo16": (
        ODOO16,
        [
            (
                ALICE,
                {
                    "name": "Alice Example",
                    "company": "Example Inc.",
                    "url": "https://odoo.example.org/web#id=3&model=res.partner&view_type=form",
                },
            ),
            (SLOW, {}),
        ],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_documented_examples(name: str, request: pytest.FixtureRequest, source: MakeSource) -> None:
    """By an account that has only the rights that the document gives it."""
    options = documents.section(name)
    backend, database = re.findall(r"(\w+)://[^/]*/(\w+)", options["database"])[0]
    server: DatabaseServer = request.getfixturevalue(backend)
    schema, callers = EXAMPLES[name]
    if database != "crm":  # which is that of the other tests, too
        server.execute(server.first_database, f"DROP DATABASE IF EXISTS {database}", f"CREATE DATABASE {database}")
    server.execute(database, *schema)
    with suppress(sqlalchemy.exc.DBAPIError):  # there is one already
        server.execute(database, ACCOUNT[backend])
    rights = documents.block(f"sql {name.rstrip('16')}").replace("@localhost", "@'%'")
    server.execute(database, *rights.splitlines())
    del options["password_file"]
    asked = source(**{**options, "database": server.url(database, "screenpop", "secret")})
    asked.check()
    for number, found in callers:
        assert asked.lookup(number, soon()) == found
    for number in (WITHHELD, *(Number("", text, "") for text in HOSTILE)):
        assert asked.lookup(number, soon()) == {}
    with pytest.raises(SourceError, match="denied"):
        source(**{**options, "database": server.url(database, "screenpop", "secret"), "query": OTHER[backend]}).check()
    asked.close()


def test_the_documented_example_for_asterisks_database(tmp_path: Path, source: MakeSource) -> None:
    file = tmp_path / "astdb.sqlite3"
    with sqlite3.connect(file) as connection:  # as Asterisk's main/db.c makes it
        connection.execute("CREATE TABLE astdb (key VARCHAR(256), value VARCHAR(256), PRIMARY KEY(key))")
        entries = [("/cidname/15551234567", "Not asked"), ("/cidname/+15551234567", "Alice"), ("/cidname/", "Nobody")]
        entries += [("/cidname/5551234567", "Alice in short"), ("/cidname/030123456", "Bob"), ("/cidname/201", "Carol")]
        connection.executemany("INSERT INTO astdb VALUES (?, ?)", [*entries, ("/other/201", "Other")])
    connection.close()
    asked = source(**{**documents.section("phonebook"), "database": f"sqlite:///{file}"})
    asked.check()
    assert asked.lookup(ALICE, soon()) == {"name": "Alice"}
    assert asked.lookup(GERMAN, soon()) == {"name": "Bob"}
    assert asked.lookup(Number("", "201", ""), soon()) == {"name": "Carol"}
    for number in (SLOW, WITHHELD, *(Number("", text, "") for text in HOSTILE)):
        assert asked.lookup(number, soon()) == {}
