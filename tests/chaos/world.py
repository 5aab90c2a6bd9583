"""A running system that is there to be broken: its stack, its plan of patches, and what it counts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.client import Tenant, new_tenant, run_sluice
from tests.chaos.edits import TABLE
from tests.chaos.faults import Fault
from tests.chaos.plan import Plan
from tests.integration.stack import LocalStack

COUNT_SECONDS = 0.5
START_SECONDS = 300.0
"""A machine that does much else is slow to start a stack."""
START_SECONDS = 300.0
"""A machine that does much else may need as long to bring up a stack with three of a role."""

Sample = tuple[str, int, str, str]
"""Unit, process, metric with its labels: what only rises while the process lives."""


@dataclass
class World:
    """What faults and checks work with. `database` sees every tenant, straight at the server."""

    stack: LocalStack
    plan: Plan
    database: Any
    session: aiohttp.ClientSession
    rows: int = 0
    round_no: int = 1
    organizations: list[str] = field(default_factory=list)
    overwritten: set[str] = field(default_factory=set)
    """Jobs whose file a fault has replaced while it was read: they may end failed."""
    existing: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """Contacts that a fault has put there before the imports, by organization: the oracle has to know."""
    baseline: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    """What a family of faults keeps from round to round, by a name of its own; `exits` ends it."""
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)
    _samples: dict[Sample, float] = field(default_factory=dict)

    async def tenants(self, names: list[str], listed: list[str]) -> list[Tenant]:
        """New organizations, each with a company Do-Not-Call list of these numbers."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(listed) + "\n")
            file.flush()

            def make(name: str) -> Tenant:
                tenant = new_tenant(self.stack, self.session, name)
                run_sluice(self.stack, "dnc", "load", file.name, "--list", "Company", "--org", name)
                return tenant

            made = await asyncio.gather(*(asyncio.to_thread(make, name) for name in names))
        self.organizations = [tenant.organization_id for tenant in made]
        return list(made)

    async def imported(self) -> int:
        """Rows of this round that the database accounts for; 0 while it does not answer."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            found = await self.database.fetchval(
                "SELECT coalesce(sum(rows_read), 0)::bigint FROM import_jobs "
                "WHERE organization_id = ANY ($1::uuid[])",
                self.organizations,
            )
            return int(found)
        return 0

    async def reaches(self, share: float, timeout_seconds: float = 120) -> bool:
        """Wait until this share of the round's rows is accounted for; False when that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while await self.imported() < self.rows * share:  # noqa: ASYNC110 - it asks the database
                    await asyncio.sleep(0.05)
                return True
        return False

    def counted(self, metric: str, unit: str = "") -> float:
        """The sum of a counter over all labels and all processes that ever lived, or those of one unit.

        The last half second of a process that was killed is not in it.
        """
        return sum(
            value
            for (name, _, sample, _), value in self._samples.items()
            if sample == metric and name.startswith(unit)
        )

    def unit(self, role: str) -> str:
        """The first unit of a role that runs now."""
        return next(name for name in self.units() if name.split("-")[0] == role)

    def units(self) -> list[str]:
        """The roles' processes that run now, by unit."""
        return [each.name for each in self.stack.state().processes if each.kind == "role"]

    def resources(self) -> dict[str, tuple[int, int]]:
        """Of each role's process: resident bytes, open file descriptors."""
        found = {}
        for each in self.stack.state().processes:
            if each.kind == "role":
                with suppress(psutil.Error):
                    process = psutil.Process(each.pid)
                    found[each.name] = process.memory_info().rss, process.num_fds()
        return found

    async def count(self) -> None:
        """Keep every process's counters, for as long as the task lives."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            for each in self.stack.state().processes:
                if each.metrics:
                    await self._scrape(each.name, each.pid, each.metrics)

    async def _scrape(self, unit: str, pid: int, address: str) -> None:
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            timeout = aiohttp.ClientTimeout(total=2)
            async with self.session.get(address, timeout=timeout) as answer:
                text = await answer.text()
            for family in text_string_to_metric_families(text):
                if family.type == "counter" and family.name.startswith("sluice_"):
                    for sample in family.samples:
                        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                        self._samples[unit, pid, sample.name, labels] = sample.value

    async def ready(self, timeout_seconds: float = 90) -> None:
        """Wait until every server and role answers."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                state = self.stack.state()
                if not state.absent and state.processes and all(each.ready for each in state.processes):
                    return
                await asyncio.sleep(0.2)


@asynccontextmanager
async def open_world(fault: Fault) -> AsyncIterator[World]:
    """A stack of its own for one family of faults."""
    with tempfile.TemporaryDirectory(prefix="sluice-chaos-") as directory:
        plan = Plan(Path(directory) / "plan.json")
        environment = {"ENABLE_RATE_LIMITING": "false", **plan.environment, **(fault.environment or {})}
        stack = await asyncio.to_thread(
            LocalStack.start, roles=fault.roles, environment=environment, timeout_seconds=START_SECONDS
        )
        try:
            async with _world(stack, plan) as world:
                yield world
        finally:
            await asyncio.to_thread(stack.stop)


@asynccontextmanager
async def _world(stack: LocalStack, plan: Plan) -> AsyncIterator[World]:
    pool = await asyncpg.create_pool(stack.env["MIGRATE_DATABASE_URL"], min_size=0, max_size=10)
    try:
        await pool.execute(TABLE)
        async with aiohttp.ClientSession() as session:
            world = World(stack, plan, pool, session)
            counting = asyncio.create_task(world.count())
            try:
                async with world.exits:
                    yield world
            finally:
                counting.cancel()
    finally:
        pool.terminate()
