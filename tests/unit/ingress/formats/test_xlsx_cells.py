"""Cells that are shown otherwise than calamine gives them, and what stands around a sheet's table."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import xlsxwriter
import xlwt

from ingress.formats.spreadsheets import TOLD_SHEETS
from ingress.formats.xls_records import _Container
from ingress.formats.xlsx_cells import masked
from tests.unit.ingress.formats.opening import open_here
from tests.unit.ingress.formats.workbooks import Rows, Sheets, make_package, make_workbook

HEADER = '<row r="1"><c r="A1" t="str"><v>a</v></c><c r="B1" t="str"><v>b</v></c></row>'
KINDS = ("xlsx", "xls", "ods")


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ('<c r="A2" t="e"/><c r="B2"><v>4155550001</v></c>', ["", "4155550001"]),
        ('<c r="A2" t="e"></c><c r="B2"><v>4155550001</v></c>', ["", "4155550001"]),
        ('<c r="A2" t="e"><f>NA()</f></c><c r="B2"><v>4155550001</v></c>', ["", "4155550001"]),
        ('<c t="e"><v>#N/A</v></c><c><v>7</v></c>', ["#N/A", "7"]),
        ('<c><v>7</v></c><c t="e"><v>#REF!</v></c>', ["7", "#REF!"]),
        ('<c r="B2" t="e"><v>#REF!</v></c>', ["", "#REF!"]),
    ],
)
def test_an_error_stands_in_its_own_cell(tmp_path: Path, row: str, cells: list[str]) -> None:
    """An error without a value takes none from its neighbour; one without a place is counted to its own."""
    for mark in ('<row r="2">', "<row>"):
        path = make_package(tmp_path / "a.xlsx", f"{HEADER}{mark}{row}</row>")
        assert open_here(path).rows == [cells]


def formatted(path: Path, value: float, form: str) -> Path:
    """A workbook with this number in this format beside a name."""
    if path.suffix == ".xls":
        old = xlwt.Workbook()
        sheet = old.add_sheet("One")
        for column, cell in enumerate(("name", "Zip Code")):
            sheet.write(0, column, cell)
        sheet.write(1, 0, "Ann")
        sheet.write(1, 1, value, xlwt.easyxf(num_format_str=form))
        old.save(str(path))
        return path
    with xlsxwriter.Workbook(str(path)) as workbook:
        new = workbook.add_worksheet()
        new.write_row(0, 0, ("name", "Zip Code"))
        new.write_row(1, 0, ("Ann",))
        new.write(1, 1, value, workbook.add_format({"num_format": form}))
    return path


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (2139, "00000", "02139"),
        (94103, "00000", "94103"),
        (123456, "00000", "123456"),
        (0, "00000", "00000"),
        (2139, "[$-409]00000;@", "02139"),
        (21390001, r"00000\-0000", "02139-0001"),
        (78051120, "000-00-0000", "078-05-1120"),
        (2139.5, "00000", "2139.5"),
        (-5, "00000", "-5"),
        (2139, "0", "2139"),
        (2139, "0.00", "2139"),
        (2139, "#,##0", "2139"),
        (-5, "yyyy-mm-dd", "-5"),
        (-0.5, "hh:mm:ss", "-0.5"),
        (-0.5, "[h]:mm:ss", "-12:00:00"),
        (0, "hh:mm:ss", "00:00:00"),
    ],
)
def test_numbers_as_their_format_shows_them(tmp_path: Path, value: float, form: str, text: str) -> None:
    """Zeros that a format puts before a number are there; what is no date is no midnight."""
    opened = open_here(formatted(tmp_path / "book.xlsx", value, form))
    assert opened.rows == [["Ann", text]]
    assert opened.head.notes == ()


def test_a_longer_number_keeps_its_digits() -> None:
    """Digits for which a format has no zero stand before its first."""
    assert masked(1234567890123.0, "00000-0000") == "123456789-0123"


def test_postal_codes_of_an_old_workbook_are_doubted(tmp_path: Path) -> None:
    """Where formats are not read, the person who confirms is told to look at postal codes."""
    note = '"Zip Code" holds numbers: zeros that only their format puts before them are not read.'
    (told,) = open_here(formatted(tmp_path / "book.xls", 2139, "00000")).head.notes
    assert told.startswith(note)
    for kind in ("xls", "ods"):
        texts = make_workbook(tmp_path / f"texts.{kind}", [["name", "Zip Code"], ["Ann", "02139"]])
        assert open_here(texts).head.notes == ()
    numbers = make_workbook(tmp_path / "numbers.ods", [["name", "Zip Code"], ["Ann", 2139]])
    assert open_here(numbers).head.notes[0].startswith(note)


@pytest.mark.parametrize("kind", KINDS)
def test_a_title_above_the_header(tmp_path: Path, kind: str) -> None:
    """A row of one cell above known names is no header; rows keep the numbers that the sheet gives them."""
    rows: Rows = [
        [],
        ["Customer list 2024"],
        [],
        ["Name", "Email", "Shoe size"],
        ["Ann", "a@example.com", 38],
    ]
    opened = open_here(make_workbook(tmp_path / f"book.{kind}", rows))
    assert opened.head.columns == ("Name", "Email", "Shoe size")
    assert (opened.rows, opened.lines) == ([["Ann", "a@example.com", "38"]], [5])
    (note,) = opened.head.notes
    assert "from row 4" in note


@pytest.mark.parametrize(
    "rows", [[["Email"], ["a@example.com"]], [["List"], ["x", "y", "z"]], [["Email"], ["Name", "Phone"]]]
)
def test_a_first_row_of_one_cell_may_be_the_header(tmp_path: Path, rows: list[list[str]]) -> None:
    """Without three cells below it, two of them known names, the first row is the header as ever."""
    opened = open_here(make_workbook(tmp_path / "book.xlsx", rows))
    assert (opened.head.columns[0], opened.lines[0]) == (rows[0][0], 2)


def test_a_workbook_of_many_sheets_is_read(tmp_path: Path) -> None:
    """At most two hundred sheets are told of, none with a name of a page; the others are counted."""
    sheets: Sheets = {f"Sheet {n}": [["a"], [n]] for n in range(250)}
    opened = open_here(make_workbook(tmp_path / "many.xlsx", sheets))
    assert opened.head.sheets == tuple(f"Sheet {n}" for n in range(TOLD_SHEETS))
    assert opened.head.notes[1] == "Its first sheets are listed, and 50 more can be named."
    long: Sheets = {"x" * 200_000: [["a"], ["b"]], "Short": [["a"], ["b"]], "y" * 400_000: []}
    opened = open_here(make_workbook(tmp_path / "long.ods", long))
    assert opened.head.sheets == ("Short",)
    assert len("".join(opened.head.notes)) < 500


@pytest.mark.parametrize("shift", [2, 3, 9])
def test_a_ring_of_table_sectors_ends(shift: int) -> None:
    """A sector that names itself as the next one is taken once."""
    size = 1 << shift
    head = bytearray(76) + b"\xff" * 436
    struct.pack_into("<H", head, 30, shift)
    struct.pack_into("<I20xI", head, 44, 0xFFFFFFFF, 512 // size - 1)  # the sector behind the header
    link = struct.pack("<I", 512 // size - 1)
    sector = (b"\xff" * (size - 4) + link)[-size:]
    container = _Container.__new__(_Container)
    container._content, container._size = bytes(head) + sector, size
    assert container._table_sectors() == []
