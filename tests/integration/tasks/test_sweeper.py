"""The sweeper on a real object store: what belongs to nobody goes, what a job reads stays."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from sluice.clock import FakeClock
from sluice.errors import DatabaseUnavailable, StoreUnavailable
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from tasks.sweeper import Sweeper, opened_store
from tests.integration.stack import Servers


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Any]:
    """A client of the real store."""
    async with opened_store(settings) as client:
        yield client


@pytest.fixture
async def migrator(stack: Servers) -> AsyncIterator[Any]:
    """A connection as the tables' owner, who may put jobs into any state."""
    connection = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    yield connection
    await connection.close()


def sweeper(settings: Settings, *, days_later: float) -> Sweeper:
    clock = FakeClock(current=datetime.now(UTC) + timedelta(days=days_later))
    return Sweeper(settings, clock, Telemetry("tasks"))


async def keys(store: Any, settings: Settings, prefix: str) -> set[str]:
    answer = await store.list_objects_v2(Bucket=settings.s3_bucket_name, Prefix=prefix)
    return {each["Key"] for each in answer.get("Contents", ())}


async def make_job(database: Any, key: str) -> None:
    """A job whose one part is the object."""
    organization, user, job = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    await database.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Sweep', $2)", organization, str(organization)
    )
    await database.execute("INSERT INTO users (id) VALUES ($1)", user)
    await database.execute(
        "INSERT INTO import_jobs (id, organization_id, created_by) VALUES ($1, $2, $3)",
        job,
        organization,
        user,
    )
    await database.execute(
        "INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag, size_bytes, sha256)"
        " VALUES ($1, $2, 1, $3, 'e', 1, $4)",
        organization,
        job,
        key,
        hashlib.sha256(b"x").hexdigest(),
    )


@pytest.mark.requirement("S0-010")
async def test_objects_that_no_job_reads_go_after_a_day(
    store: Any, settings: Settings, database: Any
) -> None:
    """A door that died between storing and registering leaves nothing for ever; registered files stay."""
    name = f"sweep-{uuid.uuid4()}"
    orphan, read, elsewhere = f"uploads/{name}/orphan", f"uploads/{name}/read", f"kept/{name}"
    for key in (orphan, read, elsewhere):
        await store.put_object(Bucket=settings.s3_bucket_name, Key=key, Body=b"x")
    await make_job(database, read)

    removed, _ = await sweeper(settings, days_later=0.9).sweep()
    assert removed == 0
    assert await keys(store, settings, f"uploads/{name}/") == {orphan, read}

    removed, _ = await sweeper(settings, days_later=1.1).sweep()
    assert removed >= 1
    assert await keys(store, settings, f"uploads/{name}/") == {read}
    assert await keys(store, settings, elsewhere) == {elsewhere}


async def test_uploads_that_were_never_finished_are_aborted_after_a_day(
    store: Any, settings: Settings, database: Any
) -> None:
    """Their parts take room that no listing of objects shows."""
    del database
    bucket, key = settings.s3_bucket_name, f"uploads/unfinished-{uuid.uuid4()}"
    upload = (await store.create_multipart_upload(Bucket=bucket, Key=key))["UploadId"]
    await store.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1024)

    async def unfinished() -> set[str]:
        answer = await store.list_multipart_uploads(Bucket=bucket)
        return {each["Key"] for each in answer.get("Uploads", ())}

    await sweeper(settings, days_later=0.9).sweep()
    assert key in await unfinished()
    _, aborted = await sweeper(settings, days_later=1.1).sweep()
    assert aborted >= 1
    assert key not in await unfinished()


async def test_what_is_away_is_an_outage(stack: Servers) -> None:
    """Neither a store nor a database that does not answer makes the sweeper think that nothing is there."""
    no_store = stack.settings(S3_ENDPOINT_URL="http://127.0.0.1:1")
    no_bucket = stack.settings(S3_BUCKET_NAME="no-such-bucket")
    no_database = stack.settings(SINK_DATABASE_URL="postgresql://sluice@127.0.0.1:1/sluice")
    for away in (no_store, no_bucket):
        with pytest.raises(StoreUnavailable):
            await sweeper(away, days_later=0).sweep()
    with pytest.raises(DatabaseUnavailable):
        await sweeper(no_database, days_later=0).sweep()


async def make_upload(
    database: Any, key: str, state: str, *, with_part: bool, age_days: float = 0.0
) -> uuid.UUID:
    """A job of an announced file in this state, last touched so long ago; its id."""
    part_key = key if with_part else f"uploads/{uuid.uuid4()}"
    await make_job(database, part_key)
    job = await database.fetchval("SELECT job_id FROM import_parts WHERE object_key = $1", part_key)
    if not with_part:
        await database.execute("DELETE FROM import_parts WHERE job_id = $1", job)
    await database.execute("ALTER TABLE import_jobs DISABLE TRIGGER job_transition")
    await database.execute(
        "UPDATE import_jobs SET state = $2, upload_key = $3, upload_bytes = 1,"
        " updated_at = now() - make_interval(secs => $4) WHERE id = $1",
        job,
        state,
        key,
        age_days * 86_400,
    )
    await database.execute("ALTER TABLE import_jobs ENABLE TRIGGER job_transition")
    return uuid.UUID(str(job))


LEFT_ALONE = (("uploading", False), ("analyzing", True), ("awaiting_mapping", True))


@pytest.mark.parametrize(("state", "with_part"), LEFT_ALONE)
async def test_a_file_that_was_left_alone_is_given_up_with_its_object(
    store: Any, settings: Settings, database: Any, migrator: Any, state: str, with_part: bool
) -> None:
    """A day beyond its hour its job is cancelled with a reason, and what it was to read is gone."""
    del database
    key = f"uploads/left-{uuid.uuid4()}"
    await store.put_object(Bucket=settings.s3_bucket_name, Key=key, Body=b"x")
    job = await make_upload(migrator, key, state, with_part=with_part)

    await sweeper(settings, days_later=1.03).sweep()
    assert await migrator.fetchval("SELECT state FROM import_jobs WHERE id = $1", job) == state
    assert await keys(store, settings, key) == {key}

    await sweeper(settings, days_later=1.05).sweep()
    given_up = await migrator.fetchrow(
        "SELECT state, reason, completed_at FROM import_jobs WHERE id = $1", job
    )
    assert given_up["state"] == "cancelled"
    assert "within a day" in given_up["reason"]
    await sweeper(settings, days_later=2.1).sweep()
    assert await keys(store, settings, key) == set()


async def test_an_upload_that_goes_on_keeps_its_object(
    store: Any, settings: Settings, database: Any, migrator: Any
) -> None:
    """Of jobs that run, or ended with rows, the object stays; of one that was refused it goes after a day."""
    del database
    name = f"uploads/on-{uuid.uuid4()}"
    states = {"processing": 5, "completed": 5, "failed": 5}
    for state, rows in states.items():
        await store.put_object(Bucket=settings.s3_bucket_name, Key=f"{name}-{state}", Body=b"x")
        job = await make_upload(migrator, f"{name}-{state}", state, with_part=True)
        await migrator.execute("UPDATE import_jobs SET rows_read = $2, created = $2 WHERE id = $1", job, rows)
    await store.put_object(Bucket=settings.s3_bucket_name, Key=f"{name}-refused", Body=b"x")
    await make_upload(migrator, f"{name}-refused", "failed", with_part=True)
    await sweeper(settings, days_later=3).sweep()
    assert await keys(store, settings, name) == {f"{name}-{state}" for state in states}


async def test_expired_state_goes(store: Any, settings: Settings, database: Any, migrator: Any) -> None:
    """Rows when they expire, objects after a day, which is longer than any lives."""
    del database
    organization, key = uuid.uuid4(), f"mapping:{uuid.uuid4()}"
    await migrator.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, 'State', $2)", organization, str(organization)
    )
    await migrator.execute(
        "INSERT INTO temporary_state VALUES ($1, $2, '1', now() + interval '1 hour')", organization, key
    )
    stored = f"state/{organization}/{key}.json"
    await store.put_object(Bucket=settings.s3_bucket_name, Key=stored, Body=b"{}")

    async def rows() -> int:
        counted = "SELECT count(*) FROM temporary_state WHERE organization_id = $1"
        return int(await migrator.fetchval(counted, organization))

    await sweeper(settings, days_later=0.04).sweep()
    assert (await rows(), await keys(store, settings, stored)) == (1, {stored})
    await sweeper(settings, days_later=0.05).sweep()
    assert (await rows(), await keys(store, settings, stored)) == (0, {stored})
    await sweeper(settings, days_later=1.05).sweep()
    assert await keys(store, settings, stored) == set()
