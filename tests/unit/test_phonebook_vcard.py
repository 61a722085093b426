"""vCards of all versions, as the phone book reads them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from parts.phonebook import read, sources
from screenpop.phonebook.files import FileSource
from screenpop.phonebook.source import SourceError

pytest.importorskip("vobject")

ALICE = """\
BEGIN:VCARD
VERSION:3.0
N:Example;Alice;;;
FN:Alice Exa
 mple
ORG:Example Ltd\\, Sons;Sales
TEL;TYPE=work,voice:+1 555 123-4567
item1.TEL;TYPE=CELL:+15551234568
item1.X-ABLabel:mobile
EMAIL;TYPE=INTERNET:alice@example.org
NOTE:Two\\nlines\\, and
\t more
URL:https://example.org/alice
END:VCARD
"""
OLD = """\
BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=BCrgen
FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=BCrgen =
M=C3=BCller
TEL;WORK;VOICE:030 1234567
TEL;CELL:0171 1234567
PHOTO;ENCODING=BASE64;JPEG:
 AAAA
 BBBB

END:VCARD
"""
NEW = """\
BEGIN:VCARD
VERSION:4.0
FN:Bob
TEL;VALUE=uri;TYPE="voice,home":tel:+1-555-555-5555;ext=5555
ORG:Example
CATEGORIES:friends,customers
BDAY:--0415
END:VCARD
"""
FIELDS = "name = FN\ncompany = org\nmail = EMAIL\nnotes = {Note} ({NOTE})"


def contacts(folder: Path, options: str = FIELDS, **cards: str) -> FileSource:
    """`cards`: the files of the folder, by their names without .vcf."""
    place = folder / "contacts"
    for name, text in cards.items():
        place.mkdir(exist_ok=True)
        (place / f"{name}.vcf").write_bytes(text.replace("\n", "\r\n").encode())
    (source,) = sources(folder, f"[contacts]\ntype = vcard\nfile = {place}\n{options}\n")
    return source


def one(folder: Path, text: str, options: str = FIELDS) -> tuple[list[str], dict[str, str]]:
    (entry,), reading = read(contacts(folder, options, card=text))
    assert reading.skipped == 0
    return entry


def test_a_card_of_version_3(tmp_path: Path) -> None:
    assert one(tmp_path, ALICE) == (
        ["+1 555 123-4567", "+15551234568"],
        {
            "fn": "Alice Example",
            "org": "Example Ltd, Sons, Sales",
            "email": "alice@example.org",
            "note": "Two\nlines, and more",
        },
    )


def test_a_card_of_version_2_with_quoted_printable(tmp_path: Path) -> None:
    assert one(tmp_path, OLD, "name = fn") == (["030 1234567", "0171 1234567"], {"fn": "Jürgen Müller"})
    latin = OLD.replace("UTF-8", "ISO-8859-1").replace("=C3=BC", "=FC")
    assert one(tmp_path, latin, "name = fn")[1] == {"fn": "Jürgen Müller"}


def test_a_card_of_version_4(tmp_path: Path) -> None:
    assert one(tmp_path, NEW, "name = fn\ngroups = categories") == (
        ["+1-555-555-5555"],
        {"fn": "Bob", "categories": "friends, customers"},
    )


def test_a_card_without_a_formatted_name(tmp_path: Path) -> None:
    without = "\n".join(line for line in OLD.split("\n") if not line.startswith(("FN", "M=")))
    assert one(tmp_path, without, "name = fn")[1] == {"fn": "Jürgen Müller"}


def test_line_ends_of_unix_and_a_name_in_small_letters(tmp_path: Path) -> None:
    source = contacts(tmp_path, "name = fn", card="")
    (Path(source.options.file) / "card.vcf").write_text(ALICE.replace("FN", "fn").replace("BEGIN", "begin"))
    ((_, values),), _ = read(source)
    assert values == {"fn": "Alice Example"}


def test_other_properties_may_have_the_numbers(tmp_path: Path) -> None:
    text = NEW.replace("ORG:", "X-PHONE:12345\nORG:")
    assert one(tmp_path, text, "name = fn\nnumber = X-PHONE, TEL")[0] == ["12345", "+1-555-555-5555"]


def test_a_file_with_many_cards(tmp_path: Path) -> None:
    file = tmp_path / "all.vcf"
    file.write_text(ALICE + OLD + "\n\n" + NEW, encoding="utf-8-sig")
    (source,) = sources(tmp_path, f"[contacts]\ntype = vcard\nfile = {file}\nname = fn\n")
    assert [values["fn"] for _, values in read(source)[0]] == ["Alice Example", "Jürgen Müller", "Bob"]
    assert source.check() == f"{file} is there"


BROKEN = {
    "no end": ALICE.replace("END:VCARD\n", ""),
    "an unknown charset": OLD.replace("UTF-8", "KLINGON"),
    "bytes that are not its charset": OLD.replace("=C3=BCrgen", "=C3"),
    "too large": ALICE.replace("END:", "".join(f" {'x' * 900_000}\n" for _ in range(12)) + "END:"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_card_is_skipped_and_counted(tmp_path: Path, kind: str) -> None:
    entries, reading = read(contacts(tmp_path, "name = fn", card=NEW + BROKEN[kind] + NEW))
    assert [values["fn"] for _, values in entries] == ["Bob", "Bob"]
    assert reading.skipped == 1
    assert reading.reasons[0].startswith(f"{tmp_path}/contacts/card.vcf:9: the card ")


def test_a_line_that_cant_be_read_spoils_no_card(tmp_path: Path) -> None:
    assert one(tmp_path, NEW.replace("ORG:", "NONSENSE\nORG:"))[1]["org"] == "Example"


def test_a_broken_file_spoils_no_folder(tmp_path: Path) -> None:
    source = contacts(tmp_path, "name = fn", a=NEW, c=ALICE, d="")
    (Path(source.options.file) / "b.vcf").write_bytes(NEW.encode("utf-16")[:-1])
    (Path(source.options.file) / "e.vcf").symlink_to("nowhere")
    os.mkfifo(Path(source.options.file) / "f.vcf")
    entries, reading = read(source)
    assert [values["fn"] for _, values in entries] == ["Bob", "Alice Example"]
    assert [reason.removeprefix(f"{tmp_path}/contacts/")[:6] for reason in reading.reasons] == [
        "b.vcf:",
        "e.vcf:",
        "f.vcf:",
    ]


def test_of_a_folder_the_files_at_any_depth_that_are_not_hidden(tmp_path: Path) -> None:
    source = contacts(tmp_path, "name = fn", a=NEW)
    for name in "deep/er/b.VCF", ".hidden/c.vcf", ".d.vcf", "e.txt", "f.vcf.tmp":
        file = Path(source.options.file) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(NEW)
    assert [Path(path).name for path in source.paths()] == ["a.vcf", "b.VCF"]
    assert source.check() == f"{tmp_path}/contacts has 2 .vcf files"


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for use in (lambda: read(contacts(tmp_path)), contacts(tmp_path).check):
        with pytest.raises(FileNotFoundError):
            use()


def test_a_folder_that_cant_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would else have no entries, and the former ones would be lost."""
    source = contacts(tmp_path, card=NEW)

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)  # root may read all

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        read(source)


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = contacts(tmp_path, card=NEW)
    monkeypatch.setitem(sys.modules, "vobject", None)
    for use in (lambda: read(source), source.check):
        with pytest.raises(SourceError, match=r"^vobject is not installed: \./install\.sh --with vcard adds it$"):
            use()
