"""Several workers of every role at once: as they are, and while any one of them is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.faults import Bites, fault

if TYPE_CHECKING:
    from tests.chaos.world import World

ROLES = ("ingress", "reader", "reader", "streams", "streams", "sink", "sink", "tasks")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 2.0
SHARE = 0.9
"""Rows behind which nothing is killed any more."""


@fault("workers", rounds=10, roles=ROLES, seconds=600)
@asynccontextmanager
async def workers(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Odd rounds are left in peace; in even ones a process of one role or another is killed."""
    bites: Bites = Counter()
    before = _sent(world)
    striking = asyncio.create_task(_strike(world, chance, bites)) if world.round_no % 2 == 0 else None
    if striking is not None:
        bites["killed"] = 0
    try:
        yield bites
    finally:
        if striking is not None:
            striking.cancel()
    await world.ready()
    for reader, batches in (_sent(world) - before).items():
        bites[f"batches sent by {reader}"] = batches


async def _strike(world: World, chance: Random, bites: Bites) -> None:
    """One process at a time, whichever it is."""
    while True:
        await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        unit = chance.choice([name for name in world.units() if not name.startswith("tasks")])
        started = world.stack.started(unit)
        if started is not None and started.ready and await world.imported() < SHARE * world.rows:
            with suppress(ProcessLookupError):
                os.kill(started.pid, signal.SIGKILL)
                bites["killed"] += 1


def _sent(world: World) -> Counter[str]:
    """Batches sent by each of the two readers: `counted` takes the beginning of a name."""
    both = world.counted("sluice_batches_sent_total", "reader")
    second = world.counted("sluice_batches_sent_total", "reader-1")
    return Counter({"reader": int(both - second), "reader-1": int(second)})
