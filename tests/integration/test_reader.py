"""The reader from end to end: real broker, database and object store, a sink that applies what arrives."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from sluice.events import RowsRead
from tests.integration.reader_world import World, open_world, own_database, running_reader, running_sink

if TYPE_CHECKING:
    from tests.integration.stack import Servers


@pytest.fixture(scope="module")
async def world(stack: Servers) -> AsyncIterator[World]:
    """A database of this module's own on the shared servers."""
    async with own_database(stack) as env, open_world(env, stack.settings(**env)) as opened:
        yield opened


def people(count: int, start: int = 1) -> bytes:
    """A CSV file of so many people."""
    lines = [
        f"person{n}@example.com,Per,Son {n},+1415555{n % 10_000:04}" for n in range(start, start + count)
    ]
    return "\r\n".join(["email,first_name,last_name,phone", *lines, ""]).encode()


def contents(batches: list[RowsRead]) -> list[tuple[object, ...]]:
    """What is the same whoever reads a file: number, rows, lines and place of each batch."""
    return [(b.batch_no, b.rows, b.lines, b.start, b.end, b.is_last) for b in batches]


def emails(batches: list[RowsRead]) -> list[str]:
    """The first cell of every row, in the order of the batches."""
    return [row[0] for batch in batches for row in batch.rows]


@pytest.mark.requirement("B-02", "S0-025", "S0-038")
async def test_every_row_of_a_file_arrives_once_and_in_order(world: World) -> None:
    """A file of many batches comes out row by row, numbered without a gap, and the job ends completed."""
    async with running_sink(world) as sink, running_reader(world):
        job_id = await world.job(people(20_000))
        job = await world.until(job_id, "completed")
    batches = sink.applied[str(job_id)]
    assert job["rows_read"] == 20_000
    assert emails(batches) == [f"person{n}@example.com" for n in range(1, 20_001)]
    assert [batch.batch_no for batch in batches] == list(range(1, len(batches) + 1))
    assert [line for batch in batches for line in batch.lines] == list(range(2, 20_002))
    assert [batch.is_last for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert max(len(batch.rows) for batch in batches) == 500


async def test_a_small_import_is_one_batch_and_comes_at_once(world: World) -> None:
    """A bell is answered within milliseconds: the poll of a second is only for bells that were missed."""
    async with running_sink(world) as sink, running_reader(world):
        await world.until(await world.job(people(10)), "completed")
        took = []
        for _ in range(5):
            started = time.monotonic()
            job_id = await world.job(people(10))
            await world.until(job_id, "completed")
            took.append(time.monotonic() - started)
            [batch] = sink.applied[str(job_id)]
            assert (len(batch.rows), batch.is_last, batch.end_state) == (10, True, "completed")
    assert sorted(took)[2] < 0.5


async def test_a_bell_that_nobody_heard_only_delays(world: World) -> None:
    """A job whose request was lost is found by asking the database."""
    async with running_sink(world), running_reader(world):
        await world.until(await world.job(people(3), ring=False), "completed", seconds=5)


async def test_headers_tell_what_the_body_tells(world: World) -> None:
    """Job, number, rows and place of a batch stand in its headers, so that a damaged body can be answered."""
    async with running_sink(world) as sink, running_reader(world):
        job_id = await world.job(people(1_200))
        await world.until(job_id, "completed")
    for batch, headers in zip(sink.arrived, sink.headers, strict=True):
        start, end = batch.start, batch.end
        assert headers == {
            "job_id": batch.job_id,
            "organization_id": batch.organization_id,
            "run": str(batch.run),
            "lease_epoch": str(batch.lease_epoch),
            "batch_no": str(batch.batch_no),
            "first_row_no": str(batch.first_row_no),
            "row_count": str(len(batch.rows)),
            "start": f"{start.part_no}:{start.byte_offset}:{start.line}:{start.row_no}",
            "end": f"{end.part_no}:{end.byte_offset}:{end.line}:{end.row_no}",
            "is_last": str(batch.is_last).lower(),
        }


async def test_parts_follow_each_other_and_never_share_a_batch(world: World) -> None:
    """Rows are numbered through all parts of a job, lines within each; a batch belongs to one part."""
    async with running_sink(world) as sink, running_reader(world):
        job_id = await world.job(people(700), people(3, start=701), people(600, start=704))
        await world.until(job_id, "completed")
    batches = sink.applied[str(job_id)]
    assert emails(batches) == [f"person{n}@example.com" for n in range(1, 1_304)]
    assert [(b.start.part_no, b.end.part_no, len(b.rows)) for b in batches] == [
        (1, 1, 500),
        (1, 1, 200),
        (2, 2, 3),
        (3, 3, 500),
        (3, 3, 100),
    ]
    assert [b.lines[0] for b in batches] == [2, 502, 2, 2, 502]


async def test_a_killed_reader_is_followed_by_one_that_sends_the_same_batches(world: World) -> None:
    """After kill -9 in the middle the next reader goes on behind the last applied batch, cut as before."""
    data = people(30_000)
    async with running_sink(world) as sink:
        async with running_reader(world):
            whole = await world.job(data)
            await world.until(whole, "completed")
        async with running_reader(world) as first:
            job_id = await world.job(data)
            await first.reaches("sluice_batches_sent_total", 15)
            await first.kill()
            sink.open.clear()
        applied_before = (await world.row(job_id))["applied_batch"]
        sink.open.set()
        async with running_reader(world):
            await world.until(job_id, "completed")
    assert applied_before < 60
    batches = sink.applied[str(job_id)]
    assert {batch.lease_epoch for batch in batches} == {1, 2}
    assert len(batches) == 60
    assert contents(batches) == contents(sink.applied[str(whole)])


async def test_what_is_lost_on_the_way_is_sent_again(world: World) -> None:
    """One batch in fifty and one answer in ten is lost, and still every row is applied once."""
    chance = random.Random(7)
    async with (
        running_sink(
            world, loses=lambda _: chance.random() < 0.02, mutes=lambda _: chance.random() < 0.1
        ) as sink,
        running_reader(world) as reader,
    ):
        job_id = await world.job(people(30_000))
        await world.until(job_id, "completed", seconds=60)
        assert await reader.metric("sluice_batches_resent_total") > 0
    assert emails(sink.applied[str(job_id)]) == [f"person{n}@example.com" for n in range(1, 30_001)]


async def test_an_answer_that_is_not_true_costs_a_lease_and_no_row(world: World) -> None:
    """A lost batch that is told to be applied is forgotten: the job is read again from where it stands."""
    lied: list[asyncio.Task[None]] = []

    def lies(batch: RowsRead) -> bool:
        if batch.batch_no != 3 or lied:
            return False
        lied.append(asyncio.create_task(sink._tell(batch)))
        return True

    async with running_sink(world, loses=lies) as sink, running_reader(world):
        job_id = await world.job(people(5_000))
        job = await world.until(job_id, "completed", seconds=60)
    assert (job["rows_read"], job["lease_epoch"]) == (5_000, 2)
    assert emails(sink.applied[str(job_id)]) == [f"person{n}@example.com" for n in range(1, 5_001)]


async def test_never_more_than_the_window_is_on_its_way(world: World) -> None:
    """While nothing is applied a large file stops at the window; another tenant's small one goes out."""
    async with running_sink(world, closed=True) as sink, running_reader(world, WINDOW_BATCHES="5") as reader:
        large = await world.job(people(20_000))
        await reader.reaches("sluice_batches_sent_total", 5)
        small = await world.job(people(10))
        await reader.reaches("sluice_batches_sent_total", 6)
        await asyncio.sleep(0.3)
        assert await reader.metric("sluice_window_batches") <= 6
        assert await reader.metric("sluice_batches_sent_total") == 6
        sink.open.set()
        await world.until(small, "completed")
        await world.until(large, "completed")


@pytest.mark.requirement("K-42")
async def test_a_cancelled_job_ends_behind_what_is_on_its_way(world: World) -> None:
    """Reading stops, and one empty last batch says cancelled; the rows before it keep their numbers."""
    async with running_sink(world, closed=True) as sink, running_reader(world, WINDOW_BATCHES="5") as reader:
        organization_id = await world.organization()
        job_id = await world.job(people(20_000), organization_id=organization_id)
        await reader.reaches("sluice_batches_sent_total", 5)
        await world.pool.execute("UPDATE import_jobs SET cancel_requested_at = now() WHERE id = $1", job_id)
        await world.ring(organization_id, job_id)
        await asyncio.sleep(0.3)
        sink.open.set()
        job = await world.until(job_id, "cancelled", seconds=5)
    batches = sink.applied[str(job_id)]
    assert (batches[-1].rows, batches[-1].is_last, batches[-1].end_state) == ([], True, "cancelled")
    assert batches[-1].start == batches[-1].end == batches[-2].end
    assert job["rows_read"] == 500 * (len(batches) - 1) < 20_000


SENT = "sluice_batches_sent_total"


async def set_state(world: World, job_id: uuid.UUID, organization_id: uuid.UUID, state: str) -> None:
    """What the API does to pause a job or to resume it."""
    await world.pool.execute("UPDATE import_jobs SET state = $2 WHERE id = $1", job_id, state)
    await world.ring(organization_id, job_id)


async def test_a_paused_job_is_left_and_taken_up_where_it_stopped(world: World) -> None:
    """What was on its way is applied meanwhile; whoever takes it up sends the rest, and no row is missing."""
    async with (
        running_sink(world, closed=True) as sink,
        running_reader(world, WINDOW_BATCHES="5") as one,
        running_reader(world, WINDOW_BATCHES="5", INSTANCE="1") as two,
    ):
        organization_id = await world.organization()
        job_id = await world.job(people(8_000), organization_id=organization_id)
        async with asyncio.timeout(30):
            while await one.metric(SENT) + await two.metric(SENT) < 5:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
            await set_state(world, job_id, organization_id, "paused")
            while (await world.row(job_id))["lease_until"] > datetime.now(UTC):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            sink.open.set()
            while (await world.row(job_id))["applied_batch"] < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        # Longer than a reader waits before it looks for jobs that nobody has.
        await asyncio.sleep(1.5)
        paused = await world.row(job_id)
        assert (paused["state"], paused["lease_epoch"], paused["rows_read"]) == ("paused", 1, 2_500)
        await set_state(world, job_id, organization_id, "processing")
        job = await world.until(job_id, "completed")
    assert (job["rows_read"], job["lease_epoch"]) == (8_000, 2)
    assert emails(sink.applied[str(job_id)]) == [f"person{n}@example.com" for n in range(1, 8_001)]


async def test_a_job_cancelled_before_it_began_ends_too(world: World) -> None:
    """The only batch of such a job is the one that ends it."""
    async with running_sink(world) as sink:
        job_id = await world.job(people(5), ring=False)
        await world.pool.execute("UPDATE import_jobs SET cancel_requested_at = now() WHERE id = $1", job_id)
        async with running_reader(world):
            await world.until(job_id, "cancelled", seconds=5)
    assert [(b.batch_no, b.rows) for b in sink.applied[str(job_id)]] == [(1, [])]


@pytest.mark.requirement("S0-010")
@pytest.mark.parametrize("change", ["overwritten", "removed"])
async def test_a_file_that_changed_ends_the_job_with_the_reason(world: World, change: str) -> None:
    """The version that was stored is read or none: never a mixture."""
    async with running_sink(world) as sink:
        job_id = await world.job(people(5), ring=False)
        key = await world.pool.fetchval("SELECT object_key FROM import_parts WHERE job_id = $1", job_id)
        if change == "overwritten":
            await world.store.put(key, people(6))
        else:
            await world.store.delete(key)
        async with running_reader(world):
            job = await world.until(job_id, "failed", seconds=5)
    assert "overwritten or removed" in job["reason"]
    assert emails(sink.applied[str(job_id)]) == []


async def test_more_rows_than_allowed_end_the_job(world: World) -> None:
    """What the door could not count is refused by the reader."""
    async with running_sink(world), running_reader(world, MAX_ROWS_ALLOWED="900"):
        job_id = await world.job(people(1_000))
        job = await world.until(job_id, "failed", seconds=5)
    assert "more than 900 rows" in job["reason"]


async def test_a_job_that_makes_no_sense_ends_with_the_reason(world: World) -> None:
    """No job hangs: one whose record cannot be read fails with a sentence."""
    async with running_sink(world), running_reader(world):
        without_parts = await world.job()
        wrong_options = await world.job(people(2), options={"exclude_rows": "all"})
        assert "no stored file" in (await world.until(without_parts, "failed", seconds=5))["reason"]
        assert "options" in (await world.until(wrong_options, "failed", seconds=5))["reason"]


async def test_excluded_rows_are_marked_and_still_sent(world: World) -> None:
    """An excluded row has an outcome like any other, so it travels, marked."""
    async with running_sink(world) as sink, running_reader(world):
        job_id = await world.job(people(1_000), options={"exclude_rows": [1, 500, 501, 1000, 4000]})
        await world.until(job_id, "completed")
    assert [batch.excluded for batch in sink.applied[str(job_id)]] == [[0, 499], [0, 499]]


async def test_a_stopped_reader_hands_its_jobs_over_at_once(world: World) -> None:
    """SIGTERM gives the leases back: the other reader goes on without waiting for them to run out."""
    async with (
        running_sink(world, closed=True) as sink,
        running_reader(world, INSTANCE="a") as first,
    ):
        job_id = await world.job(people(30_000))
        await first.reaches("sluice_batches_sent_total", 40)
        async with running_reader(world, INSTANCE="b", LEASE_SECONDS="60"):
            assert await first.stop() == 0
            sink.open.set()
            job = await world.until(job_id, "completed", seconds=10)
    assert job["lease_epoch"] == 2
    assert emails(sink.applied[str(job_id)]) == [f"person{n}@example.com" for n in range(1, 30_001)]


async def test_a_reader_that_lost_its_lease_stops_at_once(world: World) -> None:
    """Once another has the job, nothing more of it is sent, and the other's lease stays untouched."""
    async with running_sink(world, closed=True) as sink, running_reader(world, WINDOW_BATCHES="5") as reader:
        job_id = await world.job(people(20_000))
        await reader.reaches("sluice_batches_sent_total", 5)
        await world.pool.execute(
            "UPDATE import_jobs SET lease_epoch = lease_epoch + 1, lease_owner = 'other',"
            " lease_until = now() + interval '25 seconds' WHERE id = $1",
            job_id,
        )
        async with asyncio.timeout(10):
            while (await reader.health())["jobs"]:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
        sink.open.set()
        await world.until(await world.job(people(1)), "completed")
        assert await reader.metric("sluice_batches_sent_total") == 6
    job = await world.row(job_id)
    assert (job["lease_owner"], job["applied_batch"]) == ("other", 0)
    assert timedelta(0) < job["lease_until"] - datetime.now(UTC) < timedelta(seconds=25)


async def test_two_readers_share_the_jobs_of_many_tenants(world: World) -> None:
    """Each job is sent by one of them, and none is left over."""
    async with (
        running_sink(world) as sink,
        running_reader(world, INSTANCE="a"),
        running_reader(world, INSTANCE="b"),
    ):
        jobs: list[uuid.UUID] = [await world.job(people(700), ring=n % 2 == 0) for n in range(12)]
        for job_id in jobs:
            job = await world.until(job_id, "completed")
            assert (job["lease_epoch"], job["rows_read"]) == (1, 700)
            # The stand-in notes a batch right behind its commit.
            await asyncio.sleep(0.1)
            assert len(emails(sink.applied[str(job_id)])) == 700
