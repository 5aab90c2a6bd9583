"""Normalize: the source's own columns to canonical fields, every value in its one form.

Which column is which field, and what its values become, is the kernel's (`sluice.mapping`), because the
preview before an import shows the same. Here the rows that are no rows are settled: those that the caller
excluded, those that the reader could not read, and those with more cells than the header.
"""

from __future__ import annotations

from sluice.events import FieldFault, RowFault
from sluice.mapping.plan import plan_of
from sluice.mapping.reading import read_rows
from sluice.outcome import Outcome
from streams.batch import Batch
from streams.look_ups import LookUps


def normalize(batch: Batch, _: LookUps) -> None:
    """Fill the batch's columns, and settle the rows that the caller excluded or the reader could not read."""
    read = batch.read
    for index in read.excluded:
        batch.refuse(index, Outcome.EXCLUDED, [])
    for fault in read.faults:
        batch.refuse(fault.index, Outcome.INVALID, [_row_fault(fault)])
    reading = read_rows(read.rows, len(read.columns), plan_of(read.columns, read.options), read.options)
    for index, wide in reading.too_wide.items():
        batch.refuse(index, Outcome.INVALID, [wide])
    batch.columns, batch.modified_at, batch.faults = reading.columns, reading.modified_at, reading.faults


def _row_fault(fault: RowFault) -> FieldFault:
    return FieldFault(field="", code=fault.code, message=fault.message, value="")
