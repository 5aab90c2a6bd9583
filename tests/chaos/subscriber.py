"""A subscriber that reads committed messages and looks up each contact the moment that it hears of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from sluice.avro import Codec, load_codec
from sluice.broker import make_follower
from sluice.events import ContactImported
from sluice.settings import Settings
from sluice.topics import CONTACTS_IMPORTED

log = structlog.get_logger()

PARTITIONS = [
    TopicPartition(CONTACTS_IMPORTED.name, number) for number in range(CONTACTS_IMPORTED.partitions)
]
READABLE = "SELECT id, version FROM contacts WHERE id = ANY ($1::uuid[])"

EventKey = tuple[str, str, int]
"""Organization, job, row: what may be seen once."""


@dataclass
class Subscriber:
    """What was seen: how often each event, and those whose contact was not there yet, by contact."""

    settings: Settings
    database: Any
    seen: Counter[EventKey] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    too_early: dict[str, EventKey] = field(default_factory=dict)
    _positions: dict[TopicPartition, int] = field(default_factory=dict)
    _codec: Codec | None = None

    async def start(self) -> None:
        """Note where the topic ends now; what comes later is looked at."""
        self._codec = await load_codec(self.settings.schema_registry_url)
        consumer = make_follower(self.settings, [], from_start=False)
        await consumer.start()
        try:
            consumer.assign(PARTITIONS)
            self._positions = dict(await consumer.end_offsets(PARTITIONS))
        finally:
            await consumer.stop()

    async def follow(self) -> None:
        """Look at everything as it comes, while the task lives; a broker that is away is waited for."""
        while True:
            with suppress(KafkaError, OSError, TimeoutError):
                async with self._consumer() as consumer:
                    while True:
                        await self._poll(consumer)
            await asyncio.sleep(0.5)

    async def catch_up(self, timeout_seconds: float = 60) -> None:
        """Read to the end of what is committed now. Not while `follow` runs."""
        async with asyncio.timeout(timeout_seconds), self._consumer() as consumer:
            ends = await consumer.end_offsets(PARTITIONS)
            # Behind the last message there is the transaction's marker, which is none.
            while [each for each in PARTITIONS if await consumer.position(each) < ends[each]]:
                await self._poll(consumer)

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = make_follower(self.settings, [], from_start=False)
        await consumer.start()
        try:
            consumer.assign(PARTITIONS)
            for partition, offset in self._positions.items():
                consumer.seek(partition, offset)
            yield consumer
        finally:
            await consumer.stop()

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        found = await consumer.getmany(timeout_ms=200)
        events = [self._event(message.value) for messages in found.values() for message in messages]
        if events:
            await self._look(events)
        # Only now: whatever stops this before is read again, and nothing is counted twice.
        for event in events:
            self.seen[event.organization_id, event.lineage.job_id, event.lineage.row_no] += 1
            self.ids.add(event.event_id)
        for partition, messages in found.items():
            self._positions[partition] = messages[-1].offset + 1

    def _event(self, value: bytes) -> ContactImported:
        assert self._codec is not None, "start first"
        return self._codec.decode(CONTACTS_IMPORTED.name, ContactImported, value)

    async def _look(self, events: Iterable[ContactImported]) -> None:
        while True:
            ids = [UUID(event.contact_id) for event in events]
            try:
                versions = {row["id"]: row["version"] for row in await self.database.fetch(READABLE, ids)}
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # A database that is away proves nothing about the order.
                await asyncio.sleep(0.2)
                continue
            for event in events:
                if versions.get(UUID(event.contact_id), 0) < event.version:
                    lineage = event.lineage
                    self.too_early[event.contact_id] = (
                        event.organization_id,
                        lineage.job_id,
                        lineage.row_no,
                    )
            return
