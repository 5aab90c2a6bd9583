"""The sweeper: what belongs to nobody, what was begun and left, what has expired.

 1. Files that were announced or analyzed and then left alone are given up: their jobs become cancelled.
 2. State that has expired goes: rows, and objects, none of which lives longer than a day.
 3. Stored objects that no job reads go, and uploads in parts that were never finished.

An upload is stored before its job is registered, so a process that dies in between leaves an object that
belongs to nobody. Such an object is known by its age: registration follows storing within seconds, so after
a day none is on its way any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from sluice.clock import Clock
from sluice.errors import StoreUnavailable
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from tasks.outage import all_well, pause
from tasks.postgres import Connection, connected, statements

PREFIX = "uploads/"
STATE_PREFIX = "state/"
KEPT = timedelta(days=1)
LEFT = KEPT + timedelta(hours=1)
"""A day beyond the hour for which the wizard remembers a file."""
ABANDONED = "The file was not imported within a day. Upload it again."
EVERY_SECONDS = 3600.0

log = structlog.get_logger("sluice.sweeper")


class Sweeper:
    """Sweeps now and then every hour. Several at once do no harm: removing twice is removing."""

    def __init__(self, settings: Settings, clock: Clock, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until told to stop.

        Raises:
            DatabaseUnavailable, StoreUnavailable: an outage; call again.
        """
        while not stopping.is_set():
            await self.sweep()
            await pause(stopping, EVERY_SECONDS)

    async def sweep(self) -> tuple[int, int]:
        """Remove what is older than a day; how many objects and how many unfinished uploads that were."""
        now = self._clock.now()
        before = now - KEPT
        async with connected(self._settings) as connection, opened_store(self._settings) as store:
            bucket = self._settings.s3_bucket_name
            abandoned = await _abandon(connection, now)
            removed = await _remove_expired(store, bucket, before)
            removed += await _remove_orphans(store, bucket, connection, before)
            aborted = await _abort_unfinished(store, bucket, before)
        all_well(self._telemetry, "database", "store")
        if removed or aborted or abandoned:
            log.info("swept", objects_removed=removed, uploads_aborted=aborted, jobs_abandoned=abandoned)
        return removed, aborted


async def _abandon(connection: Connection, now: datetime) -> int:
    """Give up what was left alone, forget its files and expired state; how many jobs that were."""
    sql = statements("uploads")
    done = await connection.execute(sql["abandon_uploads"], now - LEFT, now, ABANDONED)
    await connection.execute(sql["forget_sources"], now - KEPT)
    await connection.execute(sql["delete_expired_state"], now)
    # The command's tag, such as "UPDATE 3".
    return int(done.rpartition(" ")[2])


async def _remove_expired(store: Any, bucket: str, before: datetime) -> int:
    removed = 0
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=STATE_PREFIX)
    async for page in pages:
        old = [each["Key"] for each in page.get("Contents", ()) if each["LastModified"] < before]
        removed += await _remove(store, bucket, old)
    return removed


async def _remove(store: Any, bucket: str, keys: Sequence[str]) -> int:
    """Remove up to 1,000 objects, which is what one request takes; how many that were."""
    if keys:
        objects = [{"Key": key} for key in keys]
        await store.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    return len(keys)


async def _remove_orphans(store: Any, bucket: str, connection: Connection, before: datetime) -> int:
    removed = 0
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    async for page in pages:
        # A page holds at most 1,000 keys, which is also the most that one request deletes.
        old = [each["Key"] for each in page.get("Contents", ()) if each["LastModified"] < before]
        if not old:
            continue
        registered = await connection.fetch(statements("uploads")["registered_keys"], old)
        orphans = sorted(set(old) - {record["object_key"] for record in registered})
        removed += await _remove(store, bucket, orphans)
    return removed


async def _abort_unfinished(store: Any, bucket: str, before: datetime) -> int:
    """Parts of an upload that nobody completes take room and appear in no listing of objects."""
    aborted = 0
    pages = store.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=PREFIX)
    async for page in pages:
        for upload in page.get("Uploads", ()):
            if upload["Initiated"] < before:
                await store.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
                aborted += 1
    return aborted


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Any]:
    """A client of the object store.

    Raises:
        StoreUnavailable: the store does not answer, or refuses a request.
    """
    client = get_session().create_client(
        "s3",
        region_name=settings.aws_region,
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.aws_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        config=AioConfig(
            connect_timeout=5,
            read_timeout=30,
            # Stores other than Amazon's know neither buckets as host names nor the newer checksums.
            s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            request_checksum_calculation="when_required",
        ),
    )
    try:
        async with client as store:
            yield store
    except (BotoCoreError, ClientError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise StoreUnavailable from error
