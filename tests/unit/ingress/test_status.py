"""Progress in memory: what is fresh, what is behind, and who waits for the end."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from ingress.status import FRESH_SECONDS, Progress
from sluice.clock import FakeClock
from sluice.events import JobProgress

JOB = uuid.UUID(int=7)


def record(batch_no: int, state: str = "processing", run: int = 1) -> JobProgress:
    """A record of the job."""
    return JobProgress(
        job_id=str(JOB),
        organization_id=str(uuid.UUID(int=1)),
        run=run,
        batch_no=batch_no,
        state=state,
        reason="",
        counts={},
        processed_rows=batch_no,
        bytes_read=0,
        rate_rows_per_second=0.0,
        updated_at=0,
    )


def test_a_record_is_shown_while_it_is_fresh() -> None:
    """After a second without news the database answers again."""
    clock = FakeClock()
    progress = Progress(clock)
    progress.hear(record(1))
    assert progress.latest(JOB) == record(1)
    clock.advance(FRESH_SECONDS + 0.1)
    assert progress.latest(JOB) is None


def test_an_older_batch_is_no_news() -> None:
    """Records may be repeated and come late; a later run's batch is newer than all of the last run's."""
    progress = Progress(FakeClock())
    for each in (record(5), record(3), record(5)):
        progress.hear(each)
    assert progress.latest(JOB) == record(5)
    progress.hear(record(2, run=2))
    assert progress.latest(JOB) == record(2, run=2)


def test_nothing_behind_what_the_database_showed_is_shown() -> None:
    """So counters never fall from one answer to the next."""
    progress = Progress(FakeClock())
    progress.shown(JOB, 6)
    progress.hear(record(5))
    assert progress.latest(JOB) is None
    progress.hear(record(6))
    assert progress.latest(JOB) == record(6)


def test_an_ended_job_is_the_databases() -> None:
    """Final states are never told from memory, and leave none of it taken."""
    progress = Progress(FakeClock())
    progress.hear(record(1))
    progress.hear(record(2, "completed"))
    assert progress.latest(JOB) is None
    assert not progress._heard


def has_ended(state: str) -> bool:
    """What the database said."""
    return state in ("completed", "failed")


async def test_who_waits_is_woken_by_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of the end wakes at once; the database has the last word."""
    progress = Progress(FakeClock())
    asked: list[str] = []

    async def read() -> str:
        asked.append("asked")
        return "completed"

    monkeypatch.setattr("ingress.status.FIRST_POLL_SECONDS", 60.0)
    monkeypatch.setattr("ingress.status.LAST_POLL_SECONDS", 60.0)
    waiting = asyncio.create_task(progress.wait_for_end(JOB, read, has_ended, 120))
    await asyncio.sleep(0)
    progress.hear(record(2, "completed"))
    assert await asyncio.wait_for(waiting, 10) == "completed"
    assert asked == ["asked"]
    assert not progress._waiting


async def test_who_waits_asks_the_database_when_nothing_is_heard() -> None:
    """A broker that is away makes nobody wait longer than the database does."""
    progress = Progress(FakeClock())
    states = iter(["pending", "processing", "failed"])

    async def read() -> str:
        return next(states)

    assert await progress.wait_for_end(JOB, read, has_ended, 120) == "failed"


async def test_waiting_has_an_end() -> None:
    """No longer than was asked for; the answer is how it is then."""
    clock = FakeClock()
    progress = Progress(clock)

    async def read() -> str:
        clock.advance(5)
        return "processing"

    assert await progress.wait_for_end(JOB, read, has_ended, 10) == "processing"
    assert clock.monotonic() == 10
    assert await progress.wait_for_end(JOB, read, has_ended, 0) == "processing"
