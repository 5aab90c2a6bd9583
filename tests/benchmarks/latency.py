"""Ten rows, from request to full answer: on an idle stack, and behind another tenant's large import.

The other tenant's organization falls on the same partition, so its batches and ours share one queue.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from uuid import UUID

from tests.acceptance.client import Tenant
from tests.benchmarks.contacts import contacts_file
from tests.benchmarks.journeys import Journey, journeys, newest
from tests.benchmarks.processes import Usage
from tests.benchmarks.running import Facts, Running, partition_of_organization

IDLE, BEHIND = "ten-rows", "ten-rows-behind"

SMALL_ROWS = 10
ROUNDS = 20
WAKING = 3
"""Imports before the measured ones, which wake connections up."""

ASK_EVERY_SECONDS = 0.2
IDLE_SECONDS = 10
UNDER_WAY = 0.05
"""The share of the large import that is written before the first small one is sent."""


async def latency(running: Running, wanted: set[str], large_rows: int) -> dict[str, Facts]:
    """The idle one always, as the other is held against it."""
    await running.warm_up()
    tenant = await running.tenant()
    await small_imports(running, tenant, WAKING)
    idle = await small_imports(running, tenant, ROUNDS)
    found: dict[str, Facts] = {}
    if IDLE in wanted:
        found[IDLE] = {
            "what": "ten rows on an idle stack, request to full answer",
            **_facts(idle),
            "percent_of_a_core_when_nothing_happens": await _idle_cpu(running),
        }
    if BEHIND in wanted:
        found[BEHIND] = await _behind(running, tenant, idle, large_rows)
    return found


async def small_imports(running: Running, tenant: Tenant, times: int) -> list[Journey]:
    """New contacts each time, one import after the other."""
    before = await newest(running.settings)
    spans = [await _small_import(running, tenant) for _ in range(times)]
    return await journeys(running, before, spans)


async def _small_import(running: Running, tenant: Tenant) -> tuple[UUID, float, float]:
    """The job, and when its request began and its answer was there, in seconds since 1970."""
    content = contacts_file(SMALL_ROWS, running.unused_rows(SMALL_ROWS))
    began = time.time()
    answer = await running.import_file(tenant, content)
    ended = time.time()
    assert answer["created"] == SMALL_ROWS, answer
    return UUID(answer["jobId"]), began, ended


async def _behind(running: Running, tenant: Tenant, idle: Sequence[Journey], large_rows: int) -> Facts:
    large = await running.tenant(partition_of_organization(tenant.organization_id))
    importing = asyncio.create_task(running.import_file(large, contacts_file(large_rows)))
    while await _written(running, large) < large_rows * UNDER_WAY:  # noqa: ASYNC110 - the database is asked
        await asyncio.sleep(ASK_EVERY_SECONDS)
    before = await newest(running.settings)
    spans: list[tuple[UUID, float, float]] = []
    while len(spans) < ROUNDS and await _written(running, large) < large_rows * (1 - UNDER_WAY):
        spans.append(await _small_import(running, tenant))
    while_it_ran = not importing.done()
    assert (await importing)["created"] == large_rows
    behind = await journeys(running, before, spans)
    seconds = statistics.median(each.seconds for each in behind)
    return {
        "what": f"ten rows while another tenant's {large_rows:,} pass the same partition, against idle",
        "ratio": round(seconds / statistics.median(each.seconds for each in idle), 1),
        "imports": len(behind),
        "large_import_ran_throughout": while_it_ran,
        **_facts(behind),
    }


async def _idle_cpu(running: Running) -> dict[str, float]:
    before = Usage.of(running.stack)
    await asyncio.sleep(IDLE_SECONDS)
    used = Usage.of(running.stack).since(before)
    return {name: round(100 * seconds / used.at, 1) for name, seconds in used.by_process.items()}


async def _written(running: Running, tenant: Tenant) -> int:
    count = await running.database.fetchval(
        "SELECT coalesce(sum(rows_read), 0) FROM import_jobs WHERE organization_id = $1",
        UUID(tenant.organization_id),
    )
    return int(count)


def _facts(measured: Sequence[Journey]) -> Facts:
    seconds = [each.seconds for each in measured]
    return {
        "median_seconds": round(statistics.median(seconds), 4),
        "largest_seconds": round(max(seconds), 4),
        "median_milliseconds_by_stage": {
            name: round(statistics.median(each.stages[name] for each in measured) * 1000, 1)
            for name in measured[0].stages
        },
    }
