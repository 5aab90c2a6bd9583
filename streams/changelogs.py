"""What the broker says of the changelog topics, so that a table on disk that is not theirs is not used.

Faust stops for ever on a table that is ahead of its changelog (a broker that lost its disk, a topic made
anew). Here such a partition is removed before Faust starts, and read again from its changelog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from sluice.errors import BrokerUnavailable
from streams.store import PartitionStore

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Changelog:
    """A changelog topic: the broker's id of it, and the offset behind the last record by partition."""

    topic_id: str
    end_offsets: Mapping[int, int]


async def read(bootstrap: str, topics: Sequence[str]) -> dict[str, Changelog]:
    """The changelogs as they are now.

    Raises:
        BrokerUnavailable: the broker does not answer, or a topic is missing (`sluice topics` makes it).
    """
    return await asyncio.to_thread(_read, bootstrap, topics)


def _read(bootstrap: str, topics: Sequence[str]) -> dict[str, Changelog]:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    try:
        described = admin.describe_topics(TopicCollection(list(topics)), request_timeout=TIMEOUT_SECONDS)
        found = {topic: future.result(timeout=TIMEOUT_SECONDS) for topic, future in described.items()}
        partitions = [
            TopicPartition(topic, partition.id)
            for topic, description in found.items()
            for partition in description.partitions
        ]
        asked = admin.list_offsets(
            dict.fromkeys(partitions, OffsetSpec.latest()), request_timeout=TIMEOUT_SECONDS
        )
        ends: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        for where, future in asked.items():
            ends[where.topic][where.partition] = future.result(timeout=TIMEOUT_SECONDS).offset
    except (KafkaException, TimeoutError) as error:
        raise BrokerUnavailable from error
    return {topic: Changelog(str(description.topic_id), ends[topic]) for topic, description in found.items()}


def discard_ahead(store: PartitionStore, end_offsets: Mapping[int, int]) -> list[int]:
    """Remove the partitions on disk that know more than their changelog; returns which."""
    discarded: list[int] = []
    for partition in store.partitions_on_disk():
        held = store.persisted_offset(partition)
        if held is not None and held >= end_offsets.get(partition, 0):
            log.warning("table_ahead_of_its_changelog", directory=store.directory.name, partition=partition)
            store.discard(partition)
            discarded.append(partition)
    return discarded
