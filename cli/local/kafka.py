"""Apache Kafka as one KRaft node, broker and controller in one process."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from cli.local.failures import ServerFailed
from cli.local.fetch import Servers
from cli.local.layout import Layout
from cli.local.ports import HOST, Ports, free_ports
from cli.local.probes import listens
from cli.local.unit import Unit, java, server_environment

Place = tuple[str, int]
"""Topic and partition."""

NAME = "kafka"
HEAP_MEGABYTES = 256

# Session and heartbeat shorten the way back after kill -9 to the half (measured). The cleaner's default
# buffer would take half the heap, and 12 partitions by a dozen topics need small indexes.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=134217728
log.index.size.max.bytes=1048576
"""


def kafka(layout: Layout, ports: Ports, servers: Servers) -> Unit:
    """The broker as a unit. Formats its storage before the first start."""
    directory = layout.data / "kafka"
    properties = directory / "server.properties"
    bootstrap = f"{HOST}:{ports.kafka}"

    async def ready() -> bool:
        return await listens(HOST, ports.kafka) and await asyncio.to_thread(
            every_partition_has_a_leader, bootstrap
        )

    def prepare() -> None:
        directory.mkdir(exist_ok=True)
        # Nobody but the broker itself talks to the controller, so its port may be another one each time.
        controller = free_ports(1, avoid=(ports.kafka,))[0]
        properties.write_text(_PROPERTIES + _addresses(directory, ports.kafka, controller), encoding="utf-8")
        if not (directory / "log" / "meta.properties").exists():
            _format(layout, servers, properties)

    return Unit(
        name=NAME,
        kind="server",
        command=(*_java(layout, servers), "kafka.Kafka", str(properties)),
        environment=server_environment(layout.home),
        address=bootstrap,
        ready=ready,
        prepare=prepare,
        grace_seconds=20,
    )


def _addresses(directory: Path, port: int, controller: int) -> str:
    return (
        f"controller.quorum.voters=1@{HOST}:{controller}\n"
        f"listeners=PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}\n"
        f"advertised.listeners=PLAINTEXT://{HOST}:{port}\n"
        f"log.dirs={directory / 'log'}\n"
    )


def _java(layout: Layout, servers: Servers) -> tuple[str, ...]:
    """Java with Kafka's classes; warnings and worse go to its log, with the time."""
    logging = (
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
    )
    # It unmaps its indexes by a call that Java 25 warns about at every start.
    quiet = ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED")
    run = java(layout.temporary, HEAP_MEGABYTES, *logging, *quiet)
    return (*run, "-cp", servers.kafka_classpath)


def _format(layout: Layout, servers: Servers, properties: Path) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # Kafka takes an id that starts with a hyphen for an option.
    run = _java(layout, servers)
    command = [*run, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
    done = subprocess.run(
        command,
        env=server_environment(layout.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        with layout.log(NAME).open("a", encoding="utf-8") as log:
            log.write(done.stdout)
        raise ServerFailed(name=NAME, reason="its storage cannot be formatted", log=layout.log(NAME))


def _quiet(settings: dict[str, Any]) -> AdminClient:
    """An administrator's client that keeps its opinion of a broker that is away to itself."""
    return AdminClient({"log_level": 0, "logger": _Silence(), **settings})


class _Silence:
    def log(self, *_: Any) -> None:
        """Take librdkafka's log lines and drop them."""


def every_partition_has_a_leader(bootstrap: str) -> bool:
    """Whether the broker can serve what it keeps. Its metadata is answered before that."""
    try:
        metadata = _quiet({"bootstrap.servers": bootstrap}).list_topics(timeout=2)
    except KafkaException:
        return False
    partitions = [each for topic in metadata.topics.values() for each in topic.partitions.values()]
    return bool(metadata.brokers) and all(partition.leader >= 0 for partition in partitions)


def lag(bootstrap: str, timeout_seconds: float = 5.0) -> dict[str, int]:
    """Messages not yet committed, by consumer group: end offsets less committed offsets.

    A partition for which a group has committed nothing counts nothing, and so does one where only the markers
    of transactions are left: they take up offsets and are no messages. Raises KafkaException.
    """
    client = _quiet({"bootstrap.servers": bootstrap})
    listing = client.list_consumer_groups(request_timeout=timeout_seconds).result(timeout_seconds)
    groups = sorted(group.group_id for group in listing.valid)
    committed = {group: _committed(client, group, timeout_seconds) for group in groups}
    ends = _end_offsets(client, {key for offsets in committed.values() for key in offsets}, timeout_seconds)
    total: dict[str, int] = defaultdict(int, dict.fromkeys(groups, 0))
    for group, offsets in committed.items():
        behind = {key: offset for key, offset in offsets.items() if ends.get(key, offset) > offset}
        for key in _with_messages(bootstrap, behind, timeout_seconds):
            total[group] += ends[key] - behind[key]
    return dict(total)


def _with_messages(bootstrap: str, offsets: dict[Place, int], timeout_seconds: float) -> set[Place]:
    """The partitions that hold a message at or behind these offsets."""
    if not offsets:
        return set()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "sluice-lag",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "max.partition.fetch.bytes": 4096,
            "log_level": 2,
        }
    )
    found: set[Place] = set()
    open_ones = set(offsets)
    deadline = time.monotonic() + timeout_seconds
    try:
        consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        while open_ones and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            place = message.topic() or "", message.partition() or 0
            if place not in open_ones:
                continue
            error = message.error()
            if error is None or error.code() != KafkaError._PARTITION_EOF:
                found.add(place)
            open_ones.discard(place)
            consumer.pause([TopicPartition(*place)])
    finally:
        consumer.close()
    # What did not answer in time is not known to be read.
    return found | open_ones


def _committed(client: AdminClient, group: str, timeout_seconds: float) -> dict[Place, int]:
    request = [ConsumerGroupTopicPartitions(group)]
    answers = client.list_consumer_group_offsets(request, request_timeout=timeout_seconds)
    partitions = answers[group].result(timeout_seconds).topic_partitions or []
    return {(each.topic, each.partition): each.offset for each in partitions if each.offset >= 0}


def _end_offsets(client: AdminClient, keys: set[Place], timeout_seconds: float) -> dict[Place, int]:
    if not keys:
        return {}
    wanted = {TopicPartition(topic, partition): OffsetSpec.latest() for topic, partition in keys}
    answers = client.list_offsets(wanted, request_timeout=timeout_seconds)
    return {
        (each.topic, each.partition): answer.result(timeout_seconds).offset
        for each, answer in answers.items()
    }
