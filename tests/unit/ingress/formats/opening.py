"""Shared by the tests of the openers: a file in, what came out of the child or of the opener alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ingress.formats.child import Request, TableHead, table_lines
from ingress.formats.children import open_rows
from ingress.formats.detect import detect
from ingress.formats.limits import Limits
from ingress.formats.opening import Asked, Kind
from ingress.formats.rows import Position, RowChunk
from ingress.formats.stored_rows import StoredRowsChunker
from tests.unit.ingress.formats.reading import faults_of, lines_of, pieces_of, rows_of

START = Position(part_no=1, byte_offset=0, line=1, row_no=1)
NOTHING_ASKED = Asked()
LIMITS = Limits()


@dataclass(frozen=True)
class Opened:
    """A file that was opened to its end: its head, and its rows as the reader will see them."""

    head: TableHead
    rows: list[list[str]]
    lines: list[int]
    faults: dict[int, str]


def kind_of(path: Path) -> Kind:
    """What the file is by its content, whatever it is called."""
    with path.open("rb") as file:
        return detect(file.read(256 * 1024), path.name)


async def open_in_child(
    path: Path, asked: Asked = NOTHING_ASKED, *, limits: Limits = LIMITS, kind: Kind | None = None
) -> Opened:
    """Open a file in a child process, as the reader does."""
    async with open_rows(path, kind or kind_of(path), asked, limits) as file:
        data = b"".join([piece async for piece in file.pieces()])
        opened = as_read(file.head, data)
        assert file.row_count == len(opened.rows)
    return opened


def open_here(path: Path, asked: Asked = NOTHING_ASKED, *, limits: Limits = LIMITS) -> Opened:
    """Open a file in this process: the same bytes, without the limits and the time that a child costs."""
    head, *rows, _ = table_lines(Request(str(path), kind_of(path), asked, limits))
    return as_read(msgspec.json.decode(head, type=TableHead), b"".join(rows))


def as_read(head: TableHead, data: bytes) -> Opened:
    chunks = stored_chunks(data, head.columns)
    return Opened(head, rows_of(chunks), lines_of(chunks), faults_of(chunks))


def stored_chunks(
    data: bytes,
    columns: tuple[str, ...],
    *,
    start: Position = START,
    sizes: Iterable[int] = (),
    max_rows: int = 500,
    max_bytes: int = 512 * 1024,
) -> list[RowChunk]:
    """Every chunk of a part of stored rows, read from `start` on in pieces of these sizes."""
    chunker = StoredRowsChunker(columns, start, max_rows=max_rows, max_bytes=max_bytes)
    chunks: list[RowChunk] = []
    for piece in pieces_of(data[start.byte_offset :], sizes):
        chunks += chunker.feed(piece)
    while (chunk := chunker.finish()) is not None:
        chunks.append(chunk)
    assert chunker.position == (chunks[-1].end if chunks else start)
    return chunks
