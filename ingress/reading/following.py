"""Following topics whole, without a group: what is missed is not lost, the database tells it too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from ingress.reading.waiting import patiently
from sluice.broker import make_follower
from sluice.errors import BrokerUnavailable
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from sluice.topics import Topic

log = structlog.get_logger(__name__)

STOP_SECONDS = 2.0


async def follow(
    settings: Settings,
    topics: Sequence[Topic],
    take: Callable[[Any], None],
    following: asyncio.Event,
    telemetry: Telemetry,
) -> None:
    """Call `take` for each message from now on, without end. `following` is set once none is missed.

    `take` must not block; it may raise nothing.
    """
    while True:
        consumer = await patiently(lambda: _connected(settings, topics), telemetry)
        try:
            following.set()
            async for message in consumer:
                take(message)
        except KafkaError as error:
            log.warning("followed anew", error=type(error).__name__)
        finally:
            await _stop(consumer)


async def _connected(settings: Settings, topics: Sequence[Topic]) -> Any:
    consumer = make_follower(settings, [topic.name for topic in topics], from_start=False)
    try:
        await consumer.start()
        # The end is looked up with the first fetch; what comes before that would be missed.
        await asyncio.gather(*(consumer.position(partition) for partition in consumer.assignment()))
    except BaseException as error:
        await _stop(consumer)
        if isinstance(error, KafkaError):
            raise BrokerUnavailable from error
        raise
    return consumer


async def _stop(consumer: Any) -> None:
    with contextlib.suppress(KafkaError, asyncio.TimeoutError):
        await asyncio.wait_for(consumer.stop(), STOP_SECONDS)
