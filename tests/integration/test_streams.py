"""The streams role on a real broker: what comes out of one worker, whatever becomes of it and of its disk."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from sluice.topics import IDENTITIES_CHANGELOG
from streams.steps.deduplicate import Hint
from streams.store import PartitionStore
from tests.integration.stack import Servers
from tests.integration.streams_world import (
    Reader,
    Worker,
    eventually,
    make_job,
    organization_in,
    reader_of,
)


@pytest.fixture
async def worker(stack: Servers, tmp_path: Path) -> AsyncIterator[Worker]:
    """A running worker with a directory of its own."""
    running = Worker(stack, tmp_path)
    try:
        await running.start_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
async def reader(stack: Servers) -> AsyncIterator[Reader]:
    async with reader_of(stack) as running:
        yield running


async def hints_of_the_same_again(reader: Reader, organization: str, batches: int) -> set[int]:
    """The hints of another job with the same people."""
    job = make_job(organization, batches)
    await reader.run(job)
    return {hint for batch in job for hint in reader.resolved(batch.job_id, batch.batch_no)[-1].hints}


@pytest.mark.requirement("B-03")
async def test_a_killed_worker_loses_nothing(worker: Worker, reader: Reader) -> None:
    """kill -9 at random moments: every batch comes out, and the identities are known afterwards."""
    organization = organization_in(5)
    job = make_job(organization, 120)
    running = asyncio.create_task(reader.run(job))
    moments = random.Random(7)
    for _ in range(3):
        await asyncio.sleep(moments.uniform(0.3, 1.2))
        worker.kill()
        await worker.start_ready()
    await running
    assert await hints_of_the_same_again(reader, organization, 120) == {Hint.SAME}


def wipe(directory: Path) -> None:
    """The disk is empty, as in a new container."""
    shutil.rmtree(directory)


def truncate(directory: Path) -> None:
    """Every file lost its second half, as after a crash of the host."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(directory: Path) -> None:
    """Every file holds noise."""
    noise = random.Random(3)
    for path in directory.rglob("*"):
        if path.is_file():
            path.write_bytes(noise.randbytes(path.stat().st_size or 100))


def replace_by_file(directory: Path) -> None:
    """A file stands where each database was."""
    for path in directory.rglob("*.db"):
        shutil.rmtree(path)
        path.write_text("not a database")


@pytest.mark.requirement("B-03")
@pytest.mark.parametrize("damage", [wipe, truncate, scribble, replace_by_file])
async def test_a_lost_disk_heals_from_the_changelog(
    worker: Worker, reader: Reader, damage: Callable[[Path], None]
) -> None:
    """Whatever became of the directory, the worker starts, and knows the identities again."""
    organization = organization_in(1)
    await reader.run(make_job(organization, 10))
    # A clean stop commits: nothing but the changelog can bring the identities back.
    worker.stop()
    damage(worker.directory)
    await worker.start_ready()
    assert await hints_of_the_same_again(reader, organization, 10) == {Hint.SAME}


@pytest.mark.parametrize("topic_id", ["", "of-another-broker"])
async def test_a_foreign_table_is_not_believed(worker: Worker, reader: Reader, topic_id: str) -> None:
    """A table ahead of its changelog, or of another topic, is removed and read again: no wrong hint."""
    organization = organization_in(2)
    await reader.run(make_job(organization, 3))
    worker.stop()
    tables = worker.directory / "tables" / IDENTITIES_CHANGELOG
    held = topic_id or _topic_id_of(tables, 2)
    shutil.rmtree(tables)
    foreign = PartitionStore(tables, held)
    foreign.write(2, [(b"inothing", b"x" * 48)], 10**6 if not topic_id else 0)
    foreign.close()
    await worker.start_ready()
    assert await hints_of_the_same_again(reader, organization, 3) == {Hint.SAME}


def _topic_id_of(tables: Path, partition: int) -> str:
    database = Rdict(str(tables / f"{partition}.db"), options=Options(raw_mode=True))
    held = bytes(database.get(b"\x00topic")).decode()
    database.close()
    return held


async def test_a_worker_stops_cleanly(worker: Worker) -> None:
    """SIGTERM ends it with exit code 0, SIGINT as well."""
    assert worker.stop() == 0


@pytest.mark.requirement("K-43")
async def test_nobody_passes_while_the_lists_cannot_be_read(
    stack: Servers, reader: Reader, tmp_path: Path
) -> None:
    """Without its database a worker waits, says so and can be stopped; the next one takes the batch."""
    nowhere = "postgresql://nobody:nothing@127.0.0.1:1/nothing"
    waiting = Worker(stack, tmp_path, SINK_DATABASE_URL=nowhere)
    (batch,) = make_job(organization_in(0), 1)
    try:
        waiting.start()
        await reader.send(batch)
        await eventually(
            lambda: waiting.metric('sluice_waiting{dependency="dnc"}') == 1, 60, "it waits", waiting
        )
        assert waiting.health() is None
        assert waiting.stop() == 0
    finally:
        waiting.stop()
    assert not reader.resolved(batch.job_id, 1)
    able = Worker(stack, tmp_path)
    try:
        await able.start_ready()
        await eventually(lambda: bool(reader.resolved(batch.job_id, 1)), 30, "the batch comes out", able)
    finally:
        able.stop()
