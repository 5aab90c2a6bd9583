"""The sink's own books: which batch counts, its job, and the stored result of each batch (D3, D6)."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg
import msgspec

from sinks.batch import Batch, Job, from_milliseconds, to_milliseconds
from sinks.judging import Image, Result
from sinks.queries import SQL
from sinks.reading import Connection
from sluice.events import BatchApplied, SourcePosition
from sluice.job import ENDED, JobState, RunKind
from sluice.outcome import BY_LETTER, ELSEWHERE, LETTERS, FieldFault, Outcome

CANCELLED = LETTERS[Outcome.CANCELLED]
_images = msgspec.msgpack.Decoder(dict[int, Image])


class Verdict(StrEnum):
    """What is to be done with a batch."""

    REPEATED = "repeated"
    """Applied before: no second effect."""
    DROPPED = "dropped"
    """Ahead of its job, of another lease, or of a job that has ended or is not the organization's."""
    APPLY = "apply"
    CANCEL = "cancel"
    """Its job is being cancelled: the rows get no other outcome."""
    STAGE = "stage"
    """Kept for the last batch of its job."""
    JUDGE = "judge"
    """The last batch of a staged job: everything is judged now."""


def admit(batch: Batch, job: Job | None) -> Verdict:
    """Decide what a batch is for its locked job, and count it as applied if it will be."""
    message = batch.message
    if job is None or job.organization_id != batch.organization_id:
        return Verdict.DROPPED
    if message.batch_no <= job.applied_batch:
        return Verdict.REPEATED
    if (
        message.batch_no != job.applied_batch + 1
        or message.lease_epoch != job.lease_epoch
        or message.run != job.run
        or job.state in ENDED
    ):
        return Verdict.DROPPED
    job.applied_batch = message.batch_no
    if message.is_last:
        # From here on nothing of this run is accepted any more, in this group or another.
        job.state, job.reason = _ended(batch, job)
    ended_early = message.is_last and message.end_state != JobState.COMPLETED
    if job.cancel_requested or (ended_early and job.is_staged):
        return Verdict.CANCEL
    if job.is_staged:
        return Verdict.JUDGE if message.is_last else Verdict.STAGE
    return Verdict.APPLY


def _ended(batch: Batch, job: Job) -> tuple[JobState, str | None]:
    state = JobState.CANCELLED if job.cancel_requested else JobState(batch.message.end_state)
    reason = batch.message.end_reason.replace("\x00", "\ufffd") or None
    if job.ended_as is not None and state is JobState.COMPLETED:
        return job.ended_as, job.ended_reason
    if job.ended_as is not None and state is JobState.CANCELLED:
        # The import stays what it was: it is the further run that was cancelled.
        return (
            job.ended_as,
            "The last run was cancelled on request; rows that it had not reached are as before.",
        )
    if state is JobState.CANCELLED:
        reason = reason or "Cancelled on request."
    return state, reason


async def lock_jobs(connection: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Job]:
    """The jobs' rows, locked until commit."""
    rows = await connection.fetch(SQL["lock_jobs"], ids)
    return {row["id"]: _job(row) for row in rows}


def _job(row: asyncpg.Record) -> Job:
    return Job(
        id=row["id"],
        organization_id=row["organization_id"],
        created_by=row["created_by"],
        target_list_id=row["target_list_id"],
        options=msgspec.json.decode(row["options"]),
        state=JobState(row["state"]),
        reason=row["reason"],
        cancel_requested=row["cancel_requested"],
        run=row["run"],
        lease_epoch=row["lease_epoch"],
        applied_batch=row["applied_batch"],
        created_at=row["created_at"],
        rows_read=row["rows_read"],
        rows_staged=row["rows_staged"],
        counts={outcome: row[outcome.value] for outcome in Outcome},
        run_kind=RunKind(row["run_kind"]),
        ended_as=JobState(row["ended_as"]) if row["ended_as"] else None,
        ended_reason=row["ended_reason"],
    )


def count_letters(job: Job, letters: Iterable[str], *, taken_back: Iterable[str] = ()) -> None:
    """Add rows to the job's outcomes, and take those back that a further run has replaced."""
    counted = Counter(letters)
    counted.subtract(taken_back)
    for letter, count in counted.items():
        if letter != ELSEWHERE:
            job.counts[BY_LETTER[letter]] += count


def answer_of(batch: Batch, job: Job, state: JobState, now: datetime, *, staged: bool) -> BatchApplied:
    """What is told about a batch, with the job's figures as they are after it."""
    message = batch.message
    return BatchApplied(
        organization_id=message.organization_id,
        job_id=message.job_id,
        run=message.run,
        lease_epoch=message.lease_epoch,
        batch_no=message.batch_no,
        staged=staged,
        first_row_no=message.first_row_no,
        row_count=batch.row_count,
        state=state.value,
        reason=(job.reason or "") if message.is_last else "",
        counts={outcome.value: count for outcome, count in job.counts.items() if count},
        end=message.end,
        is_last=message.is_last,
        applied_at=to_milliseconds(now),
        partition=batch.position.partition,
        next_offset=batch.position.offset + 1,
    )


BATCH_COLUMNS = (
    "organization_id",
    "job_id",
    "batch_no",
    "run",
    "lease_epoch",
    "first_row_no",
    "row_count",
    "outcomes",
    "contact_ids",
    "faults",
    "images",
    "staged",
    "message",
    "heals",
    "changes",
    "is_last",
    "counts",
    "state",
    "reason",
    "start_part",
    "start_byte",
    "start_line",
    "end_part",
    "end_byte",
    "end_line",
    "end_row",
    "topic_partition",
    "topic_offset",
    "applied_at",
)


def batch_record(
    batch: Batch,
    job: Job,
    result: Result | None,
    answer: BatchApplied,
    message_kept: bytes,
    changes: str,
) -> tuple[Any, ...]:
    """The row of import_batches; `result` is None for a batch that is staged."""
    message = batch.message
    return (
        batch.organization_id,
        batch.job_id,
        message.batch_no,
        message.run,
        message.lease_epoch,
        message.first_row_no,
        batch.row_count,
        "".join(result.letters) if result else "",
        bytes(result.contact_ids) if result else b"",
        faults_json(result.faults) if result else "{}",
        images_bytes(result.images) if result else b"",
        answer.staged,
        message_kept,
        job.run_kind is RunKind.HEAL,
        changes,
        answer.is_last,
        msgspec.json.encode(answer.counts).decode(),
        answer.state,
        answer.reason or None,
        message.start.part_no,
        message.start.byte_offset,
        message.start.line,
        message.end.part_no,
        message.end.byte_offset,
        message.end.line,
        message.end.row_no,
        batch.position.partition,
        batch.position.offset,
        from_milliseconds(answer.applied_at),
    )


def answer_from(row: Mapping[str, Any]) -> BatchApplied:
    """The same answer from the stored result, after a crash."""
    return BatchApplied(
        organization_id=str(row["organization_id"]),
        job_id=str(row["job_id"]),
        run=row["run"],
        lease_epoch=row["lease_epoch"],
        batch_no=row["batch_no"],
        staged=row["staged"],
        first_row_no=row["first_row_no"],
        row_count=row["row_count"],
        state=row["state"],
        reason=row["reason"] or "",
        counts=msgspec.json.decode(row["counts"]),
        end=SourcePosition(
            part_no=row["end_part"], byte_offset=row["end_byte"], line=row["end_line"], row_no=row["end_row"]
        ),
        is_last=row["is_last"],
        applied_at=to_milliseconds(row["applied_at"]),
        partition=row["topic_partition"],
        next_offset=row["topic_offset"] + 1,
    )


def faults_json(faults: Mapping[int, Sequence[FieldFault]]) -> str:
    """Faults by row index. A file may hold NUL characters, jsonb may not: they are shown as U+FFFD."""
    if not faults:
        return "{}"
    shown = {
        str(index): [
            {
                name: getattr(fault, name).replace("\x00", "\ufffd")
                for name in ("field", "code", "message", "value")
            }
            for fault in held
        ]
        for index, held in faults.items()
    }
    return msgspec.json.encode(shown).decode()


def images_bytes(images: Mapping[int, Image]) -> bytes:
    """The images of updated rows, to be kept; empty for none."""
    return msgspec.msgpack.encode(images) if images else b""


def images_from(data: bytes) -> dict[int, Image]:
    """The inverse of `images_bytes`."""
    return _images.decode(data) if data else {}


async def store_batches(connection: Connection, records: Sequence[tuple[Any, ...]]) -> None:
    """Keep the results of a group."""
    if records:
        await connection.copy_records_to_table("import_batches", records=records, columns=BATCH_COLUMNS)


async def advance_job(connection: Connection, job: Job, end: SourcePosition, now: datetime) -> None:
    """Move the job's row to where its newest batch left it."""
    ended = job.state in ENDED
    if job.state is JobState.COMPLETED:
        await connection.execute(SQL["resume_job"], job.id, job.organization_id)
    await connection.execute(
        SQL["advance_job"],
        job.id,
        job.state.value,
        job.reason,
        job.applied_batch,
        end.part_no,
        end.byte_offset,
        end.line,
        end.row_no,
        job.rows_read,
        job.rows_staged,
        *(job.counts[outcome] for outcome in Outcome),
        now if ended else None,
        job.organization_id,
    )
