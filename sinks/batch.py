"""What arrives at the sink: a decoded batch of rows with where it came from, or a message nobody can read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from sluice import events
from sluice.contact import CUSTOM, FIELDS, TARGETS
from sluice.errors import MessageUndecodable
from sluice.events import DncMark, RowsResolved
from sluice.job import JobState, RunKind
from sluice.outcome import Drop, FieldFault, Outcome
from sluice.rules import MatchOn, OnDuplicate, Policy, Row

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = frozenset({*FIELDS, "phone_formatted"})
MAX_ROW_NO = (1 << 32) - 1
"""A contact's id has 32 bits for the row (docs/decisions/0004)."""

SETTLED = frozenset(
    {Outcome.EXCLUDED, Outcome.NO_IDENTITY, Outcome.INVALID, Outcome.SUPPRESSED_DNC, Outcome.FAILED}
)
"""Outcomes that a row may have before the database is asked."""


class Hint(IntEnum):
    """What the stream believes of a row (`RowsResolved.hints`)."""

    NONE = 0
    NEW = 1
    IS = 2
    SAME = 3
    CONFLICT = 4


IDS_OF_HINT = (0, 0, 1, 1, 2)
"""How many contact ids `RowsResolved.hinted` holds for each hint."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a message stands in imports.rows-resolved.v1."""

    partition: int
    offset: int


@dataclass(slots=True)
class Batch:
    """One RowsResolved, checked as far as the rest of the sink relies on it."""

    message: RowsResolved
    position: Position
    data: bytes
    job_id: uuid.UUID
    organization_id: uuid.UUID
    policy: Policy
    drops: Mapping[int, Drop]
    marks: Mapping[int, dict[str, str]]
    columns: Mapping[str, int]

    @property
    def row_count(self) -> int:
        return len(self.message.rows)

    @property
    def is_alone(self) -> bool:
        """Whether the batch is a group of its own: it judges everything that was staged before it (D14)."""
        options = self.message.options
        return self.message.is_last and (options.dry_run or options.mode == "atomic")

    def row(self, index: int) -> Row:
        """One row as the row rules take it."""
        message = self.message
        row_no = message.first_row_no + index
        drop = self.drops.get(index)
        if drop is not None:
            return Row(row_no, drop=drop)
        cells = zip(message.fields, message.rows[index], strict=True)
        if message.options.blanks == "clear":
            values = dict(cells)
        else:
            values = {name: value for name, value in cells if value}
        times = message.modified_at
        modified_at = from_milliseconds(times[index]) if times and times[index] else None
        return Row(row_no, values, self.marks.get(index), modified_at)

    def hints(self) -> Iterator[tuple[int, int, bytes]]:
        """Index, hint and the first contact id of it, for every row."""
        hinted = self.message.hinted
        start = 0
        for index, hint in enumerate(self.message.hints or bytes(self.row_count)):
            end = start + 16 * IDS_OF_HINT[hint]
            yield index, hint, hinted[start : min(end, start + 16)]
            start = end


@dataclass(slots=True)
class Unreadable:
    """A message that could not be decoded: it becomes a dead letter, and its headers say what it was."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    problem: str
    names_a_batch: bool = True
    """Whether its headers may be believed: not where its value said otherwise."""


Arrival = Batch | Unreadable


@dataclass(slots=True)
class Job:
    """A locked import job: what the sink reads of it, and what it moves on."""

    id: uuid.UUID
    organization_id: uuid.UUID
    created_by: uuid.UUID
    target_list_id: uuid.UUID | None
    options: Mapping[str, object]
    state: JobState
    reason: str | None
    cancel_requested: bool
    run: int
    lease_epoch: int
    applied_batch: int
    created_at: datetime
    rows_read: int = 0
    rows_staged: int = 0
    counts: dict[Outcome, int] = field(default_factory=dict)
    run_kind: RunKind = RunKind.IMPORT
    ended_as: JobState | None = None
    ended_reason: str | None = None
    """In a further run: how the import itself ended."""

    @property
    def is_dry_run(self) -> bool:
        return bool(self.options.get("dry_run"))

    @property
    def is_further_run(self) -> bool:
        """Whether its rows have outcomes already, which this run replaces."""
        return self.run_kind is not RunKind.IMPORT

    @property
    def is_staged(self) -> bool:
        """Whether its rows wait for the last batch (D14); the answer to a damaged batch cannot say."""
        return self.is_dry_run or self.options.get("mode") == "atomic"


def from_milliseconds(milliseconds: int) -> datetime:
    """The time behind a wire value; exact, unlike a float of seconds."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(moment: datetime) -> int:
    """The wire value of a time, cut to the millisecond."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def batch_of(message: RowsResolved, position: Position, data: bytes) -> Batch:
    """A decoded message, checked.

    Raises:
        MessageUndecodable: its parts contradict each other, or name what does not exist.
    """
    try:
        _check(message)
        job_id = uuid.UUID(message.job_id)
        options = message.options
        policy = Policy(
            job_id=job_id,
            written_at=from_milliseconds(options.created_at),
            on_duplicate=OnDuplicate(options.on_duplicate),
            match_on=MatchOn(options.match_on),
        )
        return Batch(
            message=message,
            position=position,
            data=data,
            job_id=job_id,
            organization_id=uuid.UUID(message.organization_id),
            policy=policy,
            drops={refusal.index: _drop(refusal.outcome, refusal.faults) for refusal in message.refusals},
            marks={mark.index: _mark(mark) for mark in message.marks},
            columns={name: index for index, name in enumerate(message.fields)},
        )
    except (ValueError, OverflowError) as error:
        raise MessageUndecodable(problem=f"{error}.") from error


def _check(message: RowsResolved) -> None:
    rows, width = message.rows, len(message.fields)
    count = len(rows)
    facts = {
        "the rows are not as wide as the fields": all(len(row) == width for row in rows),
        "the fields repeat or are none of ours": len(set(message.fields)) == width
        and all(name in COLUMNS or name.startswith(CUSTOM) for name in message.fields),
        "the lines do not match the rows": len(message.lines) == count,
        "the times do not match the rows": len(message.modified_at) in (0, count),
        "the hints do not match the rows": len(message.hints) in (0, count),
        "a hint is none of ours": not message.hints or max(message.hints) < len(IDS_OF_HINT),
        "the fingerprints do not match the rows": len(message.fingerprints) == 16 * count,
        "row numbers are out of range": 1 <= message.first_row_no <= MAX_ROW_NO - count,
        "the target is unknown": message.target in TARGETS,
        "a refusal is of no row": all(0 <= refusal.index < count for refusal in message.refusals),
        "a mark is of no row": all(0 <= mark.index < count for mark in message.marks),
        "the end is no state a job ends in": not message.is_last
        or message.end_state in (JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED),
    }
    for problem, holds in facts.items():
        if not holds:
            raise ValueError(problem)
    named = sum([IDS_OF_HINT[hint] for hint in message.hints])
    if len(message.hinted) != 16 * named:
        raise ValueError("the hinted contacts do not match the hints")


def _drop(outcome: str, faults: Sequence[events.FieldFault]) -> Drop:
    known = Outcome(outcome)
    if known not in SETTLED:
        raise ValueError(f"a row cannot be refused as {outcome}")
    return Drop(known, tuple(FieldFault(f.field, f.code, f.message, f.value) for f in faults))


def _mark(mark: DncMark) -> dict[str, str]:
    given = {"do_not_call": "true", "dnc_list_id": mark.list_id, "dnc_reason": mark.reason}
    return {name: value for name, value in given.items() if value}
