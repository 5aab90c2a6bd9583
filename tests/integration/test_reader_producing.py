"""The reader's way out on a real broker: every send is answered, and a refused producer is replaced."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from confluent_kafka.admin import AdminClient, NewTopic

from ingress.reading.producing import Outbound
from sluice.clock import SystemClock
from sluice.telemetry import Telemetry
from sluice.topics import MAX_MESSAGE_BYTES, Topic

if TYPE_CHECKING:
    from tests.integration.stack import Servers


def made_topic(stack: Servers, **config: str) -> Topic:
    """A topic of its own, with the catalogue's settings but for these."""
    topic = Topic(f"reader.{uuid.uuid4().hex}", "any", (), ())
    admin = AdminClient({"bootstrap.servers": stack.env["KAFKA_BOOTSTRAP_SERVERS"]})
    made = admin.create_topics([NewTopic(topic.name, 1, 1, config=topic.config | config)])
    made[topic.name].result(30)
    return topic


async def answer(outbound: Outbound, topic: Topic, value: bytes) -> bool:
    """Whether the broker stored it."""
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    await outbound.send(topic, b"key", value, [("name", b"value")], told.set_result)
    return await asyncio.wait_for(told, 20)


async def test_a_refused_message_is_answered_and_the_next_one_goes_out(stack: Servers) -> None:
    """After a refusal a new producer takes over, so one bad message does not close the way for the others."""
    narrow = await asyncio.to_thread(partial(made_topic, stack, **{"max.message.bytes": "1024"}))
    outbound = Outbound(stack.settings(), Telemetry("reader"), SystemClock())
    await outbound.start()
    try:
        assert await answer(outbound, narrow, bytes(100))
        assert not await answer(outbound, narrow, bytes(10_000))
        assert await answer(outbound, narrow, bytes(100))
        assert outbound.waits_seconds == 0
    finally:
        await outbound.stop()


async def test_the_largest_batch_passes_the_broker(stack: Servers) -> None:
    """A message as large as the catalogue allows is stored; a larger one is an error of ours at once."""
    topic = await asyncio.to_thread(made_topic, stack)
    outbound = Outbound(stack.settings(), Telemetry("reader"), SystemClock())
    await outbound.start()
    try:
        assert await answer(outbound, topic, bytes(MAX_MESSAGE_BYTES - 64 * 1024))
        told: list[bool] = []
        with pytest.raises(MessageSizeTooLargeError):
            await outbound.send(topic, b"key", bytes(MAX_MESSAGE_BYTES + 1), [], told.append)
        assert told == [False]
    finally:
        await outbound.stop()
