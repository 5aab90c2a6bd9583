"""A job's parts as batches: numbered, cut alike every time, the last one marked as such (D1, D13)."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace

from ingress.formats.parts import open_chunker
from ingress.formats.rows import Chunker, Position, RowChunk
from ingress.reading.job import Ending, Part, start_of
from ingress.reading.source import Source
from sluice.errors import FileHasTooManyRows


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one batch, and one job, may hold."""

    batch_rows: int
    batch_bytes: int
    job_rows: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Consecutive rows of one part. `chunk` is None where nothing is left to read; then `start` is `end`."""

    columns: Sequence[str]
    chunk: RowChunk | None
    start: Position
    end: Position
    ending: Ending | None = None

    @property
    def row_count(self) -> int:
        """Rows of the batch."""
        return len(self.chunk.rows) if self.chunk else 0


async def cuts(
    parts: Sequence[Part], position: Position, source: Source, limits: Limits
) -> AsyncGenerator[Cut]:
    """What the parts hold behind `position`, as batches; the last one says how the job ends.

    Reading again from the end of any of them gives those that follow it, as long as the limits are the same.
    The last rows and the end travel together, so that a small import is one batch.

    Raises:
        SourceChanged: a part is not the one that was stored.
    """
    waiting: Cut | None = None
    async for cut in _rows(parts, position, source, limits):
        if cut.end.row_no - 1 > limits.job_rows:
            if waiting is not None:
                yield waiting
            yield ended(position, Ending("failed", str(FileHasTooManyRows(limit=limits.job_rows))))
            return
        if waiting is not None:
            yield waiting
        waiting, position = cut, cut.end
    if waiting is None:
        yield ended(position, Ending("completed"))
    else:
        yield Cut(waiting.columns, waiting.chunk, waiting.start, waiting.end, Ending("completed"))


def ended(position: Position, ending: Ending) -> Cut:
    """An empty last batch."""
    return Cut((), None, position, position, ending)


async def _rows(
    parts: Sequence[Part], behind: Position, source: Source, limits: Limits
) -> AsyncGenerator[Cut]:
    for part in parts:
        if part.part_no < behind.part_no:
            continue
        position = start_of(part, behind)
        chunker = open_chunker(
            part.format, position, max_rows=limits.batch_rows, max_bytes=limits.batch_bytes
        )
        async for piece in source.pieces(part, position.byte_offset):
            # Off the event loop: a hostile piece takes seconds, and leases are renewed meanwhile.
            for chunk in await asyncio.to_thread(chunker.feed, piece):
                yield _cut(part, chunk, position)
                position = chunk.end
        for chunk in _rest(chunker):
            yield _cut(part, chunk, position)
            position = chunk.end
        behind = position


def _cut(part: Part, chunk: RowChunk, behind: Position) -> Cut:
    """A chunk as a batch. The rows of a corrected file have numbers of their own."""
    return Cut(part.format.columns, chunk, replace(behind, row_no=chunk.first_row_no), chunk.end)


def _rest(chunker: Chunker) -> Iterator[RowChunk]:
    while (chunk := chunker.finish()) is not None:
        yield chunk


class Exclusions:
    """Row numbers that the caller excluded, asked for by range."""

    def __init__(self, row_numbers: Sequence[int]) -> None:
        self._sorted = sorted(set(row_numbers))

    def indexes(self, first_row_no: int, count: int) -> list[int]:
        """Those among `count` rows from `first_row_no` on, as indexes from 0."""
        if not self._sorted:
            return []
        low = bisect_left(self._sorted, first_row_no)
        high = bisect_left(self._sorted, first_row_no + count)
        return [number - first_row_no for number in self._sorted[low:high]]
