"""The bell: tells the readers that a job waits. Losing a ring is harmless, because readers also poll."""

from __future__ import annotations

import asyncio
import uuid

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sluice.avro import Codec
from sluice.broker import make_producer
from sluice.clock import Clock
from sluice.errors import BrokerUnavailable
from sluice.events import ImportRequested
from sluice.settings import Settings
from sluice.topics import IMPORTS_REQUESTED

RING_SECONDS = 5.0

log = structlog.get_logger("sluice.ingress")


class Bell:
    """Rings imports.requested.v1 without making anybody wait for the broker."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._codec: Codec | None = None
        self._producer: AIOKafkaProducer | None = None
        self._ringing: set[asyncio.Task[None]] = set()
        self.tried = False  # whether the first attempt to reach the broker is over

    async def connect(self, codec: Codec) -> None:
        """Reach the broker once; the client finds it again by itself. Raises BrokerUnavailable."""
        producer = make_producer(self._settings)
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise BrokerUnavailable from error
        self._codec, self._producer = codec, producer

    async def check(self) -> None:
        """Return when the broker answers. Raises BrokerUnavailable."""
        if self._producer is None:
            raise BrokerUnavailable
        try:
            await self._producer.client.fetch_all_metadata()
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable from error

    def ring(self, job_id: uuid.UUID, organization_id: uuid.UUID) -> None:
        """Say that this job waits, some time soon."""
        if self._producer is None:
            return
        task = asyncio.create_task(self._ring(job_id, organization_id))
        self._ringing.add(task)
        task.add_done_callback(self._ringing.discard)

    async def _ring(self, job_id: uuid.UUID, organization_id: uuid.UUID) -> None:
        assert self._producer is not None
        assert self._codec is not None
        event = ImportRequested(
            job_id=str(job_id),
            organization_id=str(organization_id),
            requested_at=int(self._clock.now().timestamp() * 1000),
        )
        value = self._codec.encode(IMPORTS_REQUESTED.name, event)
        try:
            async with asyncio.timeout(RING_SECONDS):
                await self._producer.send_and_wait(
                    IMPORTS_REQUESTED.name, key=str(job_id).encode(), value=value
                )
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("bell not rung", job_id=str(job_id), error=type(error).__name__)

    async def close(self) -> None:
        """Let what rings end, and leave the broker."""
        if self._ringing:
            await asyncio.wait(self._ringing, timeout=RING_SECONDS)
        if self._producer is not None:
            await self._producer.stop()
