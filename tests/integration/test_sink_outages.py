"""Trouble that is nobody's row: timeouts, deadlocks, and values that only look like trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest

from sinks.batch import Unreadable
from sluice.errors import DatabaseUnavailable, MessageUndecodable
from sluice.events import RowsResolved
from sluice.outcome import Outcome
from sluice.topics import ROWS_RESOLVED
from tests.chaos.mutants import Message, flipped
from tests.integration.sink_world import Given, World, message_of
from tests.integration.stack import Servers

FLIPS = 400
WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


@pytest.fixture
async def locker(stack: Servers) -> AsyncIterator[Any]:
    """Another session, which looks for deadlocks so late that the sink finds them first."""
    connection = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    await connection.execute("SET deadlock_timeout = '20s'")
    yield connection
    connection.terminate()


def people(count: int, **values: str) -> list[Given]:
    return [Given({"email": f"p{number}@example.com", **values}) for number in range(count)]


@pytest.mark.requirement("B-04")
@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
async def test_a_statement_that_was_cancelled_is_waited_for(world: World, locker: Any, limit: str) -> None:
    """Too slow, or too long behind another's lock: an outage, and the same group goes through afterwards."""
    job = await world.job(await world.organization(), on_duplicate="overwrite")
    await world.write(world.batch(job, people(20)))
    again = world.batch(job, people(20, first_name="Ann"))
    await world.sink.writer.execute(f"SET {limit} = '100ms'")
    async with locker.transaction():
        await locker.execute(
            "SELECT FROM contacts WHERE organization_id = $1 FOR UPDATE", job.organization_id
        )
        with pytest.raises(DatabaseUnavailable):
            await world.write(again)
    await world.write(again)
    assert await world.outcomes(job) == [Outcome.CREATED] * 20 + [Outcome.UPDATED] * 20


@pytest.mark.requirement("B-04")
async def test_a_deadlock_is_nobodys_fault(world: World, locker: Any) -> None:
    """The sink lets go of everything and tries again; no row fails, and no batch is a dead letter."""
    job = await world.job(await world.organization(), on_duplicate="overwrite")
    await world.write(world.batch(job, people(20)))
    again = world.batch(job, people(20, first_name="Ann"))
    transaction = locker.transaction()
    await transaction.start()
    await locker.execute("SELECT FROM contacts WHERE organization_id = $1 FOR UPDATE", job.organization_id)
    writing = asyncio.create_task(world.write(again))
    await waits_for_a_lock(locker)
    # The sink holds the job and waits for the contacts; now the other way round.
    await locker.execute("SELECT FROM import_jobs WHERE id = $1 FOR UPDATE", job.id)
    await transaction.commit()
    written = await asyncio.wait_for(writing, 20)
    assert written.dead == []
    assert await world.outcomes(job) == [Outcome.CREATED] * 20 + [Outcome.UPDATED] * 20


@pytest.mark.requirement("B-04")
async def test_a_deadlock_that_does_not_end_is_an_outage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried together and singly, then waited for: never `failed`, never a dead letter."""
    job = await world.job(await world.organization())
    batch = world.batch(job, people(3))

    async def deadlocked(*_: Any) -> None:
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    with monkeypatch.context() as patched:
        patched.setattr("sinks.segment.copy_rows", deadlocked)
        with pytest.raises(DatabaseUnavailable):
            await world.write(batch)
    await world.write(batch)
    assert await world.outcomes(job) == [Outcome.CREATED] * 3


@pytest.mark.requirement("B-04")
async def test_a_number_that_no_column_holds_is_no_outage(world: World) -> None:
    """The client refuses to send it, which says nothing of the database: a dead letter, and all goes on."""
    job = await world.job(await world.organization())
    message = message_of(job, people(2), None, "")
    start = msgspec.structs.replace(message.start, part_no=1 << 40)
    written = await world.write(world.arrival(msgspec.structs.replace(message, start=start)))
    assert [isinstance(letter, Unreadable) for letter in written.dead] == [True]
    await world.write(world.arrival(message))
    assert await world.outcomes(job) == [Outcome.CREATED] * 2


@pytest.mark.requirement("B-04")
async def test_a_batch_that_flipped_bits_made_is_no_outage(world: World) -> None:
    """Whatever a readable batch says, it is written, dropped or buried: the partition never waits for it."""
    chance, organization_id, went_on = Random(3), await world.organization(), 0
    for _ in range(FLIPS):
        job = await world.job(organization_id)
        value = world.codec.encode(ROWS_RESOLVED.name, message_of(job, people(3), None, ""))
        damaged = flipped(Message(ROWS_RESOLVED.name, 0, None, value, ()), chance)
        try:
            arrival = world.arrival(world.codec.decode(ROWS_RESOLVED.name, RowsResolved, damaged.value))
        except MessageUndecodable:
            continue
        await world.write(arrival)
        went_on += 1
    assert went_on > FLIPS / 10


async def waits_for_a_lock(connection: Any) -> None:
    """Return when somebody waits for what this session holds."""
    async with asyncio.timeout(10):
        while not await connection.fetchval(WAITERS):  # noqa: ASYNC110 - it asks the database
            await asyncio.sleep(0.02)
