"""An object store that fails, crawls, breaks off, or holds another file than it did when the import began."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ingress.store import open_store
from sluice.job import JobState
from tests.chaos.faults import Bites, fault
from tests.chaos.faults.database import striking
from tests.chaos.proxied import http_proxy
from tests.chaos.proxy import HttpProxy
from tests.chaos.proxy.http import Fault as Line

if TYPE_CHECKING:
    from tests.chaos.world import World

ROUNDS = 20
VARIABLE = "S3_ENDPOINT_URL"
SOURCES = "uploads/"


@asynccontextmanager
async def _line(world: World, *lines: Line, roles: tuple[str, ...] = ("reader",)) -> AsyncIterator[HttpProxy]:
    """A proxy between the store and these roles, with these faults from now on; healed at the end."""
    proxy = await http_proxy(world, VARIABLE, *roles)
    proxy.bites.clear()
    proxy.faults = lines
    try:
        yield proxy
    finally:
        proxy.heal()


@fault("store-errors", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def errors(world: World, chance: Random) -> AsyncIterator[Bites]:
    """500, 503 and reset connections for a part of all requests, and for a while for all of them."""
    bites = Counter({"500": 0, "503": 0, "dropped": 0})
    share = chance.uniform(0.05, 0.3)
    usual = (
        Line("status", share, status=500),
        Line("status", share, status=503),
        Line("drop", share),
    )

    async with _line(world, *usual, roles=("ingress",)) as uploads, _line(world, *usual) as proxy:

        async def blow(world: World, chance: Random, bites: Bites) -> None:
            proxy.faults = uploads.faults = (Line("status", status=chance.choice((500, 503))),)
            await asyncio.sleep(chance.uniform(0.5, 8))
            proxy.faults = uploads.faults = usual

        async with striking(world, chance, bites, blow, (0.5, 3)):
            yield bites
    bites.update(proxy.bites + uploads.bites)


@fault("store-slow", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def slow(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Files come at 1 kB a second; later new requests are fast again, and those that crawl still crawl."""
    bites = Counter({"slow": 0})
    async with _line(world, Line("slow", methods=("GET",), bytes_per_second=1024)) as proxy:

        async def relent() -> None:
            await asyncio.sleep(chance.uniform(5, 25))
            proxy.faults = (Line("slow", 0.2, methods=("GET",), bytes_per_second=1024),)

        relenting = asyncio.create_task(relent())
        try:
            yield bites
        finally:
            relenting.cancel()
    bites.update(proxy.bites)


@fault("store-cuts", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def cuts(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Bodies break off in the middle: some, and at the beginning of a round every one."""
    bites = Counter({"cut": 0})
    async with _line(world, Line("cut", methods=("GET",), path=SOURCES)) as proxy:

        async def relent() -> None:
            await asyncio.sleep(chance.uniform(1, 10))
            proxy.faults = (Line("cut", chance.uniform(0.1, 0.6), methods=("GET",), path=SOURCES),)

        relenting = asyncio.create_task(relent())
        try:
            yield bites
        finally:
            relenting.cancel()
    bites.update(proxy.bites)


@fault("store-overwritten", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def overwritten(world: World, chance: Random) -> AsyncIterator[Bites]:
    """A file is replaced by another, or removed, while it is imported: its job ends failed and says why."""
    bites = Counter({"replaced": 0, "ended failed": 0})
    held = Line("status", methods=("GET",), path=SOURCES, status=503)
    async with _line(world, *([held] if chance.random() < 0.5 else [])) as proxy:
        replacing = asyncio.create_task(_replace(world, chance, bites, proxy))
        try:
            yield bites
        finally:
            replacing.cancel()
    for row in await world.database.fetch(
        "SELECT state, reason FROM import_jobs WHERE id = ANY ($1::uuid[])",
        [UUID(job) for job in world.overwritten],
    ):
        if row["state"] == JobState.FAILED:
            bites["ended failed"] += "overwritten or removed" in (row["reason"] or "")
            assert "overwritten or removed" in (row["reason"] or ""), row["reason"]


async def _replace(world: World, chance: Random, bites: Bites, proxy: HttpProxy) -> None:
    """Replace the large file of each organization: before its first byte is read, or in the middle."""
    world.overwritten.clear()
    waiting = list(world.organizations)
    while waiting:
        await asyncio.sleep(0.05)
        for organization in list(waiting):
            part = await _large(world, organization)
            # A job whose file is not read at all has not got far; one that is, has passed a tenth.
            if part is None or (not proxy.faults and part["rows_read"] < world.rows / 30):
                continue
            waiting.remove(organization)
            world.overwritten.add(str(part["job_id"]))
            await _overwrite(world, chance, part)
            bites["replaced"] += 1
    proxy.heal()


async def _large(world: World, organization: str) -> Any:
    return await world.database.fetchrow(
        "SELECT p.*, j.rows_read FROM import_parts p JOIN import_jobs j ON j.id = p.job_id "
        "WHERE j.organization_id = $1 AND j.state = 'processing' AND j.filename = 'large.csv'",
        UUID(organization),
    )


async def _overwrite(world: World, chance: Random, part: Any) -> None:
    """Put other bytes of the same or of another length in the file's place, or nothing."""
    async with open_store(world.stack.settings()) as store:
        match chance.choice(("other", "shorter", "gone")):
            case "other":
                await store.put(part["object_key"], chance.randbytes(part["size_bytes"]))
            case "shorter":
                await store.put(part["object_key"], b"email\nsomebody@example.com\n")
            case "gone":
                await store.delete(part["object_key"])
