"""A batch on its way through the steps: columns of text, and what the steps have found out about its rows.

The values are held by column, because most of what a step does to 500 rows it does to one column at a time;
rows are made once, when the batch is sent on. A row is named by its index in the batch, from 0.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from msgspec import structs

from sluice.events import DncMark, FieldFault, Refusal, RowsRead, RowsResolved
from sluice.outcome import Outcome

HASH_BYTES = 16
ID_BYTES = 16
NOBODY = bytes(ID_BYTES)
"""Stands for no contact, no hash and no fingerprint."""


@dataclass(slots=True)
class Batch:
    """One `RowsRead` and what the steps make of it."""

    read: RowsRead
    # Canonical field to its values, one a row: contact fields, phone_formatted, custom_fields.<name>.
    columns: dict[str, list[str]] = field(default_factory=dict)
    # The rows' own modification times in milliseconds since 1970, 0 for none; empty when no row has one.
    modified_at: list[int] = field(default_factory=list)
    # Values that normalize could not read; validate refuses their rows.
    faults: dict[int, list[FieldFault]] = field(default_factory=dict)
    # Rows whose outcome is settled.
    refusals: dict[int, Refusal] = field(default_factory=dict)
    marks: dict[int, DncMark] = field(default_factory=dict)
    hints: bytes = b""
    hinted: bytes = b""
    fingerprints: bytes = b""
    # What deduplicate foresees, for the identities table: packed claims (streams/identities.py).
    claims: list[bytes] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        return len(self.read.rows)

    @property
    def job_id(self) -> uuid.UUID:
        return uuid.UUID(self.read.job_id)

    @property
    def is_staged(self) -> bool:
        """Atomic and dry-run jobs are judged whole at their end, so their batches get no hints (D14)."""
        return self.read.options.dry_run or self.read.options.mode == "atomic"

    def refuse(self, index: int, outcome: Outcome, faults: list[FieldFault]) -> None:
        """Settle a row's outcome; the first one holds."""
        if index not in self.refusals:
            self.refusals[index] = Refusal(index=index, outcome=outcome.value, faults=faults)

    def live(self) -> Iterator[int]:
        """Indexes of the rows whose outcome is not settled."""
        return (index for index in range(self.row_count) if index not in self.refusals)

    def rows(self) -> list[tuple[str, ...]]:
        """The canonical values of each row, in the order of `columns`."""
        if not self.columns:
            return [()] * self.row_count
        return list(zip(*self.columns.values(), strict=True))


def resolved(batch: Batch) -> RowsResolved:
    """The message for the sink."""
    read = batch.read
    return RowsResolved(
        organization_id=read.organization_id,
        job_id=read.job_id,
        run=read.run,
        lease_epoch=read.lease_epoch,
        batch_no=read.batch_no,
        applied_through=read.applied_through,
        target=read.target,
        scope=read.scope,
        # Nobody reads the mapping and the rules from here on, and they may be large.
        options=structs.replace(read.options, mapping=None, sources=[], rules=[]),
        first_row_no=read.first_row_no,
        fields=list(batch.columns),
        # Avro writes a tuple as it writes a list; copying 500 rows to satisfy the annotation costs 50 µs.
        rows=cast("list[list[str]]", batch.rows()),
        lines=read.lines,
        modified_at=batch.modified_at,
        refusals=[refusal for _, refusal in sorted(batch.refusals.items())],
        marks=[mark for _, mark in sorted(batch.marks.items())],
        hints=batch.hints or bytes(batch.row_count),
        hinted=batch.hinted,
        fingerprints=batch.fingerprints or bytes(HASH_BYTES * batch.row_count),
        start=read.start,
        end=read.end,
        is_last=read.is_last,
        end_state=read.end_state,
        end_reason=read.end_reason,
        read_at=read.read_at,
    )
