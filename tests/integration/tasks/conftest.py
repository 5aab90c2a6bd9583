"""What the tests of the tasks role share: a connection as an owner, and a reader of topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from sluice.avro import Codec, load_codec
from sluice.settings import Settings
from tests.integration.stack import Servers


@pytest.fixture(scope="session")
def settings(stack: Servers) -> Settings:
    """The settings as the roles read them."""
    return stack.settings()


@pytest.fixture(scope="session")
async def codec(settings: Settings) -> Codec:
    """The codec with the ids of the real registry."""
    return await load_codec(settings.schema_registry_url)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection as the workers' role, with an empty outbox before and after."""
    connection = await asyncpg.connect(settings.sink_database_url.get_secret_value())
    await connection.execute("DELETE FROM outbox")
    yield connection
    await connection.execute("DELETE FROM outbox")
    await connection.close()


async def eventually(holds: Callable[[], Awaitable[bool] | bool], seconds: float = 20) -> None:
    """Return when `holds` does; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


class Topic:
    """A topic from where it ended when the test began."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers, isolation_level="read_committed"
        )

    async def __aenter__(self) -> Topic:
        await self._consumer.start()
        await self._consumer._client.force_metadata_update()
        partitions = self._consumer.partitions_for_topic(self.name) or set()
        assigned = [TopicPartition(self.name, each) for each in partitions]
        self._consumer.assign(assigned)
        await self._consumer.seek_to_end(*assigned)
        for each in assigned:
            await self._consumer.position(each)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self, count: int, timeout_seconds: float = 20) -> list[Any]:
        """At least `count` new messages, and whatever came with them."""
        found: list[Any] = []
        loop_end = timeout_seconds
        while len(found) < count and loop_end > 0:
            batches = await self._consumer.getmany(timeout_ms=200)
            found += [message for batch in batches.values() for message in batch]
            loop_end -= 0.2
        assert len(found) >= count, f"{len(found)} of {count} messages on {self.name}"
        return found

    async def drain(self) -> list[Any]:
        """What is there now and arrives within half a second."""
        batches = await self._consumer.getmany(timeout_ms=500)
        return [message for batch in batches.values() for message in batch]
