"""Validate: row rules 3 and 4. A row is refused with every fault it has, not only the first."""

from __future__ import annotations

from sluice.mapping.judging import NO_IDENTITY, judge
from sluice.mapping.reading import Reading
from sluice.outcome import Outcome
from streams.batch import Batch
from streams.look_ups import LookUps


def validate(batch: Batch, _: LookUps) -> None:
    """Refuse the rows that lack what they need or hold what no contact can."""
    read, options, faults = batch.read, batch.read.options, batch.faults
    reading = Reading(batch.row_count, batch.columns, batch.modified_at, faults)
    verdict = judge(reading, read.columns, read.rows, options)
    for index in verdict.without_identity:
        batch.refuse(index, Outcome.NO_IDENTITY, [NO_IDENTITY])
    if options.missing_email == Outcome.NO_IDENTITY.value:
        for index in verdict.without_email:
            batch.refuse(index, Outcome.NO_IDENTITY, faults[index])
    for index in sorted(faults):
        batch.refuse(index, Outcome.INVALID, faults[index])
