"""A sink killed between the database and Kafka, and its successor without what it would rely on.

Every point between the two commits meets every loss: the group's offsets kept, set back to 0 or gone, the
topic that it reads or the one that it answers in deleted and made anew.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from sluice.broker import ensure_topics
from sluice.errors import BrokerUnavailable
from sluice.topics import BATCH_APPLIED, PARTITIONS, ROWS_RESOLVED, SINK_GROUP, Topic
from tests.chaos.faults import Bites, fault
from tests.chaos.signals import Logs
from tests.chaos.striking import restart

if TYPE_CHECKING:
    from tests.chaos.world import World

IN_DOUBT = ("after-database-commit", "before-kafka-offsets", "before-kafka-commit")
PUBLISHED = ("after-kafka-commit", "before-mark-published")
POINTS = (*IN_DOUBT, *PUBLISHED)
LATEST_PASSING = 8
ANSWER_SECONDS = 30.0
LOSS_SECONDS = 90.0
"""The group can be changed when the session of its dead member is over; a topic is deleted soon."""


Loss = Callable[[AdminClient, str], bool]
"""Of the broker at an address; false as long as it cannot be done yet."""


def _kept(admin: AdminClient, bootstrap: str) -> bool:
    return True


def _set_back(admin: AdminClient, bootstrap: str) -> bool:
    places = [TopicPartition(ROWS_RESOLVED.name, partition, 0) for partition in range(PARTITIONS)]
    request = [ConsumerGroupTopicPartitions(SINK_GROUP, places)]
    asked = admin.alter_consumer_group_offsets(request)[SINK_GROUP]
    return asked.exception(ANSWER_SECONDS) is None and not any(
        place.error for place in asked.result().topic_partitions
    )


def _gone(admin: AdminClient, bootstrap: str) -> bool:
    asked = admin.delete_consumer_groups([SINK_GROUP])[SINK_GROUP]
    return asked.exception(ANSWER_SECONDS) is None


def _made_anew(topic: Topic) -> Loss:
    def make(admin: AdminClient, bootstrap: str) -> bool:
        admin.delete_topics([topic.name])[topic.name].exception(ANSWER_SECONDS)
        try:
            return topic.name in asyncio.run(ensure_topics(bootstrap))
        except BrokerUnavailable:
            # It is still being deleted.
            return False

    return make


LOSSES: Mapping[str, Loss] = {
    "offsets kept": _kept,
    "offsets set back": _set_back,
    "offsets gone": _gone,
    f"{ROWS_RESOLVED.name} made anew": _made_anew(ROWS_RESOLVED),
    f"{BATCH_APPLIED.name} made anew": _made_anew(BATCH_APPLIED),
}
"""What becomes of what settlement asks."""


@fault("settling", rounds=len(POINTS) * len(LOSSES), seconds=600)
@asynccontextmanager
async def settling(world: World, chance: Random) -> AsyncIterator[Bites]:
    """One point and one loss a round, all pairs in turn."""
    number = world.round_no - 1
    loss = list(LOSSES)[number % len(LOSSES)]
    point = POINTS[(number + number // len(LOSSES)) % len(POINTS)]
    bites: Bites = Counter({point: 0, loss: 0})
    logs = Logs(world)
    nth = chance.randint(2, LATEST_PASSING)
    world.plan.set({"sink": [{"patch": "pause", "at": point, "nth": nth}]})
    await restart(world, "sink")
    striking = asyncio.create_task(_strike(world, loss))
    try:
        yield bites
        bites[loss] += await striking
    finally:
        striking.cancel()
        bites.update(world.plan.bites())
        world.plan.clear()
    if point in IN_DOUBT:
        bites["published what was in doubt"] = logs.count("sink", "published what was in doubt")


async def _strike(world: World, loss: str) -> int:
    while not (told := list(world.plan.told())):  # noqa: ASYNC110 - a file tells
        await asyncio.sleep(0.05)
    # Not killed by the point itself: the supervisor would have its successor at work at once.
    world.stack.tell("stop sink")
    os.kill(told[0]["pid"], signal.SIGKILL)
    bootstrap = world.stack.env["KAFKA_BOOTSTRAP_SERVERS"]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    try:
        async with asyncio.timeout(LOSS_SECONDS):
            while world.stack.started("sink") is not None:  # noqa: ASYNC110 - a file tells
                await asyncio.sleep(0.1)
            while not await asyncio.to_thread(LOSSES[loss], admin, bootstrap):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        await asyncio.to_thread(world.stack.start_role, "sink", LOSS_SECONDS)
    return 1
