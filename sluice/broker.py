"""The Kafka border: topics made to match the catalogue, producers, and consumers that follow without a group.

The sink's transactional client is in `sluice.transactions`; Faust brings its own client (streams/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from sluice.errors import BrokerUnavailable, TopicMismatch
from sluice.settings import Settings
from sluice.topics import MAX_MESSAGE_BYTES, Topic, all_topics

ADMIN_TIMEOUT_SECONDS = 30


def partition_of(key: bytes, partitions: int) -> int:
    """Where a key goes: Java's default partitioner, which every producer of ours uses."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


async def ensure_topics(bootstrap: str) -> list[str]:
    """Make every topic of the catalogue that is missing and set what differs; safe to repeat.

    Returns the names of topics that were made. A topic with fewer partitions than the catalogue says is an
    error, not something to mend: its keys would go elsewhere.

    Raises:
        BrokerUnavailable: the broker does not answer.
        TopicMismatch: a topic has another partition count.
    """
    return await asyncio.to_thread(_ensure_topics, bootstrap)


def _ensure_topics(bootstrap: str) -> list[str]:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    try:
        existing = admin.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
        missing = [topic for topic in all_topics() if topic.name not in existing]
        if missing:
            _wait(admin.create_topics([_new_topic(topic) for topic in missing]))
        known = [topic for topic in all_topics() if topic.name in existing]
        if known:
            _wait(admin.incremental_alter_configs([_config(topic) for topic in known]))
    except KafkaException as error:
        raise BrokerUnavailable from error
    for topic in known:
        held = len(existing[topic.name].partitions)
        if held != topic.partitions:
            raise TopicMismatch(topic=topic.name, held=held, wanted=topic.partitions)
    return [topic.name for topic in missing]


def _new_topic(topic: Topic) -> NewTopic:
    return NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, config=topic.config)


def _config(topic: Topic) -> ConfigResource:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in topic.config.items()
    ]
    return ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)


def _wait(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(timeout=ADMIN_TIMEOUT_SECONDS)


def make_producer(settings: Settings, **options: Any) -> AIOKafkaProducer:
    """A producer whose sends are durable when awaited: all replicas, idempotent, nothing lingers."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        **{"acks": "all", "enable_idempotence": True, "linger_ms": 0, "max_request_size": MAX_MESSAGE_BYTES}
        | options,
    )


def make_follower(settings: Settings, topics: Iterable[str], *, from_start: bool) -> AIOKafkaConsumer:
    """A consumer without a group that reads whole topics, committed messages only, and commits nothing."""
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest" if from_start else "latest",
        # The default of 500 ms is the whole latency budget of a small import.
        fetch_max_wait_ms=100,
    )
