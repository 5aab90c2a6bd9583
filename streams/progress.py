"""How far each job is: the highest batch applied, absolute counts, and the rate of the last seconds (D8)."""

from __future__ import annotations

from typing import Any

import msgspec

from sluice.events import BatchApplied, JobProgress
from sluice.job import JobState as State
from streams.sending import Sender
from streams.store import PartitionStore
from streams.tables import BatchedTable

TABLE = "progress"

RATE_SECONDS = 5.0
"""The rate is that of the last seconds: long enough to be steady, short enough to show a stall."""

_MAX_SAMPLES = 32

FRAME_SECONDS = 0.1
"""How close together a job's progress is published while it runs.

The sink answers up to eight batches at once and thirty a second; each frame is two messages, the fetches of
all who follow, and a push to every open page. Whoever hears nothing for a second reads PostgreSQL (D8).
"""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """How many rows were processed at a time, in milliseconds since 1970."""

    at: int
    rows: int


class JobState(msgspec.Struct, frozen=True, array_like=True):
    """What the table keeps of a job."""

    batch_no: int
    run: int
    samples: list[Sample]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(JobState).decode


class ProgressTable:
    """The highest applied batch of each job, in Faust's keeping."""

    def __init__(self, app: Any, store: PartitionStore, sender: Sender) -> None:
        self.table = BatchedTable(app, TABLE, store, lambda key, value: [(key, value)])
        self._sender = sender
        app.tables.add(self.table)

    async def advance(self, partition: int, applied: BatchApplied) -> JobProgress | None:
        """Take in an applied batch; the job's progress to publish.

        None for a batch that is behind it, and for one that comes too soon after the last one published.
        """
        key = applied.job_id.encode()
        held = self._held(partition, key)
        if held is not None and (applied.batch_no < held.batch_no or is_too_soon(held, applied)):
            return None
        after = advanced(held, applied)
        if after != held:
            await self.table.record(self._sender, partition, key, _encode(after))
        return progress_of(after, applied)

    def _held(self, partition: int, key: bytes) -> JobState | None:
        value = self.table.get_many(partition, [key])[0]
        try:
            return None if value is None else _decode(value)
        except msgspec.DecodeError:
            # Another version's form: counts are absolute, so starting over costs the rate of one batch.
            return None


def is_too_soon(held: JobState, applied: BatchApplied) -> bool:
    """Whether a batch may go by unpublished, because others follow and the last frame is fresh."""
    if applied.is_last or applied.state != State.PROCESSING or applied.run != held.run:
        return False
    if applied.batch_no == held.batch_no:
        return False
    return 0 <= applied.applied_at - held.samples[-1].at < FRAME_SECONDS * 1000


def advanced(held: JobState | None, applied: BatchApplied) -> JobState:
    """The job's state behind a batch that is not older; the same batch again changes nothing."""
    if held is not None and held.batch_no == applied.batch_no:
        return held
    since = applied.applied_at - int(RATE_SECONDS * 1000)
    recent = [sample for sample in (held.samples if held else []) if since <= sample.at <= applied.applied_at]
    samples = [*recent[-_MAX_SAMPLES + 1 :], Sample(applied.applied_at, processed_rows(applied))]
    return JobState(applied.batch_no, applied.run, samples)


def processed_rows(applied: BatchApplied) -> int:
    """Rows that have an outcome, or are staged for judgement at the job's end."""
    decided = sum(applied.counts.values())
    return max(decided, applied.first_row_no - 1 + applied.row_count) if applied.staged else decided


def rate(samples: list[Sample]) -> float:
    """Rows a second between the first and the last sample; 0 while there is only one."""
    if len(samples) < 2 or samples[-1].at <= samples[0].at:
        return 0.0
    rows = samples[-1].rows - samples[0].rows
    return max(0.0, rows * 1000 / (samples[-1].at - samples[0].at))


def progress_of(state: JobState, applied: BatchApplied) -> JobProgress:
    """What is published of an applied batch."""
    return JobProgress(
        job_id=applied.job_id,
        organization_id=applied.organization_id,
        run=applied.run,
        batch_no=applied.batch_no,
        state=applied.state,
        reason=applied.reason,
        counts=applied.counts,
        processed_rows=processed_rows(applied),
        bytes_read=applied.end.byte_offset,
        rate_rows_per_second=rate(state.samples),
        updated_at=applied.applied_at,
    )
