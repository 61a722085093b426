"""The examples of docs/phonebook.md and screen_pop.conf.sample are accepted; links have targets; documents agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parts.documents import PHONEBOOK, block, blocks, section
from parts.phonebook import build_here, look_up, open_index, sources
from parts.table import each
from screenpop import settings
from screenpop.phonebook import numbers
from screenpop.pop import message

ROOT = Path(__file__).parents[2]
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
ACCOUNT = "[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = alice@example.org\n"


def load(folder: Path, text: str) -> settings.Settings:
    """With files in place of those in /etc/asterisk, where the program reads them with the configuration."""
    (folder / "secret").write_text("secret\n")
    conf = folder / "screen_pop.conf"
    conf.write_text(ACCOUNT + re.sub(r"^(\w+_file = ).*", rf"\g<1>{folder}/secret", text, flags=re.MULTILINE))
    return settings.load(str(conf))


@pytest.mark.parametrize("text", blocks("ini"), ids=lambda text: text.partition("\n")[0])
def test_an_example_is_accepted(tmp_path: Path, text: str) -> None:
    given = load(tmp_path, text)
    name = text.partition("]")[0][1:]
    assert name == "pop" or list(given.sources) == [name]


def test_there_is_an_example_of_each_type(tmp_path: Path) -> None:
    given = load(tmp_path, "".join(blocks("ini")))
    assert {one.type for one in given.sources.values()} == {"csv", "vcard", "sql", "ldap", "http"}


def test_the_message_in_the_document_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "".join(blocks("ini"))).pop.message == message.DEFAULT


def test_the_routes_and_the_source_in_the_sample_are_accepted(tmp_path: Path) -> None:
    sample = (ROOT / "screen_pop.conf.sample").read_text(encoding="utf-8")
    lines = sample[sample.index("\n;[") :].splitlines()
    text = "\n".join(line[1:] for line in lines if re.match(r";(\[|\S+ = )", line))
    given = load(tmp_path, text)
    (source,) = given.sources.values()
    assert source.type == "csv" and "name" in source.others
    assert len(given.routes) == 5


@each("document", ["README.md", "CONTRIBUTING.md", "FAULTS.md", *DOCS])
def test_the_links_of_a_document_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\((?!https?:)([^#)]*)(?:#([^)]*))?\)", text):
        target = (ROOT / document).parent / file if file else ROOT / document
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), anchor


def test_the_lines_for_fastagi_are_the_same_in_all_documents() -> None:
    texts = [
        (ROOT / name).read_text(encoding="utf-8") for name in ("extensions.conf.sample", "README.md", "docs/scaling.md")
    ]
    (sample,) = re.findall(r"exten => 127,1,(.*\n.*\n.*)\n", texts[0])
    expected = re.sub(r"\n +", "\n", sample)
    found = [re.sub(r"\n +", "\n", one) for text in texts for one in re.findall(r"1,(.*\n.*\n.*ExecIf.*)\n", text)]
    assert [one.replace("hagi:", "agi:").replace("pop.example.org", "127.0.0.1") for one in found] == [expected] * 4


def test_the_paths_of_the_examples_are_the_one_behind_a_web_server() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/http.md", "docs/ccxml/screen_pop.ccxml")]
    (location,) = re.findall(r"location = (\S+) {", texts[0])
    paths = [path for text in texts for path in re.findall(r"https://pbx\.example\.org(/[\w./]*)", text)]
    assert paths == [location] * 2


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_numbers_in_the_document_are_shown_as_it_says() -> None:
    text = PHONEBOOK.read_text(encoding="utf-8")
    table = text[text.index("| Asterisk has |") : text.index("| `anonymous`")]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) == 4
    for written, _, shown in rows:
        for number in re.findall("`([^`]+)`", written):
            found = numbers.parse(number, "DE").international
            assert found == "".join(re.findall("`([^`]+)`", shown)), number


def test_the_csv_file_in_the_document_is_found_by_its_section(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(block("csv"), encoding="utf-8")
    lines = [f"{name} = {value}" for name, value in {**section("customers"), "file": str(file)}.items()]
    index = open_index(tmp_path, sources(tmp_path, "[customers]\n" + "\n".join(lines) + "\n"))
    assert build_here(index) == []
    alice = {"name": "Alice Example", "company": "Example Ltd", "url": "https://crm.example.org/c/1"}
    assert look_up(index, "+15551234567") == look_up(index, "+15551234568") == {"customers": alice}
    assert look_up(index, "+49301234567") == {
        "customers": {"name": "Bob Example", "url": "https://crm.example.org/c/2"}
    }
