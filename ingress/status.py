"""How far each living job is, out of memory: imports.progress.v1 as it comes in (D8).

A job is answered from memory while it is processing and was heard of within the last second; everything
else, every final state included, is read from PostgreSQL. What an answer from PostgreSQL has shown is the
least that a later one from memory may show, so counters never fall.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog
from aiokafka.errors import KafkaError

from sluice.avro import Codec
from sluice.broker import make_follower
from sluice.clock import Clock
from sluice.errors import BrokerUnavailable, MessageUndecodable
from sluice.events import JobProgress
from sluice.job import ENDED, JobState
from sluice.settings import Settings
from sluice.topics import PROGRESS

FRESH_SECONDS = 1.0
REMEMBERED = 50_000

FIRST_POLL_SECONDS = 0.015
LAST_POLL_SECONDS = 0.5
POLL_SHARE = 0.15
"""A waiting door asks the database again after this share of the time it has waited, so it is never later by
more than that; a large import is not asked for more often than twice a second."""

Answer = TypeVar("Answer")

log = structlog.get_logger("sluice.ingress")


class Progress:
    """The newest record of each job that is on its way, and who waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: OrderedDict[uuid.UUID, tuple[float, JobProgress]] = OrderedDict()
        self._shown: OrderedDict[uuid.UUID, int] = OrderedDict()
        self._waiting: dict[uuid.UUID, set[asyncio.Event]] = {}

    def hear(self, record: JobProgress) -> None:
        """Take a record; an older batch than the one known is nothing new."""
        job_id = uuid.UUID(record.job_id)
        known = self._heard.get(job_id)
        if known is not None and (record.run, record.batch_no) < (known[1].run, known[1].batch_no):
            return
        if JobState(record.state) in ENDED:
            # From here on the database answers.
            self._heard.pop(job_id, None)
            for each in self._waiting.get(job_id, ()):
                each.set()
            return
        self._heard[job_id] = (self._clock.monotonic(), record)
        self._heard.move_to_end(job_id)
        if len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)

    def latest(self, job_id: uuid.UUID) -> JobProgress | None:
        """The job's record, if it is processing, fresh, and not behind what the database has shown."""
        known = self._heard.get(job_id)
        if known is None:
            return None
        heard_at, record = known
        fresh = self._clock.monotonic() - heard_at <= FRESH_SECONDS
        behind = record.batch_no < self._shown.get(job_id, 0)
        return record if fresh and not behind and record.state == JobState.PROCESSING else None

    def shown(self, job_id: uuid.UUID, batch_no: int) -> None:
        """The database's answer for this batch was given to somebody."""
        self._shown[job_id] = max(batch_no, self._shown.get(job_id, 0))
        self._shown.move_to_end(job_id)
        if len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)

    async def wait_for_end(
        self,
        job_id: uuid.UUID,
        read: Callable[[], Awaitable[Answer]],
        has_ended: Callable[[Answer], bool],
        seconds: float,
    ) -> Answer:
        """What `read` tells of the job once it has ended, or after so many seconds.

        It wakes when the job's end is heard of, and else asks `read`, which reads the database.
        """
        ended = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(ended)
        began = self._clock.monotonic()
        try:
            while True:
                waited = self._clock.monotonic() - began
                pause = min(max(FIRST_POLL_SECONDS, waited * POLL_SHARE), LAST_POLL_SECONDS)
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), min(pause, max(0.0, seconds - waited)))
                ended.clear()
                answer = await read()
                if has_ended(answer) or self._clock.monotonic() - began >= seconds:
                    return answer
        finally:
            self._waiting[job_id].discard(ended)
            if not self._waiting[job_id]:
                del self._waiting[job_id]


async def follow(settings: Settings, codec: Codec, progress: Progress) -> None:
    """Feed `progress` until cancelled. Raises BrokerUnavailable.

    It reads from now on: an older record would be stale by definition, and its job is in the database.
    """
    consumer = make_follower(settings, [PROGRESS.name], from_start=False)
    try:
        await consumer.start()
        while True:
            batches = await consumer.getmany(timeout_ms=1000)
            for messages in batches.values():
                for message in messages:
                    _hear(codec, progress, message.value)
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable from error
    finally:
        with suppress(KafkaError):
            await consumer.stop()


def _hear(codec: Codec, progress: Progress, value: bytes | None) -> None:
    if value is None:
        return
    try:
        progress.hear(codec.decode(PROGRESS.name, JobProgress, value))
    except (MessageUndecodable, ValueError) as error:
        # Status is told by the database as well; the topic's owner keeps the dead letters.
        log.warning("progress not understood", error=type(error).__name__)
