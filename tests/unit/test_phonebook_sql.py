"""What type = sql says of its options; tests/process/test_sqlalchemy.py has what needs SQLAlchemy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from parts.table import each
from screenpop import config
from screenpop.phonebook.source import SourceError
from screenpop.phonebook.sql import OPTIONS, Source

QUERY = "SELECT name FROM contacts WHERE phone = :number"


def read(folder: Path, database: str, query: str) -> config.Section:
    file = folder / "screen_pop.conf"
    file.write_text(f"[customers]\ntype = sql\ndatabase = {database}\nquery = {query}\nname = name\n")
    return config.read(str(file), {}, {"sql": OPTIONS}, {}).sections["customers"]


@each(
    "database", ["crm", "localhost/crm", "postgresql:/screenpop@localhost/crm", "postgresql://u:se-cr@et@localhost/crm"]
)
def test_no_url(tmp_path: Path, database: str) -> None:
    with pytest.raises(config.ConfigError, match="database: should be a URL such as") as raised:
        read(tmp_path, database, QUERY)
    assert "et@localhost" not in str(raised.value)


@each(
    "query",
    ["contacts", "DELETE FROM contacts WHERE phone = :number", "SELECT name FROM contacts", "SELECT ':numbers'"],
)
def test_no_query(tmp_path: Path, query: str) -> None:
    with pytest.raises(config.ConfigError, match="query: should be a SELECT with :number, :written or :national"):
        read(tmp_path, "sqlite:////contacts.db", query)


def test_sqlalchemy_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    source = Source("customers", read(tmp_path, "sqlite:////contacts.db", QUERY))  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"^sqlalchemy is not installed: ./install.sh --with sql adds it$"):
        source.check()
    source.close()


def test_it_can_be_closed_before_it_was_asked(tmp_path: Path) -> None:
    Source("customers", read(tmp_path, "sqlite:////contacts.db", QUERY)).close()  # type: ignore[arg-type]
