"""Where the values of rows are read back from: a job's stored parts, by ranges of whole rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from ingress.database import Record
from ingress.formats.parts import PartFormat, open_chunker
from ingress.formats.rows import Position
from ingress.store import Store
from sluice.errors import SourceChanged

MOST_BYTES = 512 * 1024
"""Of neighbouring ranges that are read as one."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A row as its source has it: one text a column, more where the row has more."""

    line: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Source:
    """One stored part, pinned by its ETag."""

    key: str
    etag: str
    form: PartFormat

    @property
    def columns(self) -> Sequence[str]:
        return self.form.columns


def form_of(stored: str) -> PartFormat:
    """What `import_parts.format` says."""
    return msgspec.json.decode(stored, type=PartFormat)


def source_of(part: Record) -> Source:
    """The source in a row of `job_parts`."""
    return Source(part["object_key"], part["etag"], form_of(part["format"]))


async def read_rows(
    store: Store, source: Source | None, start: Position, end_byte: int
) -> Mapping[int, Cells] | None:
    """The rows of a range by number; None when the source is gone or another."""
    if source is None:
        return None
    chunker = open_chunker(source.form, start)
    found: dict[int, Cells] = {}
    # In pieces: one row may be as long as the file, and the chunker keeps only the start of it.
    pieces = store.stream(source.key, source.etag, start.byte_offset, end_byte)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                for chunk in chunker.feed(piece):
                    found.update(_numbered(chunk.first_row_no, chunk.lines, chunk.rows))
    except SourceChanged:
        return None
    while (rest := chunker.finish()) is not None:
        found.update(_numbered(rest.first_row_no, rest.lines, rest.rows))
    return found


def _numbered(first: int, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> Iterator[tuple[int, Cells]]:
    for row_no, (line, cells) in enumerate(zip(lines, rows, strict=True), first):
        yield row_no, Cells(line, cells)


@dataclass(slots=True)
class Range:
    """Bytes of one part that hold whole rows."""

    part_no: int
    start: Position
    end_byte: int


def joined(ranges: Sequence[Range]) -> list[Range]:
    """Neighbouring ranges as one: rows of a healing are batches of one row each, one behind the other."""
    found: list[Range] = []
    for each in sorted(ranges, key=lambda each: (each.part_no, each.start.byte_offset)):
        last = found[-1] if found else None
        if (
            last is not None
            and last.part_no == each.part_no
            and last.end_byte == each.start.byte_offset
            and each.end_byte - last.start.byte_offset <= MOST_BYTES
        ):
            last.end_byte = each.end_byte
        else:
            found.append(each)
    return found
