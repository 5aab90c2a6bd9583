"""Leases on a real PostgreSQL: one holder at a time, handed on by time, by release, and with the position."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ingress.formats.rows import Position
from ingress.reading.job import StoredOptions
from ingress.reading.postgres import Leases, open_leases
from sluice.errors import DatabaseUnavailable
from tests.integration.reader_world import World, open_world, own_database

if TYPE_CHECKING:
    from tests.integration.stack import Servers

FILE = b"email\na@example.com\n"


@pytest.fixture(scope="module")
async def world(stack: Servers) -> AsyncIterator[World]:
    """A database of this module's own on the shared servers."""
    async with own_database(stack) as env, open_world(env, stack.settings(**env)) as opened:
        yield opened


@pytest.fixture
async def readers(world: World) -> AsyncIterator[tuple[Leases, Leases]]:
    """Two readers, a and b; no job is there yet."""
    await world.pool.execute("TRUNCATE import_jobs CASCADE")
    async with AsyncExitStack() as exits:
        dsn = world.env["SINK_DATABASE_URL"]
        yield (
            await exits.enter_async_context(open_leases(dsn, "a", 60)),
            await exits.enter_async_context(open_leases(dsn, "b", 60)),
        )


async def run_out(world: World, job_id: uuid.UUID) -> None:
    """Let the lease's time be over."""
    await world.pool.execute(
        "UPDATE import_jobs SET lease_until = now() - interval '1 second' WHERE id = $1", job_id
    )


async def test_a_lease_starts_the_job_and_tells_all_that_reading_needs(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """State, epoch, position, options and parts come from one statement."""
    job_id = await world.job(FILE, FILE, options={"on_duplicate": "overwrite", "list_name": "x"}, ring=False)
    job = await readers[0].take_next()
    assert job is not None
    assert (job.id, job.lease_epoch, job.applied_batch, job.run) == (job_id, 1, 0, 1)
    assert job.position == Position(1, 0, 0, 1)
    assert job.options() == StoredOptions(on_duplicate="overwrite")
    assert [(p.part_no, p.size_bytes, p.format.columns) for p in job.parts()] == [
        (1, len(FILE), ["email"]),
        (2, len(FILE), ["email"]),
    ]
    row = await world.row(job_id)
    assert (row["state"], row["lease_owner"]) == ("processing", "a")
    assert row["started_at"] is not None


async def test_a_leased_job_is_nobody_elses(world: World, readers: tuple[Leases, Leases]) -> None:
    """While a lease holds the other reader gets nothing, by poll or by bell."""
    job_id = await world.job(FILE, ring=False)
    held = await readers[0].take_next()
    assert held is not None
    assert await readers[1].take_next() is None
    assert await readers[1].take(held.organization_id, job_id) is None


async def test_two_readers_at_once_never_get_the_same_job(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """However they race, each job is taken once."""
    jobs = {await world.job(FILE, ring=False) for _ in range(20)}
    taken = await asyncio.gather(*(reader.take_next() for reader in readers for _ in range(20)))
    ids = [job.id for job in taken if job]
    assert len(ids) == len(set(ids))
    assert set(ids) <= jobs


async def test_a_takeover_raises_the_epoch_and_reads_the_last_applied_batch(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """Whoever comes after a dead reader goes on behind what the sink has applied by then."""
    first, second = readers
    job_id = await world.job(FILE, ring=False)
    before = await first.take_next()
    assert before is not None
    await world.pool.execute(
        "UPDATE import_jobs SET applied_batch = 7, position_part = 2, position_byte = 100, position_line = 9,"
        " position_row = 42 WHERE id = $1",
        job_id,
    )
    started_at = (await world.row(job_id))["started_at"]
    await run_out(world, job_id)
    after = await second.take_next()
    assert after is not None
    assert (after.lease_epoch, after.applied_batch, after.position) == (2, 7, Position(2, 100, 9, 42))
    assert (await world.row(job_id))["started_at"] == started_at
    # The one before can do nothing to it any more.
    assert await first.renew([before]) == set()
    await first.release([before])
    assert await first.take_next() is None
    [standing] = await first.look([before])
    assert standing.lease_epoch == 2


async def test_renewal_keeps_a_lease_and_release_gives_it_back(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """A lease that ran out and that nobody took is still good for renewal."""
    first, second = readers
    job_id = await world.job(FILE, ring=False)
    job = await first.take_next()
    assert job is not None
    await run_out(world, job_id)
    assert await first.renew([job]) == {job_id}
    assert await second.take_next() is None
    await first.release([job])
    taken = await second.take_next()
    assert taken is not None
    assert taken.lease_epoch == 2


async def test_a_lease_from_before_the_clock_went_back_is_over(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """One that would hold for a day longer than any is given for keeps no job from the other reader."""
    first, second = readers
    job_id = await world.job(FILE, ring=False)
    job = await first.take_next()
    assert job is not None
    await world.pool.execute(
        "UPDATE import_jobs SET lease_until = lease_until + interval '1 day' WHERE id = $1", job_id
    )
    taken = await second.take(job.organization_id, job_id)
    assert taken is not None
    assert taken.lease_epoch == 2


async def test_renewal_waits_for_no_lock(world: World, readers: tuple[Leases, Leases]) -> None:
    """While the sink holds one job's row the other's lease is renewed all the same."""
    first, _ = readers
    locked, free = [await world.job(FILE, ring=False) for _ in range(2)]
    jobs = [job for job in (await first.take_next(), await first.take_next()) if job]
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM import_jobs WHERE id = $1 FOR UPDATE", locked)
        async with asyncio.timeout(2):
            assert await first.renew(jobs) == {free}
    assert await first.renew(jobs) == {locked, free}


@pytest.mark.parametrize("state", ["paused", "completed", "failed", "cancelled"])
async def test_jobs_in_other_states_are_left_alone(
    world: World, readers: tuple[Leases, Leases], state: str
) -> None:
    """Only what is pending or processing is read."""
    job_id = await world.job(FILE, ring=False)
    await world.pool.execute("UPDATE import_jobs SET state = 'processing' WHERE id = $1", job_id)
    await world.pool.execute("UPDATE import_jobs SET state = $2 WHERE id = $1", job_id, state)
    assert await readers[0].take_next() is None
    assert await readers[0].take((await world.row(job_id))["organization_id"], job_id) is None


async def test_full_organizations_and_shunned_jobs_are_passed_over(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """One tenant's queue does not keep the slots from others."""
    busy, other = await world.organization(), await world.organization()
    await world.job(FILE, organization_id=busy, ring=False)
    shunned = await world.job(FILE, organization_id=other, ring=False)
    wanted = await world.job(FILE, organization_id=other, ring=False)
    job = await readers[0].take_next(full={busy}, besides={shunned})
    assert job is not None
    assert job.id == wanted


async def test_the_bell_of_another_organization_opens_nothing(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """A request that names the wrong tenant finds no job."""
    job_id = await world.job(FILE, ring=False)
    assert await readers[0].take(uuid.uuid4(), job_id) is None


async def test_what_a_killed_namesake_held_is_free_at_once(
    world: World, readers: tuple[Leases, Leases]
) -> None:
    """A restarted reader need not wait for its own old leases."""
    first, second = readers
    await world.job(FILE, ring=False)
    assert await first.take_next() is not None
    await second.release_left_behind()
    assert await second.take_next() is None
    await first.release_left_behind()
    taken = await second.take_next()
    assert taken is not None
    assert taken.lease_epoch == 2


async def test_a_cancelled_job_says_so(world: World, readers: tuple[Leases, Leases]) -> None:
    """The lease and every look tell that the caller cancelled."""
    job_id = await world.job(FILE, ring=False)
    await world.pool.execute("UPDATE import_jobs SET cancel_requested_at = now() WHERE id = $1", job_id)
    job = await readers[0].take_next()
    assert job is not None
    assert job.cancelled
    [standing] = await readers[0].look([replace(job, cancelled=False)])
    assert standing.cancelled


async def test_a_database_that_is_away_is_an_outage() -> None:
    """Nothing else is raised, so that callers wait."""
    with pytest.raises(DatabaseUnavailable):
        async with open_leases("postgresql://nobody@127.0.0.1:1/nothing", "a", 60):
            pass
