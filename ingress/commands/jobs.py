"""An import job as the API knows it: one frozen record from a row of `import_jobs`, or from its progress."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from ingress.database import Record
from sluice.events import JobProgress
from sluice.job import ENDED, JobState, RunKind
from sluice.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Undo:
    """How far the undo of a job is, in contacts; `left_lists` counts those that were taken off a list."""

    total: int | None
    reversed: int
    kept_edited: int
    kept_colliding: int
    left_lists: int

    @property
    def done(self) -> int:
        """Contacts that are reversed or kept."""
        return self.reversed + self.kept_edited + self.kept_colliding


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment. `counts` has every outcome; rows that are staged have none yet.

    `opened_bytes` are the bytes of its rows, where the file had to be opened.
    """

    id: uuid.UUID
    organization_id: uuid.UUID
    created_by: uuid.UUID
    door: str
    list_id: uuid.UUID | None
    filename: str
    file_bytes: int
    file_sha256: str
    options: Mapping[str, Any]
    state: JobState
    reason: str | None
    run: int
    applied_batch: int
    position_bytes: int
    rows_read: int
    rows_staged: int
    counts: Mapping[Outcome, int]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancel_requested: bool
    run_kind: RunKind = RunKind.IMPORT
    opened_bytes: int | None = None
    run_bytes: int | None = None
    run_requested_at: datetime | None = None
    measured_rate: float | None = None
    undo: Undo | None = None

    @property
    def read_bytes(self) -> int:
        """What is read to the end: the file, or its opened rows."""
        return self.file_bytes if self.opened_bytes is None else self.opened_bytes

    @property
    def ended(self) -> bool:
        """Whether no row of it is on its way."""
        return self.state in ENDED

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing of it is written; a commit makes an import of it."""
        return bool(self.options.get("dry_run"))

    @property
    def asked_at(self) -> datetime:
        """When its newest run was asked for."""
        return self.run_requested_at or self.created_at

    @property
    def total_rows(self) -> int:
        """Rows decided and not cancelled; `rows_read` counts every row."""
        return sum(self.counts.values()) - self.counts[Outcome.CANCELLED]

    @property
    def progress(self) -> float:
        """Percent of the bytes that the run reads which are behind the applied position; 100 at the end."""
        if self.state is JobState.COMPLETED or self.state is JobState.UNDONE:
            return 100.0
        whole = self.read_bytes if self.run_bytes is None else self.run_bytes
        return round(min(100.0, 100.0 * self.position_bytes / whole), 1) if whole else 0.0

    def rate(self, now: datetime) -> float:
        """Rows a second: over the last seconds while it runs and that is known, else over the whole run."""
        if self.measured_rate is not None and not self.ended:
            return round(self.measured_rate, 1)
        if self.started_at is None or self.run_kind is not RunKind.IMPORT:
            # The rows of a further run were read before: nobody counts them again.
            return 0.0
        seconds = ((self.completed_at or now) - self.started_at).total_seconds()
        return round(self.rows_read / seconds, 1) if seconds > 0 else 0.0

    def eta_seconds(self, now: datetime) -> float | None:
        """Seconds until the end, from the rate and the bytes that are left; None when nobody can know."""
        if self.ended:
            return 0.0
        rate = self.rate(now)
        if not rate or not self.position_bytes or not self.rows_read:
            return None
        rows_left = (self.read_bytes - self.position_bytes) * self.rows_read / self.position_bytes
        return round(max(0.0, rows_left) / rate, 1)


def job_of(row: Record) -> Job:
    """The job in a row of `import_jobs`."""
    return Job(
        id=row["id"],
        organization_id=row["organization_id"],
        created_by=row["created_by"],
        door=row["door"],
        list_id=row["target_list_id"],
        filename=row["filename"] or "",
        file_bytes=row["file_size"] or 0,
        file_sha256=row["file_sha256"] or "",
        options=msgspec.json.decode(row["options"]),
        state=JobState(row["state"]),
        reason=row["reason"],
        run=row["run"],
        applied_batch=row["applied_batch"],
        position_bytes=row["position_byte"],
        rows_read=row["rows_read"],
        rows_staged=row["rows_staged"],
        counts={outcome: row[outcome.value] for outcome in Outcome},
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        cancel_requested=row["cancel_requested_at"] is not None,
        undo=_undo_of(row),
        run_kind=RunKind(row["run_kind"]),
        opened_bytes=row["read_bytes"],
        run_bytes=row["run_bytes"],
        run_requested_at=row["run_requested_at"],
    )


def _undo_of(row: Record) -> Undo | None:
    """Null until an undo was asked for."""
    if row["undo_asked_at"] is None:
        return None
    return Undo(
        row["undo_total"],
        row["undo_reversed"],
        row["undo_kept_edited"],
        row["undo_kept_colliding"],
        row["undo_left_lists"],
    )


def advanced(job: Job, record: JobProgress) -> Job:
    """The job as its progress record says it is; what never changes is taken from `job`."""
    counts = {outcome: record.counts.get(outcome.value, 0) for outcome in Outcome}
    return replace(
        job,
        state=JobState(record.state),
        reason=record.reason or None,
        run=record.run,
        applied_batch=record.batch_no,
        position_bytes=record.bytes_read,
        rows_read=record.processed_rows,
        rows_staged=max(0, record.processed_rows - sum(counts.values())),
        counts=counts,
        measured_rate=record.rate_rows_per_second,
    )
