"""Two readers and one lease: one stands still past its own, one is killed as it takes it, clocks jump."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.faults import Bites, fault
from tests.chaos.striking import restart

if TYPE_CHECKING:
    from tests.chaos.world import World

LEASE_SECONDS = 3.0
STOPPED_SECONDS = 2 * LEASE_SECONDS
POINTS = ("before-lease", "after-lease", "before-send", "after-send", "before-release", "after-release")
LATEST_PASSING = 12
LATEST_SHARE = 0.5
"""Rows at which a reader stands still or a clock jumps at the latest."""

HELD = """
SELECT id, lease_owner, lease_epoch FROM import_jobs
WHERE organization_id = ANY ($1::uuid[]) AND state = 'processing' AND lease_until > now()
"""
TAKEN_OVER = """
SELECT coalesce(sum(lease_epoch - 1), 0)::bigint FROM import_jobs j WHERE organization_id = ANY ($1::uuid[])
    AND NOT EXISTS (SELECT FROM audit_log WHERE resource_id = j.id::text AND action = 'import_paused')
"""
"""Whoever is resumed changes hands too, and proves nothing."""
MOVE_CLOCK = """
UPDATE import_jobs SET lease_until = lease_until + make_interval(secs => $2)
WHERE organization_id = ANY ($1::uuid[]) AND state = 'processing' AND lease_until > now()
"""
"""What the database's clock does to leases when it goes the other way by so much."""
DAY_SECONDS = 86_400.0


@fault(
    "leases",
    rounds=15,
    roles=("ingress", "reader", "reader", "streams", "sink", "tasks"),
    environment={"LEASE_SECONDS": str(LEASE_SECONDS)},
    seconds=600,
)
@asynccontextmanager
async def leases(world: World, chance: Random) -> AsyncIterator[Bites]:
    """One way a round, in turn."""
    way = WAYS[(world.round_no - 1) % len(WAYS)]
    bites: Bites = Counter({"leases taken over": 0})
    again = _without_effect(world)
    async with way(world, chance, bites):
        yield bites
    await world.ready()
    bites["leases taken over"] = await world.database.fetchval(TAKEN_OVER, world.organizations)
    if way is stopped_between_lease_and_send:
        bites["stale batches without effect"] = int(_without_effect(world) - again)


def _without_effect(world: World) -> float:
    return world.counted("sluice_batches_dropped_total") + world.counted("sluice_batches_repeated_total")


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """`work` goes on in the background; what it raises is raised in the end."""
    striking = asyncio.create_task(work)
    try:
        yield
    finally:
        if not striking.done():
            striking.cancel()
        with suppress(asyncio.CancelledError):
            await striking


@asynccontextmanager
async def stopped_between_lease_and_send(world: World, chance: Random, bites: Bites) -> AsyncIterator[None]:
    """A reader has seen that it holds the lease, stands still until another has it, and sends."""
    bites["before-send"] = 0
    nth = chance.randint(1, LATEST_PASSING)
    world.plan.set({"reader": [{"patch": "pause", "at": "before-send", "nth": nth}]})
    await restart(world, "reader")

    async def go_on() -> None:
        while not (told := list(world.plan.told())):  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(0.1)
        await _asleep(told[0]["pid"], STOPPED_SECONDS)

    try:
        async with _beside(go_on()):
            yield
    finally:
        bites.update(world.plan.bites())
        world.plan.clear()


@asynccontextmanager
async def stopped_anywhere(world: World, chance: Random, bites: Bites) -> AsyncIterator[None]:
    """Whoever holds a job stands still past its lease, again and again."""
    bites["stood still"] = 0

    async def stop() -> None:
        await world.reaches(chance.uniform(0, LATEST_SHARE))
        for _ in range(2):
            owner = await _owner(world, chance)
            if owner is None:
                return
            bites["stood still"] += 1
            await _asleep(owner, STOPPED_SECONDS)
            await asyncio.sleep(chance.uniform(0, 1))

    async with _beside(stop()):
        yield


@asynccontextmanager
async def killed_at_its_lease(world: World, chance: Random, bites: Bites) -> AsyncIterator[None]:
    """kill -9 as a lease is taken, used for the first time, or given back."""
    points = chance.sample(POINTS, 3)
    bites |= dict.fromkeys(points, 0)
    world.plan.set({"reader": [{"patch": "kill", "at": point, "times": 2} for point in points]})
    await restart(world, "reader")
    try:
        yield
    finally:
        bites.update(world.plan.bites())
        world.plan.clear()


@asynccontextmanager
async def clock_goes_forward(world: World, chance: Random, bites: Bites) -> AsyncIterator[None]:
    """Leases run out under readers that still believe in them: two send the same job."""
    bites["leases run out"] = 0

    async def jump() -> None:
        for _ in range(3):
            await world.reaches(chance.uniform(0, LATEST_SHARE))
            status = await world.database.execute(MOVE_CLOCK, world.organizations, -DAY_SECONDS)
            bites["leases run out"] += int(status.split()[-1])
            await asyncio.sleep(chance.uniform(0.5, LEASE_SECONDS))

    async with _beside(jump()):
        yield


@asynccontextmanager
async def clock_goes_back(world: World, chance: Random, bites: Bites) -> AsyncIterator[None]:
    """Leases would hold for a day, and their reader stands still for good: another one takes its jobs."""
    bites["leases for a day"] = 0
    pid = None

    async def jump() -> None:
        nonlocal pid
        await world.reaches(chance.uniform(0, LATEST_SHARE))
        pid = await _owner(world, chance)
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            status = await world.database.execute(MOVE_CLOCK, world.organizations, DAY_SECONDS)
            bites["leases for a day"] += int(status.split()[-1])

    try:
        async with _beside(jump()):
            yield
    finally:
        if pid is not None:
            os.kill(pid, signal.SIGCONT)


async def _asleep(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _owner(world: World, chance: Random) -> int | None:
    """The process of a reader that holds a job of this round; None where there is none any more."""
    held = await world.database.fetch(HELD, world.organizations)
    if not held:
        return None
    instance = chance.choice(held)["lease_owner"].rpartition("/")[2]
    started = world.stack.started("reader" if instance == "0" else f"reader-{instance}")
    return started.pid if started is not None else None


WAYS: tuple[Callable[[World, Random, Bites], AbstractAsyncContextManager[None]], ...] = (
    stopped_between_lease_and_send,
    clock_goes_back,
    stopped_anywhere,
    clock_goes_forward,
    killed_at_its_lease,
)
