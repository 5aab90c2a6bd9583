"""The patch "lossy": messages of a topic are dropped, repeated and held back while others pass.

At the producer where the client is aiokafka's: what is dropped or held back is answered as sent, which is the
worst that a broker can do. The sink writes inside Kafka transactions; what it writes is withheld where it is
read, so that every follower has its own losses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka.structs import RecordMetadata, TopicPartition

from sluice.topics import (
    BATCH_APPLIED,
    IDENTITIES_CHANGED,
    IDENTITIES_CHANGELOG,
    IMPORTS_REQUESTED,
    PROGRESS,
    PROGRESS_CHANGELOG,
    ROWS_READ,
    ROWS_RESOLVED,
)
from tests.chaos.patches import Entry, PatchUnknown, patch, replace

SENT: Mapping[str, frozenset[str]] = {
    "ingress": frozenset({IMPORTS_REQUESTED.name}),
    "reader": frozenset({ROWS_READ.name, IMPORTS_REQUESTED.name}),
    "streams": frozenset({ROWS_RESOLVED.name, PROGRESS.name, IDENTITIES_CHANGELOG, PROGRESS_CHANGELOG}),
}
"""What each role sends itself, and may lose there."""

TAKEN: Mapping[str, Mapping[str, str]] = {
    "reader": {BATCH_APPLIED.name: "ingress.reader:Reader._take"},
    "streams": {
        BATCH_APPLIED.name: "streams.pipeline:report",
        IDENTITIES_CHANGED.name: "streams.pipeline:apply_changes",
    },
}
"""What each role may lose as it comes in, and the function that takes it."""

SHARE = 0.05
HELD_SECONDS = 0.3


class Fates:
    """Draws what becomes of each message: passed (None), dropped, repeated or delayed."""

    def __init__(self, entry: Entry, topic: str) -> None:
        self._entry, self._topic = entry, topic
        # Another sequence after each start, or a restart would lose the same messages for ever.
        self._chance = random.Random(f"{entry.options.get('seed', 0)} {topic} {entry.bitten()}")
        self._shares = {fate: entry.options.get(fate, SHARE) for fate in ("dropped", "repeated", "delayed")}
        self.held_seconds = entry.options.get("seconds", HELD_SECONDS)

    def draw(self) -> str | None:
        drawn = self._chance.random()
        for fate, share in self._shares.items():
            if drawn < share:
                return fate if self._entry.bite(f"{fate} {self._topic}") else None
            drawn -= share
        return None


@patch("lossy")
def lossy(entry: Entry) -> None:
    """`topic`; `dropped`, `repeated`, `delayed`: shares (0.05 each); `seconds` of a delay; `seed`."""
    topic, role = entry.options["topic"], entry.process.role
    fates = Fates(entry, topic)
    taker = TAKEN.get(role, {}).get(topic)
    if taker is not None:
        replace(taker, lambda original: _taking(original, topic, fates))
    elif topic in SENT.get(role, ()):
        replace("aiokafka:AIOKafkaProducer.send", lambda original: _sending(original, topic, fates))
    else:
        raise PatchUnknown(f"{role} loses no {topic}")


_later: set[asyncio.Task[Any]] = set()


def _after(seconds: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async def wait() -> None:
        await asyncio.sleep(seconds)
        await work()

    task = asyncio.get_running_loop().create_task(wait())
    _later.add(task)
    task.add_done_callback(_done)


def _done(task: asyncio.Task[Any]) -> None:
    _later.discard(task)
    # What was held back too long, until its client was gone, is lost.
    if not task.cancelled():
        task.exception()


def _sending(original: Any, topic: str, fates: Fates) -> Any:
    last: dict[int, int] = {}

    def as_if_sent(partition: int | None) -> asyncio.Future[RecordMetadata]:
        """An answer with the newest offset that is true: nothing is known of what was not sent."""
        number = partition or 0
        where = TopicPartition(topic, number)
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, number, where, last.get(number, 0), None, 0, 0))
        return sent

    def remember(sent: asyncio.Future[RecordMetadata]) -> None:
        if not sent.cancelled() and sent.exception() is None:
            last[sent.result().partition] = sent.result().offset

    async def send(
        self: Any,
        to: str,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        async def pass_on() -> Any:
            return await original(self, to, value, key, partition, *more, **options)

        if to != topic:
            return await pass_on()
        fate = fates.draw()
        if fate == "delayed":
            _after(fates.held_seconds, pass_on)
        if fate in ("dropped", "delayed"):
            return as_if_sent(partition)
        if fate == "repeated":
            await pass_on()
        sent = await pass_on()
        sent.add_done_callback(remember)
        return sent

    return send


def _taking(original: Any, topic: str, fates: Fates) -> Any:
    def fate_of(message: Any) -> str | None:
        return fates.draw() if message.topic == topic else None

    async def take_later(owner: Any, message: Any) -> None:
        done = original(owner, message)
        if asyncio.iscoroutine(done):
            await done

    def take(owner: Any, message: Any) -> None:
        fate = fate_of(message)
        if fate == "delayed":
            _after(fates.held_seconds, lambda: take_later(owner, message))
        elif fate != "dropped":
            original(owner, message)
            if fate == "repeated":
                original(owner, message)

    async def take_async(owner: Any, message: Any) -> None:
        fate = fate_of(message)
        if fate == "delayed":
            _after(fates.held_seconds, lambda: take_later(owner, message))
        elif fate != "dropped":
            await original(owner, message)
            if fate == "repeated":
                await original(owner, message)

    return take_async if asyncio.iscoroutinefunction(original) else take
