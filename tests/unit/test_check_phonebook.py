"""What `screen-pop check` says of the sources of the phone book."""

from __future__ import annotations

import argparse
import posix
import sys
from pathlib import Path

import pytest

from parts import phonebook
from screenpop.commands import check
from screenpop.phonebook import numbers, sql
from screenpop.phonebook.index import Index
from screenpop.phonebook.source import SourceError

CONFIGURATION = """
[xmpp]
jid = pbx@screenpop.test
password = secret
[pop]
to = alice@screenpop.test
"""
CSV = "[list]\ntype = csv\nfile = {0}/list.csv\nnumber = phone\nname = who\n"
SQL = """
[crm]
type = sql
database = sqlite:///{0}/crm.db
query = SELECT who FROM people WHERE phone = :number
name = who
"""
HTTP = "[a-web-service-somewhere]\ntype = http\nrequest = http://127.0.0.1:1/{{number}}\nname = name\n"
VCARD = "[cards]\ntype = vcard\nfile = {0}/cards.vcf\nname = fn\n"


class Checked:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.conf, self.list = folder / "screen_pop.conf", folder / "list.csv"
        self.list.write_text("phone,who\n+12025550123,Alice\n1,2,3\n")
        (folder / "spool" / "tmp").mkdir(parents=True, mode=0o700)
        (folder / "spool").chmod(0o700)
        monkeypatch.setenv("SCREEN_POP_CONF", str(self.conf))
        monkeypatch.setenv("AST_LOG_DIR", str(folder))
        monkeypatch.setitem(posix.environ, b"SCREEN_POP_SPOOL", f"{folder}/spool".encode())
        monkeypatch.setattr(check, "_session", lambda options: check._report(True, "sign-in", "as played"))

    def index(self) -> Index:
        index = phonebook.open_index(self.folder, phonebook.sources(self.folder, CSV.format(self.folder)))
        phonebook.build_here(index)
        return index

    def said(self, *sections: str, pop: str = "") -> list[str]:
        """The lines about the phone book. The rest is all right, and so is the exit status."""
        self.conf.write_text(CONFIGURATION + pop + "".join(section.format(self.folder) for section in sections))
        self.conf.chmod(0o640)
        status = check.run(argparse.Namespace())
        lines = [line for line in self.capsys.readouterr().out.splitlines() if not line.startswith("note     service ")]
        assert lines.pop() == "ok       sign-in        as played"
        assert [line.split()[:2] for line in lines[:4]] == [
            ["ok", step] for step in ("configuration", "permissions", "spool", "log")
        ]
        assert status == 0
        return [line.replace(str(self.folder), "") for line in lines[4:]]


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(tmp_path, monkeypatch, capsys)


def test_no_source(checked: Checked) -> None:
    assert checked.said() == []


def test_routes_are_counted(checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    section = "[support]\ntype = route\nextension = 4, _5X\nto = a@b\n"
    checked.conf.write_text(f"{CONFIGURATION}[routes]\n_2XX = a@b\n{section}")
    check.run(argparse.Namespace())
    assert "pbx@screenpop.test to alice@screenpop.test, or by one of 3 routes\n" in capsys.readouterr().out
    checked.conf.write_text(f"{CONFIGURATION}[routes]\n_2[ = a@b\n_3 = Bob B\n")
    assert check.run(argparse.Namespace()) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("PROBLEM  configuration ") and "'_2[' is not a pattern: the [ has no ]" in first
    assert "_3: 'Bob B' is not a JID" in second


def test_sources_that_are_well(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql.Source, "check", lambda _: "the query works")  # tests/process/test_sqlalchemy.py
    checked.index()
    assert checked.said(CSV, SQL) == [
        "ok       list           /list.csv has the columns phone, who",
        "ok       list           the index has 1 entries, 1 were skipped:"
        " /list.csv:3: the line has 3 columns, the header line 2",
        "ok       crm            the query works",
    ]


def test_a_file_that_is_not_in_the_index(checked: Checked) -> None:
    (told,) = [line for line in checked.said(CSV) if "index" in line]
    assert told == "PROBLEM  list           the index doesn't have it yet; the next call makes it, or: screen-pop index"
    checked.index()
    checked.list.write_text("phone,who\n")
    (told,) = [line for line in checked.said(CSV) if "index" in line]
    assert told.startswith("ok       list           the index has 1 entries of what it was before")


def test_what_could_not_be_put_into_the_index(checked: Checked) -> None:
    checked.list.write_text("phone\n")
    checked.index()
    wrong = "/list.csv has no column who; its columns are phone"
    assert checked.said(CSV) == [f"PROBLEM  list           {wrong}"]
    checked.list.write_text("phone,who\n")
    again = f"when the index was made: {wrong}; to make it again: screen-pop index"
    assert checked.said(CSV)[1] == f"PROBLEM  list           {again}"


def test_a_file_that_is_not_there(checked: Checked) -> None:
    checked.index()
    checked.list.unlink()
    assert checked.said(CSV) == ["PROBLEM  list           /list.csv: No such file or directory"]


def test_a_library_that_is_missing_keeps_nothing_from_being_checked(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("urllib3", "vobject", "phonenumbers.geocoder"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("client", "connection"):
        monkeypatch.delitem(sys.modules, f"screenpop.phonebook.web.{name}", raising=False)
    monkeypatch.delattr("phonenumbers.geocoder", raising=False)
    checked.index()
    said = checked.said(HTTP, VCARD, CSV, pop="places = yes\n")
    assert said[0] == ("PROBLEM  a-web-service-somewhere urllib3 is not installed: ./install.sh --with http adds it")
    assert said[1] == "PROBLEM  cards          vobject is not installed: ./install.sh --with vcard adds it"
    assert said[-2].startswith("ok       list ")
    assert said[-1].startswith("PROBLEM  places ") and said[-1].endswith("./install.sh --with places adds it")


def test_places(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "place", lambda number: f"the place of {number.e164}")
    assert checked.said(pop="places = yes\n") == [
        "ok       places         +1 202-555-0123 is in the place of +12025550123"
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SourceError("no column; it has others"), "no column; it has others"),
        (OSError(13, "Permission denied", "/file"), "/file: Permission denied"),
        (ValueError("no such thing"), "ValueError: no such thing"),
    ],
)
def test_a_source_with_a_problem_keeps_no_other_from_being_checked(
    error: Exception, told: str, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: sql.Source) -> str:
        raise error

    monkeypatch.setattr(sql.Source, "check", fails)
    said = checked.said(SQL, CSV)
    assert said[0] == f"PROBLEM  crm            {told}"
    assert said[1].startswith("ok       list ")
