"""The transactional Kafka border: a consumer whose offsets move only in a producer's transactions (KIP-447).

Both clients are confluent-kafka's, measured at 2.5 µs of CPU an event against aiokafka's 9. Their calls
block, so each client has one thread of its own and every call to it runs there: `consumer_group_metadata()`
blocks while another thread sits in `poll()` (measured: commits stalled for 0.9 s), so it is taken in the
polling thread after each poll and handed on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka import Message as ClientMessage

from sluice.client_thread import CallStuck, ClientThread
from sluice.errors import BrokerUnavailable
from sluice.settings import Settings

log = structlog.get_logger()
CLIENT_LOG = logging.getLogger("confluent_kafka")
"""Where the client's own lines go: to the others, not past them to standard error."""
T = TypeVar("T")

Headers = list[tuple[str, str | bytes | None]]
Record = tuple[str, str | bytes | None, bytes | None, Headers]
"""What a transaction sends: topic, key, value, headers."""

TRANSACTION_SECONDS = 60.0
"""A transaction that its writer left open is aborted after this, and its partitions' readers wait as long."""
CALL_SECONDS = 30.0
"""How long one call may wait for the broker before it counts as away."""
ANSWER_SECONDS = 10.0
"""How long one call of a transaction may wait; it is made again, and goes on where it was."""
STUCK_SECONDS = ANSWER_SECONDS + 5.0
"""After this a call of a transaction will not come back: when the group's coordinator goes away meanwhile,
`send_offsets_to_transaction` forgets its time limit (librdkafka issues 5456 and 5511; met here too)."""
MESSAGE_BYTES = 2 * 1024 * 1024
GATHER_SECONDS = 0.1
"""How long a group waits for messages that are on their way: a transaction costs the database, the broker and
us the same for one batch as for eight."""
QUIET_SECONDS = 20.0
"""How long a rebalance waits for a transaction in hand; after that the group fences it."""


@dataclass(slots=True)
class Message:
    """One message as it was read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(slots=True)
class Taken:
    """What one `take` brought: messages in order of each partition, or partitions that were assigned anew."""

    messages: list[Message] = field(default_factory=list)
    assigned: list[int] | None = None
    """None where nothing changed; the messages are then those of the assignment as it was."""
    metadata: Any = None
    """The member's generation: it fences the offsets of whoever has lost its partitions since."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A group's offset, None for none, and the id of the topic that its committer read; "" if unknown."""

    offset: int | None
    topic_id: str


class GroupConsumer:
    """A static member of a consumer group that commits nothing itself.

    Newly assigned partitions are not read until `start_from` says where: the caller has to settle first what
    an earlier owner left. A restart within the session is no rebalance (static membership).
    """

    def __init__(self, settings: Settings, topic: str, group: str, member: str) -> None:
        self._topic = topic
        self._thread = ClientThread("consumer")
        self._assigned: list[int] | None = None
        self._lost = False
        self._quiet = threading.Event()
        self._quiet.set()
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": group,
                "group.instance.id": member,
                "client.id": member,
                # Eager: all is revoked and settled again, so there is only one way through a rebalance.
                "partition.assignment.strategy": "range",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 3_000,
                # Waiting for a database is no reason to lose partitions; a writer that does is fenced anyway.
                "max.poll.interval.ms": 3_600_000,
                "fetch.message.max.bytes": MESSAGE_BYTES,
                "queued.max.messages.kbytes": 16_384,
                "log_level": 3,
            },
            logger=CLIENT_LOG,
        )

    async def subscribe(self) -> None:
        """Join the group."""
        await self._run(
            lambda: self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        )

    async def take(self, limit: int, wait_seconds: float, followed: Callable[[Message], bool]) -> Taken:
        """Up to `limit` messages. Waits for the first one, and a little for others while all are `followed`.

        Raises:
            BrokerUnavailable: the membership is lost, or the broker says what cannot be waited out.
        """
        return await self._run(lambda: self._take(limit, wait_seconds, followed))

    def _take(self, limit: int, wait_seconds: float, followed: Callable[[Message], bool]) -> Taken:
        taken = Taken()
        message = self._consumer.poll(wait_seconds)
        patience_ends = time.monotonic() + GATHER_SECONDS
        while message is not None:
            taken.messages.append(checked(message))
            if not followed(taken.messages[-1]):
                # Somebody waits for this one.
                patience_ends = 0.0
            left = max(patience_ends - time.monotonic(), 0.0)
            message = self._consumer.poll(left) if len(taken.messages) < limit else None
        if self._lost:
            raise BrokerUnavailable
        if self._assigned is not None:
            # Messages of an assignment that has gone are read again from where they are settled.
            taken = Taken(assigned=self._assigned)
            self._assigned = None
        taken.metadata = self._consumer.consumer_group_metadata()
        return taken

    async def committed(self, partitions: Sequence[int]) -> dict[int, Committed]:
        """The group's offsets; waits for open transactions on them (`require_stable`)."""
        wanted = [TopicPartition(self._topic, partition) for partition in partitions]
        found = await self._run(lambda: self._consumer.committed(wanted, CALL_SECONDS))
        return {
            item.partition: Committed(item.offset if item.offset >= 0 else None, item.metadata or "")
            for item in found
        }

    async def start_from(self, offsets: Mapping[int, int | None]) -> None:
        """Read the assigned partitions from these offsets, from the beginning where there is none."""
        places = [
            TopicPartition(self._topic, partition, OFFSET_BEGINNING if offset is None else offset)
            for partition, offset in offsets.items()
        ]
        await self._run(lambda: self._consumer.assign(places))

    def busy(self) -> None:
        """A transaction with this member's offsets begins: a rebalance waits for it."""
        self._quiet.clear()

    def quiet(self) -> None:
        """The transaction has ended."""
        self._quiet.set()

    async def close(self) -> None:
        """Let go without leaving the group: as a static member the next start finds its partitions."""
        await self._run(self._consumer.close)
        self._thread.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Assigned, but not read from: `start_from` comes when they are settled.
        consumer.assign([])
        self._assigned = [item.partition for item in partitions]

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not self._quiet.wait(QUIET_SECONDS):
            log.warning("rebalance did not wait for a transaction", seconds=QUIET_SECONDS)
        consumer.unassign()
        self._assigned = []

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.unassign()
        self._lost = True

    async def _run(self, call: Callable[[], T]) -> T:
        return await _on_thread(self._thread, call)


def checked(message: ClientMessage) -> Message:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    return Message(
        message.partition(), message.offset(), message.key(), message.value(), message.headers() or []
    )


async def _on_thread(thread: ClientThread, call: Callable[[], T], within_seconds: float | None = None) -> T:
    try:
        return await thread.run(call, within_seconds)
    except (KafkaException, CallStuck) as error:
        raise BrokerUnavailable from error


class TransactionalProducer:
    """Sends records and moves a consumer's offsets in one transaction, or neither.

    `topic_id` of the topic that the consumer reads is noted beside the offsets: they mean nothing in another.
    """

    def __init__(
        self, settings: Settings, transactional_id: str, topic_id: str, waiting: Callable[[bool], None]
    ) -> None:
        self.topic_id = topic_id
        self._thread = ClientThread("producer")
        self._waiting = waiting
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "client.id": transactional_id,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
                "partitioner": "murmur2_random",
                # The broker asks the next transaction to wait for the last one's markers. At the default of
                # 100 ms every other transaction stalls: 15,000 to 25,000 events a second against 100,000.
                "retry.backoff.ms": 5,
                "retry.backoff.max.ms": 20,
                # Committing sends what is waiting; until then nothing goes, so that a group is one request
                # a partition instead of one every few milliseconds.
                "linger.ms": 1_000,
                "batch.num.messages": 10_000,
                "message.max.bytes": MESSAGE_BYTES,
                "log_level": 3,
            },
            logger=CLIENT_LOG,
        )

    async def start(self) -> None:
        """Take the transactional id over: an earlier holder is fenced, its open transaction aborted."""
        await self._patiently(self._producer.init_transactions)

    async def publish(
        self,
        parts: AsyncIterator[Sequence[Record] | Iterable[Record]],
        topic: str,
        offsets: Mapping[int, int],
        metadata: Any,
    ) -> None:
        """Send every part's records and move the offsets, in one transaction, waiting for the broker.

        Raises:
            BrokerUnavailable: the transaction did not take place; settle, then begin again.
        """
        await self._run(self._producer.begin_transaction)
        try:
            async for part in parts:
                await self._run(lambda part=part: self._send(part))  # type: ignore[misc]
            places = [
                TopicPartition(topic, partition, offset, metadata=self.topic_id)
                for partition, offset in offsets.items()
            ]
            await self._commit(places, metadata)
        except BaseException:
            await self._run(self._abort)
            raise

    def _send(self, records: Iterable[Record]) -> None:
        produce = self._producer.produce
        for topic, key, value, headers in records:
            while True:
                try:
                    produce(topic, value, key, headers=headers)
                    break
                except BufferError:
                    # The client's queue is full: let it send, and serve what it has to say.
                    self._producer.poll(0.1)
        self._producer.poll(0)

    async def _commit(self, places: list[TopicPartition], metadata: Any) -> None:
        if places:
            await self._patiently(
                lambda seconds: self._producer.send_offsets_to_transaction(places, metadata, seconds)
            )
        await self._patiently(self._producer.commit_transaction)

    async def _patiently(self, call: Callable[[float], None]) -> None:
        """Make a call until the broker has answered it, one way or the other."""
        while (error := await self._run(lambda: _unanswered(call))) is not None:
            self._waiting(True)
            log.info("waiting for the broker", error=error)
            await asyncio.sleep(0.1)
        self._waiting(False)

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(ANSWER_SECONDS)
        except KafkaException as error:
            # The next start takes the transactional id over, which aborts what is open.
            log.info("transaction left to the broker", error=error.args[0].name())

    async def close(self) -> None:
        """Wait for nothing: what is not committed is aborted."""
        self._thread.close()

    async def _run(self, call: Callable[[], T]) -> T:
        return await _on_thread(self._thread, call, STUCK_SECONDS)


def _unanswered(call: Callable[[float], None]) -> str | None:
    """Make the call; why it must be made again, None where it was answered."""
    try:
        call(ANSWER_SECONDS)
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        if not error.retriable() or error.txn_requires_abort() or error.fatal():
            raise
        return str(error.name())
    return None
