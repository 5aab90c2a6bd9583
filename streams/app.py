"""The streams role: one Faust app, set up so that it keeps what it was given.

What is set here was measured on a real broker; the reasons that are not next to a setting are in
docs/decisions. Faust's own answers (web server, topic declaration, leader election, standbys) are off.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import faust
import structlog
from aiohttp import web
from faust.transport.drivers import aiokafka as driver

from sluice.avro import Codec, load_codec
from sluice.clock import Clock, SystemClock
from sluice.errors import InputLost, Unavailable
from sluice.memory import calm_garbage_collector
from sluice.settings import Settings
from sluice.telemetry import Telemetry, configure_logging, serve_metrics
from sluice.topics import IDENTITIES_CHANGELOG, PROGRESS_CHANGELOG, ROWS_READ, STREAMS_GROUP
from streams import changelogs
from streams.dead_letters import DeadLetters
from streams.decoding import NewerSchemas
from streams.dnc import DncFollower, DncLists
from streams.identities import Identities
from streams.parts import Parts
from streams.patience import LONGEST_WAIT_SECONDS
from streams.pipeline import STEPS, define_agents
from streams.postgres import DncReader
from streams.progress import ProgressTable
from streams.resolving import Resolver
from streams.sending import FaustSender
from streams.stalls import Stalls
from streams.store import PartitionStore

log = structlog.get_logger(__name__)

SESSION_SECONDS = 10.0
"""How long the partitions of a killed process wait for it. Its replacement has the same member id."""

FETCH_WAIT_MS = 100
"""Faust waits 1,500 ms: a partition whose last message was just taken would wait as long for its next."""

LOOK_SECONDS = 2.0
"""How often the process looks whether it has lost input."""

BUFFERED_MESSAGES = 32
"""Of each topic, ahead of its agent: a message has up to 512 KiB, and Faust's default is 4,096 of them."""

LARGEST_REQUEST_BYTES = 2 * 1024 * 1024
"""A batch of 512 KiB as read grows by hints, fingerprints and custom fields' names."""


class StreamsApp(faust.App):  # type: ignore[misc]
    """The app with what runs beside its agents: the Do-Not-Call follower, metrics and health."""

    settings: Settings
    follower: DncFollower
    lists: DncLists
    telemetry: Telemetry
    stalls: Stalls
    _server: web.AppRunner | None = None

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    async def on_start(self) -> None:
        await super().on_start()
        host, port = self.settings.api_host, self.settings.metrics_port
        self._server = await serve_metrics(self.telemetry, host, port, self.readiness)
        await self.follower.start()
        self.add_future(self._watch())

    async def on_stop(self) -> None:
        await super().on_stop()
        await self.follower.stop()
        if self._server is not None:
            await self._server.cleanup()

    async def _watch(self) -> None:
        """End the process when input was lost inside it: the next one reads it again."""
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            consumer = self.consumer
            if self.rebalancing or not self.tables.actives_ready:
                continue
            held = {tp: consumer._committed_offset[tp] for tp in consumer.assignment()}
            stalled = self.stalls.stalled(held, {message.tp for message in consumer.unacked})
            if stalled:
                log.error("input_lost", partitions=[f"{each.topic}/{each.partition}" for each in stalled])
                await self.crash(InputLost(count=len(stalled)))

    def gives_up(self) -> bool:
        """Whether a message that waits for something must be left to whoever comes next."""
        return bool(self.should_stop or self.rebalancing)

    def readiness(self) -> Mapping[str, object] | None:
        """What `/health` answers: the partitions held by topic, once tables are read and lists are loaded."""
        if not self.tables.actives_ready or self.rebalancing or not self.lists.is_fresh:
            return None
        held: dict[str, list[int]] = {}
        for tp in sorted(self.consumer.assignment()):
            held.setdefault(tp.topic, []).append(tp.partition)
        return {"partitions": held, "rows_read_partitions": len(held.get(ROWS_READ.name, []))}


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # imports.batch-applied.v1 is written in transactions; what was aborted must not be seen. Faust has no
        # setting for either of these; the consumer reads both when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(self, consumer: Any, active_partitions: set[Any], **options: Any) -> Any:
        leave_out(consumer, self.app.tables.changelog_topics, active_partitions)
        return await super()._fetch_records(consumer, active_partitions, **options)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust complains about partitions that are not fetched; a changelog once read is none of them."""
        if tp.topic not in self.app.tables.changelog_topics:
            super().verify_event_path(now, tp)


def leave_out(consumer: Any, changelogs: Collection[str], wanted: Collection[Any]) -> None:
    """Have the client fetch a changelog's partitions only while `wanted`, to be read into their table.

    Faust stops handing on what a changelog says, but its client would go on asking: 24 of the 60 partitions
    that every request names and the broker looks at, for records that this process has just written.
    """
    paused = consumer.paused()
    unwanted = {tp for tp in consumer.assignment() if tp.topic in changelogs and tp not in wanted}
    consumer.pause(*(unwanted - paused))
    consumer.resume(*(tp for tp in paused if tp in wanted))


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        hand_over: Callable[[Any], Awaitable[None]] = getattr(self, "callback")  # noqa: B009 - the client is untyped

        async def noted(message: Any) -> None:
            if self.app.topics.acks_enabled_for(message.topic):
                self.app.stalls.delivered(message.tp, message.offset)
            await hand_over(message)

        self.callback = noted

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        # Faust counts the offset that has just come as part of the gap before it, and then each commit stops
        # there: a topic that is written in transactions would be committed one marker a second.
        await super()._add_gap(tp, offset_from, offset_to - 1)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer


def create_app(
    settings: Settings,
    codec: Codec,
    topic_ids: Mapping[str, str],
    *,
    clock: Clock | None = None,
    telemetry: Telemetry | None = None,
) -> StreamsApp:
    """The app, not started. `topic_ids` names the changelog topics as the broker knows them."""
    clock, telemetry = clock or SystemClock(), telemetry or Telemetry("streams")
    directory = state_directory(settings)
    directory.mkdir(parents=True, exist_ok=True)
    app = StreamsApp(STREAMS_GROUP, datadir=directory, **_faust_settings(settings))
    app.settings, app.telemetry, app.lists = settings, telemetry, DncLists(clock)
    app.stalls = Stalls(clock)
    reader = DncReader(settings.sink_database_url.get_secret_value())
    app.follower = DncFollower(settings, app.lists, reader, telemetry)
    sender = FaustSender(app, telemetry, app.gives_up)
    stores = table_stores(directory, topic_ids)
    define_agents(
        app,
        Parts(
            codec=codec,
            newer_schemas=NewerSchemas(codec, telemetry, app.gives_up),
            sender=sender,
            identities=Identities(app, stores[IDENTITIES_CHANGELOG], sender),
            progress=ProgressTable(app, stores[PROGRESS_CHANGELOG], sender),
            dnc=app.lists,
            dead_letters=DeadLetters(sender, codec, telemetry),
            resolver=Resolver(STEPS, telemetry, clock, app.gives_up, app.follower.freshen),
            secret=settings.identity_secret,
            telemetry=telemetry,
            clock=clock,
        ),
    )
    return app


def state_directory(settings: Settings) -> Path:
    """Where this instance keeps its tables; no other may use it."""
    return settings.sluice_state_dir / f"streams-{settings.instance}"


def table_stores(directory: Path, topic_ids: Mapping[str, str]) -> dict[str, PartitionStore]:
    """The local disk of each table, by its changelog topic."""
    return {
        changelog: PartitionStore(directory / "tables" / changelog, topic_ids[changelog])
        for changelog in (IDENTITIES_CHANGELOG, PROGRESS_CHANGELOG)
    }


def _faust_settings(settings: Settings) -> dict[str, Any]:
    brokers = ";".join(f"kafka://{each.strip()}" for each in settings.kafka_bootstrap_servers.split(","))
    return {
        "broker": brokers,
        "id_format": "{id}",
        "autodiscover": False,
        "value_serializer": "raw",
        "key_serializer": "raw",
        "store": "memory://",
        "web_enabled": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        # Any other supervisor goes on behind a message that raised, and loses it.
        "agent_supervisor": "mode.CrashingSupervisor",
        # A static member: its restart is no rebalance.
        "consumer_group_instance_id": f"{STREAMS_GROUP}-{settings.instance}",
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": SESSION_SECONDS,
        "broker_heartbeat_interval": 3.0,
        "broker_commit_interval": 1.0,
        "broker_max_poll_records": BUFFERED_MESSAGES,
        "stream_buffer_maxsize": BUFFERED_MESSAGES,
        "producer_linger": 0.0,
        "producer_max_batch_size": 512 * 1024,
        "producer_max_request_size": LARGEST_REQUEST_BYTES,
        "producer_request_timeout": 60.0,
        "worker_redirect_stdouts": False,
    }


def run(settings: Settings) -> None:
    """Run the role until SIGTERM or SIGINT; raises SystemExit with 0 then, with 1 after a crash."""
    # It sets uvloop as the policy, and must come before anything makes a loop.
    import mode.loop.uvloop  # noqa: F401

    configure_logging(settings.log_level)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Until the worker has its own, a signal ends the process at once: nothing is held yet.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    codec, ends = loop.run_until_complete(_prepare(settings))
    topic_ids = {topic: end.topic_id for topic, end in ends.items()}
    for topic, store in table_stores(state_directory(settings), topic_ids).items():
        changelogs.discard_ahead(store, ends[topic].end_offsets)
        store.close()
    app = create_app(settings, codec, topic_ids)
    calm_garbage_collector()
    worker = faust.Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


async def _prepare(settings: Settings) -> tuple[Codec, dict[str, changelogs.Changelog]]:
    """What must be known before the app is made; a registry or broker that is away is waited for."""
    topics = (IDENTITIES_CHANGELOG, PROGRESS_CHANGELOG)
    while True:
        try:
            codec = await load_codec(settings.schema_registry_url)
            return codec, await changelogs.read(settings.kafka_bootstrap_servers, topics)
        except Unavailable as error:
            log.warning("start_waits", error=type(error).__name__)
            await asyncio.sleep(LONGEST_WAIT_SECONDS)
