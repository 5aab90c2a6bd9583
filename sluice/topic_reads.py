"""What settling asks of the broker: a topic's id, a topic's messages since a time (D6 step 1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from sluice.errors import BrokerUnavailable
from sluice.settings import Settings
from sluice.transactions import CALL_SECONDS, CLIENT_LOG, MESSAGE_BYTES, Message, checked


async def topic_id_of(settings: Settings, topic: str) -> str:
    """The topic's id: one that is deleted and made anew under its name has another."""
    return await asyncio.to_thread(_topic_id_of, settings, topic)


def _topic_id_of(settings: Settings, topic: str) -> str:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 3})
    try:
        found = admin.describe_topics(TopicCollection([topic]), request_timeout=CALL_SECONDS)
        return str(found[topic].result(CALL_SECONDS).topic_id)
    except (KafkaException, TimeoutError) as error:
        raise BrokerUnavailable from error


async def read_since(settings: Settings, topic: str, since_milliseconds: int) -> list[Message]:
    """Every committed message of a topic from a time on, up to what has been written by now."""
    return await asyncio.to_thread(_read_since, settings, topic, since_milliseconds)


def _read_since(settings: Settings, topic: str, since_milliseconds: int) -> list[Message]:
    consumer = _free_consumer(settings, {"enable.partition.eof": True})
    messages: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, CALL_SECONDS).topics[topic].partitions
        starts = consumer.offsets_for_times(
            [TopicPartition(topic, partition, since_milliseconds) for partition in partitions], CALL_SECONDS
        )
        ends = _ends(settings, topic, partitions)
        left = {item.partition for item in starts if 0 <= item.offset < ends[item.partition]}
        consumer.assign([item for item in starts if item.partition in left])
        while left:
            message = consumer.poll(CALL_SECONDS)
            if message is None:
                raise BrokerUnavailable
            error = message.error()
            if error is None:
                messages.append(checked(message))
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            elif message.offset() >= ends[message.partition()]:
                # The end that open transactions allow comes first; it comes again when they have ended.
                left.discard(message.partition())
    except KafkaException as error:
        raise BrokerUnavailable from error
    finally:
        consumer.close()
    return messages


def _ends(settings: Settings, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 3})
    wanted = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
    found = admin.list_offsets(
        wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=CALL_SECONDS
    )
    return {item.partition: future.result(CALL_SECONDS).offset for item, future in found.items()}


def _free_consumer(settings: Settings, options: Mapping[str, Any] | None = None) -> Consumer:
    """A consumer that is told what to read; its group exists in name only."""
    return Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": "sluice-unassigned",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": MESSAGE_BYTES,
            "log_level": 3,
            **(options or {}),
        },
        logger=CLIENT_LOG,
    )
