"""`screen-pop lookup`: what each source says of a number, and the message as it would be sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parts import phonebook
from parts.pbx import CHECKOUT, configuration
from screenpop.spool.outbox import Outbox

SECTIONS = """
[customers]
type = csv
file = {0}/customers.csv
number = phone
name = full_name
company = firm
url = https://crm.example.org/c/{{id}}

[crm]
type = sql
database = sqlite:///{0}/missing.db
query = SELECT name FROM contacts WHERE phone = :number
name = name
"""
CUSTOMERS = "id,full_name,firm,phone\n7,Alice Example,Example Ltd,+12025550123\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Outbox(f"{tmp_path}/spool").make()
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    text = configuration(
        "pbx@screenpop.test",
        "secret",
        "127.0.0.1:1",
        "/etc/hostname",
        "alice@screenpop.test",
        lookup_wait=30,  # on a busy machine, the import of SQLAlchemy alone takes longer than the default
    )
    (tmp_path / "screen_pop.conf").write_text(text + SECTIONS.format(tmp_path))
    csv = SECTIONS.format(tmp_path).partition("[crm]")[0]
    index = phonebook.open_index(tmp_path, phonebook.sources(tmp_path, csv))
    assert phonebook.build(index) == []
    index.close()
    return tmp_path


def start(folder: Path, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    places = {"SCREEN_POP_CONF": f"{folder}/screen_pop.conf", "SCREEN_POP_SPOOL": f"{folder}/spool"}
    return subprocess.run(
        [sys.executable, "-m", "screenpop", "lookup", *arguments],
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT}/lib", **places},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def look_up(folder: Path, *arguments: str, status: int) -> str:
    done = start(folder, *arguments)
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def test_each_source_and_the_message_are_shown(folder: Path) -> None:
    lines = look_up(folder, "(202) 555-0123", "Mallory", status=0).splitlines()
    assert lines[0].split() == ["number", "+12025550123"]
    known = "name = Alice Example, company = Example Ltd, url = https://crm.example.org/c/7"
    assert lines[1].startswith(f"customers      {known} (")
    assert lines[2].startswith("crm            sqlite ") and "unable to open database file" in lines[2]
    assert lines[3:5] == ["route          [pop] to", "to             alice@screenpop.test"]
    assert lines[5:] == [
        "message        Call from Alice Example, +1 202-555-0123 to 201",
        "message        Example Ltd",
        "message        https://crm.example.org/c/7",
    ]


def test_a_stranger_is_unknown_and_the_name_is_the_callers(folder: Path) -> None:
    lines = look_up(folder, "+442079460123", "Alice Example", status=1).splitlines()
    assert lines[1].startswith("customers      unknown (")
    assert lines[3:5] == ["route          [pop] to", "to             alice@screenpop.test"]
    assert lines[5:] == [
        'message        Call from "Alice Example", +44 20 7946 0123 to 201',
        "message        Britain (UK)",
    ]


@pytest.mark.parametrize("number", ["anonymous", "Restricted@anonymous.invalid"])
def test_a_withheld_number_is_not_looked_up(folder: Path, number: str) -> None:
    lines = look_up(folder, number, "Alice Example", status=1).splitlines()
    assert lines == [
        "number         withheld: not looked up",
        "route          [pop] to",
        "to             alice@screenpop.test",
        "message        Call from number withheld to 201",
    ]


ROUTES = "[routes]\n_3XX = sales@screenpop.test & room:sales@rooms.screenpop.test\n"
ROUTES += "[support]\ntype = route\nextension = 4\nto = bob@screenpop.test\nmessage = Support: {caller}\n"


def test_the_route_and_who_is_told_are_shown(folder: Path) -> None:
    with (folder / "screen_pop.conf").open("a") as conf:
        conf.write(ROUTES)
    lines = look_up(folder, "+442079460123", "", "300", status=1).splitlines()
    assert lines[3:6] == [
        "route          [routes] _3XX",
        "to             sales@screenpop.test",
        "to             room:sales@rooms.screenpop.test",
    ]
    assert lines[6] == "message        Call from +44 20 7946 0123 to 300"
    lines = look_up(folder, "+442079460123", "", "4", status=1).splitlines()
    assert lines[3:6] == [
        "route          [support] 4",
        "to             bob@screenpop.test",
        "message        Support: +44 20 7946 0123",
    ]
    assert "route          [pop] to: no route matches 201" in look_up(folder, "1", status=1).splitlines()


def test_recipients_of_the_phone_book_are_shown(folder: Path) -> None:
    conf = folder / "screen_pop.conf"
    conf.write_text(conf.read_text().replace("company = firm", "company = firm\nnotify = account_manager"))
    customers = folder / "customers.csv"
    customers.write_text(
        "id,full_name,firm,phone,account_manager\n"
        "7,Alice Example,Example Ltd,+12025550123,carol@screenpop.test & Carol C\n"
    )
    sections = conf.read_text()[conf.read_text().index("[customers]") :].partition("[crm]")[0]
    index = phonebook.open_index(folder, phonebook.sources(folder, sections))
    assert phonebook.build(index) == []
    index.close()
    lines = look_up(folder, "2025550123", status=0).splitlines()
    assert [line for line in lines if line.startswith(("to ", "PROBLEM "))] == [
        "to             alice@screenpop.test",
        "to             carol@screenpop.test",
        "PROBLEM        'Carol C' is not a JID, which looks like alice@example.org",
    ]
    told = json.loads(look_up(folder, "2025550123", "--json", status=0))["route"]
    assert told == {
        "why": "[pop] to",
        "to": ["alice@screenpop.test", "carol@screenpop.test"],
        "invalid": {"Carol C": "'Carol C' is not a JID, which looks like alice@example.org"},
    }


@pytest.mark.parametrize("number", ["", " ", "\u200e"])
def test_an_empty_number_is_not_a_withheld_one(folder: Path, number: str) -> None:
    done = start(folder, number)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "screen-pop lookup: error: argument NUMBER: a number is needed; anonymous stands for one that is withheld"
    )


def test_what_stands_in_the_arguments_is_cleaned(folder: Path) -> None:
    shown = look_up(folder, "12\x1b[2J\n34", "a\nmessage forged", status=1)
    assert all(line.isprintable() for line in shown.splitlines())
    assert [line for line in shown.splitlines() if line.startswith("message")] == [
        'message        Call from "a message forged", "12 [2J 34" to 201'
    ]


def test_json_for_programs(folder: Path) -> None:
    told: dict[str, Any] = json.loads(look_up(folder, "2025550123", "--json", status=0))
    assert told["number"]["e164"] == "+12025550123" and told["facts"] == {"number": "+1 202-555-0123"}
    customers, crm = told["sources"]
    assert (customers["name"], crm["name"]) == ("customers", "crm")
    assert customers["answer"]["name"] == "Alice Example" and not customers["problem"] and customers["seconds"] > 0
    assert crm["answer"] is None and "unable to open database file" in crm["problem"]
    assert told["contact"]["company"] == "Example Ltd"
    assert told["text"].splitlines()[0] == "Call from Alice Example, +1 202-555-0123 to 201"


def test_a_reader_that_goes_away_is_no_fault(folder: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = start(folder, "2025550123", stdout=writes)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_wrong_configuration_is_told(folder: Path) -> None:
    conf = folder / "screen_pop.conf"
    conf.write_text(conf.read_text().replace("file =", "fil ="))
    assert "[customers] file is missing" in look_up(folder, "1", status=1)
