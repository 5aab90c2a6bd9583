"""A running sink between real topics and a real database: what is sent to it, and what it publishes."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from confluent_kafka import Producer

from sinks.worker import SinkWorker
from sluice.avro import Codec, load_codec
from sluice.clock import SystemClock
from sluice.events import EVENTS, BatchApplied, ContactImported, IdentitiesChanged, RowsResolved
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from sluice.topic_reads import read_since
from sluice.topics import BATCH_APPLIED, CONTACTS_IMPORTED, IDENTITIES_CHANGED, ROWS_RESOLVED
from sluice.transactions import Message
from tests.integration.sink_world import World

PATIENCE_SECONDS = 60.0


class Topics:
    """The topics around the sink, as of the moment this was made."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self.settings = settings
        self.codec = codec
        self._since = int(time.time() * 1000)
        self._producer = Producer(
            {"bootstrap.servers": settings.kafka_bootstrap_servers, "partitioner": "murmur2_random"}
        )

    @classmethod
    async def open(cls, settings: Settings) -> Topics:
        return cls(settings, await load_codec(settings.schema_registry_url))

    def send(self, message: RowsResolved, *, data: bytes | None = None) -> tuple[int, int]:
        """Send a batch, or other bytes under its headers; partition and offset."""
        places: list[tuple[int, int]] = []
        self._producer.produce(
            ROWS_RESOLVED.name,
            data if data is not None else self.codec.encode(ROWS_RESOLVED.name, message),
            message.organization_id,
            headers=headers_of(message),
            on_delivery=lambda error, sent: places.append((sent.partition(), sent.offset())),
        )
        self._producer.flush(PATIENCE_SECONDS)
        return places[0]

    async def messages(self, topic: str) -> list[Message]:
        """Every committed message of a topic since this was made."""
        return await read_since(self.settings, topic, self._since)

    async def _decoded(self, topic: str) -> list[Any]:
        kind = EVENTS[topic]
        return [self.codec.decode(topic, kind, message.value) for message in await self.messages(topic)]

    async def imported(self, job_id: uuid.UUID) -> list[ContactImported]:
        """The contact events of a job, in order of rows."""
        events: list[ContactImported] = await self._decoded(CONTACTS_IMPORTED.name)
        mine = [event for event in events if event.lineage.job_id == str(job_id)]
        return sorted(mine, key=lambda event: event.lineage.row_no)

    async def answers(self, job_id: uuid.UUID) -> list[BatchApplied]:
        """The answers about a job, in the order in which they were published."""
        events: list[BatchApplied] = await self._decoded(BATCH_APPLIED.name)
        return [event for event in events if event.job_id == str(job_id)]

    async def corrections(self, organization_id: uuid.UUID) -> list[IdentitiesChanged]:
        """What the identities table was told about an organization."""
        events: list[IdentitiesChanged] = await self._decoded(IDENTITIES_CHANGED.name)
        return [event for event in events if event.organization_id == str(organization_id)]


def headers_of(message: RowsResolved) -> list[tuple[str, str | bytes | None]]:
    """The headers that every batch carries."""
    start, end = (
        f"{place.part_no}:{place.byte_offset}:{place.line}:{place.row_no}"
        for place in (message.start, message.end)
    )
    return [
        ("job_id", message.job_id),
        ("organization_id", message.organization_id),
        ("run", str(message.run)),
        ("lease_epoch", str(message.lease_epoch)),
        ("batch_no", str(message.batch_no)),
        ("first_row_no", str(message.first_row_no)),
        ("row_count", str(len(message.rows))),
        ("start", start),
        ("end", end),
        ("is_last", str(message.is_last).lower()),
    ]


@contextlib.asynccontextmanager
async def running(settings: Settings, instance: str = "test") -> AsyncIterator[SinkWorker]:
    """A sink worker in this process, settled on all partitions; stopped as by SIGTERM."""
    chosen = settings.model_copy(update={"instance": instance})
    worker = SinkWorker(chosen, Telemetry("sink"), SystemClock())
    task = asyncio.create_task(worker.run())
    try:
        await until(lambda: worker.ready() is not None, "the sink is settled", task)
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, PATIENCE_SECONDS)


async def until(holds: Callable[[], bool], what: str, task: asyncio.Task[None] | None = None) -> None:
    """Wait for something that another task brings about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if task is not None and task.done():
            task.result()
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS:.0f} s in vain until {what}"
        await asyncio.sleep(0.02)


async def applied(world: World, job_id: uuid.UUID, batch_no: int) -> None:
    """Wait until a batch is applied, published and marked."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await world.connection.fetchval(
        "SELECT published FROM import_batches WHERE job_id = $1 AND batch_no = $2", job_id, batch_no
    ):
        assert time.monotonic() < deadline, f"batch {batch_no} of {job_id} was not applied"
        await asyncio.sleep(0.02)
