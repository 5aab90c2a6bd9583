"""What is known of a job's stored part, and what cuts its bytes into rows."""

from __future__ import annotations

import msgspec

from ingress.formats.corrected import CorrectedChunker, Corrections
from ingress.formats.csv import CsvChunker, CsvDialect
from ingress.formats.rows import Chunker, Position
from ingress.formats.stored_rows import StoredRowsChunker
from sluice.errors import SluiceError


class PartNotLookedAt(SluiceError):
    """Nobody has looked yet at what the file is. Wait until its import has begun."""

    code = "PART_NOT_LOOKED_AT"


class FirstRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where the first row of a part starts, as the door found it."""

    byte_offset: int = 0
    line: int = 1


class PartFormat(msgspec.Struct, frozen=True, kw_only=True):
    """`import_parts.format`.

    kind "new": nobody has looked yet; what is given was asked for, and `needs` are fields of which the file
    must have a column for one. "csv": delimited text. "rows": the stored rows of a file that was opened;
    encoding and delimiter are then those of the file where it was text, for the errors file. `corrections`:
    the rows go by their tokens, not by their order. `notes` are sentences for the person who can confirm what
    was guessed, `sheets` the names of a workbook's worksheets.
    """

    kind: str = "csv"
    columns: list[str] = []
    encoding: str = "utf-8"
    delimiter: str = ","
    first: FirstRow = FirstRow()
    corrections: Corrections | None = None
    asked_encoding: str | None = None
    asked_delimiter: str | None = None
    sheet: str | None = None
    needs: list[str] = []
    notes: list[str] = []
    sheets: list[str] = []


def open_chunker(
    form: PartFormat, start: Position, *, max_rows: int = 500, max_bytes: int = 512 * 1024
) -> Chunker:
    """What cuts a part's bytes into rows, beginning at `start`.

    Raises:
        PartNotLookedAt: what it is is not known yet.
    """
    if form.kind == "rows":
        return StoredRowsChunker(form.columns, start, max_rows=max_rows, max_bytes=max_bytes)
    if form.kind != "csv":
        raise PartNotLookedAt
    dialect = CsvDialect(form.encoding, form.delimiter)
    if form.corrections is not None:
        return CorrectedChunker(dialect, form.corrections, start, max_rows=max_rows, max_bytes=max_bytes)
    return CsvChunker(form.columns, dialect, start, max_rows=max_rows, max_bytes=max_bytes)
