"""Rows per second with the organizations of 1, 2 and 4 partitions, by one and by two pairs of workers.

The pairs (a streams and a sink process each) run on one machine with everything else: on two cores a second
pair can only use what the first leaves idle.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from typing import Any

from sluice.topics import PARTITIONS, ROWS_READ
from tests.acceptance.conftest import ROLES
from tests.benchmarks.contacts import contacts_file
from tests.benchmarks.running import Facts, Leg, Running, cpu_facts

WORKERS = "workers"
SECOND_PAIR = ("streams-1", "sink-1")
ALL_ROLES = (*ROLES, "streams", "sink")

ORGANIZATIONS = (1, 2, 4)
SETTLE_SECONDS = 90


async def workers(running: Running) -> Facts:
    """One pair first, then two."""
    rows = running.options.rows
    content = contacts_file(rows)
    await running.warm_up()
    two = await _measured(running, content, pairs=2)
    for role in SECOND_PAIR:
        await asyncio.to_thread(running.stack.stop_role, role)
    one = await _measured(running, content, pairs=1)
    return {
        "what": "rows a second by organizations importing at once, with one and two pairs of workers",
        "rows_each": rows,
        "one_pair": _facts(one),
        "two_pairs": _facts(two),
    }


def _facts(legs: dict[int, list[Leg]]) -> Facts:
    return {
        f"{organizations} organizations": {
            "rows_per_second": round(statistics.median(leg.rows_per_second for leg in measured)),
            "each_round": [round(leg.rows_per_second) for leg in measured],
            **cpu_facts(measured),
        }
        for organizations, measured in legs.items()
    }


async def _measured(running: Running, content: bytes, pairs: int) -> dict[int, list[Leg]]:
    partitions = await _partitions_in_turns(running, pairs)
    await running.warm_up()
    legs: dict[int, list[Leg]] = {organizations: [] for organizations in ORGANIZATIONS}
    for _ in range(running.options.rounds):
        for organizations in ORGANIZATIONS:
            await running.empty_contacts()
            tenants = [await running.tenant(partition) for partition in partitions[:organizations]]
            files = [(tenant, content) for tenant in tenants]
            legs[organizations].append(await running.timed_imports(files, {"created": running.options.rows}))
    return legs


async def _partitions_in_turns(running: Running, pairs: int) -> list[int]:
    """Partitions so that of each next one another pair is the owner, in both roles, as far as there are such.

    Waits until the pairs hold all partitions between them.
    """
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            streams = [await _held(running, name) for name in ("streams", "streams-1")[:pairs]]
            sinks = [await _held(running, name) for name in ("sink", "sink-1")[:pairs]]
            if all(streams) and all(sinks) and _all_once(streams) and _all_once(sinks):
                break
            await asyncio.sleep(1)
    owned: list[list[int]] = [sorted(stream & sink) for stream, sink in zip(streams, sinks, strict=True)]
    if not all(owned):
        # The second sink may hold what the first streams process feeds: the pairs are crossed then.
        owned = [sorted(stream & sink) for stream, sink in zip(streams, reversed(sinks), strict=True)]
    in_turns = itertools.chain.from_iterable(itertools.zip_longest(*owned))
    return [partition for partition in in_turns if partition is not None]


def _all_once(held: list[set[int]]) -> bool:
    return sorted(itertools.chain(*held)) == list(range(PARTITIONS))


async def _held(running: Running, role: str) -> set[int]:
    """The partitions that a worker says it holds; none while it is not ready."""
    started = running.stack.started(role)
    if started is None:
        return set()
    async with running.session.get(started.health) as answer:
        if answer.status != 200:
            return set()
        facts: dict[str, Any] = await answer.json()
    held = facts["partitions"]
    return set(held[ROWS_READ.name] if isinstance(held, dict) else held)
