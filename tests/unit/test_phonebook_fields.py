"""The fields of a record, and the types of sources."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts.table import each
from screenpop import config, phonebook
from screenpop.phonebook.fields import LONGEST, evaluate
from screenpop.phonebook.types import Types, module

LINK = "https://crm.example.org/"


def filled(length: int) -> str:
    """A link of so many characters."""
    return LINK.ljust(length, "x")


def test_a_long_value_is_cut() -> None:
    found = evaluate({"notes": "notes"}, {"notes": "x" * 501})
    assert found == {"notes": "x" * 499 + "…"}


@each("length", [LONGEST + 1, LONGEST + 2, 2000])
def test_a_link_that_is_too_long_is_left_out_and_not_cut(length: int) -> None:
    assert evaluate({"url": "url", "name": "name"}, {"url": filled(length), "name": "Alice"}) == {"name": "Alice"}
    assert evaluate({"url": LINK + "{id}"}, {"id": "x" * (length - len(LINK))}) == {}
    assert evaluate({"url": LINK + "{id}"}, {"id": "é" * 100}) == {}  # six characters each


def test_a_link_of_the_greatest_length() -> None:
    assert evaluate({"url": "url"}, {"url": filled(LONGEST)}) == {"url": filled(LONGEST)}
    assert evaluate({"url": LINK + "{id}"}, {"id": "x" * (LONGEST - len(LINK))}) == {"url": filled(LONGEST)}


@pytest.fixture
def more_types(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are in that of the phone book, too."""
    phonebook.__path__.append(str(tmp_path))
    yield tmp_path
    phonebook.__path__.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("screenpop.phonebook.new")]:
        del sys.modules[name]


@pytest.mark.parametrize("declaration", ["OPTIONS = NewOptions", "class OPTIONS(NewOptions):\n    pass"])
def test_a_new_source_is_one_new_file(declaration: str, more_types: Path) -> None:
    (more_types / "new.py").write_text(
        "from .source import SourceOptions\nclass NewOptions(SourceOptions):\n    pass\n" + declaration
    )
    conf = more_types / "screen_pop.conf"
    conf.write_text("[mine]\ntype = new\nname = who\n")
    section = config.read(str(conf), {}, Types(), {}).sections["mine"]
    assert type(section) is module("new").OPTIONS and section.others == {"name": "who"}


def test_other_files_of_the_folder_are_no_types(more_types: Path) -> None:
    assert list(Types()) == ["csv", "http", "ldap", "sql", "vcard"]
    for name in ("source", "__init__", "directory", "web.options", "../csv", ""):
        assert name not in Types()
    (more_types / "newhelp.py").write_text("from .csv import OPTIONS\n")
    assert "newhelp" not in Types()
