"""The sweeper on a real object store: what belongs to nobody goes, what a job reads stays."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

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
