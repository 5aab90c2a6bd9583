"""The streams role on a real broker: what it makes of each kind of message."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from sluice.broker import make_follower
from sluice.contact import identity_hash, identity_key
from sluice.events import (
    BatchApplied,
    DncChanged,
    IdentitiesChanged,
    IdentityChange,
    JobProgress,
    RowsResolved,
    SourcePosition,
)
from sluice.topics import BATCH_APPLIED, DNC_CHANGED, IDENTITIES_CHANGED, PROGRESS, ROWS_READ
from streams.steps.deduplicate import Hint
from tests.integration.stack import Servers
from tests.integration.streams_world import (
    Reader,
    Worker,
    eventually,
    make_batch,
    make_job,
    organization_in,
    people,
    reader_of,
)


@pytest.fixture(scope="module")
async def worker(stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    """One running worker for all of these tests."""
    running = Worker(stack, tmp_path_factory.mktemp("streams"))
    try:
        await running.start_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
async def reader(stack: Servers) -> AsyncIterator[Reader]:
    async with reader_of(stack) as running:
        yield running


@asynccontextmanager
async def following(stack: Servers, topic: str) -> AsyncIterator[list[ConsumerRecord]]:
    """What arrives on a topic from now on, in a list that grows."""
    found: list[ConsumerRecord] = []
    consumer = make_follower(stack.settings(), [topic], from_start=False)
    await consumer.start()
    for partition in consumer.assignment():
        await consumer.position(partition)

    async def follow(consumer: AIOKafkaConsumer) -> None:
        # No comprehension: what came must be there before the next one comes.
        async for record in consumer:
            found.append(record)  # noqa: PERF401

    task = asyncio.create_task(follow(consumer))
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


@pytest.mark.requirement("B-02", "B-03", "S0-019", "S0-020")
async def test_rows_come_out_clean_and_hinted(worker: Worker, reader: Reader) -> None:
    """A batch leaves with canonical values, one hint a row, its headers and its place."""
    organization = organization_in(3)
    job = str(uuid.uuid4())
    rows = [
        ["Ann", "ANN@Example.com", "(415) 555-2671", "Paris"],
        ["Ann again", "ann@example.com", "", ""],
        ["No identity", "", "", "Rome"],
        ["Bad", "nobody", "12", ""],
    ]
    out = await reader.resolve(make_batch(organization, job, 1, rows))
    first = dict(zip(out.fields, out.rows[0], strict=True))
    assert (first["email"], first["phone"], first["phone_formatted"]) == (
        "ann@example.com", "(415) 555-2671", "+14155552671",
    )  # fmt: skip
    assert list(out.hints) == [Hint.NEW, Hint.IS, Hint.NONE, Hint.NONE]
    assert [(each.index, each.outcome) for each in out.refusals] == [(2, "no_identity"), (3, "invalid")]
    assert [fault.field for fault in out.refusals[1].faults] == ["email", "phone"]
    record = reader.records[job, 1][-1]
    assert record.partition == 3
    assert dict(record.headers)["job_id"] == job.encode()


@pytest.mark.requirement("B-03")
async def test_an_old_batch_overwrites_nothing(worker: Worker, reader: Reader) -> None:
    """A repeated batch is sent on again, and leaves what newer batches claimed as it is."""
    organization = organization_in(4)
    job = str(uuid.uuid4())
    old = make_batch(organization, job, 1, people(1, 20, city="Old"))
    new = make_batch(organization, job, 2, people(1, 20, city="New"), first_row_no=21)
    await reader.resolve(old)
    await reader.resolve(new)
    again = await reader.resolve(old)
    assert again.rows == reader.resolved(job, 1)[0].rows
    later = make_batch(organization, str(uuid.uuid4()), 1, people(1, 20, city="New"))
    assert set((await reader.resolve(later)).hints) == {Hint.SAME}


async def test_a_batch_too_far_ahead_is_dropped(worker: Worker, reader: Reader) -> None:
    """Batch 3 before batch 2 does not come out; sent again in its turn, it does (D13)."""
    job = make_job(organization_in(6), 3)
    await reader.resolve(job[0])
    dropped = worker.metric("sluice_batches_dropped_total")
    ahead = make_batch(job[2].organization_id, job[2].job_id, 3, job[2].rows, first_row_no=101)
    await reader.send(msgspec.structs.replace(ahead, applied_through=1))
    await reader.resolve(job[1])
    assert (job[2].job_id, 3) not in reader.records
    assert worker.metric("sluice_batches_dropped_total") == dropped + 1
    await reader.resolve(job[2])


@pytest.mark.requirement("B-03", "K-01")
async def test_changes_from_elsewhere_are_known(stack: Servers, worker: Worker, reader: Reader) -> None:
    """An edit, an undo or an overruled hint reaches the table through identities.changed.v1."""
    organization = organization_in(7)
    job = make_job(organization, 1, rows=2)
    await reader.resolve(job[0])
    key = identity_key(stack.settings().identity_secret, uuid.UUID(organization), "contacts")
    other = b"c" * 16
    changed = IdentitiesChanged(
        organization_id=organization,
        target="contacts",
        scope="",
        changes=[
            IdentityChange(
                kind="email",
                hash=identity_hash(key, "email", "person0@example.com"),
                contact_id=other,
                fingerprint=b"",
                other_hash=b"",
            ),
            *(
                IdentityChange(
                    kind=kind, hash=identity_hash(key, kind, value), fingerprint=b"", other_hash=b""
                )
                for kind, value in (("email", "person1@example.com"), ("phone", "+14152000001"))
            ),
        ],
    )
    value = reader.codec.encode(IDENTITIES_CHANGED.name, changed)
    await reader.producer.send_and_wait(IDENTITIES_CHANGED.name, value, key=organization.encode())
    seen: list[RowsResolved] = []

    async def looks_changed() -> bool:
        seen.append(await reader.resolve(make_job(organization, 1, rows=2, on_duplicate="skip")[0]))
        return seen[-1].hints[1] == Hint.NEW

    for _ in range(50):
        if await looks_changed():
            break
        await asyncio.sleep(0.1)
    assert list(seen[-1].hints) == [Hint.IS, Hint.NEW]
    assert seen[-1].hinted == other


async def test_a_message_nobody_can_read_is_kept_and_answered(
    stack: Servers, worker: Worker, reader: Reader
) -> None:
    """Its bytes go to the dead letters each time; the third time its rows are answered as failed (D7)."""
    organization = organization_in(8)
    job = make_job(organization, 2, rows=3)
    await reader.resolve(job[0])
    async with following(stack, ROWS_READ.dead_letters) as buried:
        for _ in range(3):
            assert not reader.resolved(job[1].job_id, 2)
            await reader.send_bytes(job[1], b"\x00\x00\x00\x00\x63 no such schema")
        await eventually(lambda: bool(reader.resolved(job[1].job_id, 2)), 20, "the batch is answered", worker)
        assert len(buried) == 3
    headers = dict(buried[0].headers)
    assert buried[0].value == b"\x00\x00\x00\x00\x63 no such schema"
    assert headers["dead_letter_topic"] == ROWS_READ.name.encode()
    assert b"not known" in headers["dead_letter_error"]
    (answer,) = reader.resolved(job[1].job_id, 2)
    assert [refusal.outcome for refusal in answer.refusals] == ["failed"] * 3
    assert (answer.first_row_no, answer.applied_through, len(answer.rows)) == (4, 1, 3)


@pytest.mark.parametrize("value", [None, b"", b"\x01", b"\x00\x00\x00\x00\x02short"])
async def test_noise_stops_nobody(worker: Worker, reader: Reader, value: bytes | None) -> None:
    """Noise without headers, on every topic that is read, is passed over: the next batch comes out."""
    organization = organization_in(9)
    for topic in (ROWS_READ, IDENTITIES_CHANGED, BATCH_APPLIED):
        await reader.producer.send_and_wait(topic.name, value, key=organization.encode())
    await reader.resolve(make_job(organization, 1)[0])


async def test_a_batch_that_contradicts_itself_is_a_dead_letter(
    stack: Servers, worker: Worker, reader: Reader
) -> None:
    """Well-formed bytes with impossible content are not processed, and stop nobody."""
    (good,) = make_job(organization_in(9), 1, rows=2)
    async with following(stack, ROWS_READ.dead_letters) as buried:
        await reader.send(msgspec.structs.replace(good, excluded=[7]))
        await reader.send(msgspec.structs.replace(good, job_id="nobody's"))
        options = msgspec.structs.replace(good.options, match_on="shoe size")
        await reader.send(msgspec.structs.replace(good, options=options))
        await reader.resolve(good)
        await eventually(lambda: len(buried) == 3, 10, "all three are buried", worker)


def applied(job_id: str, batch_no: int, created: int, at: int, **changes: Any) -> BatchApplied:
    """What the sink says of a batch."""
    position = SourcePosition(part_no=1, byte_offset=100 * batch_no, line=1, row_no=1)
    whole = BatchApplied(
        organization_id=str(uuid.uuid4()),
        job_id=job_id,
        run=1,
        lease_epoch=1,
        batch_no=batch_no,
        staged=False,
        first_row_no=1,
        row_count=10,
        state="processing",
        reason="",
        counts={"created": created},
        end=position,
        is_last=False,
        applied_at=at,
        partition=0,
        next_offset=1,
    )
    return msgspec.structs.replace(whole, **changes)


@pytest.mark.requirement("B-05")
async def test_progress_never_falls_and_shows_only_what_was_committed(
    stack: Servers, worker: Worker, reader: Reader
) -> None:
    """Absolute counts of the highest batch; what the sink aborted is never seen."""
    job_id = str(uuid.uuid4())
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.env["KAFKA_BOOTSTRAP_SERVERS"], transactional_id=f"test-{job_id}"
    )
    await producer.start()

    async def send(*batches: BatchApplied, commit: bool = True) -> None:
        await producer.begin_transaction()
        for each in batches:
            value = reader.codec.encode(BATCH_APPLIED.name, each)
            await producer.send_and_wait(BATCH_APPLIED.name, value, key=job_id.encode())
        await (producer.commit_transaction() if commit else producer.abort_transaction())

    async with following(stack, PROGRESS.name) as found:

        def mine() -> list[JobProgress]:
            events = [reader.codec.decode(PROGRESS.name, JobProgress, each.value) for each in found]
            return [event for event in events if event.job_id == job_id]

        await send(applied(job_id, 9, 9000, 1000), commit=False)
        await send(applied(job_id, 1, 10, 1000), applied(job_id, 2, 20, 2000))
        await send(applied(job_id, 1, 10, 1000), applied(job_id, 3, 30, 3000, state="completed"))
        await eventually(
            lambda: bool(mine()) and mine()[-1].batch_no == 3, 20, "progress is published", worker
        )
    await producer.stop()
    counts = [event.processed_rows for event in mine()]
    assert counts == sorted(counts)
    assert [event.batch_no for event in mine()] == [1, 2, 3]
    last = mine()[-1]
    assert (last.state, last.counts, last.rate_rows_per_second) == ("completed", {"created": 30}, 10.0)


@asynccontextmanager
async def dnc_list(
    stack: Servers, organization: str, updated: datetime, numbers: Iterable[str]
) -> AsyncIterator[tuple[asyncpg.Connection[asyncpg.Record], uuid.UUID]]:
    """A company's list with numbers, gone afterwards."""
    connection = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    list_id = uuid.uuid4()
    try:
        await connection.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Test', $2)",
            uuid.UUID(organization),
            organization,
        )
        await connection.execute(
            """INSERT INTO dnc_lists (id, organization_id, name, slug, type, compliance_level, last_updated,
               version) VALUES ($1, $2, 'Own', 'own', 'company', 'required', $3, 1)""",
            list_id,
            uuid.UUID(organization),
            updated,
        )
        for number in numbers:
            await connection.execute(
                """INSERT INTO dnc_entries (list_id, organization_id, phone_number, reason, version)
                   VALUES ($1, $2, $3, 'Asked not to be called', 1)""",
                list_id,
                uuid.UUID(organization),
                number,
            )
        yield connection, list_id
    finally:
        await connection.execute("DELETE FROM organizations WHERE id = $1", uuid.UUID(organization))
        await connection.close()


async def ring(reader: Reader, list_id: uuid.UUID, version: int) -> None:
    """Announce a list's version, as the outbox relay does."""
    changed = DncChanged(list_id=str(list_id), version=version, changed_at=1)
    value = reader.codec.encode(DNC_CHANGED.name, changed)
    await reader.producer.send_and_wait(DNC_CHANGED.name, value, key=str(list_id).encode())


async def resolve_until(reader: Reader, organization: str, listed: int, **options: Any) -> RowsResolved:
    """Jobs of four people until so many rows are marked or refused; the last one's batch."""
    for _ in range(100):
        out = await reader.resolve(make_job(organization, 1, rows=4, **options)[0])
        if len(out.marks) + len(out.refusals) == listed:
            return out
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {listed}: {json.dumps([len(out.marks), len(out.refusals)])}")


@pytest.mark.requirement("B-03", "K-43")
async def test_listed_numbers_are_marked_or_refused(stack: Servers, worker: Worker, reader: Reader) -> None:
    """Flag marks with list and reason, exclude refuses; entries come and go with the list's versions."""
    organization = organization_in(10)
    now = datetime.now(UTC)
    async with dnc_list(stack, organization, now, ["+14152000001"]) as (connection, list_id):
        await ring(reader, list_id, 1)
        (mark,) = (await resolve_until(reader, organization, 1)).marks
        assert (mark.index, mark.list_id, mark.version) == (1, str(list_id), 1)
        assert (mark.reason, mark.listed_on) == ("Asked not to be called", now.date().isoformat())
        excluded = await resolve_until(reader, organization, 1, dnc_policy="exclude")
        assert [(each.index, each.outcome) for each in excluded.refusals] == [(1, "suppressed_dnc")]
        await connection.execute(
            """WITH v AS (UPDATE dnc_lists SET version = 2 WHERE id = $1)
               INSERT INTO dnc_entries (list_id, organization_id, phone_number, version)
               VALUES ($1, $2, '+14152000002', 2)""",
            list_id,
            uuid.UUID(organization),
        )
        await ring(reader, list_id, 2)
        out = await resolve_until(reader, organization, 2)
        assert [mark.index for mark in out.marks] == [1, 2]
        async with connection.transaction():
            await connection.execute("UPDATE dnc_lists SET version = 3 WHERE id = $1", list_id)
            await connection.execute(
                "UPDATE dnc_entries SET status = 'removed', version = 3 WHERE list_id = $1 AND version = 1",
                list_id,
            )
        # Nobody rings: the regular look finds it.
        out = await resolve_until(reader, organization, 1)
        assert [mark.index for mark in out.marks] == [2]
        async with connection.transaction():
            await connection.execute("UPDATE dnc_lists SET version = 4 WHERE id = $1", list_id)
            await connection.execute("DELETE FROM dnc_entries WHERE list_id = $1", list_id)
        await resolve_until(reader, organization, 0)


@pytest.mark.requirement("K-43")
async def test_a_stale_list_clears_nobody(stack: Servers, worker: Worker, reader: Reader) -> None:
    """After 31 days without a load every number is refused, or marked as unknown with the list's name."""
    organization = organization_in(11)
    async with dnc_list(stack, organization, datetime.now(UTC) - timedelta(days=32), []) as (_, list_id):
        await ring(reader, list_id, 1)
        out = await resolve_until(reader, organization, 4)
        assert all(mark.list_id == str(list_id) for mark in out.marks)
        assert all("Unknown" in mark.reason and str(list_id) in mark.reason for mark in out.marks)
        excluded = await resolve_until(reader, organization, 4, dnc_policy="exclude")
        assert {each.outcome for each in excluded.refusals} == {"suppressed_dnc"}
