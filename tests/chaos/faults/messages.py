"""Messages lost, repeated and reordered, on every topic of the pipeline.

A lost message is healed by the window, not by a takeover: no job changes its reader in these rounds.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from sluice.topics import (
    BATCH_APPLIED,
    IDENTITIES_CHANGED,
    IDENTITIES_CHANGELOG,
    IMPORTS_REQUESTED,
    PROGRESS,
    PROGRESS_CHANGELOG,
    ROWS_READ,
    ROWS_RESOLVED,
)
from streams.app import state_directory
from tests.chaos.checks import Broken
from tests.chaos.faults import Bites, fault
from tests.chaos.plan import Entries
from tests.chaos.striking import restart

if TYPE_CHECKING:
    from tests.chaos.world import World

ROUNDS = 20
HOPS = (
    ("reader", ROWS_READ.name),
    ("streams", ROWS_RESOLVED.name),
    ("reader", BATCH_APPLIED.name),
    ("streams", IDENTITIES_CHANGELOG),
    ("ingress", IMPORTS_REQUESTED.name),
    ("streams", BATCH_APPLIED.name),
    ("streams", IDENTITIES_CHANGED.name),
    ("streams", PROGRESS.name),
    ("streams", PROGRESS_CHANGELOG),
)
"""Who loses what: as it is sent, or as it is taken where it is written in a transaction."""
FATES = ("dropped", "repeated", "delayed")
SHARE, SHARE_OF_FEW = 0.04, 0.25
FEW = (IMPORTS_REQUESTED.name, IDENTITIES_CHANGED.name)
"""Topics with a few dozen messages a round."""


@fault("messages", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def messages(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Two hops a round, in turn, and all of them in every tenth."""
    hops = hops_of(world.round_no)
    async with losing(world, hops, chance.random()) as bites:
        forgetting = (
            asyncio.create_task(_forget(world)) if ("streams", IDENTITIES_CHANGELOG) in hops else None
        )
        yield bites
        if forgetting is not None:
            bites["tables read from a changelog with holes"] = await forgetting


@asynccontextmanager
async def losing(
    world: World, hops: list[tuple[str, str]], seed: float, besides: Entries | None = None
) -> AsyncIterator[Bites]:
    """Lose, repeat and delay on these hops, `besides` what else is planned; no job may change its reader."""
    bites = Counter({f"{fate} {topic}": 0 for _, topic in hops for fate in FATES})
    world.plan.set(entries_of(hops, seed))
    world.plan.add(besides or {})
    await restart(world, *{role for role, _ in hops}, *(besides or {}))
    try:
        yield bites
    finally:
        bites.update(world.plan.bites())
        world.plan.clear()
        await _check_readers(world)


async def _check_readers(world: World) -> None:
    taken_over = await world.database.fetchval(
        "SELECT count(*) FROM import_jobs j WHERE organization_id = ANY ($1::uuid[]) AND lease_epoch > 1"
        " AND NOT EXISTS (SELECT FROM audit_log WHERE resource_id = j.id::text AND action = 'import_paused')",
        world.organizations,
    )
    if taken_over:
        raise Broken("takeovers", f"{taken_over} jobs changed hands although no reader was away")


def hops_of(round_no: int) -> list[tuple[str, str]]:
    """Two neighbours in the list above, or every tenth time all."""
    if round_no % 10 == 0:
        return list(HOPS)
    return [HOPS[(round_no - 1) % len(HOPS)], HOPS[(round_no + 3) % len(HOPS)]]


def entries_of(hops: list[tuple[str, str]], seed: float) -> dict[str, list[dict[str, Any]]]:
    """The plan's entries."""
    entries: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for role, topic in hops:
        shares = dict.fromkeys(FATES, SHARE_OF_FEW if topic in FEW else SHARE)
        entries[role].append({"patch": "lossy", "topic": topic, "seed": seed, **shares})
    return dict(entries)


async def _forget(world: World) -> int:
    """In the middle of the round, leave the streams nothing but their changelog."""
    await world.reaches(0.4)
    unit = world.unit("streams")
    await asyncio.to_thread(world.stack.stop_role, unit)
    shutil.rmtree(state_directory(world.stack.settings()) / "tables")
    await asyncio.to_thread(world.stack.start_role, unit, 90)
    return 1
