"""Created rows are copied under one lock of their organization, not a look-up each (docs/decisions/0013)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sinks.bookkeeping import lock_jobs
from sinks.created import copy_rows
from sinks.judging import choose
from tests.integration.sink_world import Given, ImportJob, World
from tests.integration.stack import Servers

COUNT = "SELECT count(*) FROM contacts WHERE organization_id = $1"


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


async def copy_ten(world: World, job: ImportJob) -> None:
    """Ten created rows, in the transaction that is open."""
    rows = [Given({"email": f"{uuid.uuid4().hex}@example.com"}) for _ in range(10)]
    batch = world.batch(job, rows, hints=[(1, b"")] * 10)
    jobs = await lock_jobs(world.connection, [job.id])
    await copy_rows(world.connection, jobs[job.id], [(batch, choose([batch])[0].new)])


async def test_an_organization_that_goes_meanwhile_takes_the_copied_rows_along(
    world: World, stack: Servers
) -> None:
    """Who deletes it waits for the writer, and then its contacts go with it: none is left without one."""
    organization_id = await world.organization()
    job = await world.job(organization_id)
    owner = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    try:
        async with world.connection.transaction():
            await copy_ten(world, job)
            deleting = asyncio.create_task(
                owner.execute("DELETE FROM organizations WHERE id = $1", organization_id)
            )
            await asyncio.wait([deleting], timeout=0.3)
            assert not deleting.done()
            assert await world.connection.fetchval(COUNT, organization_id) == 10
        await deleting
        assert await world.connection.fetchval(COUNT, organization_id) == 0
    finally:
        await owner.close()


async def test_no_row_is_copied_for_an_organization_that_is_not_there(world: World) -> None:
    """The key of the table refuses it, as it refuses anybody else's rows."""
    job = await world.job(await world.organization())
    (locked,) = (await lock_jobs(world.connection, [job.id])).values()
    locked.organization_id = uuid.uuid4()
    batch = world.batch(job, [Given({"email": "nobody@example.com"})], hints=[(1, b"")])
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await copy_rows(world.connection, locked, [(batch, [0])])


async def test_keys_are_checked_again_behind_the_copy(world: World) -> None:
    """In the same transaction another table's row without its parent is refused."""
    job = await world.job(await world.organization())
    orphan = "INSERT INTO import_parts VALUES ($1, $1, 1, '', '', 1, '')"
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        await copy_ten(world, job)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await world.connection.execute(orphan, uuid.uuid4())
    finally:
        await transaction.rollback()


async def test_an_insert_of_a_contact_fires_no_other_trigger(world: World) -> None:
    """The copy passes the table's triggers over: one that is added must be thought of in `copy_rows`."""
    fired = await world.connection.fetch(
        """SELECT coalesce(c.conname, t.tgname) AS name
           FROM pg_trigger t LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint
           WHERE t.tgrelid = 'contacts'::regclass AND t.tgtype & 4 <> 0"""
    )
    assert [row["name"] for row in fired] == ["contacts_organization_id_fkey"]


async def test_the_local_stack_lets_the_key_rest(world: World) -> None:
    """Else every row of every measurement would pay for a look-up."""
    may = "SELECT has_parameter_privilege('session_replication_role', 'SET')"
    assert await world.connection.fetchval(may) is True
