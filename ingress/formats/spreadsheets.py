"""Excel and OpenDocument workbooks to rows, by calamine.

The first row with anything in it is the header, unless it is a title above one; rows below are numbered as
the sheet numbers them, and those with nothing in them are left out. A cell is its stored value as text:

- in xlsx, a number in a format of zeros with its zeros, a negative date as its number (`xlsx_cells`);
- a number without fraction in plain digits (a telephone number stays one), any other as Python writes it, a
  percentage as the number that it stands for (12.5 % is 0.125);
- a date in ISO form, with its time unless that is midnight; a time of day as 14:30:00, a duration in hours;
- true or false; an error as its text (#N/A); a formula as the value that was stored with it;
- of merged cells the first has the value.

A sheet is held in memory whole, 100 to 150 bytes a cell (measured), as the rectangle around its cells: two
far apart cost as much as all between them. The child's memory limit is what stands against that, not the
extent that the file declares: many honest ones declare the whole grid.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from pathlib import Path

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetMetadata,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from ingress.formats import xls_records
from ingress.formats.inflating import Allowance, open_archive
from ingress.formats.inspect import PREAMBLE_LINES, above_note, name_columns, rows_above
from ingress.formats.opening import (
    Asked,
    FileDamaged,
    FileEncrypted,
    FileTooDemanding,
    OpenedRow,
    SheetEmpty,
    SheetUnknown,
    Table,
    WorkbookHasNoSheet,
)
from ingress.formats.rows import MAX_COLUMNS, HeaderUnreadable
from ingress.formats.workbook_parts import cells_shown, check_parts
from ingress.formats.xlsx_cells import ShownCell
from sluice.errors import FileEmpty, FileNotCsv
from sluice.values.headers import canonical_field, shown

# Excel's own names have 31 characters at most; a hostile workbook may have a million sheets, or a name of a
# megabyte. A sheet that is not told of can still be named.
TOLD_SHEETS = 200
TOLD_CHARACTERS = 100

# Of a column of postal codes, to see whether they are numbers.
SAMPLED_ROWS = 1000

Value = int | float | str | bool | time | date | datetime | timedelta

# From here on JavaScript, too, writes a number with an exponent; it is no telephone number.
PLAIN_DIGITS_BELOW = 1e21

# Streams of the container that an old workbook shares with them ([MS-CFB]).
_OTHER_DOCUMENTS = (
    ("WordDocument", "it is an old Word document"),
    ("PowerPoint Document", "it is an old presentation"),
    ("__substg1.0_", "it is an Outlook message"),
)

ShownOf = Callable[[int, str], Iterator[ShownCell]]  # the sheet's number from 0, and its name


def open_xlsx(path: Path, asked: Asked) -> Table:
    """Raises FileDamaged, FileEncrypted, FileUnpacksTooLarge and what `_open_sheet` raises."""
    parts = check_parts(path)
    return _open_sheet(path, asked, lambda _, name: cells_shown(path, name, parts))[0]


def open_ods(path: Path, asked: Asked) -> Table:
    """Raises FileDamaged, FileEncrypted, FileUnpacksTooLarge and what `_open_sheet` raises."""
    allowance = Allowance(path.stat().st_size)
    with open_archive(path) as archive:
        if "content.xml" not in archive.namelist():
            raise FileDamaged(problem="its part content.xml is missing.")
        with archive.open("content.xml") as content:
            for _ in allowance.pieces(content.read):
                pass
    table, sheet = _open_sheet(path, asked, lambda _, __: iter(()))
    return _with_postal_note(table, sheet)


def open_xls(path: Path, asked: Asked) -> Table:
    """Raises FileNotCsv for another old Office document, and what `_open_sheet` raises."""
    try:
        table, sheet = _open_sheet(path, asked, lambda index, _: xls_records.error_cells(path, index))
        return _with_postal_note(table, sheet)
    except (FileDamaged, WorkbookHasNoSheet):
        # Only now: a workbook may hold any of these documents as a picture in it.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name, found in _OTHER_DOCUMENTS:
                if content.find(name.encode("utf-16-le")) >= 0:
                    raise FileNotCsv(found=found) from None
            if content.find("EncryptedPackage".encode("utf-16-le")) >= 0:
                raise FileEncrypted() from None
        if xls_records.has_password(path):
            raise FileEncrypted() from None
        raise


def _open_sheet(path: Path, asked: Asked, shown_of: ShownOf) -> tuple[Table, CalamineSheet]:
    """Raises FileDamaged, FileEncrypted, FileTooDemanding, WorkbookHasNoSheet, SheetUnknown, SheetEmpty and
    HeaderUnreadable."""
    with _calamine_errors():
        workbook = CalamineWorkbook.from_path(path)
        sheets = [
            (index, sheet)
            for index, sheet in enumerate(workbook.sheets_metadata)
            if sheet.typ == SheetTypeEnum.WorkSheet
        ]
        names = tuple(sheet.name for _, sheet in sheets)
        index, chosen = _choose(sheets, asked.sheet)
        sheet = workbook.get_sheet_by_index(index)
    rows = _rows(sheet, shown_of(index, chosen.name))
    first = list(islice(rows, PREAMBLE_LINES))
    if not first and len(names) == 1:
        raise FileEmpty()
    if not first:
        raise SheetEmpty(sheet=shown(chosen.name), sheets=_listed(names))
    above = rows_above(cells for _, cells, _ in first)
    line, header, _ = first[above]
    notes = [above_note("row", line)] if above else []
    if len(names) > 1 and asked.sheet is None:
        read = f'and "{shown(chosen.name)}" was read. Name another one to change it.'
        notes.append(f"The workbook has {len(names)} sheets, {read}")
    told = tuple(name for name in names[:TOLD_SHEETS] if len(name) <= TOLD_CHARACTERS)
    if len(told) < len(names):
        notes.append(f"Its first sheets are listed, and {len(names) - len(told)} more can be named.")
    columns = _name_columns(header, sheet.width)
    return Table(columns, chain(first[above + 1 :], rows), tuple(notes), told), sheet


def _with_postal_note(table: Table, sheet: CalamineSheet) -> Table:
    """The table, with a note where it may lack zeros of postal codes: formats are known of xlsx alone."""
    postal = [index for index, name in enumerate(table.columns) if canonical_field(name) == "zip"]
    sample = list(islice(sheet.iter_rows(), SAMPLED_ROWS)) if postal else []
    for index in postal:
        if any(type(row[index]) in (int, float) for row in sample if index < len(row)):
            note = f'"{table.columns[index]}" holds numbers: zeros that only their format puts before them '
            table.notes += (f"{note}are not read. Format the column as text to have them.",)
    return table


def _choose(sheets: Sequence[tuple[int, SheetMetadata]], name: str | None) -> tuple[int, SheetMetadata]:
    """The sheet of this name; without one the first that is shown, or the first when all are hidden."""
    if not sheets:
        raise WorkbookHasNoSheet()
    if name is not None:
        for index, sheet in sheets:
            if sheet.name == name:
                return index, sheet
        raise SheetUnknown(sheet=name, sheets=_listed([sheet.name for _, sheet in sheets]))
    shown = (entry for entry in sheets if entry[1].visible == SheetVisibleEnum.Visible)
    return next(shown, sheets[0])


def _listed(names: Sequence[str]) -> str:
    """Names for a sentence: all of a usual workbook's, the first of a hostile one's."""
    rest = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(f'"{shown(name)}"' for name in names[:20]) + rest


def _name_columns(header: list[str], width: int) -> tuple[str, ...]:
    """The header's names, and made ones for the cells that stand beside the header's last."""
    if len(header) > MAX_COLUMNS:
        problem = f"it has {len(header)} columns, and {MAX_COLUMNS} are read at most."
        raise HeaderUnreadable(problem=problem)
    beside = min(width, MAX_COLUMNS) - len(header)
    return name_columns([*header, *[""] * beside])


def _rows(sheet: CalamineSheet, others: Iterator[ShownCell]) -> Iterator[OpenedRow]:
    """The rows that have something in them, from the first column that has."""
    if sheet.start is None:
        return
    first_column = sheet.start[1]
    other = next(others, None)
    for row, values in enumerate(sheet.iter_rows()):
        cells = [value.strip() if type(value) is str else _text(value) for value in values]
        while other is not None and other[0] <= row:
            column = other[1] - first_column
            # A negative number that kept its sign was not taken for a time.
            if other[0] == row and 0 <= column < len(cells) and not cells[column].startswith("-"):
                cells[column] = other[2]
            other = next(others, None)
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield row + 1, cells, None


def _text(value: Value) -> str:
    """A cell's value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < PLAIN_DIGITS_BELOW else repr(value)
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    return str(value) if isinstance(value, int | str) else value.isoformat()


@contextmanager
def _calamine_errors() -> Iterator[None]:
    try:
        yield
    except PasswordError as error:
        raise FileEncrypted() from error
    except CalamineError as error:
        if "limit exceeded" in str(error):  # of its own, for OpenDocument's repeated cells: 100 million
            raise FileTooDemanding(resource="memory") from error
        raise FileDamaged(problem="its parts contradict each other.") from error
