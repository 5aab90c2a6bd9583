"""Workbooks of three kinds to rows: the same rules for each, and a sentence for what is no table."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest
import xlwt

from ingress.formats import xls_records
from ingress.formats.inflating import FREE_BYTES, PIECE_BYTES
from ingress.formats.opening import (
    Asked,
    FileDamaged,
    FileEncrypted,
    FileUnpacksTooLarge,
    SheetEmpty,
    SheetUnknown,
    WorkbookHasNoSheet,
)
from ingress.formats.rows import MAX_COLUMNS, HeaderUnreadable
from sluice.errors import FileEmpty, FileHasNoRows, FileNotCsv, FileRefused
from tests.unit.ingress.formats.opening import open_here
from tests.unit.ingress.formats.workbooks import (
    PACKAGE,
    Cell,
    Rows,
    Sheets,
    make_package,
    make_workbook,
    make_zip,
    sheet_xml,
)

KINDS = ("xlsx", "xls", "ods")


def moment(text: str) -> datetime:
    """A moment as a sheet holds it, without a zone."""
    return datetime.fromisoformat(text)


def cell(reference: str, value: str, attributes: str = "") -> str:
    """A cell's XML."""
    return f'<c r="{reference}" {attributes}><v>{value}</v></c>'


HEADER = '<row r="1"><c r="A1" t="inlineStr"><is><t>name</t></is></c></row>'


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  Ann ", "Ann"),
        ("two\nlines", "two\nlines"),
        ("\N{SUSHI}", "\N{SUSHI}"),
        ("=1+1", "=1+1"),
        ("007", "007"),
        (14155550001.0, "14155550001"),
        (-3, "-3"),
        (4915112345678, "4915112345678"),
        (12.5, "12.5"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (True, "true"),
        (False, "false"),
        (date(2024, 5, 3), "2024-05-03"),
        (moment("2024-05-03T14:00"), "2024-05-03T14:00:00"),
        (moment("2024-05-03T00:00"), "2024-05-03"),
        (time(14, 30), "14:30:00"),
    ],
)
def test_cells(tmp_path: Path, kind: str, value: Cell, text: str) -> None:
    """A cell is the text that a person reads, whatever kind of workbook holds it."""
    path = make_workbook(tmp_path / f"book.{kind}", [["name", "value"], ["x", value]])
    assert open_here(path).rows == [["x", text]]


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
@pytest.mark.parametrize("from_1904", [False, True])
def test_both_date_systems(tmp_path: Path, kind: str, from_1904: bool) -> None:
    """A workbook that counts its days from 1904 gives the same dates as one that counts from 1900."""
    rows: Rows = [
        ["day", "moment", "long"],
        [date(2024, 5, 3), moment("1999-12-31T23:59"), timedelta(hours=36)],
    ]
    path = make_workbook(tmp_path / f"book.{kind}", rows, from_1904=from_1904)
    assert open_here(path).rows == [["2024-05-03", "1999-12-31T23:59:00", "36:00:00"]]


@pytest.mark.requirement("S1-048")
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_numbered_as_the_sheet_numbers_them(tmp_path: Path, kind: str) -> None:
    """The first row with anything in it is the header; blank rows and columns before it are skipped."""
    rows: Rows = [[], [None, "name", "phone"], [], [None, "Ann", 1.0], [None, " "], [None, None, 2.0]]
    opened = open_here(make_workbook(tmp_path / f"book.{kind}", rows))
    assert opened.head.columns == ("name", "phone")
    assert opened.lines == [4, 6]
    assert opened.rows == [["Ann", "1"], ["", "2"]]


@pytest.mark.requirement("S1-048")
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_shown_sheet_unless_another_is_named(tmp_path: Path, kind: str) -> None:
    """A hidden sheet is read when it is named, and only then."""
    sheets = {"Hidden": [["h"], ["1"]], "Shown": [["s"], ["2"]], "Zürich": [["z"], ["3"]]}
    path = make_workbook(tmp_path / f"book.{kind}", sheets, hidden=["Hidden"])
    opened = open_here(path)
    assert opened.head.columns == ("s",)
    assert opened.head.sheets == ("Hidden", "Shown", "Zürich")
    assert opened.head.notes == (
        'The workbook has 3 sheets, and "Shown" was read. Name another one to change it.',
    )
    for name, column in (("Hidden", "h"), ("Zürich", "z")):
        named = open_here(path, Asked(sheet=name))
        assert named.head.columns == (column,)
        assert named.head.notes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_columns(tmp_path: Path, kind: str) -> None:
    """Names are made unique and never empty, also where a column has cells but no name."""
    rows: Rows = [["Email", "email", None, "Email", 2024], ["a", "b", "c", "d", "e", "beside"]]
    opened = open_here(make_workbook(tmp_path / f"book.{kind}", rows))
    assert opened.head.columns == ("Email", "email", "column 3", "Email (2)", "2024", "column 6")
    assert opened.rows == [["a", "b", "c", "d", "e", "beside"]]
    assert opened.faults == {}


def test_formulas_are_their_stored_values(tmp_path: Path) -> None:
    """A formula is data: what it came to when the workbook was saved, errors as their text."""
    rows = [["a", "b", "c", "d"], ["=1+1|2", '="x"&"y"|xy', "=1/0|#DIV/0!", "=NA()|#N/A"], ["#N/A", "x"]]
    opened = open_here(make_workbook(tmp_path / "book.xlsx", rows))
    assert opened.rows == [["2", "xy", "#DIV/0!", "#N/A"], ["#N/A", "x", "", ""]]


@pytest.mark.parametrize("kind", ["xlsx", "xls"])
def test_error_cells_of_the_sheet_that_is_read(tmp_path: Path, kind: str) -> None:
    """Errors are found in the right sheet and cell, also far down and beside an empty first column."""
    rows = [["", "name", "value"]]
    rows += [["", f"n{n}", "=NA()|#N/A" if n == 4320 else "x"] for n in range(5000)]
    sheets: Sheets = {"One & only": [["x"], ["=1/0|#DIV/0!"]], "Two": rows}
    path = make_workbook(tmp_path / f"book.{kind}", sheets)
    opened = open_here(path, Asked(sheet="Two"))
    assert [row for row in opened.rows if "#" in row[1]] == [["n4320", "#N/A"]]
    assert opened.lines[4320] == 4322
    assert open_here(path).rows == [["#DIV/0!"]]


@pytest.mark.parametrize("shift", range(-70, 10, 3))
def test_error_cells_across_pieces(tmp_path: Path, shift: int) -> None:
    """A cell is found wherever the piece that is read of its sheet ends: in its type, value or place."""
    error = '<row r="2">' + cell("A2", "#N/A", 't="e"') + "</row>"
    before = sheet_xml(HEADER + "|").index("|")
    path = make_package(tmp_path / "a.xlsx", HEADER + " " * (PIECE_BYTES - before + shift) + error)
    assert open_here(path).rows == [["#N/A"]]


def test_errors_of_a_chart_are_no_cells() -> None:
    """A chart in an old sheet brings records like those of cells, which belong to the chart."""

    def record(number: int, data: bytes = b"") -> bytes:
        return struct.pack("<2H", number, len(data)) + data

    begin, end = record(0x0809, bytes(16)), record(0x000A)
    wrong = record(0x0205, struct.pack("<3H2B", 7, 1, 0, 0x2A, 1))
    true = record(0x0205, struct.pack("<3H2B", 8, 1, 0, 1, 0))
    stream = begin + begin + wrong + end + true + wrong + end + wrong
    assert list(xls_records._errors(stream, 0)) == [(7, 1, "#N/A")]


def test_errors_of_formulas_in_an_old_workbook(tmp_path: Path) -> None:
    """A formula's stored error is found, beside formulas that came to nothing."""
    workbook = xlwt.Workbook()
    sheet = workbook.add_sheet("Contacts")
    for column, value in enumerate(("a", "b", "c")):
        sheet.write(0, column, value)
        sheet.write(1, column, xlwt.Formula("1/0"))
    workbook.save(str(tmp_path / "book.xls"))
    data = bytearray((tmp_path / "book.xls").read_bytes())
    found = re.search(rb"\x06\x00.\x00\x01\x00\x01\x00..", data, re.DOTALL)  # the formula in row 1, column 1
    assert found is not None
    data[found.end() : found.end() + 8] = b"\x02\x00\x2a\x00\x00\x00\xff\xff"
    (tmp_path / "book.xls").write_bytes(data)
    assert open_here(tmp_path / "book.xls").rows == [["", "#N/A", ""]]


def test_a_workbook_may_hold_other_documents(tmp_path: Path) -> None:
    """A document embedded in an old workbook does not make it one of that kind."""
    path = make_workbook(tmp_path / "book.xls", [["a"], ["b"]])
    path.write_bytes(path.read_bytes() + "WordDocument".encode("utf-16-le") + bytes(488))
    assert open_here(path).rows == [["b"]]


def test_merged_cells_have_their_value_in_the_first(tmp_path: Path) -> None:
    """The other cells of a merged block are empty."""
    path = make_package(tmp_path / "m.xlsx", HEADER + '<row r="2"><c r="A2"><v>1</v></c><c r="B2"/></row>')
    assert open_here(path).rows == [["1"]]


@pytest.mark.parametrize("dimension", ["A1:XFD1048576", "A1", "B9:A1"])
def test_a_declared_extent_is_not_believed(tmp_path: Path, dimension: str) -> None:
    """A sheet that claims the whole grid and holds two cells is read; so is one that claims too little."""
    rows = f'{HEADER}<row r="2">{cell("A2", "5")}</row>'
    assert open_here(make_package(tmp_path / "d.xlsx", rows, dimension=dimension)).rows == [["5"]]


def entities(path: Path) -> Path:
    """An xlsx whose sheet defines entities that would grow to a gigabyte."""
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    bomb = f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{levels}]>'
    row = '<row r="1"><c r="A1" t="str"><v>&a8;</v></c></row>'
    sheet = f"{bomb}<worksheet><sheetData>{row}</sheetData></worksheet>"
    return make_package(path, "", parts={"xl/worksheets/sheet1.xml": sheet})


def truncated(path: Path) -> Path:
    """A workbook that ends in its middle."""
    make_workbook(path, [["a"], *([f"row {n}"] for n in range(500))])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def wrong_start(path: Path) -> Path:
    """An xls whose workbook begins with another record than the start of a stream."""
    make_workbook(path, [["a"], ["b"]])
    path.write_bytes(path.read_bytes().replace(b"\x09\x08\x10\x00\x00\x06", b"\x0a\x00\x10\x00\x00\x06"))
    return path


def encrypted_xls(path: Path) -> Path:
    """An xls that says, as its second record, that the others are encrypted."""
    make_workbook(path, [["a"], ["b"]])
    data = path.read_bytes()
    at = data.index(b"\x09\x08\x10\x00\x00\x06\x05\x00") + 20
    path.write_bytes(data[:at] + b"\x2f\x00\x06\x00" + data[at + 4 :])
    return path


def stream_named(path: Path, name: str) -> Path:
    """The container of an old document with a stream of this name."""
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1024) + name.encode("utf-16-le"))
    return path


def rewritten(path: Path, part: str, old: str, new: str) -> Path:
    """A workbook of one cell with one part changed."""
    return make_package(path, HEADER, parts={part: PACKAGE[part].replace(old, new)})


REFUSALS: dict[str, tuple[Callable[[Path], Path], type[FileRefused]]] = {
    "no row below the header": (lambda p: make_workbook(p / "a.xlsx", [["a"]]), FileHasNoRows),
    "an empty first sheet": (
        lambda p: make_workbook(p / "a.xlsx", {"One": [], "Two": [["a"], ["b"]]}),
        SheetEmpty,
    ),
    "a sheet of blanks": (lambda p: make_workbook(p / "a.ods", [[" ", ""], [" "]]), FileEmpty),
    "no sheet": (
        lambda p: rewritten(p / "a.xlsx", "xl/workbook.xml", '<sheet name="Contacts"', "<nosheet "),
        WorkbookHasNoSheet,
    ),
    "only a chart": (
        lambda p: rewritten(p / "a.xlsx", "xl/_rels/workbook.xml.rels", "/worksheet", "/chartsheet"),
        WorkbookHasNoSheet,
    ),
    "too many columns": (
        lambda p: make_workbook(p / "a.xlsx", [[f"c{n}" for n in range(MAX_COLUMNS + 1)], ["x"]]),
        HeaderUnreadable,
    ),
    "an endless header": (
        lambda p: make_workbook(p / "a.xlsx", [["x" * 30_000] * 3, ["x"]]),
        HeaderUnreadable,
    ),
    "entities": (lambda p: entities(p / "a.xlsx"), FileDamaged),
    "half a workbook": (lambda p: truncated(p / "a.xlsx"), FileDamaged),
    "half an old workbook": (lambda p: truncated(p / "a.xls"), FileDamaged),
    "half an open workbook": (lambda p: truncated(p / "a.ods"), FileDamaged),
    "a wrong first record": (lambda p: wrong_start(p / "a.xls"), WorkbookHasNoSheet),
    "no workbook": (
        lambda p: make_package(p / "a.xlsx", "", parts={"xl/workbook.xml": None}),
        WorkbookHasNoSheet,
    ),
    "a missing sheet": (
        lambda p: make_package(p / "a.xlsx", "", parts={"xl/worksheets/sheet1.xml": None}),
        FileDamaged,
    ),
    "broken XML": (lambda p: make_package(p / "a.xlsx", f"{HEADER}<row><c>"), FileDamaged),
    "one part twice": (
        lambda p: make_package(p / "a.xlsx", HEADER, parts={"XL/worksheets/Sheet1.xml": ""}),
        FileDamaged,
    ),
    "a password (old)": (lambda p: encrypted_xls(p / "a.xls"), FileEncrypted),
    "a password (new)": (lambda p: stream_named(p / "a.xlsx", "EncryptedPackage"), FileEncrypted),
    "an old Word document": (lambda p: stream_named(p / "a.xls", "WordDocument"), FileNotCsv),
    "an Outlook message": (lambda p: stream_named(p / "a.xls", "__substg1.0_0037001F"), FileNotCsv),
    "a part that unpacks to too much": (
        lambda p: make_package(p / "a.xlsx", " " * (FREE_BYTES + 1)),
        FileUnpacksTooLarge,
    ),
    "an open workbook that unpacks to too much": (
        lambda p: make_workbook(p / "a.ods", [["x" * (FREE_BYTES + 1)]]),
        FileUnpacksTooLarge,
    ),
    "an open workbook without content": (
        lambda p: make_zip(p / "a.ods", {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}),
        FileDamaged,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_table_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    """Each hostile or broken workbook ends in its own refusal, whose sentence has no gap."""
    make, refusal = REFUSALS[name]
    path = make(tmp_path)
    with pytest.raises(FileRefused) as caught:
        open_here(path)
    assert type(caught.value) is refusal
    assert caught.value.message.endswith(".")
    assert "{" not in caught.value.message


def test_an_unknown_sheet_is_answered_with_the_names(tmp_path: Path) -> None:
    """Whoever misspells a sheet is told how the sheets are called, the first twenty of them."""
    sheets = {f"Sheet {n}": [["a"], ["b"]] for n in range(1, 23)}
    path = make_workbook(tmp_path / "book.xlsx", sheets)
    with pytest.raises(SheetUnknown) as caught:
        open_here(path, Asked(sheet="sheet 1"))
    message = caught.value.message
    assert message.startswith(
        'The workbook has no sheet of cells named "sheet 1". Its sheets are: "Sheet 1", '
    )
    assert message.endswith('"Sheet 20" and 2 more.')
