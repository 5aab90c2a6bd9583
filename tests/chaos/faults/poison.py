"""Poison on every pipeline topic, and a registry that is away while unknown schemas come.

Each mutant becomes a dead letter, with its bytes and its origin, or is passed over; the round's checks tell
that nothing else came of it. What is not decodable only because the registry does not answer is waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from sluice.avro import Codec, load_codec
from sluice.broker import make_follower, make_producer
from sluice.dead_letters import KEPT_KEY_BYTES, KEPT_VALUE_BYTES
from sluice.topics import PARTITIONS, TOPICS
from tests.chaos.faults import Bites, fault
from tests.chaos.mutants import (
    BURIED,
    MARK,
    MUTATED,
    Message,
    is_undetectable,
    made_by,
    mutant,
    problem_of,
    unknown_schema,
)
from tests.chaos.proxied import http_proxy
from tests.chaos.proxy import HttpProxy
from tests.chaos.proxy.http import Fault as Line

if TYPE_CHECKING:
    from tests.chaos.world import World

MUTANTS = 1_000
REMEMBERED = 40
"""Real messages of each topic that mutants are made of: the newest."""
BURST, BURST_SECONDS = 10, 0.1
SHARE = 0.85
"""Rows behind which the mutants that are left come all at once."""
OUTAGES = 2
BURIED_SECONDS = 60.0

Sort = Callable[[Message, Random], Message]
Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Poisoner:
    """Follows the pipeline's topics and sends mutants of what it sees."""

    codec: Codec
    chance: Random
    consumer: AIOKafkaConsumer
    producer: AIOKafkaProducer
    sent: dict[Place, Message] = field(default_factory=dict)
    sent_at: dict[Place, float] = field(default_factory=dict)
    bites: Bites = field(default_factory=Counter)
    letters: dict[Place, list[Any]] = field(default_factory=lambda: defaultdict(list))
    outages: list[tuple[float, float]] = field(default_factory=list)
    """When the registry was away, in seconds since 1970."""
    _recent: dict[str, deque[Message]] = field(default_factory=lambda: defaultdict(_newest))

    async def follow(self) -> None:
        """Remember the newest real messages, and every dead letter."""
        async for record in self.consumer:
            headers = tuple(record.headers)
            told = dict(headers)
            if "dead_letter_topic" in told:
                self.letters[_origin(told)].append(record)
                continue
            message = Message(record.topic, record.partition, record.key, record.value, headers)
            if MARK not in told and message.value and problem_of(self.codec, message) is None:
                self._recent[record.topic].append(message)

    async def send(self, sort: Sort | None = None) -> None:
        """Send one mutant of one recent message, of this sort or any."""
        topic = self.chance.choice([name for name, held in self._recent.items() if held])
        real = self.chance.choice(self._recent[topic])
        made = made_by(sort, real, self.chance) if sort else mutant(self.codec, real, self.chance)
        if is_undetectable(self.codec, made):
            self.bites["valid by chance, not sent"] += 1
            return
        sent_at = time.time()
        headers = [(MARK, made.kind.encode()), *made.headers]
        try:
            metadata = await self.producer.send_and_wait(
                made.topic, made.value, made.key, partition=made.partition, headers=headers
            )
        except KafkaError:
            # A compacted topic takes nothing without a key, and no topic what is too large.
            self.bites["refused by the broker"] += 1
            return
        self.sent[made.topic, made.partition, metadata.offset] = made
        self.sent_at[made.topic, made.partition, metadata.offset] = sent_at
        self.bites["mutants"] += 1
        self.bites[made.kind] += 1

    def expected(self) -> dict[Place, Message]:
        """The mutants that must have become dead letters."""
        return {
            place: message
            for place, message in self.sent.items()
            if message.topic in BURIED and problem_of(self.codec, message) is not None
        }

    def check(self) -> None:
        """Every poisonous mutant was buried with its bytes, once it could be told; nothing real was."""
        expected = self.expected()
        # A mutant may be there twice, if the broker's answer to it was lost; it carries its mark.
        real = [
            (place, dict(letter.headers)["dead_letter_error"])
            for place in self.letters.keys() - expected.keys()
            for letter in self.letters[place]
            if MARK not in dict(letter.headers)
        ]
        assert not real, f"something real became a dead letter: {real[:5]}"
        missing = [(place, expected[place].kind) for place in expected.keys() - self.letters.keys()]
        assert not missing, f"{len(missing)} of {len(expected)} were not buried: {missing[:5]}"
        for place, message in expected.items():
            for letter in self.letters[place]:
                _check_letter(message, letter)
                if message.kind == unknown_schema.__name__:
                    self._check_time(self.sent_at[place], letter.timestamp / 1000)

    def _check_time(self, sent_at: float, buried_at: float) -> None:
        """What only the registry can tell was not told while it was away."""
        hidden = any(begin < sent_at < buried_at < end for begin, end in self.outages)
        assert not hidden, "an outage became poison"


def _newest() -> deque[Message]:
    return deque(maxlen=REMEMBERED)


def _origin(headers: dict[str, bytes]) -> Place:
    partition, offset = headers["dead_letter_partition"], headers["dead_letter_offset"]
    return headers["dead_letter_topic"].decode(), int(partition), int(offset)


def _check_letter(message: Message, letter: Any) -> None:
    value, key = message.value or b"", message.key or b""
    headers = dict(letter.headers)
    assert (letter.value or b"") == value[:KEPT_VALUE_BYTES]
    assert (letter.key or b"") == key[:KEPT_KEY_BYTES]
    assert headers["dead_letter_error"]
    if len(value) > KEPT_VALUE_BYTES:
        assert headers["dead_letter_cut_from_bytes"] == str(len(value)).encode()


@asynccontextmanager
async def poisoner(world: World, chance: Random) -> AsyncIterator[Poisoner]:
    """One that has seen the end of every topic, and begins to follow."""
    settings = world.stack.settings()
    names = [topic.name for topic in MUTATED]
    letters = [TOPICS[name].dead_letters for name in sorted(BURIED)]
    consumer = make_follower(settings, [], from_start=False)
    # A broker that refuses one message of an idempotent producer refuses those behind it.
    producer = make_producer(settings, enable_idempotence=False)
    await consumer.start()
    await producer.start()
    try:
        real = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
        buried = [TopicPartition(name, number) for name in letters for number in range(PARTITIONS)]
        consumer.assign([*real, *buried])
        ends = await consumer.end_offsets([*real, *buried])
        for place, end in ends.items():
            # Some topics are quiet in a round; what was in them before is as good.
            consumer.seek(place, max(0, end - 5) if place in real else end)
        codec = await load_codec(settings.schema_registry_url)
        made = Poisoner(codec, chance, consumer, producer)
        following = asyncio.create_task(made.follow())
        try:
            yield made
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
    finally:
        await producer.stop()
        await consumer.stop()


@fault("poison", rounds=3, seconds=900)
@asynccontextmanager
async def poison(world: World, chance: Random) -> AsyncIterator[Bites]:
    """1,000 mutants among the messages of three imports; twice meanwhile the registry is away."""
    registry = await http_proxy(world, "SCHEMA_REGISTRY_URL", "streams", "sink")
    processes = _processes(world)
    async with poisoner(world, chance) as made:
        poisoning = asyncio.create_task(_poison(world, made, registry))
        try:
            yield made.bites
            await poisoning
        finally:
            poisoning.cancel()
            registry.heal()
        async with asyncio.timeout(BURIED_SECONDS):
            while made.expected().keys() - made.letters.keys():  # noqa: ASYNC110 - its task follows
                await asyncio.sleep(0.5)
        made.check()
        made.bites["dead letters"] = len(made.letters)
    made.bites["500"] = registry.bites["500"] + registry.bites["dropped"]
    assert _processes(world) == processes, "a worker died of poison"


def _processes(world: World) -> dict[str, int]:
    return {each.name: each.pid for each in world.stack.state().processes}


async def _poison(world: World, made: Poisoner, registry: HttpProxy) -> None:
    away = sorted(made.chance.randrange(MUTANTS // 10, MUTANTS * 9 // 10) for _ in range(OUTAGES))
    while await world.imported() == 0:  # noqa: ASYNC110 - it asks the database
        await asyncio.sleep(0.05)
    while made.bites["mutants"] < MUTANTS:
        for _ in range(BURST):
            await made.send()
        if away and made.bites["mutants"] >= away[0]:
            away.pop(0)
            await _without_registry(made, registry)
        if await world.imported() < SHARE * world.rows:
            await asyncio.sleep(BURST_SECONDS)


async def _without_registry(made: Poisoner, registry: HttpProxy) -> None:
    """The registry fails for some seconds, and messages with unknown schemas come all the while."""
    registry.faults = (made.chance.choice((Line("status", status=500), Line("drop"))),)
    begin = time.time()
    for _ in range(20):
        await made.send(unknown_schema)
        await asyncio.sleep(made.chance.uniform(0.05, 0.3))
    made.outages.append((begin, time.time()))
    registry.heal()
