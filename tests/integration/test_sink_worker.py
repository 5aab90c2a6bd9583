"""Each batch once, through every crash that can be told apart: the worker on real topics and database."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from sinks.batch import Batch, Hint, Position
from sinks.postgres import PostgresSink
from sluice import transactions
from sluice.avro import load_codec
from sluice.clock import SystemClock
from sluice.contact import contact_id
from sluice.events import RowsResolved
from sluice.outcome import Outcome
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_RESOLVED, SINK_GROUP
from tests.integration.sink_topics import PATIENCE_SECONDS, Topics, applied, running, until
from tests.integration.sink_world import Given, ImportJob, World
from tests.integration.stack import Servers


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


@pytest.fixture
async def settings(stack: Servers) -> Settings:
    return stack.settings()


@pytest.fixture
async def topics(settings: Settings) -> Topics:
    return await Topics.open(settings)


def people(count: int, start: int = 0) -> list[Given]:
    """Rows that share nothing."""
    return [
        Given({"email": f"p{n}@example.com", "phone": f"646{n:07}", "phone_formatted": f"+1646{n:07}"})
        for n in range(start, start + count)
    ]


def new(rows: Sequence[Given]) -> list[tuple[int, bytes]]:
    """The hint `new` for each row."""
    return [(Hint.NEW, b"")] * len(rows)


async def sink_of(settings: Settings) -> PostgresSink:
    """A sink without a worker: it writes and publishes nothing."""
    codec = await load_codec(settings.schema_registry_url)
    dsn = settings.sink_database_url.get_secret_value()
    sink = PostgresSink(dsn, codec, settings.identity_secret, "other", SystemClock(), Telemetry("sink"))
    await sink.connect()
    return sink


async def write_only(settings: Settings, topics: Topics, *messages: RowsResolved) -> None:
    """What a worker does that dies between step 4 and step 6: the group is in PostgreSQL and nowhere else."""
    sink = await sink_of(settings)
    arrivals: list[Batch] = []
    for message in messages:
        place = topics.send(message)
        data = topics.codec.encode(ROWS_RESOLVED.name, message)
        arrivals.append(sink.decode(data, Position(*place)))
    await sink.take_over(sorted({arrival.position.partition for arrival in arrivals}))
    await sink.write(arrivals, ())
    await sink.close()


async def two_batches(world: World) -> tuple[ImportJob, RowsResolved, RowsResolved]:
    """A job of five rows: three new contacts, then one of them again, changed, and one invalid row."""
    job = await world.job(await world.organization(), on_duplicate="overwrite")
    first = world.batch(job, people(3), hints=new(people(3)))
    again = people(1)
    again[0].values["first_name"] = "Zoë"
    rows = [*again, Given({"email": "broken"}, refused=Outcome.INVALID)]
    second = world.batch(job, rows, end="completed")
    return job, first.message, second.message


@pytest.mark.requirement("B-04", "B-07", "S0-022", "S0-025")
async def test_batches_become_contacts_events_and_answers(
    world: World, topics: Topics, settings: Settings
) -> None:
    """Contacts are readable, each written row is one event with its lineage, each batch is answered."""
    job, first, second = await two_batches(world)
    async with running(settings):
        topics.send(first)
        topics.send(second)
        await applied(world, job.id, 2)
    events = await topics.imported(job.id)
    assert [(event.lineage.row_no, event.action, event.version) for event in events] == [
        (1, "created", 1),
        (2, "created", 1),
        (3, "created", 1),
        (4, "updated", 2),
    ]
    assert events[3].contact.first_name == "Zoë"
    assert events[3].changed_fields == ["first_name"]
    assert events[3].contact_id == str(uuid.UUID(bytes=contact_id(job.id, 1)))
    assert {event.lineage.object_sha256 for event in events} == {"abc123"}
    answers = await topics.answers(job.id)
    assert [(answer.batch_no, answer.state) for answer in answers] == [(1, "processing"), (2, "completed")]
    assert answers[1].counts == {"created": 3, "updated": 1, "invalid": 1}
    row = await world.row(job)
    assert (row["state"], row["rows_read"], row["completed_at"] is not None) == ("completed", 5, True)


async def test_a_repeated_batch_is_published_once(world: World, topics: Topics, settings: Settings) -> None:
    """Copies of an applied batch, in its own group and later, have no second effect and no second event."""
    job, first, second = await two_batches(world)
    async with running(settings):
        for message in (first, first, second, first, second):
            topics.send(message)
        await applied(world, job.id, 2)
        topics.send(second)
    async with running(settings):
        pass
    assert len(await topics.imported(job.id)) == 4
    assert [answer.batch_no for answer in await topics.answers(job.id)] == [1, 2]


@pytest.mark.requirement("S0-024", "B-07")
async def test_a_group_that_was_written_and_not_published_is_published_after_the_crash(
    world: World, topics: Topics, settings: Settings
) -> None:
    """The events are those that the dead worker would have sent, once each, and the topic is read on."""
    job, first, second = await two_batches(world)
    async with running(settings):
        pass
    await write_only(settings, topics, first, second)
    assert await topics.imported(job.id) == []
    async with running(settings):
        await applied(world, job.id, 2)
    events = await topics.imported(job.id)
    assert [(event.lineage.row_no, event.action) for event in events] == [
        (1, "created"),
        (2, "created"),
        (3, "created"),
        (4, "updated"),
    ]
    assert events[3].contact.first_name == "Zoë"
    assert [answer.state for answer in await topics.answers(job.id)] == ["processing", "completed"]


async def test_a_group_that_was_published_and_not_marked_is_not_published_again(
    world: World, topics: Topics, settings: Settings
) -> None:
    """The committed offset says that it was; the mark is made up for."""
    job, first, second = await two_batches(world)
    async with running(settings):
        topics.send(first)
        topics.send(second)
        await applied(world, job.id, 2)
    await world.connection.execute("UPDATE import_batches SET published = false WHERE job_id = $1", job.id)
    async with running(settings):
        await applied(world, job.id, 2)
    assert len(await topics.imported(job.id)) == 4
    assert len(await topics.answers(job.id)) == 2


async def test_a_lost_offset_doubles_nothing(world: World, topics: Topics, settings: Settings) -> None:
    """Where the group's offsets are gone, the answers in the topic tell what was published."""
    job, first, second = await two_batches(world)
    async with running(settings):
        topics.send(first)
        await applied(world, job.id, 1)
    await world.connection.execute("UPDATE import_batches SET published = false WHERE job_id = $1", job.id)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    await forget_group(admin)
    async with running(settings):
        topics.send(second)
        await applied(world, job.id, 2)
    assert len(await topics.imported(job.id)) == 4
    assert [answer.batch_no for answer in await topics.answers(job.id)] == [1, 2]


async def forget_group(admin: AdminClient) -> None:
    """Delete the sink's group with its offsets, once its last member's session is over."""

    def forgotten() -> bool:
        return admin.delete_consumer_groups([SINK_GROUP])[SINK_GROUP].exception(30) is None

    await until(forgotten, "the group is forgotten")


@pytest.mark.requirement("S0-024", "B-07")
async def test_events_are_rebuilt_from_what_was_applied_and_not_from_the_topic(
    world: World, topics: Topics, settings: Settings
) -> None:
    """A topic that was made anew has others at its offsets, or nothing: the events are still the rows'."""
    job, first, second = await two_batches(world)
    _, stranger, _ = await two_batches(world)
    async with running(settings):
        pass
    await write_only(settings, topics, first, second)
    partition, offset = topics.send(stranger)
    await world.connection.execute(
        "UPDATE import_batches SET topic_partition = $2, topic_offset = $3 + 1_000_000 * (batch_no - 1)"
        " WHERE job_id = $1",
        job.id,
        partition,
        offset,
    )
    async with running(settings):
        await applied(world, job.id, 2)
    events = await topics.imported(job.id)
    assert [(event.lineage.row_no, event.contact.email) for event in events] == [
        (1, "p0@example.com"),
        (2, "p1@example.com"),
        (3, "p2@example.com"),
        (4, "p0@example.com"),
    ]
    assert [answer.batch_no for answer in await topics.answers(job.id)] == [1, 2]
    kept = await world.connection.fetchval(
        "SELECT max(length(message)) FROM import_batches WHERE job_id = $1", job.id
    )
    assert kept == 0


@pytest.mark.requirement("S0-024", "B-07")
@pytest.mark.parametrize("noted", ["", "the id of a topic that is deleted"])
async def test_an_offset_proves_nothing_unless_a_sink_committed_it_of_this_topic(
    world: World, topics: Topics, settings: Settings, noted: str
) -> None:
    """Set by hand, or left from another topic, behind what was never published: it is published now."""
    job, first, second = await two_batches(world)
    async with running(settings):
        pass
    await write_only(settings, topics, first, second)
    partition = await world.connection.fetchval(
        "SELECT topic_partition FROM import_batches WHERE job_id = $1 LIMIT 1", job.id
    )
    behind = await world.connection.fetchval(
        "SELECT max(topic_offset) + 1 FROM import_batches WHERE job_id = $1", job.id
    )
    place = TopicPartition(ROWS_RESOLVED.name, partition, behind, metadata=noted)
    await set_offset(AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers}), place)
    async with running(settings):
        await applied(world, job.id, 2)
    assert len(await topics.imported(job.id)) == 4
    assert [answer.batch_no for answer in await topics.answers(job.id)] == [1, 2]


async def set_offset(admin: AdminClient, place: TopicPartition) -> None:
    """Set an offset of the sink's group by hand, once its last member's session is over."""

    def is_set() -> bool:
        request = [ConsumerGroupTopicPartitions(SINK_GROUP, [place])]
        asked = admin.alter_consumer_group_offsets(request)[SINK_GROUP]
        return asked.exception(30) is None and not any(item.error for item in asked.result().topic_partitions)

    await until(is_set, "the offset is set")


async def test_an_outdated_writer_is_fenced(world: World, topics: Topics, settings: Settings) -> None:
    """A worker whose partition was taken over writes nothing any more, and begins again."""
    job, first, second = await two_batches(world)
    async with running(settings) as worker:
        topics.send(first)
        await applied(world, job.id, 1)
        other = await sink_of(settings)
        await other.take_over(range(12))
        topics.send(second)
        await applied(world, job.id, 2)
        fenced = worker.telemetry.text().decode()
        await other.close()
    assert "sluice_writes_fenced_total 1.0" in fenced
    assert len(await topics.imported(job.id)) == 4


@pytest.mark.requirement("S0-027")
async def test_the_third_undecodable_copy_of_a_batch_is_answered(
    world: World, topics: Topics, settings: Settings
) -> None:
    """Two broken copies become dead letters; at the third the rows end as failed and the job goes on."""
    job, first, second = await two_batches(world)
    async with running(settings):
        for _ in range(3):
            topics.send(first, data=b"\x00\x00\x00\x00\x01garbage")
        topics.send(second)
        await applied(world, job.id, 2)
    letters = [
        message
        for message in await topics.messages(ROWS_RESOLVED.dead_letters)
        if ("job_id", str(job.id).encode()) in message.headers
    ]
    assert [message.value for message in letters] == [b"\x00\x00\x00\x00\x01garbage"] * 3
    assert dict(letters[0].headers)["dead_letter_topic"] == ROWS_RESOLVED.name.encode()
    assert await world.outcomes(job) == [*[Outcome.FAILED] * 3, Outcome.CREATED, Outcome.INVALID]


async def test_wrong_hints_are_overruled_and_the_table_is_told(
    world: World, topics: Topics, settings: Settings
) -> None:
    """A row that is hinted new and is not costs no contact; the identities' real holder is announced."""
    organization_id = await world.organization()
    job = await world.job(organization_id)
    rows = people(2)
    batches = [
        world.batch(job, rows, hints=new(rows)),
        world.batch(job, rows, hints=new(rows), end="completed"),
    ]
    async with running(settings):
        topics.send(batches[0].message)
        await applied(world, job.id, 1)
        topics.send(batches[1].message)
        await applied(world, job.id, 2)
    assert await world.outcomes(job) == [*[Outcome.CREATED] * 2, *[Outcome.DUPLICATE_IN_FILE] * 2]
    (told,) = await topics.corrections(organization_id)
    assert [change.contact_id for change in told.changes] == [contact_id(job.id, row) for row in (1, 2)]


async def test_a_contact_without_a_fingerprint_is_corrected_too(
    world: World, topics: Topics, settings: Settings
) -> None:
    """Another application stored it: the stream cannot know it, and its content is told as nobody's."""
    organization_id = await world.organization()
    rows = people(3)
    held = await world.connection.fetchval(
        "INSERT INTO contacts (organization_id, email, created_by) VALUES ($1, $2, $1) RETURNING id",
        organization_id,
        rows[1].values["email"],
    )
    job = await world.job(organization_id)
    batch = world.batch(job, rows, hints=new(rows), end="completed")
    async with running(settings):
        topics.send(batch.message)
        await applied(world, job.id, 1)
    assert await world.outcomes(job) == [Outcome.CREATED, Outcome.DUPLICATE_EXISTING, Outcome.CREATED]
    (told,) = await topics.corrections(organization_id)
    holders = [(change.contact_id, change.fingerprint) for change in told.changes if change.contact_id]
    assert holders == [(held.bytes, bytes(16))]


async def test_a_group_waits_for_batches_that_are_on_their_way_and_for_none_behind_the_last(
    world: World, topics: Topics, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction for both batches of a job, however late the second is; it waits for nothing more."""
    monkeypatch.setattr(transactions, "GATHER_SECONDS", 10 * PATIENCE_SECONDS)
    job, first, second = await two_batches(world)
    async with running(settings):
        topics.send(first)
        await asyncio.sleep(1)
        topics.send(second)
        await applied(world, job.id, 2)
    times = "SELECT count(DISTINCT applied_at) FROM import_batches WHERE job_id = $1"
    assert await world.connection.fetchval(times, job.id) == 1


async def test_a_stop_between_messages_is_clean(world: World, topics: Topics, settings: Settings) -> None:
    """After a stop nothing is in doubt."""
    job, first, _ = await two_batches(world)
    async with running(settings):
        topics.send(first)
        await applied(world, job.id, 1)
    left = await world.connection.fetchval("SELECT count(*) FROM import_batches WHERE NOT published")
    assert left == 0


@pytest.mark.requirement("K-13", "S0-028")
async def test_an_atomic_job_publishes_with_its_last_batch(
    world: World, topics: Topics, settings: Settings
) -> None:
    """Staged batches are answered at once; contacts and events come all together at the end."""
    job = await world.job(await world.organization(), mode="atomic")
    batches = [
        world.batch(job, people(2)),
        world.batch(job, people(2, 2)),
        world.batch(job, [], end="completed"),
    ]
    async with running(settings):
        for batch in batches[:2]:
            topics.send(batch.message)
        await applied(world, job.id, 2)
        assert await world.contacts(job.organization_id) == {}
        assert await topics.imported(job.id) == []
        topics.send(batches[2].message)
        await applied(world, job.id, 3)
    events = await topics.imported(job.id)
    assert [(event.lineage.row_no, event.action) for event in events] == [(n, "created") for n in range(1, 5)]
    answers = await topics.answers(job.id)
    assert [(answer.staged, answer.state) for answer in answers] == [
        (True, "processing"),
        (True, "processing"),
        (False, "completed"),
    ]
    assert answers[2].counts == {"created": 4}
    assert await world.connection.fetchval(
        "SELECT bool_and(published AND message = '') FROM import_batches WHERE job_id = $1", job.id
    )


async def test_an_atomic_job_that_was_judged_and_not_published_is_published_after_the_crash(
    world: World, topics: Topics, settings: Settings
) -> None:
    """The events of staged batches are made from their stored messages, once each."""
    job = await world.job(await world.organization(), mode="atomic")
    first = world.batch(job, people(3))
    last = world.batch(job, people(1, 3), end="completed")
    async with running(settings):
        topics.send(first.message)
        await applied(world, job.id, 1)
    await write_only(settings, topics, last.message)
    async with running(settings):
        await applied(world, job.id, 2)
    assert [event.lineage.row_no for event in await topics.imported(job.id)] == [1, 2, 3, 4]
    assert [answer.staged for answer in await topics.answers(job.id)] == [True, False]


async def test_a_stopped_process_ends_cleanly_and_says_how_it_is_until_then(
    world: World, topics: Topics, stack: Servers
) -> None:
    """The role answers /health and /metrics, finishes its group on SIGTERM and exits with 0."""
    job, first, _ = await two_batches(world)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from sluice.settings import *; from sinks.worker import *; run(load_settings())",
        env={**os.environ, **stack.env, "METRICS_PORT": str(port), "INSTANCE": "process"},
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        await until(lambda: answer(port, "/health") is not None, "the role is ready")
        topics.send(first)
        await applied(world, job.id, 1)
        health, metrics = answer(port, "/health"), answer(port, "/metrics")
    finally:
        process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    assert health is not None
    assert msgspec.json.decode(health) == {"role": "sink", "status": "ready", "partitions": [*range(12)]}
    assert metrics is not None
    assert b'sluice_rows_applied_total{outcome="created"} 3.0' in metrics
    assert b'sluice_waiting{dependency="database"} 0.0' in metrics


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def answer(port: int, path: str) -> bytes | None:
    """The body of a good answer; None while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            body: bytes = response.read()
            return body
    except OSError:
        return None
