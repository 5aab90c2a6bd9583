"""A rebalance storm: streams and sinks go from one to three and back, every few seconds, all round long."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

from sluice.topics import SINK_GROUP, STREAMS_GROUP
from tests.chaos.assignments import moves_of
from tests.chaos.faults import Bites, fault

if TYPE_CHECKING:
    from tests.chaos.world import World

ROUNDS = 20
ROLES = ("ingress", "reader", "streams", "streams", "streams", "sink", "sink", "sink", "tasks")
COMING = {"streams": ("streams-1", "streams-2"), "sink": ("sink-1", "sink-2")}
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 8.0
"""Between one change and the next of the same role; a member that has gone is missed for 10 s."""
JOIN_SECONDS, STOP_SECONDS, READY_SECONDS = 20.0, 120.0, 240.0


@fault("rebalances", rounds=ROUNDS, roles=ROLES, seconds=900)
@asynccontextmanager
async def rebalances(world: World, chance: Random) -> AsyncIterator[Bites]:
    """In odd rounds members leave by SIGTERM; in even ones they are killed first, and come back alone."""
    bites: Bites = Counter()
    everyone = [unit for units in COMING.values() for unit in units]
    present = set(everyone)
    await _stop(world, everyone, present)
    before = await world.imported()
    async with moves_of(world) as moves:
        storms = [
            asyncio.create_task(
                _storm(world, Random(chance.random()), units, present, bites, kills=world.round_no % 2 == 0)
            )
            for units in COMING.values()
        ]
        try:
            yield bites
        finally:
            bites["rows accounted for in the storm"] = await world.imported() - before
            ended = [storm for storm in storms if not storm.cancel()]
            await asyncio.wait(storms)
            _start(world, everyone, present)
            for storm in ended:
                storm.result()
    await world.ready(READY_SECONDS)
    for group in (STREAMS_GROUP, SINK_GROUP):
        bites[f"moves of partitions in {group}"] = moves[group]


async def _storm(
    world: World, chance: Random, units: Sequence[str], present: set[str], bites: Bites, *, kills: bool
) -> None:
    while True:
        _start(world, units, present)
        await _answering(world, units)
        bites[f"came: {', '.join(units)}"] += 1
        await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        if kills:
            for unit in units:
                started = world.stack.started(unit)
                if started is not None:
                    with suppress(ProcessLookupError):
                        os.kill(started.pid, signal.SIGKILL)
            bites[f"killed: {', '.join(units)}"] += 1
            await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        await _stop(world, units, present)
        bites[f"went: {', '.join(units)}"] += 1
        await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))


def _start(world: World, units: Sequence[str], present: set[str]) -> None:
    """Tell the supervisor; they answer when they do."""
    for unit in units:
        if unit not in present:
            present.add(unit)
            world.stack.tell(f"start {unit}")


async def _answering(world: World, units: Sequence[str]) -> None:
    """Until they answer, which is when they have partitions; or not, where one storm meets the other's."""
    with suppress(TimeoutError):
        async with asyncio.timeout(JOIN_SECONDS):
            while not all((now := world.stack.started(unit)) and now.ready for unit in units):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def _stop(world: World, units: Sequence[str], present: set[str]) -> None:
    for unit in units:
        if unit in present:
            present.discard(unit)
            world.stack.tell(f"stop {unit}")
    async with asyncio.timeout(STOP_SECONDS):
        while any(world.stack.started(unit) is not None for unit in units):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
