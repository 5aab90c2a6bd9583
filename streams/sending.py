"""Sends that are durable when they return, through the producer that Faust brings.

A broker that is away is waited for: nothing is acknowledged meanwhile, so nothing is lost (D7). A send that
timed out may have arrived, so a message may be there twice: a repeat has no effect anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog
from aiokafka.errors import KafkaError

from sluice.telemetry import Telemetry
from streams.patience import Patience

log = structlog.get_logger(__name__)


Headers = Iterable[tuple[str, bytes]]


class Sender(Protocol):
    """Sends one message and returns its offset once all replicas have it."""

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        *,
        partition: int | None = None,
        headers: Headers = (),
    ) -> int: ...


class FaustSender:
    """The sender of a running app; GivenUp where the app stops, or rebalances, before the broker is back."""

    def __init__(self, app: Any, telemetry: Telemetry, gives_up: Callable[[], bool]) -> None:
        self._app = app
        self._patience = Patience("broker", telemetry, gives_up)

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        *,
        partition: int | None = None,
        headers: Headers = (),
    ) -> int:
        while True:
            try:
                producer = await self._app.maybe_start_producer()
                sent = await producer.send_and_wait(
                    topic, key, value, partition=partition, timestamp=None, headers=list(headers)
                )
            except KafkaError as error:
                log.warning("broker_waited_for", topic=topic, error=type(error).__name__)
                await self._patience.wait()
            else:
                self._patience.answered()
                return int(sent.offset)
