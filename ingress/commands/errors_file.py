"""The errors file: the refused rows as the source had them, why, and a token by which each is known again."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator

from ingress.commands.rows import RowResult
from ingress.formats.corrected import added_columns, row_token
from ingress.formats.encoding import WIDE
from ingress.formats.formulas import harmless
from ingress.formats.parts import PartFormat

ROWS_AT_ONCE = 200


async def errors_file(
    job_id: uuid.UUID, form: PartFormat, rows: AsyncIterator[RowResult]
) -> AsyncIterator[bytes]:
    """The file in pieces: the file's own columns, then `_row`, `_error` and `_token`.

    A row with more cells than columns has them behind its token, under no name: sent back so, it is refused
    again. What its encoding cannot write is a question mark. Unicode begins with a byte order mark, so that
    spreadsheets read it.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=form.delimiter)
    if form.encoding in WIDE or form.encoding == "utf-8":
        out.write("\ufeff")
    writer.writerow([*map(harmless, form.columns), *added_columns(form.columns)])
    waiting = 0
    async for row in rows:
        writer.writerow(_line(job_id, row, len(form.columns)))
        waiting += 1
        if waiting == ROWS_AT_ONCE:
            yield _taken(out, form.encoding)
            waiting = 0
    yield _taken(out, form.encoding)


def _line(job_id: uuid.UUID, row: RowResult, width: int) -> list[str]:
    cells = list(row.cells or ())
    own = [*cells[:width], *[""] * (width - len(cells))]
    surplus = cells[width:] if any(cells[width:]) else []
    error = " ".join(
        f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in row.faults
    )
    # Without its source a row has no cells: sent back so, it must not be taken for a corrected one.
    token = row_token(job_id, row.row_no) if row.cells is not None else ""
    added = [str(row.row_no), harmless(error), token]
    return [*map(harmless, own), *added, *map(harmless, surplus)]


def _taken(out: io.StringIO, encoding: str) -> bytes:
    data = out.getvalue().encode(encoding, "replace")
    out.seek(0)
    out.truncate()
    return data
