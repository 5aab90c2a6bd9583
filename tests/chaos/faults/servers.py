"""Servers killed, paused and kept away for a while; single connections of the database cut at the server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

import asyncpg

from cli.local.processes import Started
from tests.chaos.faults import Bites, fault
from tests.chaos.signals import Logs, family, restarted, signal_all, stopped, unattended
from tests.chaos.striking import restart

if TYPE_CHECKING:
    from tests.chaos.world import World

How = Literal["kill", "pause", "away", "break", "cut", "starved"]


@dataclass(frozen=True)
class Blow:
    """What is done to one server, `times` times; a pause or an absence lasts so many `seconds`.

    `break` kills one process of the sink's two in the database, whereupon the database ends all of them;
    `cut` ends the sink's connections in an orderly way. `starved` kills a server and at the same time the
    roles that need it only to start.
    """

    server: str
    how: How
    seconds: float = 0
    times: int = 1


ROUNDS: tuple[tuple[Blow, ...], ...] = (
    (Blow("kafka", "kill", times=3),),
    (Blow("postgres", "kill", times=4),),
    (Blow("kafka", "pause", 5),),
    (Blow("kafka", "away", 30),),
    (Blow("postgres", "break", times=4),),
    (Blow("kafka", "pause", 30),),
    (Blow("postgres", "pause", 20),),
    (Blow("kafka", "away", 5),),
    (Blow("s3", "kill", times=2), Blow("registry", "starved")),
    (Blow("kafka", "away", 120),),
    (Blow("postgres", "cut", times=6),),
    (Blow("postgres", "away", 30),),
    (Blow("kafka", "pause", 120),),
    (Blow("s3", "away", 10), Blow("registry", "away", 10)),
    (Blow("postgres", "kill"), Blow("kafka", "kill"), Blow("postgres", "break")),
    (Blow("kafka", "pause", 5), Blow("postgres", "pause", 5), Blow("s3", "pause", 5)),
    (Blow("kafka", "away", 12), Blow("postgres", "away", 12)),
    (Blow("registry", "starved"), Blow("postgres", "cut", times=3), Blow("kafka", "kill")),
    (Blow("postgres", "pause", 70),),
    (Blow("s3", "kill"), Blow("kafka", "pause", 12), Blow("postgres", "break", times=2)),
)
EARLIEST, LATEST = 0.02, 0.6
"""Shares of the round's rows between which servers are struck."""
TROUBLE = ("waiting", "beginning again", "waited_for", "service away", "followed anew", "producer replaced")
"""What roles log of a server that does not answer; a pause that is shorter than their patience needs none."""
NOTICED_SECONDS = 20
SINK_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sluice-sink'"
ANSWER_SECONDS = 30


@fault("servers", rounds=len(ROUNDS), seconds=900)
@asynccontextmanager
async def servers(world: World, chance: Random) -> AsyncIterator[Bites]:
    """The blows of the round, one after the other, while rows are on their way."""
    blows = ROUNDS[(world.round_no - 1) % len(ROUNDS)]
    bites = Counter({f"{blow.server} {blow.how}": 0 for blow in blows})
    logs = Logs(world)
    striking = asyncio.create_task(_strike(world, chance, blows, bites))
    try:
        yield bites
    finally:
        if not striking.done():
            striking.cancel()
        with suppress(asyncio.CancelledError):
            await striking
    if any(blow.seconds == 0 or blow.seconds >= NOTICED_SECONDS for blow in blows):
        noticed = {role: logs.count(role, *TROUBLE) for role in ("ingress", "reader", "streams", "sink")}
        bites["lines of roles that noticed"] = sum(noticed.values())


async def _strike(world: World, chance: Random, blows: tuple[Blow, ...], bites: Bites) -> None:
    struck = [blow for blow in blows for _ in range(blow.times)]
    # What only the beginning of a job needs must be struck at the beginning.
    shares = sorted(0.0 if blow.server == "s3" else chance.uniform(EARLIEST, LATEST) for blow in struck)
    for blow, share in zip(struck, shares, strict=True):
        if not await world.reaches(share, 600):
            return
        before = await world.imported()
        if before >= world.rows:
            return
        await _land(world, blow, bites)
        await asyncio.sleep(chance.uniform(0.5, 2))


async def _land(world: World, blow: Blow, bites: Bites) -> None:
    server = await _up(world, blow.server)
    bites[f"{blow.server} {blow.how}"] += 1
    match blow.how:
        case "kill":
            signal_all(family(server.pid), signal.SIGKILL)
            await restarted(world, server)
        case "pause":
            with stopped(server.pid):
                await _absent(world, blow, bites)
        case "away":
            with unattended(world):
                signal_all(family(server.pid), signal.SIGKILL)
                await _absent(world, blow, bites)
            await restarted(world, server)
        case "break":
            await _break_backend(world)
        case "cut":
            await _end_backends(world)
        case "starved":
            signal_all(family(server.pid), signal.SIGKILL)
            await restart(world, "streams", "sink")


async def _up(world: World, name: str) -> Started:
    """The server's process, once it answers."""
    await world.ready()
    server = world.stack.started(name)
    assert server is not None, f"{name} is not running"
    return server


async def _absent(world: World, blow: Blow, bites: Bites) -> None:
    """Wait, and see that the imports stood still: without a broker nothing may come to be accounted for."""
    if blow.server != "kafka":
        await asyncio.sleep(blow.seconds)
        return
    # What has reached the sink already may be written still.
    await asyncio.sleep(blow.seconds / 2)
    halfway = await world.imported()
    await asyncio.sleep(blow.seconds / 2)
    still = halfway == await world.imported() < world.rows
    bites["imports stood still"] += still


async def _break_backend(world: World) -> None:
    """SIGKILL to one of the sink's processes in the database, which then trusts its memory no more."""
    pids = {row["pid"] for row in await world.database.fetch(SINK_BACKENDS)}
    postmaster = await _up(world, "postgres")
    ours = pids & set(family(postmaster.pid))
    if not ours:
        # In a namespace of its own the database's numbers are not ours: any of its children does.
        ours = set(family(postmaster.pid)[1:])
    os.kill(min(ours), signal.SIGKILL)
    await _answers(world)


async def _end_backends(world: World) -> None:
    await world.database.execute(f"SELECT pg_terminate_backend(pid) FROM ({SINK_BACKENDS}) sinks")
    await _answers(world)


async def _answers(world: World) -> None:
    """Until the database answers again, and the sink has come back to it."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if await world.database.fetch(SINK_BACKENDS):
                    return
            await asyncio.sleep(0.2)
