"""What type = sql says of its options, and of libraries that are missing."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import pytest

from screenpop import config
from screenpop.phonebook.source import SourceError
from screenpop.phonebook.sql import OPTIONS, Source

QUERY = "SELECT name FROM contacts WHERE phone = :number"


def read(folder: Path, database: str, query: str) -> config.Section:
    file = folder / "screen_pop.conf"
    file.write_text(f"[customers]\ntype = sql\ndatabase = {database}\nquery = {query}\nname = name\n")
    return config.read(str(file), {}, {"sql": OPTIONS}, {}).sections["customers"]


@pytest.mark.parametrize(
    "database", ["crm", "localhost/crm", "postgresql:/screenpop@localhost/crm", "postgresql://u:se-cr@et@localhost/crm"]
)
def test_no_url(tmp_path: Path, database: str) -> None:
    with pytest.raises(config.ConfigError, match="database: should be a URL such as") as raised:
        read(tmp_path, database, QUERY)
    assert "et@localhost" not in str(raised.value)


@pytest.mark.parametrize(
    "query",
    ["contacts", "DELETE FROM contacts WHERE phone = :number", "SELECT name FROM contacts", "SELECT ':numbers'"],
)
def test_no_query(tmp_path: Path, query: str) -> None:
    with pytest.raises(config.ConfigError, match="query: should be a SELECT with :number, :written or :national"):
        read(tmp_path, "sqlite:////contacts.db", query)


@pytest.mark.parametrize("database", ["postgresql://screenpop:se-cret/crm", "foxpro://screenpop:se-cret@localhost/crm"])
def test_a_url_that_sqlalchemy_does_not_know(tmp_path: Path, database: str) -> None:
    pytest.importorskip("sqlalchemy")
    with pytest.raises(SourceError, match="database is no URL that SQLAlchemy knows") as raised:
        Source("customers", read(tmp_path, database, QUERY)).check()  # type: ignore[arg-type]
    assert "se-cret" not in "".join(traceback.format_exception(None, raised.value, raised.tb))


@pytest.mark.parametrize(
    ("library", "database"),
    [
        ("sqlalchemy", "sqlite:////contacts.db"),
        ("pg8000", "postgresql://screenpop@localhost/crm"),
        ("pymysql", "mariadb://screenpop@localhost/crm"),
    ],
)
def test_a_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, database: str) -> None:
    if library != "sqlalchemy":
        pytest.importorskip("sqlalchemy")
    source = Source("customers", read(tmp_path, database, QUERY))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SourceError, match=rf"^{library} is not installed: ./install.sh --with sql adds it$"):
        source.check()
    source.close()


def test_it_can_be_closed_before_it_was_asked(tmp_path: Path) -> None:
    Source("customers", read(tmp_path, "sqlite:////contacts.db", QUERY)).close()  # type: ignore[arg-type]
