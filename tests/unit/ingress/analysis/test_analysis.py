"""A file's summary fits into one value of the state, whatever the file holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ingress.analysis.analysis import SAMPLE_BYTES, SAMPLE_ROWS, Analysis
from ingress.formats.rows import Position, RowChunk
from ingress.reading.job import StoredOptions, event_options
from ingress.state import MAX_VALUE_BYTES
from sluice.clock import SystemClock

EVENT_OPTIONS = event_options(StoredOptions(), SystemClock().now())


def summary_of(columns: list[str], rows: list[list[str]]) -> dict[str, Any]:
    """What is kept of these rows, which come 500 at a time."""
    with Analysis(columns, EVENT_OPTIONS, None) as analysis:
        for at in range(0, len(rows), 500):
            part = rows[at : at + 500]
            end = Position(1, 0, at + len(part) + 2, at + len(part) + 1)
            analysis.add(RowChunk(at + 1, part, list(range(at + 2, at + 2 + len(part))), [], end))
        return analysis.summary()


def wide(count: int) -> list[str]:
    return [f"An optional question of the form, number {number}" for number in range(count)]


@pytest.mark.parametrize(
    ("columns", "cell", "rows"),
    [
        (wide(300), "", 1_000),
        (wide(12), "備考欄に長い文章" * 20, 1_000),
        (wide(1_000), "欄" * 85, 20),
        (wide(1_000), "\x01" * 200, 20),
        (["Notes"], "欄" * 85_000, 1_000),
    ],
    ids=["nearly blank columns", "long notes", "every cell filled", "escaped", "full rows"],
)
def test_a_summary_fits_into_the_state(columns: list[str], cell: str, rows: int) -> None:
    """Counted as it is stored: names in every row, three bytes a character, six for one that is escaped."""
    table = [
        [f"{number}@example.com", *[f"{number}{cell}" if cell else ""] * (len(columns) - 1)]
        for number in range(rows)
    ]
    if len(columns) == 1:
        table = [[f"{number}{cell}"] for number in range(rows)]
    found = summary_of(columns, table)
    assert (found["totalRows"], len(found["columnSummary"])) == (rows, len(columns))
    assert 1 <= len(found["sampleRows"]) == len(found["sourceRows"]) == len(found["rowLines"])
    assert len(msgspec.json.encode(found)) < MAX_VALUE_BYTES - SAMPLE_BYTES


def test_a_usual_file_keeps_its_first_thousand_rows() -> None:
    """Twelve short columns are far from what fits."""
    found = summary_of(wide(12), [[f"{number}", *["a value"] * 11] for number in range(1_200)])
    assert len(found["sampleRows"]) == SAMPLE_ROWS
    assert found["sampleRows"][-1]["_rowIndex"] == SAMPLE_ROWS


def test_a_first_row_of_any_size_is_kept_and_no_second() -> None:
    """Somebody who maps it has to see something of the file."""
    found = summary_of(["Notes"], [["\x01" * 256 * 1024], ["short"], ["short"]])
    assert [row["_rowIndex"] for row in found["sampleRows"]] == [1]
    assert found["totalRows"] == 3
