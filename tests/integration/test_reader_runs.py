"""The reader in further runs: scattered rows under their own numbers, batches numbered on, after any kill."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from ingress.database import statements
from ingress.formats.corrected import ADDED, corrections_of, row_token
from ingress.formats.inspect import inspect_head
from sluice.events import RowsRead
from tests.integration.reader_world import World, open_world, own_database, running_reader, running_sink
from tests.integration.test_reader import people

if TYPE_CHECKING:
    from tests.integration.stack import Servers

RUNS = statements("runs")
OWN = ["email", "first_name", "last_name", "phone"]


@pytest.fixture(scope="module")
async def world(stack: Servers) -> AsyncIterator[World]:
    """A database of this module's own on the shared servers."""
    async with own_database(stack) as env, open_world(env, stack.settings(**env)) as opened:
        yield opened


async def heal(world: World, job_id: uuid.UUID, numbers: Sequence[int]) -> None:
    """A healing of these rows, as the door begins it."""
    lines = [f"healed{n}@example.com;A;B;;{n};why;{row_token(job_id, n)}" for n in numbers]
    data = "\r\n".join([";".join([*OWN, *ADDED]), *lines, ""]).encode()
    head = inspect_head(data, complete=True)
    part = {
        "columns": OWN,
        "encoding": head.dialect.encoding,
        "delimiter": head.dialect.delimiter,
        "first": {"byte_offset": head.first.byte_offset, "line": head.first.line},
        "corrections": msgspec.to_builtins(corrections_of(OWN, head.columns)),
    }
    key = f"{job_id}/{uuid.uuid4()}"
    etag, form = await world.store.put(key, data), msgspec.json.encode(part).decode()
    await world.pool.execute(
        RUNS["begin_healing"], job_id, key, etag, len(data), "sha", form, datetime.now(UTC)
    )


def rows_of(batches: Sequence[RowsRead]) -> list[tuple[int, str]]:
    return [(batch.first_row_no + i, row[0]) for batch in batches for i, row in enumerate(batch.rows)]


async def test_corrected_rows_are_sent_under_their_own_numbers(world: World) -> None:
    """A batch for each stretch of consecutive rows, under the next batch numbers, the next run and lease."""
    async with running_sink(world) as sink, running_reader(world):
        job_id = await world.job(people(20))
        await world.until(job_id, "completed")
        await heal(world, job_id, [3, 4, 5, 9, 12, 11])
        job = await world.until(job_id, "completed")
    first, *healed = sink.applied[str(job_id)]
    assert (first.run, first.batch_no) == (1, 1)
    assert [(b.batch_no, b.run, b.first_row_no, len(b.rows)) for b in healed] == [
        (2, 2, 3, 3),
        (3, 2, 9, 1),
        (4, 2, 12, 1),
        (5, 2, 11, 1),
    ]
    assert [batch.lines for batch in healed] == [[2, 3, 4], [5], [6], [7]]
    assert all(batch.columns == OWN and batch.start.part_no == 2 for batch in healed)
    assert healed[0].rows[0] == ["healed3@example.com", "A", "B", ""]
    assert {batch.lease_epoch for batch in healed} == {first.lease_epoch + 1}
    assert (job["run"], job["applied_batch"], job["position_part"]) == (2, 5, 2)


async def test_a_reader_killed_in_a_healing_is_followed_by_the_next(world: World) -> None:
    """Every corrected row once and in order, from where the last applied batch ended; batch numbers go on."""
    numbers = [n for n in range(1, 4001) if n % 2]
    async with running_sink(world) as sink:
        async with running_reader(world) as reader:
            job_id = await world.job(people(4000))
            await world.until(job_id, "completed")
        before = len(sink.applied[str(job_id)])
        await heal(world, job_id, numbers)
        for _ in range(2):
            async with running_reader(world, INSTANCE="killed") as reader:
                await reader.reaches("sluice_batches_sent_total", 100)
                await reader.kill()
        async with running_reader(world, INSTANCE="killed"):
            job = await world.until(job_id, "completed")
    healed = sink.applied[str(job_id)][before:]
    assert rows_of(healed) == [(n, f"healed{n}@example.com") for n in numbers]
    assert [batch.batch_no for batch in healed] == list(range(before + 1, before + len(healed) + 1))
    assert len({batch.lease_epoch for batch in healed}) == 3
    assert (job["run"], job["state"]) == (2, "completed")


async def test_a_commit_sends_the_whole_file_again(world: World) -> None:
    """From its first part's first row, under the next run."""
    async with running_sink(world) as sink, running_reader(world):
        job_id = await world.job(people(700), people(30, 701), options={"dry_run": True})
        await world.until(job_id, "completed")
        await world.pool.execute(RUNS["begin_commit"], job_id, datetime.now(UTC))
        await world.until(job_id, "completed")
    batches = sink.applied[str(job_id)]
    runs = [[batch for batch in batches if batch.run == run] for run in (1, 2)]
    assert rows_of(runs[0]) == rows_of(runs[1])
    assert [batch.start for batch in runs[0]] == [batch.start for batch in runs[1]]
    assert [batch.batch_no for batch in batches] == list(range(1, len(batches) + 1))
