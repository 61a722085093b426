"""CSV files of all kinds, as the phone book reads them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from parts.phonebook import read, sources
from screenpop.config import ConfigError
from screenpop.phonebook.files import FileSource
from screenpop.phonebook.source import SourceError

ROWS = [["phone", "full_name"], ["+15551234567", "Zoë Müller"], ["+15551234568", "Bob"]]
FOUND = [(["+15551234567"], {"full_name": "Zoë Müller"}), (["+15551234568"], {"full_name": "Bob"})]


def customers(folder: Path, content: bytes, options: str = "", number: str = "phone") -> FileSource:
    file = folder / "customers.csv"
    file.write_bytes(content)
    text = f"[customers]\ntype = csv\nfile = {file}\nnumber = {number}\nname = full_name\n{options}\n"
    (source,) = sources(folder, text)
    return source


def table(delimiter: str = ",", line_end: str = "\r\n") -> str:
    return "".join(delimiter.join(row) + line_end for row in ROWS)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str, line_end: str) -> None:
    assert read(customers(tmp_path, table(delimiter, line_end).encode()))[0] == FOUND


def test_the_delimiter_is_the_one_with_which_the_columns_are_there(tmp_path: Path) -> None:
    source = customers(tmp_path, b"phone|full_name|a, b, c, d\n1234567|Bob|x\n")
    assert read(source)[0] == [(["1234567"], {"full_name": "Bob"})]


def test_a_delimiter_that_is_given_is_used(tmp_path: Path) -> None:
    content = b"phone;full_name\n1234567;Bob\n"
    assert read(customers(tmp_path, content, "delimiter = semicolon"))[0] == [(["1234567"], {"full_name": "Bob"})]
    with pytest.raises(SourceError, match="no column full_name, phone; its columns are phone;full_name"):
        read(customers(tmp_path, content, "delimiter = comma"))


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("latin-1", b""),
    ],
)
def test_the_encoding_is_found_out(tmp_path: Path, encoding: str, mark: bytes) -> None:
    assert read(customers(tmp_path, mark + table().encode(encoding)))[0] == FOUND


def test_the_euro_sign_of_a_spreadsheet_on_windows(tmp_path: Path) -> None:
    source = customers(tmp_path, "phone;full_name\r\n1234567;5 € “off”\r\n".encode("cp1252"))
    assert read(source)[0] == [(["1234567"], {"full_name": "5 € “off”"})]


def test_one_byte_of_latin_1_spoils_no_utf_8(tmp_path: Path) -> None:
    content = "phone,full_name\n1234567,Zoë ".encode() + "Müller\n".encode("latin-1") + "7654321,Zoë Müller\n".encode()
    assert [values["full_name"] for _, values in read(customers(tmp_path, content))[0]] == ["Zoë Müller"] * 2


@pytest.mark.parametrize("encoding", ["utf-16-le", "UTF-16BE", "latin-1", "cp850", "utf-8", "iso-8859-15"])
def test_an_encoding_that_is_given_is_used(tmp_path: Path, encoding: str) -> None:
    assert read(customers(tmp_path, table().encode(encoding), f"encoding = {encoding}"))[0] == FOUND


def test_a_byte_order_mark_is_none_of_the_first_column(tmp_path: Path) -> None:
    assert read(customers(tmp_path, codecs.BOM_UTF8 + table().encode(), "encoding = utf-8"))[0] == FOUND


def test_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    source = customers(tmp_path, table().encode("latin-1"), "encoding = utf-8")
    with pytest.raises(
        SourceError, match=r"customers\.csv: line \d or one soon after it isn't utf-8.*leave `encoding`"
    ):
        read(source)
    with pytest.raises(SourceError, match="is it UTF-16"):
        read(customers(tmp_path, table().encode("utf-16-le")))
    with pytest.raises(SourceError, match="isn't utf-16; save it as UTF-8"):
        read(customers(tmp_path, codecs.BOM_UTF16_LE + table().encode("utf-16-le")[:-1]))


def test_quotes_and_line_breaks_within_a_field(tmp_path: Path) -> None:
    source = customers(tmp_path, b'phone,full_name\n"1234567","Example ""Bob"",\r\nSales"\n7654321,Alice\n')
    assert read(source)[0] == [
        (["1234567"], {"full_name": 'Example "Bob",\r\nSales'}),
        (["7654321"], {"full_name": "Alice"}),
    ]


def test_several_columns_with_numbers(tmp_path: Path) -> None:
    source = customers(
        tmp_path, b"mobile,full_name, phone\n1234567,Bob,7654321\n,Alice,1111111\n", number="phone, mobile"
    )
    assert [numbers for numbers, _ in read(source)[0]] == [["7654321", "1234567"], ["1111111"]]


def test_only_what_the_fields_need_is_taken(tmp_path: Path) -> None:
    content = b"id,phone,full_name,company,secret\n7,1234567,Bob,Example Ltd,x\n"
    source = customers(tmp_path, content, "url = https://crm.example.org/{id}\ntext = {full_name} of {company}")
    assert read(source)[0] == [(["1234567"], {"full_name": "Bob", "company": "Example Ltd", "id": "7"})]


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    source = customers(tmp_path, b"Phone;Name\n1;2\n")
    for use in (lambda: read(source), source.check):
        with pytest.raises(
            SourceError, match=r"customers\.csv has no column full_name, phone; its columns are Phone, Name$"
        ):
            use()


def test_an_empty_file_is_told_and_a_header_line_is_enough(tmp_path: Path) -> None:
    for content in b"", b"\n \r\n", codecs.BOM_UTF8:
        with pytest.raises(SourceError, match=r"customers\.csv is empty: it should have a header line$"):
            read(customers(tmp_path, content))
    entries, reading = read(customers(tmp_path, b"phone,full_name"))
    assert (entries, reading.skipped) == ([], 0)


def test_lines_with_too_few_or_too_many_columns(tmp_path: Path) -> None:
    content = b"phone,full_name,x\n1111111\n2222222,Bob, Smith,x\n\n3333333,Carol,x,,\n"
    entries, reading = read(customers(tmp_path, content))
    assert entries == [
        (["1111111"], {"full_name": ""}),
        ([], {"full_name": ""}),
        (["3333333"], {"full_name": "Carol"}),
    ]
    assert reading.reasons == [f"{tmp_path}/customers.csv:3: the line has 4 columns, the header line 3"]


def test_what_cant_be_used_is_skipped_counted_and_named(tmp_path: Path) -> None:
    good = b"+15551234567,Bob\n"
    content = b"phone,full_name\n" + good
    content += b"1234567," + b"x" * 3_000_000 + b"\n" + good  # a huge line
    content += b"12345\x0067,Nul\n" + good
    content += b'1234567,"' + b"x" * 200_000 + b"\n" + good  # an open quotation mark
    entries, reading = read(customers(tmp_path, content))
    assert entries == [(["+15551234567"], {"full_name": "Bob"})] * 4
    assert reading.skipped == 3
    assert [reason.removeprefix(f"{tmp_path}/customers.csv:") for reason in reading.reasons] == [
        "3: the line has more than 1,000,000 characters",
        "5: the line has a NUL character",
        "7: field larger than field limit (131072); is a quotation mark left open?",
    ]


def test_of_many_reasons_the_first_ones_are_kept(tmp_path: Path) -> None:
    _, reading = read(customers(tmp_path, b"phone,full_name\n" + b"1,2,3\n" * 1000))
    assert (reading.skipped, len(reading.reasons)) == (1000, 10)


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    ((_, values),), _ = read(customers(tmp_path, b"phone,full_name\n1234567," + b"x" * 100_000 + b"\n"))
    assert len(values["full_name"]) < 1000


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    source = customers(tmp_path, b"")
    Path(source.options.file).unlink()
    with pytest.raises(FileNotFoundError):
        read(source)
    Path(source.options.file).mkdir()
    with pytest.raises(SourceError, match="is not a file"):
        read(source)


def test_check_names_the_columns(tmp_path: Path) -> None:
    assert customers(tmp_path, table().encode()).check() == f"{tmp_path}/customers.csv has the columns phone, full_name"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("delimiter = ,", "delimiter: ',' should be one of the words comma, semicolon, tab, pipe"),
        ("encoding = hex", "encoding: 'hex' should be an encoding, such as utf-8"),
        ("encoding = klingon", "encoding: 'klingon' should be an encoding"),
        ("match = 3", "match: '3' should be a number of digits from 5 to 15"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, options: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        customers(tmp_path, b"", options)


def test_options_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="number is missing; it should be the names of the columns") as error:
        sources(tmp_path, "[customers]\ntype = csv\n")
    assert "file is missing; it should be the path of the file" in str(error.value)
