"""A job's states and the one table of transitions between them. The database enforces the same table."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from enum import StrEnum

from sluice.errors import TransitionRefused


class JobState(StrEnum):
    """Where a job is. The doors project these to their own words (docs/api.md)."""

    PENDING = "pending"
    AUTHENTICATING = "authenticating"
    UPLOADING = "uploading"
    ANALYZING = "analyzing"
    AWAITING_MAPPING = "awaiting_mapping"
    FETCHING = "fetching"
    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNDOING = "undoing"
    UNDONE = "undone"


class RunKind(StrEnum):
    """What a run of a job does. The first one imports; further ones replace the outcomes of rows (D14)."""

    IMPORT = "import"
    HEAL = "heal"
    """Refused rows, corrected, under their own numbers."""
    COMMIT = "commit"
    """A dry run's rows once more, written if every one ends as it was foretold."""


S = JobState
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    S.PENDING: frozenset(
        {S.AUTHENTICATING, S.UPLOADING, S.FETCHING, S.PROCESSING, S.PAUSED, S.FAILED, S.CANCELLED}
    ),
    S.AUTHENTICATING: frozenset({S.FETCHING, S.FAILED, S.CANCELLED}),
    S.UPLOADING: frozenset({S.ANALYZING, S.PENDING, S.FAILED, S.CANCELLED}),
    S.ANALYZING: frozenset({S.AWAITING_MAPPING, S.FAILED, S.CANCELLED}),
    S.AWAITING_MAPPING: frozenset({S.ANALYZING, S.PENDING, S.PROCESSING, S.FAILED, S.CANCELLED}),
    S.FETCHING: frozenset({S.PROCESSING, S.COMPLETED, S.FAILED, S.CANCELLED}),
    S.PROCESSING: frozenset({S.PAUSED, S.COMPLETED, S.FAILED, S.CANCELLED}),
    S.PAUSED: frozenset({S.PROCESSING, S.FAILED, S.CANCELLED}),
    # A finished job may be run again (healing, a dry run's commit) or undone.
    S.COMPLETED: frozenset({S.PROCESSING, S.UNDOING}),
    S.FAILED: frozenset({S.PROCESSING, S.UNDOING}),
    S.CANCELLED: frozenset({S.UNDOING}),
    S.UNDOING: frozenset({S.UNDONE, S.FAILED}),
    S.UNDONE: frozenset(),
}
del S

ENDED = frozenset(
    {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.UNDOING, JobState.UNDONE}
)
"""States in which no row of the job is on its way."""


def transition(current: JobState, target: JobState) -> JobState:
    """`target`, if the table allows it from `current`; staying where one is always is allowed.

    Raises:
        TransitionRefused: the table has no such arrow.
    """
    if target != current and target not in TRANSITIONS[current]:
        raise TransitionRefused(current=current.value, target=target.value)
    return target


def new_job_id(version: int = 7) -> uuid.UUID:
    """A UUID version 7 (RFC 9562): 48 bits of milliseconds, then 74 random bits, so jobs sort by birth.

    The wizard's file ids have to say version 4 (S1-064): the same bits under that number.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        milliseconds << 80
        | version << 76
        | (random >> 68 & 0xFFF) << 64
        | 0b10 << 62
        | random & (1 << 62) - 1
    )
    return uuid.UUID(int=value)
