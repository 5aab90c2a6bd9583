"""The head of a file: is it CSV, how is it written, which columns has it."""

from __future__ import annotations

import json
import random
import zipfile
from io import BytesIO

import pytest

from ingress.formats.csv import CsvDialect
from ingress.formats.inspect import DELIMITERS, HEAD_BYTES, inspect_head, name_columns
from ingress.formats.rows import HeaderUnreadable, Position
from sluice.errors import FileEmpty, FileHasNoRows, FileNotCsv, FileRefused, OptionInvalid
from tests.unit.ingress.formats.reading import chunks_of, rows_of


@pytest.mark.requirement("K-22", "S1-042", "T-11")
@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_header_and_rows_of_every_dialect(delimiter: str, encoding: str, end: str) -> None:
    """Columns and rows come out the same, however the file is encoded, delimited and ended."""
    rows = [["name", "e-mail", "note"], ["Zoë", "zoe@example.com", "a b"], ["José", "jose@example.com", ""]]
    data = end.join(delimiter.join(row) for row in rows).encode(encoding)
    head = inspect_head(data, complete=True)
    assert head.columns == ("name", "e-mail", "note")
    assert head.dialect.delimiter == delimiter
    chunks = chunks_of(
        data, head.columns, encoding=head.dialect.encoding, delimiter=delimiter, start=head.first
    )
    assert rows_of(chunks) == rows[1:]
    assert chunks[0].lines == [2, 3]


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("a,b\n1,2\n", ("a", "b"), Position(1, 4, 2, 1)),
        ("\r\n\r\na,b\r\n1,2", ("a", "b"), Position(1, 9, 4, 1)),
        ('"a\nx",b\n1,2', ("a x", "b"), Position(1, 8, 3, 1)),
        ("sep=;\r\na;b,c\r\n1;2", ("a", "b,c"), Position(1, 14, 3, 1)),
        ("SEP=\t\na\tb,c,d\n1\t2", ("a", "b,c,d"), Position(1, 14, 3, 1)),
        ('"sep=,"\na;x,b;y\n1,2', ("a;x", "b;y"), Position(1, 16, 3, 1)),
        ("\ufeffsep=|\n\na|b\n1|2\n", ("a", "b"), Position(1, 14, 4, 1)),
        ("email\na@example.com\n", ("email",), Position(1, 6, 2, 1)),
        ("Customers 2024\na,email,phone\n1,2,3", ("a", "email", "phone"), Position(1, 29, 3, 1)),
        ("Customers, 2024;;\n;\n\na;email;phone\n1", ("a", "email", "phone"), Position(1, 35, 5, 1)),
        (
            'Notes:\n"When exporting, you may\nnotice"\n\nFirst Name,Last Name,URL,Position\nA,B,,\n',
            ("First Name", "Last Name", "URL", "Position"),
            Position(1, 75, 6, 1),
        ),
        ("sep=|\nTitle\nname|email|phone\n1", ("name", "email", "phone"), Position(1, 29, 4, 1)),
        ("name;full, name\nx;a, b\ny;c\n", ("name", "full, name"), Position(1, 16, 2, 1)),
    ],
)
def test_where_the_first_row_starts(text: str, columns: tuple[str, ...], first: Position) -> None:
    """The header's names and the place behind it, with marks, blank lines and delimiter hints before it."""
    head = inspect_head(text.encode(), complete=True)
    assert (head.columns, head.first) == (columns, first)


@pytest.mark.requirement("S1-113", "T-11")
@pytest.mark.parametrize(
    ("cells", "columns"),
    [
        (["email", "email", "email"], ("email", "email (2)", "email (3)")),
        (["email", "email (2)", "email"], ("email", "email (2)", "email (3)")),
        (["a", "", " "], ("a", "column 2", "column 3")),
        (["column 2", ""], ("column 2", "column 2 (2)")),
        (["<script>alert('x')</script>"], ("scriptalert(x)/script",)),
        (['say "hi"', "<>"], ("say hi", "column 2")),
        (["two\nlines", "Größe "], ("two lines", "Größe")),
    ],
)
def test_columns_have_clean_unique_names(cells: list[str], columns: tuple[str, ...]) -> None:
    """Names lose what pages must not show, are told apart, and are never empty."""
    assert name_columns(cells) == columns


def archive() -> bytes:
    """A ZIP archive, as every .xlsx is one."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


@pytest.mark.requirement("S0-013")
@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        archive(),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100,
        random.Random(1).randbytes(5000),
        b"name,email\n" + b"\0" * 50,
        json.dumps([{"email": "a@example.com"}]).encode(),
        json.dumps({"contacts": []}, indent=2).encode("utf-8-sig"),
        json.dumps({"contacts": []}).encode("utf-16"),
        b"<!DOCTYPE html>\n<html><body>Not found</body></html>",
        b'\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"BEGIN:VCARD\r\nVERSION:3.0\r\nEND:VCARD\r\n",
    ],
)
def test_other_content_is_not_csv(content: bytes) -> None:
    """Content of another kind is refused by name with 415, whatever the file is called."""
    with pytest.raises(FileNotCsv) as refused:
        inspect_head(content, complete=True)
    assert refused.value.status == 415
    assert str(refused.value.facts["found"]) in refused.value.message


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", FileEmpty),
        (b"\xef\xbb\xbf", FileEmpty),
        (b"\xff\xfe", FileEmpty),
        (b"\r\n\r\n", FileEmpty),
        (b"sep=;\n", FileEmpty),
        (b"name,email", FileHasNoRows),
        (b"name,email\r\n\r\n", FileHasNoRows),
        (b'"name,email\nx,y\n', HeaderUnreadable),
        (b'"name"x,email\nx,y\n', HeaderUnreadable),
        (b",,\nx,y\n", HeaderUnreadable),
        (b"na\0me,email\nx,y\n", HeaderUnreadable),
        (b"x," * 1000 + b"x\n1\n", HeaderUnreadable),
        ("name,email\nx,y\n".encode("utf-32"), HeaderUnreadable),
    ],
)
def test_files_without_header_or_rows(content: bytes, error: type[FileRefused]) -> None:
    """What has no readable header, or nothing below it, is refused with 422 and a sentence."""
    with pytest.raises(error) as refused:
        inspect_head(content, complete=True)
    assert refused.value.status == 422
    assert refused.value.message.endswith(".")
    assert "{" not in refused.value.message


def test_a_thousand_columns_are_read() -> None:
    """The bound is a thousand columns, the thousandth included."""
    assert len(inspect_head(b"x," * 999 + b"x\n1\n", complete=True).columns) == 1000


def test_only_the_head_of_a_longer_file_is_judged() -> None:
    """Rows may come behind the head; a header that does not end within it is refused."""
    assert inspect_head(b"a,b\n", complete=False).columns == ("a", "b")
    assert inspect_head(b"a,b\n1," + b"x" * HEAD_BYTES, complete=True).columns == ("a", "b")
    with pytest.raises(HeaderUnreadable):
        inspect_head(b"a" * HEAD_BYTES, complete=False)


@pytest.mark.requirement("S0-018")
@pytest.mark.parametrize(
    ("content", "encoding", "delimiter", "dialect", "columns"),
    [
        ("näme,x\n1,2".encode("cp1250"), "windows-1250", None, CsvDialect("cp1250", ","), ("näme", "x")),
        (b"a,b;c\n1,2;3", None, ";", CsvDialect("utf-8", ";"), ("a,b", "c")),
        (b"sep=,\na,b;c\n1,2;3", None, ";", CsvDialect("utf-8", ";"), ("a,b", "c")),
        ("näme\n1".encode("utf-8-sig"), "cp1252", None, CsvDialect("cp1252", ","), ("nÃ¤me",)),
        ("näme\n1".encode("utf-8-sig"), "UTF-8", None, CsvDialect("utf-8", ","), ("näme",)),
        (b"\xfe\xff" + "n\n1".encode("utf-16-be"), "utf-16", None, CsvDialect("utf-16-be", ","), ("n",)),
        ("name\n1".encode("utf-16-be"), "utf-16", None, CsvDialect("utf-16-be", ","), ("name",)),
        ("name\n1".encode("utf-16-be"), "utf-16-be", None, CsvDialect("utf-16-be", ","), ("name",)),
    ],
)
def test_the_caller_overrides_what_the_file_looks_like(
    content: bytes, encoding: str | None, delimiter: str | None, dialect: CsvDialect, columns: tuple[str, ...]
) -> None:
    """A named encoding or delimiter is used; a byte order mark still tells the byte order and is no name."""
    head = inspect_head(content, complete=True, encoding=encoding, delimiter=delimiter)
    assert (head.dialect, head.columns, head.certain) == (dialect, columns, True)


def test_a_named_byte_order_is_believed_where_no_mark_says_otherwise() -> None:
    """The caller's utf-16-be is used for bytes that look like the other order; then there is no header."""
    with pytest.raises(HeaderUnreadable):
        inspect_head("name\n1\n".encode("utf-16-le"), complete=False, encoding="utf-16-be")


@pytest.mark.parametrize(
    ("encoding", "delimiter", "field"),
    [
        ("klingon", None, "encoding"),
        ("utf-32", None, "encoding"),
        (None, ";;", "delimiter"),
        (None, "a", "delimiter"),
    ],
)
def test_impossible_options_are_named(encoding: str | None, delimiter: str | None, field: str) -> None:
    """An encoding or delimiter that cannot be is refused with 422, the option and what to use."""
    with pytest.raises(OptionInvalid) as refused:
        inspect_head(b"a,b\n1,2\n", complete=True, encoding=encoding, delimiter=delimiter)
    assert refused.value.facts["field"] == field


def test_a_guess_is_told() -> None:
    """What was guessed is marked and explained, what is known is not."""
    guessed = inspect_head("näme,x\n1,2".encode("cp1252"), complete=True)
    assert not guessed.certain
    assert "cp1252" in guessed.notes[0]
    assert inspect_head(b"a,b\n1,2", complete=True).notes == ()


def test_what_stands_above_the_header_is_told() -> None:
    """Whoever confirms the columns learns where their names were taken from."""
    notes = inspect_head(b"Title\nname,email,phone\n1", complete=True).notes
    assert notes == ("The columns' names were taken from line 2; what stands above them was not read.",)


@pytest.mark.parametrize(
    "text",
    [
        "email\nname,phone",  # too few names to be sure
        "a,b\nname,email,phone\n1,2,3",  # the first line has several cells
        "notes\nAnn,Bo,Cy\n",  # no names of fields
        "title\n" + "\n" * 9 + "name,email,phone\n",  # too far down
    ],
)
def test_the_first_line_is_the_header_where_no_other_surely_is(text: str) -> None:
    """A line below is only taken when the one above has one cell and it has three, two of them known."""
    head = inspect_head(text.encode() + b"\nx\n", complete=True)
    assert head.first.line == 2
    assert head.notes == ()


def test_one_nul_byte_is_a_rows_fault_and_no_other_format() -> None:
    """A CSV file with a NUL byte somewhere is CSV."""
    head = inspect_head(b"a,b\nx\0,1\ny,2\n", complete=True)
    assert head.columns == ("a", "b")
