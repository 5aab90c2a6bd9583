"""Progress: absolute counts, a rate over the last seconds, and nothing that falls."""

from __future__ import annotations

from pathlib import Path

import faust
import msgspec
import pytest

from sluice.events import BatchApplied
from sluice.topics import PROGRESS_CHANGELOG, STREAMS_GROUP
from streams.progress import JobState, ProgressTable, Sample, advanced, processed_rows, progress_of, rate
from streams.store import PartitionStore
from tests.unit.streams.batches import JOB, ORGANIZATION, START, Sent

APPLIED = BatchApplied(
    organization_id=ORGANIZATION, job_id=str(JOB), run=1, lease_epoch=1, batch_no=1, staged=False,
    first_row_no=1, row_count=500, state="processing", reason="", counts={"created": 400, "invalid": 100},
    end=START, is_last=False, applied_at=10_000, partition=0, next_offset=1,
)  # fmt: skip


def applied(batch_no: int, rows: int, at: int) -> BatchApplied:
    return msgspec.structs.replace(APPLIED, batch_no=batch_no, counts={"created": rows}, applied_at=at)


@pytest.mark.requirement("B-05")
def test_the_rate_is_that_of_the_last_seconds() -> None:
    """A fast start long ago says nothing about now."""
    state = advanced(None, applied(1, 0, 0))
    state = advanced(state, applied(2, 100_000, 1_000))
    state = advanced(state, applied(3, 100_100, 7_000))
    state = advanced(state, applied(4, 100_200, 8_000))
    assert rate(state.samples) == 100.0
    assert progress_of(state, applied(4, 100_200, 8_000)).processed_rows == 100_200


@pytest.mark.parametrize(
    "samples", [[], [Sample(1, 5)], [Sample(5, 5), Sample(5, 9)], [Sample(1, 9), Sample(2, 5)]]
)
def test_no_rate_is_zero(samples: list[Sample]) -> None:
    """One sample, one moment, or a new run that starts over."""
    assert rate(samples) == 0.0


def test_many_batches_a_second_keep_few_samples() -> None:
    """The table's entry stays small whatever the speed."""
    state: JobState | None = None
    for number in range(1, 500):
        state = advanced(state, applied(number, number, number))
    assert state is not None
    assert len(state.samples) <= 32


def test_staged_rows_count_as_processed() -> None:
    """They have no outcome until the job's end, and were read all the same."""
    staged = msgspec.structs.replace(APPLIED, staged=True, counts={}, first_row_no=501)
    assert processed_rows(staged) == 1000
    assert processed_rows(APPLIED) == 500


@pytest.fixture
def table(tmp_path: Path) -> ProgressTable:
    app = faust.App(STREAMS_GROUP, id_format="{id}", autodiscover=False, store="memory://")
    store = PartitionStore(tmp_path, "topic")
    store.hold(0)
    return ProgressTable(app, store, Sent())


@pytest.mark.requirement("B-05")
async def test_an_older_batch_publishes_nothing_and_a_repeat_the_same(table: ProgressTable) -> None:
    """After a crash between table and topic the repeat must publish; an older one must not."""
    first = await table.advance(0, applied(1, 10, 1000))
    second = await table.advance(0, applied(2, 20, 2000))
    assert await table.advance(0, applied(1, 10, 1000)) is None
    assert await table.advance(0, applied(2, 20, 2000)) == second
    assert first is not None
    assert second is not None
    assert (first.processed_rows, second.processed_rows) == (10, 20)
    sent = table._sender
    assert isinstance(sent, Sent)
    assert [topic for topic, *_ in sent.messages] == [PROGRESS_CHANGELOG] * 2


async def test_an_entry_of_another_version_starts_over(table: ProgressTable) -> None:
    """Counts are absolute: nothing is lost but the rate of one batch."""
    table.table.partition_store.write(0, [(str(JOB).encode(), b"\xc1 not ours")], offset=5)
    progress = await table.advance(0, applied(3, 30, 1000))
    assert progress is not None
    assert progress.processed_rows == 30


@pytest.mark.requirement("B-05")
async def test_frames_of_a_running_job_keep_their_distance_and_its_end_is_always_told(
    table: ProgressTable,
) -> None:
    """Batches that come together make one frame; a change of state and the last batch are never left out."""
    assert await table.advance(0, applied(1, 10, 1000)) is not None
    assert await table.advance(0, applied(2, 20, 1050)) is None
    late = await table.advance(0, applied(3, 30, 1100))
    assert late is not None
    assert late.processed_rows == 30
    ended = msgspec.structs.replace(applied(4, 40, 1110), is_last=True)
    assert await table.advance(0, ended) is not None
    paused = msgspec.structs.replace(applied(5, 50, 1120), state="paused")
    assert await table.advance(0, paused) is not None
    rerun = msgspec.structs.replace(applied(6, 60, 1130), run=2)
    assert await table.advance(0, rerun) is not None
