"""CSV bytes to rows, by the standard library's strict reader, going on after a broken row.

Two speeds, one result:

1. A block of lines goes through one `csv.reader` as a whole.
2. From the first row of the block that the reader refuses, that stays open too long or that holds bytes that
   are no text, its lines are taken one by one: a broken row costs its own first line, never the next row.

A row is broken when text follows a closing quotation mark, or when a quoted cell is not closed before its row
has `MAX_OPEN_LINES` lines or `MAX_OPEN_BYTES` bytes. It is then its first physical line, and reading goes on
with the next one. (`csv` in the imports below is the standard library's.)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ingress.formats.chunks import RowCutter
from ingress.formats.encoding import Block, LineSplitter
from ingress.formats.rows import MAX_ROW_BYTES, Position, RowChunk

# Excel holds at most 253 line feeds in a cell ("Excel specifications and limits"), so a row of more lines is
# not the work of a spreadsheet but a quotation mark that was never closed. The lower this is, the less of the
# file can be taken for one cell.
MAX_OPEN_LINES = 256

# Excel holds at most 32,767 characters in a cell: two full ones at four bytes each. It bounds what is read
# ahead before a row is given up.
MAX_OPEN_BYTES = 256 * 1024

# A block is looked at as a whole: large enough that its fixed costs vanish (about 1,000 rows), small enough
# to stay in the processor's cache.
BLOCK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How the file is written: a codec's name as `canonical_encoding` gives it, and the delimiter."""

    encoding: str
    delimiter: str


class CsvChunker:
    """Bytes of one part in, in pieces of any size; chunks of whole rows out.

    `feed` the part's bytes from `start.byte_offset` on, then call `finish` until it answers None. The chunks
    depend on the bytes, the start and the two limits alone; starting again at any chunk's `end` gives the
    chunks that follow it. A chunk has up to `max_rows` rows from up to `max_bytes` bytes; a longer row stands
    alone. Memory is bounded by the limits, one row and one piece.

    Rows are trimmed and padded to `columns`; surplus cells without text are dropped. A row that cannot be
    read whole is one row with a `Fault` (codes: `rows.FAULTS`), its cells as far as they can be known.
    """

    def __init__(
        self,
        columns: Sequence[str],
        dialect: CsvDialect,
        start: Position,
        *,
        max_rows: int = 500,
        max_bytes: int = 512 * 1024,
    ) -> None:
        # The limit belongs to the process, and its default (128 KiB) is below a row's: only ever raise it.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
        self._dialect = dialect
        self._rows = RowCutter(len(columns), start, max_rows=max_rows, max_bytes=max_bytes)
        self._splitter = LineSplitter(dialect.encoding)
        self._offset = start.byte_offset  # of the first line that is not read yet
        self._line = start.line
        self._open = Block([])  # lines from there on, of a row that is not closed yet
        self._open_bytes = 0
        self._again_at = 0

    @property
    def position(self) -> Position:
        """The end of what was handed out."""
        return self._rows.position

    def feed(self, data: bytes) -> list[RowChunk]:
        """The chunks that these bytes complete, in order."""
        chunks: list[RowChunk] = []
        for at in range(0, len(data), BLOCK_BYTES):
            self._take(self._splitter.feed(data[at : at + BLOCK_BYTES]), final=False)
            chunks += self._rows.cut()
        return chunks

    def finish(self) -> RowChunk | None:
        """After the last byte: the next chunk of the rest, None when nothing is left. Call it until None.

        There may be several: the rows behind a quotation mark that is never closed are known at the end only.
        """
        self._take(self._splitter.finish(), final=True)
        return self._rows.rest()

    def _take(self, block: Block, *, final: bool) -> None:
        """Read the rows of the lines that wait and of these."""
        if self._open.lines:
            # An open row is looked at again when its lines have doubled: as often as they come, one by one,
            # it would cost their square.
            self._open.extend(block)
            self._open_bytes += sum(block.lengths())
            if not final and self._open_bytes < self._again_at:
                return
            block = self._open
        if block.lines:
            self._read(block, final=final)

    def _read(self, block: Block, *, final: bool) -> None:
        ends = block.ends(self._offset)
        read = self._read_whole(block, ends)
        if read < len(block.lines):
            one_by_one = _LineByLine(self._rows, self._dialect, block, line=self._line, start=self._offset)
            read = one_by_one.read(read, final=final)
        self._open = block.behind(read)
        self._offset = ends[read - 1] if read else self._offset
        self._line += read
        self._open_bytes = ends[-1] - self._offset
        self._again_at = min(2 * self._open_bytes, MAX_OPEN_BYTES)

    def _read_whole(self, block: Block, ends: list[int]) -> int:
        """Read rows with one reader while nothing is odd; the number of lines read so."""
        if block.long:
            return 0
        try:
            text = b"".join(block.lines).decode(self._dialect.encoding)
        except UnicodeDecodeError:
            return 0
        if "\0" in text:
            return 0
        if '"' in text:
            return self._read_quoted(text, ends)
        # Every line is a row, and the strict reader has nothing to refuse.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._dialect.delimiter, strict=True)
        return self._add_lines(list(reader), ends)

    def _read_quoted(self, text: str, ends: list[int]) -> int:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._dialect.delimiter, strict=True)
        cells: list[list[str]] = []
        behind: list[int] = []  # lines read, after each row
        try:
            for row in reader:
                cells.append(row)
                behind.append(reader.line_num)
        except csv.Error:
            pass  # the row that begins here is read again, line by line
        if not cells or len(cells) == behind[-1]:
            return self._add_lines(cells, ends)
        return self._add_spans(cells, behind, ends)

    def _add_lines(self, cells: list[list[str]], ends: list[int]) -> int:
        """Take rows of one line each."""
        first, count = self._line, len(cells)
        self._rows.add_rows(
            cells, range(first, first + count), range(first + 1, first + 1 + count), ends[:count]
        )
        return count

    def _add_spans(self, cells: list[list[str]], behind: list[int], ends: list[int]) -> int:
        """Take rows of several lines, up to the first that stays open too long; the number of lines taken."""
        starts = [0, *behind]
        taken = len(cells)
        for index, (start, stop) in enumerate(zip(starts, behind, strict=False)):
            if stop - start > 1:
                size = ends[stop - 1] - (ends[start - 1] if start else self._offset)
                if stop - start > MAX_OPEN_LINES or size > MAX_OPEN_BYTES:
                    taken = index
                    break
        line = self._line
        self._rows.add_rows(
            cells[:taken],
            [line + start for start in starts[:taken]],
            [line + stop for stop in behind[:taken]],
            [ends[stop - 1] for stop in behind[:taken]],
        )
        return starts[taken]


class _Verdict(Enum):
    CLOSED = "the row ends with the line"
    OPEN = "a quoted cell goes on with the next line"
    BROKEN = "text follows a closing quotation mark"


class _LineByLine:
    """Reads the lines of one block one by one, giving up a broken row's first line and nothing else.

    A line is parsed once as the start of a row and once as the inside of a quoted cell, so a file made to
    break costs a few times a clean one, not its square.
    """

    def __init__(self, rows: RowCutter, dialect: CsvDialect, block: Block, *, line: int, start: int) -> None:
        self._rows = rows
        self._dialect = dialect
        self._block = block
        self._first_line = line
        self._bounds = [start, *block.ends(start)]  # offset of each line, and behind the last one
        self._judged: tuple[int, _Verdict] = (-1, _Verdict.OPEN)  # the last line judged as a cell's inside
        self._known_open = 0  # the lines from the last open row to this one leave a cell open

    def read(self, index: int, *, final: bool) -> int:
        """Read from this line on; how many lines of the block are read then: the rest needs lines to come."""
        while index < len(self._block.lines):
            behind = self._read_row(index, final=final)
            if behind == index:
                break
            index = behind
        return index

    def _read_row(self, index: int, *, final: bool) -> int:
        """Read the row that starts here; the line behind it, the same line when more must come first."""
        if index in self._block.long:
            return self._refuse(index, "row_too_long", limit=MAX_ROW_BYTES)
        text, sound = self._text(index)
        if not text.strip("\r\n"):
            return index + 1
        verdict, cells = self._parse([text])
        if verdict is _Verdict.CLOSED:
            return self._add(index, index + 1, cells, text, sound=sound)
        closing = self._closing(index, final=final) if verdict is _Verdict.OPEN else index
        if closing is None:
            return index
        if closing == index:
            return self._refuse(index, "broken_quote")
        texts, sounds = zip(*map(self._text, range(index, closing + 1)), strict=True)
        return self._add(index, closing + 1, self._parse(texts)[1], "".join(texts), sound=all(sounds))

    def _closing(self, index: int, *, final: bool) -> int | None:
        """The line that closes the row opened here; the same line when none does, None while that is open."""
        bounds, count = self._bounds, len(self._block.lines)
        limit = min(index + MAX_OPEN_LINES, count)
        at = max(self._known_open, index + 1)
        while at < limit and self._inside(at) is _Verdict.OPEN:
            at += 1
        self._known_open = at
        if at < limit:
            closed = self._inside(at) is _Verdict.CLOSED
            return at if closed and bounds[at + 1] - bounds[index] <= MAX_OPEN_BYTES else index
        given_up = limit == index + MAX_OPEN_LINES or bounds[-1] - bounds[index] > MAX_OPEN_BYTES
        return index if given_up or final else None

    def _inside(self, index: int) -> _Verdict:
        """What a line does to a quoted cell that is open at its start."""
        if index in self._block.long:
            return _Verdict.BROKEN
        if self._judged[0] != index:
            self._judged = (index, self._parse(['"' + self._text(index)[0]])[0])
        return self._judged[1]

    def _parse(self, texts: Sequence[str]) -> tuple[_Verdict, list[str]]:
        """The row that these lines begin. That it is open is told by the reader asking for one line more."""
        asked_for_more = False

        def lines() -> Iterator[str]:
            nonlocal asked_for_more
            yield from texts
            asked_for_more = True

        try:
            cells = next(csv.reader(lines(), delimiter=self._dialect.delimiter, strict=True))
        except csv.Error:
            return (_Verdict.OPEN if asked_for_more else _Verdict.BROKEN), []
        return _Verdict.CLOSED, cells

    def _text(self, index: int) -> tuple[str, bool]:
        """A line's text, and whether all of its bytes are text; those that are not are replaced."""
        line = self._block.lines[index]
        try:
            return line.decode(self._dialect.encoding), True
        except UnicodeDecodeError:
            return line.decode(self._dialect.encoding, "replace"), False

    def _add(self, first: int, behind: int, cells: list[str], text: str, *, sound: bool) -> int:
        """Take a whole row, unless it holds what no text can."""
        line, last, end = self._first_line + first, self._first_line + behind, self._bounds[behind]
        if not sound:
            self._rows.add_faulty(cells, line, last, end, "bad_encoding", encoding=self._dialect.encoding)
        elif "\0" in text:
            self._rows.add_faulty(cells, line, last, end, "nul_byte")
        else:
            self._rows.add_rows([cells], [line], [last], [end])
        return behind

    def _refuse(self, index: int, code: str, **facts: object) -> int:
        """Give up one line as a row, with the cells that a lenient reader makes of it."""
        cells = next(csv.reader([self._text(index)[0]], delimiter=self._dialect.delimiter))
        line = self._first_line + index
        self._rows.add_faulty(cells, line, line + 1, self._bounds[index + 1], code, **facts)
        return index + 1
