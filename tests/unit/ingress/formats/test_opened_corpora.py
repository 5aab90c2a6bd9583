"""Workbooks that others made, many of them to break readers, each opened in a child process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingress.formats.inspect import HEAD_BYTES, inspect_head
from ingress.formats.opening import Asked, FileDamaged, FileEncrypted
from ingress.formats.rows import HeaderUnreadable, Position
from sluice.errors import FileEmpty, FileNotCsv, FileRefused
from tests.unit.ingress.formats.opening import Opened, open_here, open_in_child
from tests.unit.ingress.formats.reading import chunks_of, faults_of, lines_of, rows_of
from tests.unit.ingress.formats.workbooks import make_zip

CORPORA = Path(os.environ.get("SLUICE_CORPORA", "corpora"))
POI = CORPORA / "poi-spreadsheets"
SHEETJS = CORPORA / "sheetjs-test-files"


def files_of(*folders: str) -> list[Path]:
    """Every file of these folders of the corpora."""
    return sorted(path for folder in folders for path in (CORPORA / folder).rglob("*") if path.is_file())


pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="SLUICE_CORPORA names no folder")


@pytest.mark.parametrize(
    "path", files_of("poi-spreadsheets", "sheetjs-test-files"), ids=lambda path: path.name
)
async def test_every_file_opens_or_is_refused(path: Path) -> None:
    """Files from bug reports and fuzzers: all rows, or a sentence; no hang, no crash, no empty success."""
    try:
        opened = await open_in_child(path)
    except FileRefused as caught:
        refusal = caught
    else:
        check_whole(opened)
        return
    assert refusal.message.endswith(".")


def check_whole(opened: Opened) -> None:
    """A file that opens has rows, at rising lines, under names that tell its columns apart."""
    assert opened.rows
    assert opened.lines == sorted(set(opened.lines))
    assert len(set(opened.head.columns)) == len(opened.head.columns)
    assert any(any(row) for row in opened.rows)


TEXTS = files_of("csv-spectrum/csvs", "univocity-parsers")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_a_text_in_an_archive_is_read_as_without(path: Path, tmp_path: Path) -> None:
    """Rows, lines and faults of every delimited text are the same from an archive as from the text itself."""
    plain: Opened | str
    zipped: Opened | str
    try:
        plain = open_here(path)
    except FileRefused as refusal:
        plain = refusal.message
    try:
        zipped = open_here(make_zip(tmp_path / "a.zip", {path.name: path.read_bytes()}))
    except FileRefused as refusal:
        zipped = refusal.message
    assert zipped == plain
    if isinstance(plain, Opened):
        head = plain.head
        read = chunks_of(
            path.read_bytes(),
            head.columns,
            encoding=head.encoding,
            delimiter=head.delimiter,
            start=first_row(path),
        )
        assert (rows_of(read), lines_of(read), faults_of(read)) == (plain.rows, plain.lines, plain.faults)


def first_row(path: Path) -> Position:
    """Where the rows of a delimited text begin."""
    return inspect_head(path.read_bytes()[:HEAD_BYTES], complete=path.stat().st_size <= HEAD_BYTES).first


@pytest.mark.parametrize(
    "names",
    [
        ("SampleSS.xlsx", "SampleSS.strict.xlsx", "SampleSS.xls", "SampleSS.ods"),
        ("merge_cells.xlsx", "merge_cells.xls", "merge_cells.ods"),
        ("sheet_visibility.xlsx", "sheet_visibility_strict.xlsx", "sheet_visibility.ods"),
        ("text_and_numbers.xlsx", "text_and_numbers.xls"),
        ("write.xlsx", "write.xls"),
    ],
    ids=lambda names: names[0],
)
def test_one_content_in_several_formats(names: tuple[str, ...]) -> None:
    """The same sheet saved in several formats gives the same rows, of every one of its sheets."""
    paths = [next(path for path in (POI / name, SHEETJS / name) if path.is_file()) for name in names]
    first = open_here(paths[0])
    for path in paths[1:]:
        other = open_here(path)
        assert (other.head.columns, other.rows, other.lines) == (first.head.columns, first.rows, first.lines)
        assert [name.lower() for name in other.head.sheets] == [name.lower() for name in first.head.sheets]


@pytest.mark.parametrize(
    ("book", "text"),
    [
        ("ErrorTypes.xlsx", "ErrorTypes.csv"),
        ("RkNumber.xlsx", "RkNumber.xls.0.csv"),
        ("phonetic_text.xlsx", "phonetic_text.txt"),
    ],
)
def test_a_workbook_and_its_text(book: str, text: str) -> None:
    """A workbook gives what its program wrote as text, save for how that shows truth, dates and fractions."""
    shown = {"TRUE": "true", "FALSE": "false", "10/11/14": "2014-10-11", "0.01": "0.01"}
    rows = [[shown.get(cell, cell) for cell in row] for row in open_here(SHEETJS / text).rows]
    assert open_here(SHEETJS / book).rows == rows


def test_values_that_are_known() -> None:
    """A contact list, leading zeros, dates of both systems and sheets that lie about their extent."""
    contacts = open_here(POI / "51626_contact.xlsx")
    assert contacts.head.columns[:3] == ("First Name", "Last Name", "Company")
    assert "04001" in contacts.rows[0] or "04001" in contacts.rows[1]
    codes = open_here(POI / "64508.xlsx")
    assert codes.rows[0][:3] == ["SI33738548", "04656-2020", "2020-06-08"]
    assert len(open_here(POI / "60384.xlsx").rows) == 6
    assert open_here(POI / "59746_NoRowNums.xlsx").lines[:2] == [2, 3]
    for name in ("1900DateWindowing.xls", "1904DateWindowing.xls"):
        with pytest.raises(FileRefused, match="no rows below"):
            open_here(POI / name)
    hidden = open_here(SHEETJS / "sheet_visibility.xlsx", Asked(sheet="VeryHidden"))
    assert hidden.rows


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("password.xls", FileEncrypted),
        ("xor-encryption-abc.xls", FileEncrypted),
        ("protected_passtika.xlsx", FileEncrypted),
        ("duplicate-filename.xlsx", FileDamaged),
        ("duplicate-filename-case-insensitive.xlsx", FileDamaged),
        ("poc-xmlbomb.xlsx", FileDamaged),
        ("poc-xmlbomb-empty.xlsx", FileDamaged),
        ("Simple.xlsb", FileNotCsv),
        ("SampleSS.xml", FileNotCsv),
        ("testEXCEL_3.xls", FileNotCsv),
        ("53105.xlsx", HeaderUnreadable),
        ("57893-many-merges.xlsx", FileEmpty),
    ],
)
async def test_the_right_refusal(name: str, refusal: type[FileRefused]) -> None:
    """An encrypted file is not called damaged, a strange one not empty."""
    with pytest.raises(FileRefused) as caught:
        await open_in_child(POI / name)
    assert type(caught.value) is refusal
