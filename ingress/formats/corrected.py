"""The errors file on its way back: which columns are the import's own, and its rows under their numbers.

The file has the import's own columns, then `_row`, `_error` and `_token`. A person may have sorted it, moved
columns, left rows out, or had a spreadsheet write it; a row is known by its token alone. Columns without a
name hold what a row has too much: with anything in them the row stays refused, so nothing is lost unseen.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ingress.formats.csv import CsvChunker, CsvDialect
from ingress.formats.formulas import original
from ingress.formats.inspect import name_columns
from ingress.formats.rows import FAULTS, Fault, Position, RowChunk
from sluice.errors import FileRefused

ADDED = ("_row", "_error", "_token")
"""Behind the file's own columns: the row's number, what is wrong with it, and by what it is known again."""

MAX_ROW_NO = (1 << 32) - 1


class ColumnsDiffer(FileRefused):
    """The columns are not those of the import: {problem} Send the errors file with the columns it has."""

    code = "COLUMNS_DIFFER"


class TokenUnreadable(FileRefused):
    """Line {line} has no row token that can be read in its column {column}. Nothing was done: take the token
    from the errors file, or leave the row out."""

    code = "ROW_TOKEN_INVALID"


class Corrections(msgspec.Struct, frozen=True, kw_only=True):
    """Where a corrected file has what: places of its columns, from 0."""

    width: int
    token: int
    own: list[int]
    surplus: list[int]


def row_token(job_id: uuid.UUID, row_no: int) -> str:
    """Names a row of a job; it needs no secret, because a job answers to its own organization only."""
    return f"{job_id}:{row_no}"


def token_row(token: str) -> tuple[uuid.UUID, int] | None:
    """Job and row number of a token; None for what is none."""
    job, _, number = token.partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 11):
        return None
    try:
        found = uuid.UUID(job), int(number)
    except ValueError:
        return None
    return found if 1 <= found[1] <= MAX_ROW_NO else None


def added_columns(own: Sequence[str]) -> tuple[str, ...]:
    """The added columns' names; a file that has such a column itself gets others."""
    return name_columns([*own, *ADDED])[len(own) :]


def corrections_of(own: Sequence[str], found: Sequence[str]) -> Corrections:
    """Where a file with the columns `found` has the import's `own`. Raises ColumnsDiffer."""
    places = {name: place for place, name in enumerate(found)}
    added = added_columns(own)
    if added[-1] not in places:
        raise ColumnsDiffer(problem=f'there is no column "{added[-1]}".')
    if missing := [name for name in own if name not in places]:
        raise ColumnsDiffer(problem=f"{_shown(missing)} missing.")
    others = [name for name in found if name not in own and name not in added]
    nameless = [name for name in others if name == f"column {places[name] + 1}"]
    if unknown := [name for name in others if name not in nameless]:
        raise ColumnsDiffer(problem=f"{_shown(unknown)} not known.")
    return Corrections(
        width=len(found),
        token=places[added[-1]],
        own=[places[name] for name in own],
        surplus=[places[name] for name in nameless],
    )


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name[:60]}"' for name in names[:5]) + (" and others" if len(names) > 5 else "")
    return f"{shown} is" if len(names) == 1 else f"{shown} are"


@dataclass(frozen=True, slots=True)
class CorrectedRow:
    """A row as it was corrected: under the import's own columns, with its token and where it stands."""

    token: str
    cells: list[str]
    fault: Fault | None
    line: int
    end: Position


class CorrectedChunker:
    """Bytes of a corrected file in; chunks of rows with consecutive numbers out.

    Shapes and promises are those of `CsvChunker`: `feed` the bytes from `start.byte_offset` on, then call
    `finish` until it answers None; starting again at any chunk's `end` gives the chunks that follow it. Rows
    without anything in them are passed over. Raises TokenUnreadable.
    """

    def __init__(
        self,
        dialect: CsvDialect,
        corrections: Corrections,
        start: Position,
        *,
        max_rows: int = 500,
        max_bytes: int = 512 * 1024,
    ) -> None:
        self._corrections = corrections
        # One by one, because only so each row's end is known.
        self._rows = CsvChunker([""] * corrections.width, dialect, start, max_rows=1)
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._start_byte = start.byte_offset
        self._chunk: RowChunk | None = None

    def feed(self, data: bytes) -> list[RowChunk]:
        """The chunks that these bytes complete, in order."""
        return [chunk for row in self.rows(data) if (chunk := self._take(row)) is not None]

    def finish(self) -> RowChunk | None:
        """After the last byte: the next chunk of the rest, None when nothing is left. Call it until None."""
        while (row := self._next()) is not None:
            if (chunk := self._take(row)) is not None:
                return chunk
        last, self._chunk = self._chunk, None
        return last

    def rows(self, data: bytes) -> Iterator[CorrectedRow]:
        """The rows that these bytes complete, one by one, whatever their tokens say."""
        for chunk in self._rows.feed(data):
            if any(chunk.rows[0]):
                yield self._corrected(chunk)

    def last_rows(self) -> Iterator[CorrectedRow]:
        """After the last byte: the rest of them."""
        while (row := self._next()) is not None:
            yield row

    def _next(self) -> CorrectedRow | None:
        while (chunk := self._rows.finish()) is not None:
            if any(chunk.rows[0]):
                return self._corrected(chunk)
        return None

    def _corrected(self, chunk: RowChunk) -> CorrectedRow:
        row, places = chunk.rows[0], self._corrections
        surplus = [row[place] for place in places.surplus] + row[places.width :]
        own = [original(row[place]) for place in places.own]
        fault = chunk.faults[0] if chunk.faults else None
        if any(surplus) and (fault is None or fault.code == "too_many_cells"):
            own += [original(cell) for cell in surplus]
            while not own[-1]:
                own.pop()
            message = FAULTS["too_many_cells"].format(cells=len(own), columns=len(places.own))
            fault = Fault(0, "too_many_cells", message)
        return CorrectedRow(row[places.token], own, fault, chunk.lines[0], chunk.end)

    def _take(self, row: CorrectedRow) -> RowChunk | None:
        """Put a row to those that wait; they are handed out when it does not follow them."""
        named = token_row(row.token)
        if named is None:
            raise TokenUnreadable(line=row.line, column=ADDED[-1])
        chunk, full = self._chunk, None
        if chunk is not None and not self._follows(chunk, named[1], row.end):
            self._start_byte = chunk.end.byte_offset
            full, chunk = chunk, None
        if chunk is None:
            chunk = self._chunk = RowChunk(named[1], [], [], [], row.end)
        if row.fault is not None:
            chunk.faults.append(Fault(len(chunk.rows), row.fault.code, row.fault.message))
        chunk.rows.append(row.cells)
        chunk.lines.append(row.line)
        chunk.end = Position(row.end.part_no, row.end.byte_offset, row.end.line, named[1] + 1)
        return full

    def _follows(self, chunk: RowChunk, row_no: int, end: Position) -> bool:
        return (
            row_no == chunk.end.row_no
            and len(chunk.rows) < self._max_rows
            and end.byte_offset - self._start_byte <= self._max_bytes
        )
