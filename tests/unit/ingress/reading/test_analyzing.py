"""An analysis ends: told in the right order, given up after a few tries, with no thread left behind."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from ingress.analysis.analysis import Analysis
from ingress.formats.parts import FirstRow, PartFormat
from ingress.formats.rows import Position, RowChunk
from ingress.reading import analyzing
from ingress.reading.analyzing import JobAnalyzing
from ingress.reading.batches import Limits
from ingress.reading.job import Ending, LeasedJob, Part, Standing
from ingress.reading.opening import Opening
from ingress.reading.sending import TRIES, Surroundings
from ingress.reading.source import Source
from ingress.state import StateTooLarge, analysis_key, progress_key
from sluice.job import JobState
from sluice.telemetry import Telemetry

DATA = b"email\n" + b"ana@example.com\n" * 10
TELEMETRY = Telemetry("reader")


class World:
    """What the reader tells, in order: values of the state, and what becomes of the job."""

    def __init__(self, *, held: bool = True) -> None:
        self.told: list[Any] = []
        self.refusal: Exception | None = None
        self._held = held

    async def set(self, organization_id: uuid.UUID, key: str, value: Mapping[str, Any]) -> None:
        """A state store's; keeping a summary fails when it is told to."""
        if "columnSummary" in value and self.refusal is not None:
            raise self.refusal
        self.told.append((key, value.get("status")))

    async def read(self, key: str, etag: str, start: int, end: int) -> bytes:
        """The one object."""
        return DATA[start:end]

    async def analyzed(self, job: LeasedJob) -> bool:
        """The job waits for its mapping."""
        self.told.append("awaiting_mapping")
        return self._held

    async def end_analysis(self, job: LeasedJob, ending: Ending) -> None:
        """It has ended."""
        self.told.append((ending.state, ending.reason))

    async def remembered(self, job: LeasedJob, columns: list[str]) -> None:
        """Nothing is."""


def job() -> LeasedJob:
    form = PartFormat(columns=["email"], first=FirstRow(byte_offset=6, line=2))
    part = Part(part_no=1, object_key="file", etag="e", size_bytes=len(DATA), format=form)
    return LeasedJob(
        id=uuid.uuid4(),
        organization_id=uuid.uuid4(),
        run=1,
        lease_epoch=1,
        applied_batch=0,
        position=Position(1, 0, 1, 1),
        cancelled=False,
        stored_options={},
        stored_parts=[msgspec.to_builtins(part)],
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        state="analyzing",
    )


def analysis_in(world: World) -> JobAnalyzing:
    source = Source(world, TELEMETRY)
    anything = cast("Any", world)
    around = Surroundings(
        source=source,
        opening=Opening(anything, source, anything, 1_000, TELEMETRY, anything),
        state=anything,
        leases=anything,
        outbound=anything,
        codec=anything,
        limits=Limits(500, 512 * 1024, 1_000),
        window_batches=1,
        clock=anything,
        telemetry=TELEMETRY,
    )
    return JobAnalyzing(job(), around, 0.0)


async def test_complete_is_told_when_the_job_can_be_mapped() -> None:
    """Who reads it and maps at once finds an analysis and a job that waits for it."""
    world = World()
    analysis = analysis_in(world)
    await analysis.run()
    progress, summary = progress_key(analysis.job.id), analysis_key(analysis.job.id)
    assert world.told == [
        (progress, "analyzing"),
        (summary, None),
        "awaiting_mapping",
        (progress, "complete"),
    ]


async def test_a_reader_that_lost_its_job_does_not_call_it_complete() -> None:
    """Another one analyzes it by now."""
    world = World(held=False)
    await analysis_in(world).run()
    assert world.told[-1] == "awaiting_mapping"


async def test_a_job_that_is_seen_to_wait_is_still_told_complete() -> None:
    """The database's answer to a question between the two is no loss of the job."""
    world = World()
    analysis = analysis_in(world)
    analysis.stands(Standing(analysis.job.id, 1, 0, JobState.AWAITING_MAPPING, cancelled=False))
    await analysis.run()
    assert world.told[-1] == (progress_key(analysis.job.id), "complete")


@pytest.mark.parametrize(
    ("refusal", "tries", "reason"),
    [
        (StateTooLarge(size=9_000_000, limit=8_388_608), 1, "takes 9000000 bytes"),
        (RuntimeError("no"), TRIES, "RuntimeError"),
    ],
)
async def test_a_summary_that_cannot_be_kept_ends_the_job(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception, tries: int, reason: str
) -> None:
    """At once where it can never be, else after a few tries; in the progress and in the job."""
    monkeypatch.setattr(analyzing, "TRY_AGAIN_SECONDS", 0)
    world = World()
    world.refusal = refusal
    analysis = analysis_in(world)
    await analysis.run()
    progress = progress_key(analysis.job.id)
    *before, (state, said) = world.told
    assert before == [(progress, "analyzing")] * tries + [(progress, "error")]
    assert state == "failed"
    assert reason in said


async def test_a_thread_that_works_for_a_lost_job_ends_before_the_job_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It uses the analysis and its temporary file, which go with the job."""
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    used: list[bool] = []

    def add(self: Analysis, chunk: RowChunk) -> None:
        begun.set()
        go_on.wait(10)
        used.append(closed.is_set())

    def close(self: Analysis, *reason: object) -> None:
        closed.set()
        as_it_is(self, *reason)

    as_it_is = Analysis.__exit__
    monkeypatch.setattr(Analysis, "add", add)
    monkeypatch.setattr(Analysis, "__exit__", close)
    analysis = analysis_in(World())
    running = asyncio.create_task(analysis.run())
    await asyncio.to_thread(begun.wait, 10)
    analysis.lost("another reader has it")
    await asyncio.sleep(0.05)
    assert not running.done()
    go_on.set()
    await running
    assert (used, closed.is_set()) == ([False], True)
