"""The sink role: topic in, PostgreSQL and events out, each batch once (D6).

 1. On assignment of partitions: raise their epochs in PostgreSQL, which waits for a writer that still holds
    one; then settle what is in doubt (`sinks.settlement`) and read on from the committed offsets.
 2. Take the waiting batches, up to `GROUP_BATCHES` together, and wait a little for more unless one of them is
    the last of its job. The last batch of an atomic job or a dry run is a group of its own. What cannot be
    decoded is a dead letter.
 3. Begin. Lock the epochs FOR SHARE until commit, then the jobs; admit each batch (`sinks.group`).
 4. Judge and write; store the results; mark what was published since; advance the jobs. Commit.
 5. What does not go together goes batch by batch, and row by row where it must (`sinks.postgres`).
 6. In one Kafka transaction: the contact events, an answer for each batch, the offsets. Commit. It runs
    beside steps 2 to 4 of the next group, but never beside or before another group's step 6.

A crash anywhere, or a step 6 that does not commit, repeats from 1 for every partition held and ends the same:
there is one way to recover, which is to let go of everything and begin again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvloop

from sinks.batch import Arrival, Batch, Position, Unreadable
from sinks.contract import Published, WriteFenced, Written
from sinks.postgres import PostgresSink
from sinks.publishing import Publications
from sinks.settlement import Settlement
from sluice.avro import Codec, load_codec
from sluice.clock import Clock, SystemClock
from sluice.envelope import check_agreement
from sluice.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    MessageContradictory,
    MessageUndecodable,
    RegistryUnavailable,
    SluiceError,
    Unavailable,
)
from sluice.memory import calm_garbage_collector
from sluice.settings import Settings
from sluice.telemetry import Telemetry, configure_logging, serve_metrics
from sluice.topic_reads import topic_id_of
from sluice.topics import ROWS_RESOLVED, SINK_GROUP
from sluice.transactions import GroupConsumer, Message, Taken, TransactionalProducer

log = structlog.get_logger()

POLL_SECONDS = 0.25
"""How long an idle worker waits for a message before it looks around: at its stop signal, at marks to set."""
BACKOFF_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Waits between attempts to begin again; the last one repeats for as long as a dependency is away."""
DEPENDENCIES: Mapping[type[SluiceError], str] = {
    DatabaseUnavailable: "database",
    BrokerUnavailable: "broker",
    RegistryUnavailable: "registry",
}


def is_followed(message: Message) -> bool:
    """Whether its job has another batch behind this one, as the reader's headers say."""
    return ("is_last", b"false") in message.headers


def groups_of(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    """Split what was taken: a batch that judges everything staged before it is a group of its own."""
    groups: list[list[Arrival]] = [[]]
    for arrival in arrivals:
        if isinstance(arrival, Batch) and arrival.is_alone:
            groups += [[arrival], []]
        else:
            groups[-1].append(arrival)
    return [group for group in groups if group]


@dataclass(slots=True)
class Publisher:
    """Step 6, one group at a time, and what it leaves to be marked."""

    producer: TransactionalProducer
    consumer: GroupConsumer
    publications: Publications
    sink: PostgresSink
    telemetry: Telemetry
    clock: Clock
    marks: list[Published] = field(default_factory=list)
    _running: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return self._running is None or self._running.done()

    async def begin(self, written: Written, positions: Sequence[Position], metadata: Any) -> None:
        """Publish a group as soon as the one before it is through.

        `metadata` is of the `take` that brought it: a later generation's would let a writer pass that has
        lost its partitions meanwhile.
        """
        await self.finish()
        self.consumer.busy()
        self._running = asyncio.create_task(self._publish(written, positions, metadata))

    async def finish(self) -> None:
        """Wait for the transaction in hand.

        Raises:
            BrokerUnavailable: it did not take place.
        """
        running, self._running = self._running, None
        if running is not None:
            await running

    async def abandon(self) -> None:
        """Wait for the transaction in hand, however it ends: the settlement will find out."""
        with suppress(Unavailable):
            await self.finish()

    async def _publish(self, written: Written, positions: Sequence[Position], metadata: Any) -> None:
        started = self.clock.monotonic()
        offsets = dict[int, int]()
        for position in positions:
            offsets[position.partition] = max(position.offset + 1, offsets.get(position.partition, 0))
        parts = self.publications.parts(self.sink, written)
        try:
            await self.producer.publish(parts, ROWS_RESOLVED.name, offsets, metadata)
        finally:
            self.consumer.quiet()
        self.marks += written.published
        if written.dead:
            self.telemetry.count("sluice_dead_letters_total", len(written.dead), topic=ROWS_RESOLVED.name)
        self.telemetry.observe("sluice_publish_seconds", self.clock.monotonic() - started)


@dataclass(slots=True)
class SinkWorker:
    """One process of the role. `stop` ends it after the group in hand."""

    settings: Settings
    telemetry: Telemetry
    clock: Clock
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _partitions: list[int] | None = None
    _codec: Codec | None = None

    def stop(self) -> None:
        """Finish the group in hand, then end."""
        self._stopping.set()

    def ready(self) -> dict[str, object] | None:
        """Facts for /health once the partitions are settled; None before and while something is away."""
        return None if self._partitions is None else {"partitions": self._partitions}

    async def run(self) -> None:
        """Work until stopped; whatever is away is waited for, however long."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._work()
            except (Unavailable, WriteFenced) as error:
                self._partitions = None
                self._note(error)
                if isinstance(error, WriteFenced):
                    self.telemetry.count("sluice_writes_fenced_total")
                pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
            else:
                failures = 0

    def _note(self, error: Unavailable | WriteFenced) -> None:
        dependency = DEPENDENCIES.get(type(error), "")
        cause = error.__cause__
        log.warning("beginning again", error=str(error), cause=repr(cause) if cause else None)
        if dependency:
            self.telemetry.gauge("sluice_waiting", 1, dependency=dependency)

    async def _work(self) -> None:
        """One life between two recoveries."""
        codec = self._codec = self._codec or await load_codec(self.settings.schema_registry_url)
        member = f"sluice-sink-{self.settings.instance}"
        async with AsyncExitStack() as stack:
            sink = PostgresSink(
                dsn=self.settings.sink_database_url.get_secret_value(),
                codec=codec,
                secret=self.settings.identity_secret,
                owner=member,
                clock=self.clock,
                telemetry=self.telemetry,
            )
            stack.push_async_callback(sink.close)
            await sink.connect()
            topic_id = await topic_id_of(self.settings, ROWS_RESOLVED.name)
            producer = TransactionalProducer(self.settings, member, topic_id, self._broker_waits)
            stack.push_async_callback(producer.close)
            await producer.start()
            consumer = GroupConsumer(self.settings, ROWS_RESOLVED.name, SINK_GROUP, member)
            stack.push_async_callback(consumer.close)
            publications = Publications(codec, self.telemetry)
            publisher = Publisher(producer, consumer, publications, sink, self.telemetry, self.clock)
            stack.push_async_callback(publisher.abandon)
            settlement = Settlement(self.settings, codec, sink, consumer, producer, publications)
            await consumer.subscribe()
            for dependency in DEPENDENCIES.values():
                self.telemetry.gauge("sluice_waiting", 0, dependency=dependency)
            await self._consume(consumer, sink, publisher, settlement)

    def _broker_waits(self, waits: bool) -> None:
        self.telemetry.gauge("sluice_waiting", int(waits), dependency="broker")

    async def _consume(
        self, consumer: GroupConsumer, sink: PostgresSink, publisher: Publisher, settlement: Settlement
    ) -> None:
        # A job never has more than its window on the way: to wait for more would be in vain.
        limit = min(self.settings.group_batches, self.settings.window_batches)
        while not self._stopping.is_set():
            # 2. While the broker commits the last group, the next one is taken and written.
            taken = await consumer.take(limit, POLL_SECONDS, is_followed)
            if taken.assigned is not None:
                await publisher.finish()
                await self._assigned(taken, consumer, publisher, settlement)
            elif taken.messages:
                arrivals = [await self._arrival(sink, message) for message in taken.messages]
                for group in groups_of(arrivals):
                    await self._apply(group, sink, publisher, taken.metadata)
            elif publisher.is_idle:
                await self._mark(sink, publisher)
        await self._mark(sink, publisher)

    async def _assigned(
        self, taken: Taken, consumer: GroupConsumer, publisher: Publisher, settlement: Settlement
    ) -> None:
        # 1. Nothing is read from a partition before what an earlier owner left of it is settled.
        self._partitions = None
        partitions = taken.assigned or []
        read_from = await settlement.settle(partitions, taken.metadata) if partitions else {}
        publisher.marks = []
        await consumer.start_from(read_from)
        self._partitions = sorted(partitions)
        log.info("partitions settled", partitions=self._partitions)

    async def _arrival(self, sink: PostgresSink, message: Message) -> Arrival:
        position = Position(message.partition, message.offset)
        await sink.codec.learn(message.value)
        try:
            batch = sink.decode(message.value or b"", position)
            check_agreement(message.headers, batch.message)
            return batch
        except MessageUndecodable as error:
            log.warning("message undecodable", partition=position.partition, offset=position.offset)
            names_a_batch = not isinstance(error, MessageContradictory)
            return Unreadable(
                position, message.key, message.value, message.headers, error.message, names_a_batch
            )

    async def _apply(
        self, group: list[Arrival], sink: PostgresSink, publisher: Publisher, metadata: Any
    ) -> None:
        """Steps 3 to 6 for one group."""
        alone = any(isinstance(arrival, Batch) and arrival.is_alone for arrival in group)
        if alone:
            # What it judges must have been answered before.
            await publisher.finish()
        marks, publisher.marks = publisher.marks, []
        written = await sink.write(group, marks)
        await publisher.begin(written, [arrival.position for arrival in group], metadata)
        if alone:
            # Its events are read from the database one batch at a time, under the eyes of nobody else.
            await publisher.finish()

    async def _mark(self, sink: PostgresSink, publisher: Publisher) -> None:
        await publisher.finish()
        if publisher.marks:
            await sink.mark(publisher.marks)
            publisher.marks = []


def run(settings: Settings) -> None:
    """The role: blocks until SIGTERM or SIGINT, then ends with the group in hand."""
    configure_logging(settings.log_level)
    calm_garbage_collector()
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    telemetry = Telemetry("sink")
    worker = SinkWorker(settings, telemetry, SystemClock())
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, worker.stop)
    server = await serve_metrics(telemetry, "127.0.0.1", settings.metrics_port, worker.ready)
    try:
        await worker.run()
    finally:
        await server.cleanup()
