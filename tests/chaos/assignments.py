"""Who holds which partitions, as the broker tells: how often they moved."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sluice.topics import GROUPS

if TYPE_CHECKING:
    from tests.chaos.world import World

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 5
Held = dict[str, frozenset[tuple[str, int]]]
"""Partitions by member."""


@asynccontextmanager
async def moves_of(world: World) -> AsyncIterator[Counter[str]]:
    """By group, how often partitions came to another member than before, while the block runs."""
    moves: Counter[str] = Counter()
    watching = asyncio.create_task(_watch(world.stack.settings().kafka_bootstrap_servers, moves))
    try:
        yield moves
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(bootstrap: str, moves: Counter[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    last: dict[str, Held] = {}
    while True:
        for group, held in (await asyncio.to_thread(held_in, admin, GROUPS)).items():
            # A group that is between two assignments has none: it is looked at when it has.
            if any(held.values()) and held != last.get(group, held):
                moves[group] += 1
            if any(held.values()):
                last[group] = held
        await asyncio.sleep(LOOK_SECONDS)


def held_in(admin: AdminClient, groups: Iterable[str]) -> dict[str, Held]:
    """What the members of these groups hold now; a group that the broker does not tell of is left out."""
    found: dict[str, Held] = {}
    asked = admin.describe_consumer_groups(list(groups), request_timeout=ANSWER_SECONDS)
    for group, answer in asked.items():
        with suppress(KafkaException, TimeoutError):
            found[group] = {
                member.group_instance_id or member.client_id: frozenset(
                    (each.topic, each.partition) for each in member.assignment.topic_partitions
                )
                for member in answer.result(ANSWER_SECONDS).members
            }
    return found
