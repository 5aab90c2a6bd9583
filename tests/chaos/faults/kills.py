"""kill -9 of ingress, reader, streams and sink: at any time, and at named points of their work."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from tests.chaos.faults import Bites, fault
from tests.chaos.patches.points import POINTS
from tests.chaos.striking import kill, restart

if TYPE_CHECKING:
    from tests.chaos.world import World

ROUNDS = 30
POINTS_A_ROUND = 3
"""Each point is then struck in two of thirty rounds."""
KILLED = ("ingress", "reader", "streams", "sink")
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 5.0
SHARE = 0.9
"""Rows behind which nothing is killed at random any more: a round must come to its end."""
FEWEST, ROWS_A_KILL = 6, 12_000
"""Random kills of one round go by its rows: where starting takes longer than living, nothing is ever done."""
FIRST_SECONDS = 1.0
"""The first comes soon: a small round takes a few seconds."""
OFTEN = ("send", "stored", "write", "acknowledge", "database", "kafka", "window")
"""Parts of the names of points that every batch or group passes."""
LATEST_PASSING = 5


@fault("kills", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def kills(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Three named points a round, in turn, and every 0.1 to 5 s a role of four."""
    points = points_of(world.round_no)
    bites = Counter(dict.fromkeys(points, 0))
    again = _again(world)
    world.plan.set(entries_of(points, chance))
    await restart(world, *{POINTS[name].role for name in points})
    striking = asyncio.create_task(_strike(world, chance, bites))
    try:
        yield bites
    finally:
        striking.cancel()
        bites.update(world.plan.bites())
        world.plan.clear()
        bites["killed at random"] += 0
    await world.ready()
    if healed := int(_again(world) - again):
        bites["batches sent or received again"] = healed


def points_of(round_no: int) -> list[str]:
    """The points of a round: far from each other, and all of them in turn."""
    names = list(POINTS)
    step = -(-len(names) // POINTS_A_ROUND)
    return [names[(round_no - 1 + place * step) % len(names)] for place in range(POINTS_A_ROUND)]


def entries_of(points: list[str], chance: Random) -> dict[str, list[dict[str, Any]]]:
    """The plan that strikes at these points, each once, and at what must come before them."""
    entries: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for name in points:
        point = POINTS[name]
        if point.prelude is not None:
            entries[point.role].append({"patch": "kill", "at": point.prelude})
        often = any(part in name for part in OFTEN) and point.prelude is None
        nth = chance.randint(1, LATEST_PASSING) if often else 1
        entries[point.role].append({"patch": "kill", "at": name, "nth": nth})
    return dict(entries)


async def _strike(world: World, chance: Random, bites: Bites) -> None:
    longest = FIRST_SECONDS
    most = max(FEWEST, world.rows // ROWS_A_KILL)
    while bites["killed at random"] < most:
        await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, longest))
        longest = LONGEST_SECONDS
        if await world.imported() < SHARE * world.rows and kill(world, chance.choice(KILLED)):
            bites["killed at random"] += 1


def _again(world: World) -> float:
    return world.counted("sluice_batches_resent_total") + world.counted("sluice_batches_repeated_total")
