"""What every opener of a file gives: a table of columns and rows, whatever the file was.

An opener is a function `open_X(path, asked) -> Table`. It runs in a limited child process (`child.py`), so
it may hold a file in memory where its format leaves no choice, and may die of a hostile one. It raises
subclasses of `FileRefused` that are defined here, in `rows.py` or in `sluice.errors`: the parent process
knows no other (and `OptionInvalid` for what the caller asked for).

`OPENERS` names the openers by module, so that no process loads more than the one it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import cast

from ingress.formats.rows import FAULTS, MAX_COLUMNS
from sluice.errors import FileRefused

# Several values of one cell (three telephones of a card) are joined by this, as Google's own export does.
VALUE_SEPARATOR = " ::: "


class Kind(StrEnum):
    """What a file is, by its content."""

    CSV = "csv"
    XLSX = "xlsx"
    XLS = "xls"
    ODS = "ods"
    JSON = "json"
    NDJSON = "ndjson"
    VCARD = "vcard"
    LDIF = "ldif"
    ZIP = "zip"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller may name; None: find out."""

    sheet: str | None = None
    encoding: str | None = None
    delimiter: str | None = None


# The line a person would look for (the sheet's row, the card's first line, the element's number; from 1), the
# trimmed cells, and for a row that could not be read whole its code of `rows.FAULTS` and the sentence.
OpenedRow = tuple[int, list[str], tuple[str, str] | None]


@dataclass(slots=True)
class Table:
    """A file as a table.

    `columns` are names as `inspect.name_columns` gives them: unique, never empty. A row of `rows` may have
    fewer cells than there are columns; one of more is a faulty one. `notes` are sentences for the person who
    confirms what was found. `sheets` are the names of a workbook's worksheets. `encoding` and `delimiter` are
    those of the source where it was delimited text. `inner` is what an archive's file is.
    """

    columns: tuple[str, ...]
    rows: Iterator[OpenedRow]
    notes: tuple[str, ...] = ()
    sheets: tuple[str, ...] = ()
    encoding: str = "utf-8"
    delimiter: str = ","
    inner: Kind | None = None


class FileDamaged(FileRefused):
    """The file is damaged: {problem} Open it in the program that wrote it, save it again, and send that."""

    code = "FILE_DAMAGED"


class FileEncrypted(FileRefused):
    """The file is protected by a password. Save it without one and send it again."""

    code = "FILE_ENCRYPTED"


class FileTooDemanding(FileRefused):
    """Opening the file takes more {resource} than one file may have. Save its table as a CSV file: an
    entry far away from all others, or very many columns, are what makes a workbook so large."""

    code = "FILE_TOO_DEMANDING"


class FileUnpacksTooLarge(FileRefused):
    """The file unpacks to more than {limit_megabytes} MB, or to {ratio} times its size.
    Split it, or send it unpacked."""

    code = "FILE_TOO_LARGE"
    status = 413


class ArchiveUnusable(FileRefused):
    """The archive must hold exactly one file, but it holds {found}. Send the file with the contacts alone."""

    code = "ARCHIVE_UNUSABLE"


class SheetUnknown(FileRefused):
    """The workbook has no sheet of cells named "{sheet}". Its sheets are: {sheets}."""

    code = "SHEET_UNKNOWN"
    mendable = True


class SheetEmpty(FileRefused):
    """The sheet "{sheet}" is empty. Name the one with the contacts; the workbook's sheets are: {sheets}."""

    code = "FILE_EMPTY"
    mendable = True


class WorkbookHasNoSheet(FileRefused):
    """The workbook has no sheet of cells. Put the contacts into one, below a line of column names."""

    code = "FILE_EMPTY"


Opener = Callable[[Path, Asked], Table]

OPENERS: Mapping[Kind, str] = {
    Kind.CSV: "ingress.formats.delimited:open_delimited",
    Kind.XLSX: "ingress.formats.spreadsheets:open_xlsx",
    Kind.XLS: "ingress.formats.spreadsheets:open_xls",
    Kind.ODS: "ingress.formats.spreadsheets:open_ods",
    Kind.JSON: "ingress.formats.json_rows:open_json",
    Kind.NDJSON: "ingress.formats.json_rows:open_ndjson",
    Kind.VCARD: "ingress.formats.vcard:open_vcard",
    Kind.LDIF: "ingress.formats.ldif:open_ldif",
    Kind.ZIP: "ingress.formats.archives:open_zip",
    Kind.GZIP: "ingress.formats.archives:open_gzip",
}


def opener_of(kind: Kind) -> Opener:
    """The function that opens files of this kind; its module is loaded now."""
    module, _, name = OPENERS[kind].partition(":")
    return cast(Opener, getattr(import_module(module), name))


def faulty_row(line: int, cells: Sequence[str], code: str, **facts: object) -> OpenedRow:
    """A row that could not be read whole, with what is known of its cells; `code` is one of `rows.FAULTS`."""
    return line, list(cells[:MAX_COLUMNS]), (code, FAULTS[code].format(**facts))
