"""Rows to chunks: trimmed, fitted to the columns, cut by number and bytes; the same for every format."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import islice

from ingress.formats.rows import FAULTS, MAX_COLUMNS, Fault, Position, RowChunk


class RowCutter:
    """Gathers rows in order; hands them out in chunks of up to `max_rows` rows and `max_bytes` source bytes.

    Where a chunk ends depends on the rows and the two limits alone, so cutting again from any chunk's end
    gives the chunks that follow it. A row of more bytes than `max_bytes` stands alone.
    """

    def __init__(self, width: int, start: Position, *, max_rows: int, max_bytes: int) -> None:
        self.position = start
        self._width = width
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        # One entry a row in each; columns of numbers cost less than an object for each row.
        self._cells: list[list[str]] = []
        self._lines: list[int] = []  # the physical line where the row starts
        self._behind: list[int] = []  # the physical line behind it
        self._ends: list[int] = []  # the offset behind it
        self._faults: dict[int, tuple[str, str]] = {}

    def add_rows(
        self, cells: list[list[str]], lines: Iterable[int], behind: Iterable[int], ends: Iterable[int]
    ) -> None:
        """Take rows; an empty list is a line with nothing in it and is left out.

        `lines` are the physical lines on which the rows start, `behind` those on which the next ones may,
        `ends` the offsets behind them.
        """
        base = len(self._cells)
        self._cells += [list(map(str.strip, row)) for row in cells]
        self._lines += lines
        self._behind += behind
        self._ends += ends
        if not set(map(len, cells)) <= {self._width}:
            self._fit(base)

    def add_faulty(
        self, cells: list[str], line: int, behind: int, end: int, code: str, **facts: object
    ) -> None:
        """Take a row that could not be read whole, with what is known of its cells."""
        self.add_refused(cells, line, behind, end, code, FAULTS[code].format(**facts))

    def add_refused(
        self, cells: list[str], line: int, behind: int, end: int, code: str, message: str
    ) -> None:
        """Take a row whose fault already has its sentence."""
        self._faults[len(self._cells)] = (code, message)
        # A NUL can be stored nowhere: its place is kept by the replacement character.
        shown = [cell.replace("\0", "\ufffd") for cell in cells[:MAX_COLUMNS]]
        self.add_rows([shown or [""]], [line], [behind], [end])

    def cut(self) -> list[RowChunk]:
        """The full chunks: with as many rows as may be, or followed by a row that does not fit."""
        chunks: list[RowChunk] = []
        at, count = 0, len(self._cells)
        while at < count:
            fitting = self._fitting(at)
            if fitting < self._max_rows and at + fitting == count:
                break
            chunks.append(self._chunk(at, fitting))
            at += fitting
        self._forget(at)
        return chunks

    def rest(self) -> RowChunk | None:
        """The next chunk, full or not; None when no row is left."""
        if not self._cells:
            return None
        fitting = self._fitting(0)
        chunk = self._chunk(0, fitting)
        self._forget(fitting)
        return chunk

    def _fit(self, base: int) -> None:
        """Give every row from `base` on as many cells as there are columns, and leave out the blank lines."""
        blank = False
        for index in range(base, len(self._cells)):
            row = self._cells[index]
            if not row:
                blank = True
            elif len(row) < self._width:
                row += [""] * (self._width - len(row))
            elif len(row) > self._width:
                self._fit_long(index, row)
        if blank:
            self._leave_out_blank(base)

    def _fit_long(self, index: int, row: list[str]) -> None:
        if any(islice(row, self._width, None)):
            message = FAULTS["too_many_cells"].format(cells=len(row), columns=self._width)
            self._faults.setdefault(index, ("too_many_cells", message))
            del row[MAX_COLUMNS:]
        else:
            del row[self._width :]

    def _leave_out_blank(self, base: int) -> None:
        kept = [index for index in range(base, len(self._cells)) if self._cells[index]]
        new = {index: at for at, index in enumerate(kept, base)}
        self._faults = {new.get(index, index): fault for index, fault in self._faults.items()}
        for column in (self._lines, self._behind, self._ends):
            column[base:] = [column[index] for index in kept]
        self._cells[base:] = [self._cells[index] for index in kept]

    def _fitting(self, at: int) -> int:
        """How many of the rows from `at` on the next chunk takes."""
        limit = self.position.byte_offset + self._max_bytes
        most = min(at + self._max_rows, len(self._cells))
        return max(1, bisect_right(self._ends, limit, at, most) - at)

    def _chunk(self, at: int, count: int) -> RowChunk:
        stop, start = at + count, self.position
        faults = [Fault(i - at, *self._faults[i]) for i in sorted(self._faults) if at <= i < stop]
        self.position = Position(
            start.part_no, self._ends[stop - 1], self._behind[stop - 1], start.row_no + count
        )
        return RowChunk(start.row_no, self._cells[at:stop], self._lines[at:stop], faults, self.position)

    def _forget(self, count: int) -> None:
        if not count:
            return
        del self._cells[:count], self._lines[:count], self._behind[:count], self._ends[:count]
        self._faults = {i - count: fault for i, fault in self._faults.items() if i >= count}
