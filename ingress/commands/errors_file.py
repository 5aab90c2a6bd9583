"""The errors file: the refused rows as the source had them, why, and a token by which each is known again."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator, Sequence

from ingress.commands.rows import RowResult

ADDED = ("_reason", "_token", "_surplus")
"""Behind the file's own columns: what is wrong, the row's token, and cells for which there is no column."""

ROWS_AT_ONCE = 200

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"); the full-width signs are
# taken for the plain ones where Chinese or Japanese is written.
LIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# A cell's own apostrophe gets one more, so that the one in front is always ours to take off.
_PREFIXED = (*LIVE, "'")


def harmless(cell: str) -> str:
    """The cell as text that no spreadsheet runs: an apostrophe before what would be a formula.

    `original` takes it off again, from every cell.
    """
    return f"'{cell}" if cell.startswith(_PREFIXED) else cell


def original(cell: str) -> str:
    """The inverse of `harmless`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_PREFIXED) else cell


def row_token(job_id: uuid.UUID, row_no: int) -> str:
    """Names a row of a job; it needs no secret, because a job answers to its own organization only."""
    return f"{job_id}:{row_no}"


async def errors_file(job_id: uuid.UUID, rows: AsyncIterator[RowResult]) -> AsyncIterator[bytes]:
    """The file in pieces: UTF-8 with a byte order mark, so that spreadsheets read it, separated by commas.

    Without any refused row it is the mark and a header of the added columns alone.
    """
    columns: Sequence[str] | None = None
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    out.write("\ufeff")
    waiting = 0
    async for row in rows:
        if columns is None:
            columns = row.columns
            writer.writerow([*map(harmless, columns), *ADDED])
        writer.writerow(_line(job_id, row, len(columns)))
        waiting += 1
        if waiting == ROWS_AT_ONCE:
            yield _taken(out)
            waiting = 0
    if columns is None:
        writer.writerow(ADDED)
    yield _taken(out)


def _line(job_id: uuid.UUID, row: RowResult, width: int) -> list[str]:
    cells = list(row.cells or ())
    own = [*cells[:width], *[""] * (width - len(cells))]
    reason = " ".join(
        f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in row.faults
    )
    surplus = " | ".join(cell for cell in cells[width:] if cell)
    return [*map(harmless, own), harmless(reason), row_token(job_id, row.row_no), harmless(surplus)]


def _taken(out: io.StringIO) -> bytes:
    data = out.getvalue().encode("utf-8", "replace")
    out.seek(0)
    out.truncate()
    return data
