"""The reader's way out: one producer, replaced when it cannot go on, every send answered in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from ingress.reading.waiting import patiently
from sluice.broker import make_producer
from sluice.clock import Clock
from sluice.errors import BrokerUnavailable
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from sluice.topics import Topic

log = structlog.get_logger(__name__)

# Batches of one partition that wait while a request is on its way go with the next one together.
REQUEST_BYTES = 512 * 1024

# A producer that is given up tries to send what it has, which a broker that is away makes endless.
STOP_SECONDS = 2.0

# After a failed send: a broker that comes back is met within this time.
PAUSE_SECONDS = 0.25

Answered = Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class _Open:
    """A message that the broker has not answered yet."""

    producer: Any
    sent_at: float
    answered: Answered


class Outbound:
    """Sends without waiting for the broker's answer, which `answered` tells later: stored or not.

    An idempotent producer sends again by itself for as long as it can, so an answer may take as long as an
    outage. One that the broker has refused may refuse all that follow (a gap in its sequence), so it is
    replaced; what it still had is answered as not stored.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, clock: Clock) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._open: dict[asyncio.Future[Any], _Open] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def waits_seconds(self) -> float:
        """How long the broker owes its oldest answer; 0 when it owes none."""
        oldest = next(iter(self._open.values()), None)
        return self._clock.monotonic() - oldest.sent_at if oldest else 0.0

    async def start(self) -> None:
        """Be connected: a cold producer costs the first batch 45 ms. The broker is waited for."""
        await self._running()

    async def send(
        self,
        topic: Topic,
        key: bytes,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        answered: Answered,
    ) -> None:
        """Hand one message over; those of one caller that waits for each call keep their order.

        `answered` is called exactly once, also when this is cancelled or raises.
        """
        producer = None
        try:
            producer = await self._running()
            future = await producer.send(topic.name, value, key, headers=list(headers))
        except BaseException as error:
            answered(False)
            # A message that no broker takes is an error of ours, and no other producer would help.
            if not isinstance(error, KafkaError) or isinstance(error, MessageSizeTooLargeError):
                raise
            self._give_up(producer, error)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            self._open[future] = _Open(producer, self._clock.monotonic(), answered)
            future.add_done_callback(self._tell)

    async def stop(self) -> None:
        """Let go of the broker within a few seconds; what it has not answered by then stays open."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)
        if self._stopping:
            await asyncio.wait(self._stopping)

    async def _running(self) -> Any:
        while self._producer is None:
            async with self._starting:
                if self._producer is None:
                    self._producer = await patiently(self._connected, self._telemetry)
        return self._producer

    async def _connected(self) -> Any:
        producer = make_producer(self._settings, max_batch_size=REQUEST_BYTES)
        try:
            await producer.start()
        except BaseException as error:
            await _abandon(producer)
            if isinstance(error, KafkaError):
                raise BrokerUnavailable from error
            raise
        return producer

    def _tell(self, done: asyncio.Future[Any]) -> None:
        entry = self._open.pop(done, None)
        if done.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = done.exception()
        if entry is None:
            return
        entry.answered(error is None)
        if error is not None:
            self._give_up(entry.producer, error)

    def _give_up(self, producer: Any, error: BaseException) -> None:
        if producer is None or producer is not self._producer:
            return
        log.warning("producer replaced", error=type(error).__name__)
        self._producer = None
        for future, entry in list(self._open.items()):
            if entry.producer is producer:
                del self._open[future]
                entry.answered(False)
        task = asyncio.create_task(_abandon(producer))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


async def _stop(producer: Any) -> None:
    """Let it finish what it has, if that is quick."""
    try:
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
    except (TimeoutError, KafkaError):
        await _abandon(producer)


async def _abandon(producer: Any) -> None:
    """Cut its connections first: its own stop() would wait for answers that no longer come."""
    with contextlib.suppress(KafkaError, asyncio.TimeoutError):
        await asyncio.wait_for(producer.client.close(), STOP_SECONDS)
        await asyncio.wait_for(producer.stop(), STOP_SECONDS)
    # stop() gave up waiting for its flush; the task behind it would try for ever.
    with contextlib.suppress(KafkaError, asyncio.TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(producer._sender.close(), STOP_SECONDS)
