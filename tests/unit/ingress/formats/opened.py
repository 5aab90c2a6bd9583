"""Shared by the tests of the openers: bytes in, the table that was made of them out."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ingress.formats.opening import Asked, OpenedRow, Opener


@dataclass(frozen=True)
class Opened:
    """A table whose rows were all read."""

    columns: tuple[str, ...]
    rows: list[OpenedRow]
    notes: tuple[str, ...]

    @property
    def cells(self) -> list[dict[str, str]]:
        """Each row's cells that are not empty, by column."""
        return [
            {name: cell for name, cell in zip(self.columns, cells, strict=True) if cell}
            for _, cells, _ in self.rows
        ]

    @property
    def lines(self) -> list[int]:
        """Each row's source line."""
        return [line for line, _, _ in self.rows]

    @property
    def faults(self) -> dict[int, str]:
        """Source line to fault code."""
        return {line: fault[0] for line, _, fault in self.rows if fault}

    @property
    def sentences(self) -> list[str]:
        """What the faults say."""
        return [fault[1] for _, _, fault in self.rows if fault]


def opened(opener: Opener, data: bytes, encoding: str | None = None) -> Opened:
    """Everything that the opener makes of a file with these bytes."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        table = opener(Path(file.name), Asked(encoding=encoding))
        return Opened(table.columns, list(table.rows), table.notes)
