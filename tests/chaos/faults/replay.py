"""Everything once more: the groups are set back to the beginning of their topics, and nothing may change."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from sluice.topics import (
    BATCH_APPLIED,
    CONTACTS_IMPORTED,
    ROWS_READ,
    ROWS_RESOLVED,
    SINK_GROUP,
    STREAMS_GROUP,
    Topic,
)
from tests.chaos.checks import Broken, check_lag
from tests.chaos.faults import Bites, fault

if TYPE_CHECKING:
    from tests.chaos.world import World

ROUNDS = 3
WRITTEN = ("contacts", "import_batches", "import_jobs")
"""Tables that a replay must leave alone to the last byte and the last transaction's number."""
ROWS_OF = "SELECT {key} AS id, xmin::text || md5(t::text) AS content FROM {table} t"
KEYS = {"import_batches": "job_id::text || '/' || batch_no"}
EDITED = "SELECT DISTINCT contact_id::text FROM chaos_edits WHERE id > $1"
ANSWER_SECONDS, LEAVE_SECONDS, REPLAY_SECONDS = 10.0, 60.0, 240.0


@fault("replay", rounds=ROUNDS, seconds=600)
@asynccontextmanager
async def replay(world: World, chance: Random) -> AsyncIterator[Bites]:
    """When the round's imports are over, the sink reads all of its topic again, then the streams theirs."""
    bites: Bites = Counter()
    yield bites
    await check_lag(world)
    for role, group, topic in (("sink", SINK_GROUP, ROWS_RESOLVED), ("streams", STREAMS_GROUP, ROWS_READ)):
        await _again(world, role, group, topic, bites)


def _refused(world: World, role: str) -> float:
    """Batches that were recognised: known already, or of a lease that has gone."""
    names = ("sluice_batches_repeated_total", "sluice_batches_dropped_total")
    return sum(world.counted(name, role) for name in names)


@dataclass(frozen=True)
class Seen:
    """The database's rows by table and id, the last edit before them, and where the public topics end."""

    rows: dict[tuple[str, str], str]
    edits: int
    ends: dict[tuple[str, int], int]


async def _again(world: World, role: str, group: str, topic: Topic, bites: Bites) -> None:
    await asyncio.to_thread(world.stack.stop_role, role)
    before = await _look(world)
    repeats = _refused(world, role)
    rewound = await asyncio.to_thread(_rewind, world, group, topic)
    await asyncio.to_thread(world.stack.start_role, role, 120)
    async with asyncio.timeout(REPLAY_SECONDS):
        while _refused(world, role) - repeats < rewound:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    await check_lag(world)
    await _compare(world, before, await _look(world))
    bites[f"messages read again by the {role}"] = rewound


async def _look(world: World) -> Seen:
    rows: dict[tuple[str, str], str] = {}
    async with world.database.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        # Numbers are given before their edits are committed: a few lower ones may come later.
        edits = await connection.fetchval("SELECT coalesce(max(id), 0) - 10 FROM chaos_edits")
        for table in WRITTEN:
            query = ROWS_OF.format(key=KEYS.get(table, "id::text"), table=table)
            rows.update({(table, row["id"]): row["content"] for row in await connection.fetch(query)})
    return Seen(rows, edits, await asyncio.to_thread(_ends, world, (CONTACTS_IMPORTED, BATCH_APPLIED)))


async def _compare(world: World, before: Seen, after: Seen) -> None:
    """Only what users have edited meanwhile may differ."""
    edited = {("contacts", row["contact_id"]) for row in await world.database.fetch(EDITED, before.edits)}
    changed = {key for key, content in before.rows.items() if after.rows.get(key) != content} - edited
    new = after.rows.keys() - before.rows.keys() - edited
    if changed or new:
        raise Broken("replay", f"{len(changed)} rows changed {sorted(changed)[:3]}, {len(new)} new ones")
    if after.ends != before.ends:
        raise Broken("replay", f"new events: {set(after.ends.items()) ^ set(before.ends.items())}")


def _ends(world: World, topics: tuple[Topic, ...]) -> dict[tuple[str, int], int]:
    """Where readers of committed messages find the end."""
    admin = AdminClient({"bootstrap.servers": world.stack.settings().kafka_bootstrap_servers, "log_level": 2})
    asked = {
        TopicPartition(topic.name, number): OffsetSpec.latest()
        for topic in topics
        for number in range(topic.partitions)
    }
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
    return {
        (where.topic, where.partition): answer.result(ANSWER_SECONDS).offset
        for where, answer in answers.items()
    }


def _rewind(world: World, group: str, topic: Topic) -> int:
    """Set the group back to the beginning of the topic; returns how many messages lie ahead of it then.

    The broker refuses for as long as the stopped member may come back, which is its session.
    """
    admin = AdminClient({"bootstrap.servers": world.stack.settings().kafka_bootstrap_servers, "log_level": 2})
    places = [TopicPartition(topic.name, number, 0) for number in range(topic.partitions)]
    deadline = time.monotonic() + LEAVE_SECONDS
    while True:
        wanted = ConsumerGroupTopicPartitions(group, places)
        try:
            done = admin.alter_consumer_group_offsets([wanted])[group].result(ANSWER_SECONDS)
            assert all(each.error is None for each in done.topic_partitions)
        except (KafkaException, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return sum(_ends(world, (topic,)).values())
