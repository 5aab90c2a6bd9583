"""How many different values each column has: true counts in flat memory (S1-076, T-05).

A value is kept as 64 bits of Python's own keyed hash, in a temporary file, column by column; at the end each
column is counted by itself, in eight passes. Two values of half a million collide with a chance of 1 in
10^8, so the count is exact as far as anybody will ever see.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Sequence
from types import TracebackType

WAITING = 4_096
"""Hashes of a column in memory before they go to the file: 32 KiB."""
PASSES = 8
"""Each holds the set of an eighth of a column's values: 8 MB for 500,000 different ones."""


class Distinct:
    """Counts the different values of each column; the empty one is no value. Close it, or use `with`."""

    def __init__(self, columns: int) -> None:
        self._waiting = [array("q") for _ in range(columns)]
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(columns)]
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the counter
        self._length = 0

    def __enter__(self) -> Distinct:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, column: int, values: Sequence[str]) -> None:
        """Take in values of one column, none of them empty."""
        waiting = self._waiting[column]
        waiting.extend(map(hash, values))
        if len(waiting) >= WAITING:
            # A column with few different values never gets to the file.
            fewer = array("q", set(waiting))
            if len(fewer) > WAITING // 2:
                self._write(column, fewer)
                fewer = array("q")
            self._waiting[column] = fewer

    def count(self, column: int) -> int:
        """How many different values the column has had so far."""
        waiting = self._waiting[column]
        if not self._pieces[column]:
            return len(set(waiting))
        self._write(column, waiting)
        self._waiting[column] = array("q")
        return sum(self._count_share(column, share) for share in range(PASSES))

    def _count_share(self, column: int, share: int) -> int:
        seen: set[int] = set()
        for start, length in self._pieces[column]:
            self._file.seek(start)
            piece = array("q")
            piece.frombytes(self._file.read(length))
            seen.update([value for value in piece if value % PASSES == share])
        return len(seen)

    def _write(self, column: int, hashes: array[int]) -> None:
        data = hashes.tobytes()
        self._file.seek(self._length)
        self._file.write(data)
        self._pieces[column].append((self._length, len(data)))
        self._length += len(data)
