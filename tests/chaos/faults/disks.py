"""A full disk under PostgreSQL: of its log, where it panics; of tables, where statements fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.disks import table_disk, wal_disk
from tests.chaos.faults import Bites, fault
from tests.chaos.faults.database import AWAY, ROUNDS, striking
from tests.chaos.signals import Logs

if TYPE_CHECKING:
    from tests.chaos.world import World

WAL_MEGABYTES = 256
TABLE_MEGABYTES = 4096
SEGMENTS = 40
"""More than the log has ready: asking for so many ends at the disk's end."""
FULL_SECONDS = (0.5, 6.0)
BACK_SECONDS = 120
NO_ROOM = "No space left on device"


@fault("database-disk-log", rounds=ROUNDS, seconds=900)
@asynccontextmanager
async def log_full(world: World, chance: Random) -> AsyncIterator[Bites]:
    """The log's disk is full: the server panics and stays down until there is room."""
    disk = await wal_disk(world, WAL_MEGABYTES)
    bites, logs = Counter({"times full": 0, "no room": 0}), Logs(world)

    async def blow(world: World, chance: Random, bites: Bites) -> None:
        disk.fill()
        bites["times full"] += 1
        with suppress(*AWAY):
            async with asyncio.timeout(20):
                for _ in range(SEGMENTS):
                    await world.database.execute("SELECT pg_logical_emit_message(true, 'full', 'x')")
                    await world.database.execute("SELECT pg_switch_wal()")
        await asyncio.sleep(chance.uniform(*FULL_SECONDS))
        disk.free()
        await world.ready(BACK_SECONDS)

    try:
        async with striking(world, chance, bites, blow, (0.5, 4)):
            yield bites
    finally:
        disk.free()
        bites["no room"] = logs.count("postgres", NO_ROOM)


@fault("database-disk-table", rounds=ROUNDS, seconds=900)
@asynccontextmanager
async def table_full(world: World, chance: Random) -> AsyncIterator[Bites]:
    """The disk of contacts and applied batches is full: SQLSTATE 53100 is waited for, no row fails by it."""
    disk = await table_disk(world, TABLE_MEGABYTES, "contacts", "import_batches")
    bites, logs = Counter({"times full": 0, "no room": 0}), Logs(world)

    async def blow(world: World, chance: Random, bites: Bites) -> None:
        disk.fill()
        bites["times full"] += 1
        await asyncio.sleep(chance.uniform(*FULL_SECONDS))
        disk.free()

    try:
        async with striking(world, chance, bites, blow, (0.2, 2)):
            yield bites
    finally:
        disk.free()
        bites["no room"] = logs.count("postgres", NO_ROOM)
