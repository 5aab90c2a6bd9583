"""Shared by the tests of the formats: bytes in, everything that was read out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingress.formats.csv import CsvChunker, CsvDialect
from ingress.formats.rows import Position, RowChunk

START = Position(part_no=1, byte_offset=0, line=1, row_no=1)


def pieces_of(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """The data cut at these sizes, the rest last."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def chunks_of(
    data: bytes,
    columns: Sequence[str],
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    start: Position = START,
    sizes: Iterable[int] = (),
    max_rows: int = 500,
    max_bytes: int = 512 * 1024,
) -> list[RowChunk]:
    """Every chunk of a part whose bytes are `data`, read from `start` on in pieces of these sizes."""
    dialect = CsvDialect(encoding, delimiter)
    chunker = CsvChunker(columns, dialect, start, max_rows=max_rows, max_bytes=max_bytes)
    chunks: list[RowChunk] = []
    for piece in pieces_of(data[start.byte_offset :], sizes):
        chunks += chunker.feed(piece)
    while (chunk := chunker.finish()) is not None:
        chunks.append(chunk)
    assert chunker.position == (chunks[-1].end if chunks else start)
    return chunks


def rows_of(chunks: Iterable[RowChunk]) -> list[list[str]]:
    """The rows of all chunks."""
    return [row for chunk in chunks for row in chunk.rows]


def lines_of(chunks: Iterable[RowChunk]) -> list[int]:
    """The source line of every row of all chunks."""
    return [line for chunk in chunks for line in chunk.lines]


def faults_of(chunks: Iterable[RowChunk]) -> dict[int, str]:
    """Row number to fault code, over all chunks."""
    return {chunk.first_row_no + fault.index: fault.code for chunk in chunks for fault in chunk.faults}
