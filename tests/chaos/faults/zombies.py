"""Processes that stand still until others have their work, and then go on as if nothing had happened."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from tests.chaos.assignments import held_in, moves_of
from tests.chaos.faults import Bites, fault
from tests.chaos.signals import Logs, running, stopped
from tests.chaos.striking import restart

if TYPE_CHECKING:
    from tests.chaos.world import World

SHORT, LONG = 16.0, 75.0
"""Beyond the session of 10 s, which both roles have; beyond the minute after which the database ends the
transaction of a writer that says nothing, and the broker that of a publisher."""
LATEST_PASSING = 2
STOPPED_SECONDS, TAKEN_OVER_SECONDS, PROOF_SECONDS = 300.0, 120.0, 20.0
EARLIEST, LATEST = 0.05, 0.4


@dataclass(frozen=True)
class Pause:
    """A process of `role` stands still at a named point (anywhere without one) for some seconds.

    `alone`: there is no second one to take over.
    """

    role: str
    at: str = ""
    seconds: float = SHORT
    alone: bool = False

    @property
    def name(self) -> str:
        """As it is counted."""
        return f"{self.role} stood still {self.at or 'somewhere'}"


ROUNDS = (
    Pause("sink", "before-database-write"),
    Pause("streams", "before-output-send"),
    Pause("sink", "before-database-commit"),
    Pause("streams"),
    Pause("sink", "before-kafka-commit"),
    Pause("sink", "before-database-write", alone=True),
    Pause("streams", "before-changelog-send"),
    Pause("sink"),
    Pause("sink", "before-database-commit", LONG),
    Pause("streams", "after-changelog-send"),
    Pause("sink", "before-kafka-transaction"),
    Pause("streams", "before-output-send", alone=True),
    Pause("sink", "before-kafka-commit", LONG),
    Pause("streams", "before-acknowledge"),
    Pause("sink", "before-kafka-offsets"),
    Pause("streams", alone=True),
    Pause("sink", "after-kafka-commit"),
    Pause("streams", "before-offset-commit"),
    Pause("sink", "after-database-commit", LONG),
    Pause("sink", alone=True),
)
BEFORE_THE_DATABASE = ("before-database-write",)
IN_DOUBT = (
    "before-database-commit",
    "after-database-commit",
    "before-kafka-transaction",
    "before-kafka-offsets",
    "before-kafka-commit",
)
"""Where the database or the broker refuses what the zombie is about to do."""


@fault(
    "zombies",
    rounds=len(ROUNDS),
    roles=("ingress", "reader", "streams", "streams", "sink", "sink", "tasks"),
    seconds=600,
)
@asynccontextmanager
async def zombies(world: World, chance: Random) -> AsyncIterator[Bites]:
    """One pause a round, at one point of one role."""
    pause = ROUNDS[(world.round_no - 1) % len(ROUNDS)]
    bites = Counter({pause.name: 0})
    logs, before = Logs(world), _refused(world)
    if pause.alone:
        await asyncio.to_thread(world.stack.stop_role, f"{pause.role}-1")
    if pause.at:
        nth = chance.randint(1, LATEST_PASSING)
        world.plan.set({pause.role: [{"patch": "pause", "at": pause.at, "nth": nth}]})
        await restart(world, pause.role)
    async with moves_of(world) as moves:
        striking = asyncio.create_task(_strike(world, chance, pause, bites))
        try:
            yield bites
            if bites[pause.name]:
                # The others may have done all of its work before it goes on.
                await striking
        finally:
            await _over(striking)
            world.plan.clear()
            if pause.alone:
                await asyncio.to_thread(world.stack.start_role, f"{pause.role}-1", 90)
    bites["partitions moved"] = moves.total()
    bites.update(await _proven(world, pause, logs, before))


async def _strike(world: World, chance: Random, pause: Pause, bites: Bites) -> None:
    if pause.at:
        pid = await _stopped_itself(world)
        bites[pause.name] += 1
        try:
            await _taken_over(world, pause, pid)
        finally:
            os.kill(pid, signal.SIGCONT)
    else:
        await world.reaches(chance.uniform(EARLIEST, LATEST))
        pid = chance.choice(running(world, pause.role)).pid
        bites[pause.name] += 1
        with stopped(pid):
            await _taken_over(world, pause, pid)


async def _taken_over(world: World, pause: Pause, pid: int) -> None:
    """Until the pause is over, the group has forgotten the process, and another one has settled its work."""
    logs = Logs(world)
    group = f"sluice-{pause.role}"
    name = next(each.name for each in running(world, pause.role) if each.pid == pid)
    member = f"{group}-{name.partition('-')[2] or 0}"
    # A new owner waits for the transaction that a zombie has open.
    settles = pause.role == "sink" and not pause.alone and pause.at not in ("", "before-database-commit")
    admin = AdminClient({"bootstrap.servers": world.stack.settings().kafka_bootstrap_servers, "log_level": 0})
    await asyncio.sleep(pause.seconds)
    async with asyncio.timeout(TAKEN_OVER_SECONDS):
        while True:
            held = (await asyncio.to_thread(held_in, admin, [group])).get(group, {})
            moved = member not in held and (pause.alone or any(held.values()))
            if moved and (not settles or logs.count("sink", "partitions settled")):
                return
            await asyncio.sleep(0.5)


async def _stopped_itself(world: World) -> int:
    """The process that has come to its point."""
    async with asyncio.timeout(STOPPED_SECONDS):
        while True:
            for told in world.plan.told():
                return int(told["pid"])
            await asyncio.sleep(0.1)


async def _over(striking: asyncio.Task[None]) -> None:
    """The zombie goes on, whatever has become of the round."""
    if not striking.done():
        striking.cancel()
    with suppress(asyncio.CancelledError):
        await striking


def _refused(world: World) -> Counter[str]:
    return Counter(
        {
            "writes fenced": int(world.counted("sluice_writes_fenced_total", "sink")),
            "repeats": int(world.counted("sluice_batches_repeated_total", "sink")),
            "dropped": int(world.counted("sluice_batches_dropped_total", "sink")),
        }
    )


async def _proven(world: World, pause: Pause, logs: Logs, before: Counter[str]) -> dict[str, int]:
    """The proof, for which a process that goes on again needs a moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PROOF_SECONDS):
            while not all(_proof(pause, logs, before, _refused(world)).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.5)
    return _proof(pause, logs, before, _refused(world))


def _proof(pause: Pause, logs: Logs, before: Counter[str], after: Counter[str]) -> dict[str, int]:
    """What must have refused the zombie, by where it stood."""
    risen = after - before
    if pause.at in BEFORE_THE_DATABASE and not pause.alone:
        return {"writes fenced in the database": risen["writes fenced"]}
    if pause.at in (*BEFORE_THE_DATABASE, *IN_DOUBT):
        return {"transactions refused": logs.count("sink", "beginning again")}
    if pause.role == "streams" and pause.at in ("before-output-send", "after-changelog-send"):
        return {"stale batches without effect": risen["repeats"] + risen["dropped"]}
    return {}
