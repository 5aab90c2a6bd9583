"""A file's sample rows as S1's PreviewRow (S1-020), judged under a mapping by the import's own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluice.events import ImportOptions
from sluice.mapping.plan import plan_of
from sluice.mapping.reading import read_rows
from sluice.mapping.sample import SYSTEM_FIELDS, judge_sample
from sluice.values.headers import column_index

_KEYS = {field.name: field.key for field in SYSTEM_FIELDS}


def mapped_sample(analysis: Mapping[str, Any], options: ImportOptions) -> list[dict[str, Any]]:
    """The original sample rows of an analysis under the mapping of these options, in order.

    A plain mapping shows the cells under the names that the caller gave them, one with sources shows what
    they make of the cells. Raises MappingInvalid.
    """
    columns, rows = analysis["columns"], analysis["sourceRows"]
    faults: Mapping[str, str] = analysis.get("rowFaults") or {}
    verdicts = judge_sample(columns, rows, options)
    values = _cells(columns, rows, options) if options.mapping and not options.sources else None
    sample = []
    for index, verdict in enumerate(verdicts):
        # A row that could not be read whole is refused before its values are looked at.
        unread = faults.get(str(index))
        errors = [unread] if unread else [error.message for error in verdict.errors]
        sample.append({"_rowIndex": index + 1, "_isValid": not errors, "_errors": errors})
    for row, shown in zip(sample, values or _made(columns, rows, options), strict=True):
        row.update(shown)
    return sample


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
