"""The checks are not blind: with each planted bug, and the fault that makes it bite, a round turns red.

The same fault without its bug is a round too, and green: it is the bug that is seen.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

import pytest

from sluice.topics import IDENTITIES_CHANGED, ROWS_READ, ROWS_RESOLVED
from tests.chaos.checks import Broken
from tests.chaos.faults import ROLES, Bites, Fault
from tests.chaos.faults.messages import losing
from tests.chaos.patches.bugs import BUGS, planted
from tests.chaos.plan import Entries
from tests.chaos.rounds import run_round
from tests.chaos.striking import READY_SECONDS, restart
from tests.chaos.world import World, open_world

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_200)]

ROWS = 2_000
SEVERAL = (*ROLES, "sink")
SMALL_BATCHES = {"BATCH_ROWS": "100"}
SECONDS = 600
SESSION_SECONDS = 90.0
"""Longer than the group waits for a member that stands still."""

Strike = Callable[[World, Entries], AbstractAsyncContextManager[Bites]]


def patched(*told: str, **entries: list[dict[str, Any]]) -> Strike:
    """A fault that is nothing but these entries of the plan; `told` are the bites that there must be."""

    @asynccontextmanager
    async def strike(world: World, bug: Entries) -> AsyncIterator[Bites]:
        bites = Counter(dict.fromkeys(told, 0))
        world.plan.set(entries)
        world.plan.add(bug)
        await restart(world, *{*entries, *bug})
        yield bites
        bites.update(world.plan.bites())
        world.plan.clear()

    return strike


def lossy(role: str, topic: str) -> Strike:
    """The fault of the rounds called `messages`, on one hop."""

    @asynccontextmanager
    async def strike(world: World, bug: Entries) -> AsyncIterator[Bites]:
        async with losing(world, [(role, topic)], 0.5, bug) as bites:
            yield bites

    return strike


def repeating(role: str, topic: str) -> Strike:
    """One message in five comes twice."""
    shares = {"repeated": 0.2, "dropped": 0, "delayed": 0}
    return patched(f"repeated {topic}", **{role: [{"patch": "lossy", "topic": topic, **shares}]})


def killed(point: str, nth: int = 3) -> Strike:
    """The sink ends once at a named point."""
    return patched(point, sink=[{"patch": "kill", "at": point, "nth": nth}])


COLD = patched("identities forgotten", streams=[{"patch": "forgetful"}])
STALE = patched(
    f"dropped {IDENTITIES_CHANGED.name}",
    streams=[{"patch": "lossy", "topic": IDENTITIES_CHANGED.name, "dropped": 1}],
)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this while the imports run, and end with it; not when the round has failed."""
    task = asyncio.create_task(work)
    try:
        yield
        await task
    finally:
        task.cancel()


@asynccontextmanager
async def lists_away(world: World, bug: Entries) -> AsyncIterator[Bites]:
    """The Do-Not-Call lists cannot be read for the first seconds of the imports."""
    bites = Counter({"lists away": 0})
    world.plan.set({"streams": [{"patch": "lists-away"}]})
    world.plan.add(bug)
    # It is not ready before it has its lists, so it is not waited for.
    await asyncio.to_thread(world.stack.stop_role, "streams", READY_SECONDS)
    starting = asyncio.create_task(asyncio.to_thread(world.stack.start_role, "streams", 120))
    async with _beside(_clear_after(world, "lists away", 10)):
        yield bites
    await starting
    bites.update(world.plan.bites())


async def _clear_after(world: World, what: str, times: int) -> None:
    """Heal when somebody has stumbled over it so often."""
    async with asyncio.timeout(SECONDS):
        while True:
            await asyncio.sleep(0.2)
            if world.plan.bites()[what] >= times:
                break
    world.plan.clear()


# Zombies --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def late_publisher(world: World, bug: Entries) -> AsyncIterator[Bites]:
    """A sink stands still between database and Kafka until another has settled its partitions."""
    bites = Counter({"before-kafka-transaction": 0, "taken over": 0})
    await asyncio.to_thread(world.stack.stop_role, "sink-1", READY_SECONDS)
    world.plan.set({"sink": [{"patch": "pause", "at": "before-kafka-transaction", "nth": 3}]})
    world.plan.add(bug)
    await restart(world, "sink")

    async def haunt() -> None:
        pid = await _paused(world, "before-kafka-transaction")
        await asyncio.to_thread(world.stack.start_role, "sink-1", 120)
        rows = await world.imported()
        bites["taken over"] += await _owned_by(world, "sluice-sink-1")
        # The heir writes only when it has settled: what the other holds is published by then.
        async with asyncio.timeout(SECONDS):
            while True:
                await asyncio.sleep(0.2)
                if await world.imported() > rows:
                    break
        os.kill(pid, signal.SIGCONT)

    async with _beside(haunt()):
        yield bites
    bites.update(world.plan.bites())
    world.plan.clear()


@asynccontextmanager
async def late_writer(world: World, bug: Entries) -> AsyncIterator[Bites]:
    """A sink stands still before the database, until another has taken over but not read on yet.

    What it writes then, if it may, nobody publishes: the other has looked before.
    """
    bites = Counter({"before-database-write": 0, "after-take-over": 0})
    await asyncio.to_thread(world.stack.stop_role, "sink-1", READY_SECONDS)
    world.plan.set({"sink": [{"patch": "pause", "at": "before-database-write", "nth": 3}]})
    world.plan.add(bug)
    await restart(world, "sink")

    async def haunt() -> None:
        zombie = await _paused(world, "before-database-write")
        world.plan.add({"sink-1": [{"patch": "pause", "at": "after-take-over"}]})
        starting = asyncio.create_task(asyncio.to_thread(world.stack.start_role, "sink-1", 120))
        heir = await _paused(world, "after-take-over")
        # It writes what it has in hand, if it may, and ends: nobody settles after it.
        stopping = asyncio.create_task(asyncio.to_thread(world.stack.stop_role, "sink", READY_SECONDS))
        await asyncio.sleep(1)
        os.kill(zombie, signal.SIGCONT)
        await stopping
        os.kill(heir, signal.SIGCONT)
        await starting

    async with _beside(haunt()):
        yield bites
    bites.update(world.plan.bites())
    world.plan.clear()


async def _paused(world: World, point: str) -> int:
    """The process that stands still at this point."""
    async with asyncio.timeout(SECONDS):
        while True:
            for bite in world.plan.told():
                if bite["what"] == point:
                    return int(bite["pid"])
            await asyncio.sleep(0.1)


async def _owned_by(world: World, member: str) -> int:
    """Wait until a sink has taken all partitions over; how many there are."""
    async with asyncio.timeout(SESSION_SECONDS):
        while True:
            owners = Counter(
                row["owner"] for row in await world.database.fetch("SELECT owner FROM sink_partitions")
            )
            if set(owners) == {member}:
                return owners[member]
            await asyncio.sleep(0.2)


# The bugs -------------------------------------------------------------------------------------------------

CAUGHT: dict[str, tuple[Strike, set[str]]] = {
    "offset-before-database": (killed("after-database-commit"), {"events"}),
    "event-before-database": (killed("before-database-commit"), {"events", "order"}),
    "exception-swallowed-in-sink": (COLD, {"outcomes", "contacts"}),
    "exception-swallowed-in-streams": (lists_away, {"outcomes", "contacts"}),
    "counter-added-on-repeat": (repeating("streams", ROWS_RESOLVED.name), {"accounts"}),
    "epoch-fence-removed": (late_writer, {"events"}),
    "generation-fence-removed": (late_publisher, {"events"}),
    "hint-trusted": (STALE, {"outcomes", "contacts"}),
    "copy-publishes-again": (repeating("streams", ROWS_RESOLVED.name), {"events"}),
    "receiver-accepts-out-of-order": (
        lossy("streams", ROWS_RESOLVED.name),
        {"accounts", "outcomes"},
    ),
    # The last: it floods the topics, as nothing holds the reader back, and what follows would wait behind.
    "sender-forgets-too-early": (lossy("reader", ROWS_READ.name), {"takeovers"}),
}
"""The fault that makes a bug bite, and the checks that may see it."""


def test_every_bug_has_its_round() -> None:
    """No bug is planted nowhere."""
    assert CAUGHT.keys() == BUGS.keys()


def fault_of(strike: Strike, bug: Entries) -> Fault:
    """The strike with a bug, or without one, as a fault of a round."""

    @asynccontextmanager
    async def with_bug(world: World, chance: Random) -> AsyncIterator[Bites]:
        async with strike(world, bug) as bites:
            yield bites

    return Fault("planted", 1, with_bug, roles=SEVERAL, environment=SMALL_BATCHES, seconds=SECONDS)


@pytest.fixture(scope="module")
async def shared_world() -> AsyncIterator[World]:
    async with open_world(fault_of(COLD, {})) as opened:
        yield opened


@pytest.fixture
async def world(shared_world: World) -> AsyncIterator[World]:
    """The module's world; afterwards no bug is in it any more, and everything runs again."""
    yield shared_world
    shared_world.plan.clear()
    for each in shared_world.stack.state().processes:
        os.kill(each.pid, signal.SIGCONT)
    for unit in ("ingress", "reader", "streams", "sink", "sink-1", "tasks"):
        await asyncio.to_thread(shared_world.stack.start_role, unit, READY_SECONDS)


@pytest.mark.parametrize("name", CAUGHT)
async def test_a_planted_bug_turns_a_round_red(name: str, world: World) -> None:
    """The round with the bug fails at one of the checks that are there for it."""
    strike, checks = CAUGHT[name]
    with pytest.raises(Broken) as broken:
        await run_round(world, fault_of(strike, planted(name)), f"planted {name}", ROWS)
    assert world.plan.bites()[f"bug {name}"] > 0
    print(f"{name}: caught by {broken.value}")
    assert broken.value.check in checks


FAULTS = {
    "repeating": repeating("streams", ROWS_RESOLVED.name),
    "killed": killed("after-database-commit"),
    "cold": COLD,
    "stale": STALE,
    "lists away": lists_away,
    "late publisher": late_publisher,
    "late writer": late_writer,
}


@pytest.mark.parametrize("name", FAULTS)
async def test_the_same_round_without_the_bug_is_green(name: str, world: World) -> None:
    """What makes the bugs bite does no harm by itself; losses have rounds of their own."""
    report = await run_round(world, fault_of(FAULTS[name], {}), f"no bug {name}", ROWS)
    assert report.events
