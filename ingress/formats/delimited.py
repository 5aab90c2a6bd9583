"""Delimited text that came in an archive: read as the reader reads it, and stored as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ingress.formats.csv import CsvChunker
from ingress.formats.encoding import EncodingGuess, LateEvidence
from ingress.formats.inspect import HEAD_BYTES, SourceHead, inspect_head
from ingress.formats.opening import Asked, OpenedRow, Table
from ingress.formats.rows import RowChunk

PIECE_BYTES = 256 * 1024


def open_delimited(path: Path, asked: Asked) -> Table:
    """Raises what `inspect_head` raises."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        complete = not file.read(1)
    source = inspect_head(head, complete=complete, encoding=asked.encoding, delimiter=asked.delimiter)
    notes = source.notes
    # UTF-16 without a mark is ASCII and NUL, byte by byte, and certain enough.
    if asked.encoding is None and head.isascii() and not complete and source.dialect.encoding == "utf-8":
        late = _late_guess(path)
        if late is not None:
            source = replace(source, dialect=replace(source.dialect, encoding=late.encoding))
            notes = (*notes, late.note) if late.note else notes
    return Table(
        columns=source.columns,
        rows=_rows(path, source),
        notes=notes,
        encoding=source.dialect.encoding,
        delimiter=source.dialect.delimiter,
    )


def _late_guess(path: Path) -> EncodingGuess | None:
    """The encoding of a file whose head is ASCII, from what stands behind it."""
    evidence = LateEvidence()
    for piece in _pieces(path, 0):
        evidence.add(piece)
    return evidence.guess()


def _rows(path: Path, source: SourceHead) -> Iterator[OpenedRow]:
    chunker = CsvChunker(source.columns, source.dialect, source.first)
    for piece in _pieces(path, source.first.byte_offset):
        for chunk in chunker.feed(piece):
            yield from _opened(chunk)
    while (rest := chunker.finish()) is not None:
        yield from _opened(rest)


def _opened(chunk: RowChunk) -> Iterator[OpenedRow]:
    faults = {fault.index: (fault.code, fault.message) for fault in chunk.faults}
    for index, (line, cells) in enumerate(zip(chunk.lines, chunk.rows, strict=True)):
        yield line, cells, faults.get(index)


def _pieces(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(PIECE_BYTES):
            yield piece
