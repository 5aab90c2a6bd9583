"""A file's sample rows as S1's PreviewRow (S1-020), judged under a mapping by the import's own rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ingress.state import MAX_VALUE_BYTES
from sluice.events import ImportOptions
from sluice.mapping.plan import plan_of
from sluice.mapping.reading import read_rows
from sluice.mapping.sample import SYSTEM_FIELDS, judge_sample
from sluice.values.headers import column_index

_KEYS = {field.name: field.key for field in SYSTEM_FIELDS}


SAMPLE_BYTES = 2 * 1024 * 1024
"""Of all rows together: a mapping may make much of little, by fixed values and columns joined repeatedly."""

ROWS_AT_ONCE = 64
"""They are judged by one, two, four and so on: what is made before it is known to be too much stays small."""


def mapped_sample(analysis: Mapping[str, Any], options: ImportOptions) -> list[dict[str, Any]]:
    """The original sample rows of an analysis under the mapping of these options, in order.

    They are as many as go into the state beside the rest of the analysis, and at most SAMPLE_BYTES. A plain
    mapping shows the cells under the names that the caller gave them, one with sources shows what they make
    of the cells. Raises MappingInvalid.
    """
    columns, rows = analysis["columns"], analysis["sourceRows"]
    # A row that could not be read whole is refused before its values are looked at.
    unread: Mapping[str, str] = analysis.get("rowFaults") or {}
    sample: list[dict[str, Any]] = []
    left = min(SAMPLE_BYTES, MAX_VALUE_BYTES - _size({**analysis, "sampleRows": []}))
    first, count = 0, 1
    while first < len(rows):
        for shown in _shown(columns, rows[first : first + count], options):
            if fault := unread.get(str(len(sample))):
                shown |= {"_isValid": False, "_errors": [fault]}
            row = {"_rowIndex": len(sample) + 1, **shown}
            left -= _size(row) + 1
            if left < 0:
                return sample
            sample.append(row)
        first, count = first + count, min(2 * count, ROWS_AT_ONCE)
    return sample


def _size(value: Mapping[str, Any]) -> int:
    """Bytes that it takes in the state."""
    return len(msgspec.json.encode(value))


def _shown(
    columns: Sequence[str], rows: Sequence[Sequence[str]], options: ImportOptions
) -> Iterator[dict[str, Any]]:
    """Each row with its verdict."""
    verdicts = judge_sample(columns, rows, options)
    is_plain = options.mapping and not options.sources
    values = _cells(columns, rows, options) if is_plain else _made(columns, rows, options)
    for verdict, row in zip(verdicts, values, strict=True):
        errors = [error.message for error in verdict.errors]
        yield {"_isValid": not errors, "_errors": errors, **row}


def _cells(
    columns: Sequence[str], rows: Sequence[Sequence[str]], options: ImportOptions
) -> list[dict[str, str]]:
    """Each row's cells under the fields that they are mapped to."""
    chosen = (options.mapping or {}).items()
    fields = [(column_index(header, columns), field) for header, field in chosen if field]
    return [{field: row[at].strip() if at < len(row) else "" for at, field in fields} for row in rows]


def _made(
    columns: Sequence[str], rows: Sequence[Sequence[str]], options: ImportOptions
) -> list[dict[str, str]]:
    """What the import would read of each row, by S1's keys where it has one."""
    reading = read_rows(rows, len(columns), plan_of(columns, options), options)
    named = [(_KEYS.get(name, name), values) for name, values in reading.columns.items()]
    return [{name: values[index] for name, values in named} for index in range(len(rows))]
