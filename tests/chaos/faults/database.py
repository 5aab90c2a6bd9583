"""PostgreSQL that answers late, refuses, forgets its clients or has no disk: an outage, never a row's fault.

Between the roles and the server stands a proxy of ours; lockers of ours hold what the roles need.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.chaos.faults import Bites, fault
from tests.chaos.proxied import database_proxy
from tests.chaos.signals import Logs

if TYPE_CHECKING:
    from tests.chaos.world import World

ROUNDS = 20
SHARE = 0.9
"""Rows behind which nothing is struck any more: a round must come to its end."""
WORKERS = "sluice_sink"
"""The database role of reader, streams, sink and tasks."""
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
LOCK_SECONDS = (0.5, 3.0)

Blow = Callable[["World", Random, Bites], Awaitable[None]]


@asynccontextmanager
async def striking(world: World, chance: Random, bites: Bites, blow: Blow, pause: tuple[float, float]) -> Any:
    """Strike again and again, with pauses between these seconds, while most of the rows are still to come.

    Whoever is struck before it has got anywhere since the last blow gets nowhere on a slow machine.
    """

    async def strike() -> None:
        before = 0
        while True:
            await asyncio.sleep(chance.uniform(*pause))
            if before < (now := await world.imported()) < SHARE * world.rows:
                before = now
                await blow(world, chance, bites)

    task = asyncio.create_task(strike())
    try:
        yield bites
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@fault("database-resets", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def resets(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Connections are reset: all at once, in the middle of a COPY, at the door; or swallowed, or slow."""
    proxy = await database_proxy(world)
    bites = Counter({"cut": 0, "cut in COPY": 0})
    before = proxy.bites.copy()
    proxy.copies_to_cut = 1

    async def blow(world: World, chance: Random, bites: Bites) -> None:
        match chance.choice(("cut", "copy", "copy", "door", "hole", "slow")):
            case "cut":
                proxy.cut()
            case "copy":
                proxy.copies_to_cut += 1
            case "door":
                proxy.refusing = True
                proxy.cut()
                await asyncio.sleep(chance.uniform(0.5, 3))
            case "hole":
                proxy.pause()
                await asyncio.sleep(chance.uniform(0.5, 4))
            case "slow":
                proxy.delay_seconds = 0.02
                await asyncio.sleep(chance.uniform(1, 3))
        proxy.let_through()

    try:
        async with striking(world, chance, bites, blow, (0.3, 2.0)):
            yield bites
    finally:
        proxy.heal()
        bites.update(proxy.bites - before)


@fault("database-replies-lost", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def replies_lost(world: World, chance: Random) -> AsyncIterator[Bites]:
    """A COMMIT takes place and its answer is lost: whether it did is not known, and found out."""
    proxy = await database_proxy(world)
    bites = Counter({"reply lost": 0, "batches repeated": 0})
    before = proxy.bites.copy()
    repeated = world.counted("sluice_batches_repeated_total", "sink")

    async def blow(world: World, chance: Random, bites: Bites) -> None:
        proxy.replies_to_lose = chance.choice((1, 1, 2, 3))

    try:
        async with striking(world, chance, bites, blow, (0.2, 2.0)):
            yield bites
    finally:
        proxy.heal()
        bites.update(proxy.bites - before)
    await asyncio.sleep(1)
    bites["batches repeated"] = int(world.counted("sluice_batches_repeated_total", "sink") - repeated)


@fault("database-timeouts", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def timeouts(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Statements are cancelled because they take too long, or wait too long for a lock that we hold."""
    logs = Logs(world)
    bites = Counter({"limits set": 0})

    async def blow(world: World, chance: Random, bites: Bites) -> None:
        limits = chance.choice(
            ({"statement_timeout": "40ms"}, {"lock_timeout": "100ms"}, {"statement_timeout": "200ms"})
        )
        await _limit(world, limits)
        bites["limits set"] += 1
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(_hold(world, chance, chance.uniform(*LOCK_SECONDS)))
        await _limit(world, {})

    try:
        async with striking(world, chance, bites, blow, (0.3, 1.5)):
            yield bites
    finally:
        await _limit(world, {})
        bites["statements cancelled"] = logs.count(
            "postgres", "due to statement timeout", "due to lock timeout"
        )


async def _limit(world: World, limits: dict[str, str]) -> None:
    """Set limits for the workers' role, or take them away; sessions of now end, so that they are in force."""
    await world.database.execute(f"ALTER ROLE {WORKERS} RESET ALL")
    for name, value in limits.items():
        await world.database.execute(f"ALTER ROLE {WORKERS} SET {name} = '{value}'")
    await world.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", WORKERS
    )


async def _hold(world: World, chance: Random, seconds: float) -> None:
    """Hold a lock that the sink needs: a table whole, jobs, or many contacts."""
    statement = chance.choice(
        (
            "LOCK TABLE contacts IN SHARE MODE",
            "LOCK TABLE import_batches IN EXCLUSIVE MODE",
            "SELECT FROM import_jobs WHERE organization_id = ANY ($1::uuid[]) FOR UPDATE",
            "SELECT FROM contacts WHERE organization_id = ANY ($1::uuid[]) ORDER BY id LIMIT 5000 FOR UPDATE",
        )
    )
    async with world.database.acquire() as connection:
        with suppress(*AWAY):
            async with asyncio.timeout(10), connection.transaction():
                await connection.fetch(statement, *([world.organizations] if "$1" in statement else []))
                await asyncio.sleep(seconds)


@fault("database-deadlocks", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def deadlocks(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Lockers take what the sink takes in the opposite order; the sink is the one who is let down."""
    bites = Counter({"deadlocks": 0})
    before, ours = await _deadlocks(world), Counter[str]()

    async def blow(world: World, chance: Random, bites: Bites) -> None:
        organization = chance.choice(world.organizations)
        try:
            await chance.choice((_contacts_backwards, _contacts_then_jobs))(world, organization, chance)
        except asyncpg.DeadlockDetectedError:
            ours["victim"] += 1
        except AWAY:
            pass

    try:
        async with striking(world, chance, bites, blow, (0.05, 0.5)):
            yield bites
    finally:
        # The statistics are written a second after the transaction's end.
        await asyncio.sleep(1.5)
        bites["deadlocks"] = await _deadlocks(world) - before - ours["victim"]


async def _deadlocks(world: World) -> int:
    found: int = await world.database.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return found


@asynccontextmanager
async def _patient(world: World) -> AsyncIterator[Any]:
    """A transaction that looks for deadlocks so late that the other side finds them first."""
    async with world.database.acquire() as connection, asyncio.timeout(30), connection.transaction():
        await connection.execute("SET LOCAL deadlock_timeout = '20s'")
        yield connection


async def _contacts_backwards(world: World, organization: str, chance: Random) -> None:
    async with _patient(world) as connection:
        rows = await connection.fetch(
            "SELECT id FROM contacts WHERE organization_id = $1::uuid ORDER BY id", organization
        )
        found = [row["id"] for row in rows]
        middle = len(found) // 2
        for half in (found[middle:], found[:middle]):
            chosen = sorted(chance.sample(half, min(len(half), 1_000)), reverse=True)
            await connection.fetch("SELECT FROM contacts WHERE id = ANY ($1::uuid[]) FOR UPDATE", chosen)
            await asyncio.sleep(chance.uniform(0.1, 0.6))


async def _contacts_then_jobs(world: World, organization: str, chance: Random) -> None:
    async with _patient(world) as connection:
        await connection.fetch(
            "SELECT FROM contacts WHERE organization_id = $1::uuid AND random() < 0.2 FOR UPDATE",
            organization,
        )
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        await connection.fetch(
            "SELECT FROM import_jobs WHERE organization_id = $1::uuid FOR UPDATE", organization
        )
