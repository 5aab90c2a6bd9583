"""Rows to chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingress.formats.chunks import RowCutter
from ingress.formats.rows import Position


class Counted(list[list[str]]):
    """A list that counts how often one of its rows is looked at."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        self.looks += 1
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[list[str]]:
        for row in super().__iter__():
            self.looks += 1
            yield row


def test_a_row_costs_the_same_however_many_wait_before_it() -> None:
    """Broken files come in row by row: each row is fitted by itself, not with all that are held."""
    cutter = RowCutter(2, Position(1, 0, 1, 1), max_rows=500, max_bytes=512 * 1024)
    held = cutter._cells = Counted()
    for number in range(1_000):
        cutter.add_rows([["short"]], [number], [number + 1], [number + 1])
    assert held.looks < 3_000
    assert [len(chunk.rows) for chunk in cutter.cut()] == [500, 500]
