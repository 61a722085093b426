"""What type = sql does with SQLAlchemy, which takes as long to import as a hundred tests of tests/unit."""

from __future__ import annotations

import sqlite3
import sys
import traceback
from pathlib import Path

import pytest

from screenpop import config
from screenpop.phonebook.source import SourceError
from screenpop.phonebook.sql import OPTIONS, Source

pytest.importorskip("sqlalchemy")


def source(folder: Path, database: str) -> Source:
    file = folder / "screen_pop.conf"
    query = "SELECT name FROM contacts WHERE phone = :number"
    file.write_text(f"[customers]\ntype = sql\ndatabase = {database}\nquery = {query}\nname = name\n")
    section = config.read(str(file), {}, {"sql": OPTIONS}, {}).sections["customers"]
    assert isinstance(section, OPTIONS)
    return Source("customers", section)


def test_a_query_that_works(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as database:
        database.execute("CREATE TABLE contacts (phone TEXT, name TEXT)")
    made = source(tmp_path, f"sqlite:///{tmp_path}/crm.db")
    assert made.check() == f"sqlite {tmp_path}/crm.db: the query works, its columns are name"
    made.close()


@pytest.mark.parametrize("database", ["postgresql://screenpop:se-cret/crm", "foxpro://screenpop:se-cret@localhost/crm"])
def test_a_url_that_sqlalchemy_does_not_know(tmp_path: Path, database: str) -> None:
    with pytest.raises(SourceError, match="database is no URL that SQLAlchemy knows") as raised:
        source(tmp_path, database).check()
    assert "se-cret" not in "".join(traceback.format_exception(None, raised.value, raised.tb))


@pytest.mark.parametrize(
    ("library", "database"),
    [
        ("pg8000", "postgresql://screenpop@localhost/crm"),
        ("pymysql", "mariadb://screenpop@localhost/crm"),
    ],
)
def test_a_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, database: str) -> None:
    made = source(tmp_path, database)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SourceError, match=rf"^{library} is not installed: ./install.sh --with sql adds it$"):
        made.check()
    made.close()
