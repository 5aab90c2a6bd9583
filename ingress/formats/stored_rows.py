"""Rows of an opened file, stored one a line as JSON, and read again like the lines of a CSV file.

A line is `[source_line, ["cell", ...]]`, or for a row that could not be read whole
`[source_line, ["cell", ...], "fault_code", "sentence"]`. Blank rows are not stored. The line's number is that
of the row in the file that was opened, not of the line in the stored object.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec

from ingress.formats.chunks import RowCutter
from ingress.formats.opening import OpenedRow, faulty_row
from ingress.formats.rows import MAX_ROW_BYTES, Position, RowChunk

# Of a row that is longer than a row may be, this many characters are kept to show what it was.
KEPT_CHARACTERS = 1024

_LONE_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")

_encode = msgspec.json.Encoder().encode


def encode_row(row: OpenedRow) -> bytes:
    """A row as a line; empty for a blank row. What no text or no message can hold becomes the row's fault."""
    line, cells, fault = row
    if not cells and fault is None:
        return b""
    try:
        encoded = _encode((line, cells) if fault is None else (line, cells, *fault))
    except UnicodeEncodeError:
        shown = [cell.translate(_LONE_SURROGATES) for cell in cells]
        return encode_row((line, shown, fault) if fault else faulty_row(line, shown, "half_character"))
    if len(encoded) > MAX_ROW_BYTES:
        shown = [cell[:KEPT_CHARACTERS] for cell in cells[:1]]
        return encode_row(faulty_row(line, shown, "row_too_long", limit=MAX_ROW_BYTES))
    if b"\\u0000" in encoded and any("\0" in cell for cell in cells):
        shown = [cell.replace("\0", "\ufffd") for cell in cells]
        return encode_row((line, shown, fault) if fault else faulty_row(line, shown, "nul_byte"))
    return encoded + b"\n"


class StoredRowsChunker:
    """Bytes of one stored part in, in pieces of any size; chunks of whole rows out.

    Shapes and promises are those of `CsvChunker`: `feed` the bytes from `start.byte_offset` on, then call
    `finish` until it answers None; starting again at any chunk's `end` gives the chunks that follow it.
    """

    def __init__(
        self, columns: Sequence[str], start: Position, *, max_rows: int = 500, max_bytes: int = 512 * 1024
    ) -> None:
        self._rows = RowCutter(len(columns), start, max_rows=max_rows, max_bytes=max_bytes)
        self._decode = msgspec.json.Decoder().decode_lines
        self._offset = start.byte_offset  # of the first line that is not read yet
        self._tail = b""  # the start of that line

    @property
    def position(self) -> Position:
        """The end of what was handed out."""
        return self._rows.position

    def feed(self, data: bytes) -> list[RowChunk]:
        """The chunks that these bytes complete, in order."""
        data = self._tail + data
        behind = data.rfind(b"\n") + 1
        self._tail = data[behind:]
        if behind:
            self._take(data[:behind])
        return self._rows.cut()

    def finish(self) -> RowChunk | None:
        """After the last byte: the next chunk of the rest, None when nothing is left. Call it until None."""
        if self._tail:
            data, self._tail = self._tail, b""
            self._take(data)
        return self._rows.rest()

    def _take(self, data: bytes) -> None:
        """Read whole lines."""
        rows = self._decode(data)
        ends = list(accumulate(map(len, data.splitlines(keepends=True)), initial=self._offset))
        self._offset = ends.pop(0) + len(data)
        taken = 0
        for index, row in enumerate(rows):
            if len(row) > 2:
                self._add(rows[taken:index], ends[taken:index])
                line, cells, code, message = row
                self._rows.add_refused(cells, line, line + 1, ends[index], code, message)
                taken = index + 1
        self._add(rows[taken:], ends[taken:])

    def _add(self, rows: list[list[Any]], ends: list[int]) -> None:
        """Take rows that were read whole. Where a person looks for the next one is not known: behind."""
        lines = [row[0] for row in rows]
        self._rows.add_rows([row[1] for row in rows], lines, [line + 1 for line in lines], ends)
