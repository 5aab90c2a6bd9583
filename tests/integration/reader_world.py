"""What the reader's tests need around it: a database of their own, jobs with files, a sink, readers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
import msgspec

import sinks
from ingress.formats.inspect import inspect_head
from ingress.store import open_store
from sluice.avro import Codec, load_codec
from sluice.broker import make_follower, make_producer
from sluice.events import BatchApplied, ImportRequested, RowsRead
from sluice.job import new_job_id
from sluice.migrations import migrate
from sluice.settings import Settings
from sluice.topics import BATCH_APPLIED, IMPORTS_REQUESTED, ROWS_READ

if TYPE_CHECKING:
    from tests.integration.stack import Servers

START = "from ingress.reader import run; from sluice.settings import load_settings; run(load_settings())"
DATABASE_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
MIGRATIONS = Path(sinks.__path__[0]) / "migrations"


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def own_database(stack: Servers) -> AsyncIterator[dict[str, str]]:
    """The stack's environment with a database of its own: other tests' jobs are not this reader's."""
    name = f"reader_{uuid.uuid4().hex[:8]}"

    async def administrate(statement: str) -> None:
        admin = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
        await admin.execute(statement)
        await admin.close()

    await administrate(f"CREATE DATABASE {name}")

    def moved(url: str) -> str:
        return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))

    urls = ("DATABASE_URL", "SINK_DATABASE_URL", "MIGRATE_DATABASE_URL")
    env = {**stack.env, **{url: moved(stack.env[url]) for url in urls}}
    try:
        await migrate(env["MIGRATE_DATABASE_URL"], MIGRATIONS)
        yield env
    finally:
        await administrate(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class World:
    """A database, the object store and the broker, seen from the tests."""

    env: dict[str, str]
    settings: Settings
    pool: asyncpg.Pool[asyncpg.Record]
    codec: Codec
    producer: Any
    store: Any

    async def organization(self) -> uuid.UUID:
        """A new tenant with a user of the same id."""
        organization_id = uuid.uuid4()
        await self.pool.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Reader', $2)",
            organization_id,
            str(organization_id),
        )
        await self.pool.execute("INSERT INTO users (id) VALUES ($1)", organization_id)
        return organization_id

    async def job(
        self,
        *files: bytes,
        organization_id: uuid.UUID | None = None,
        options: Mapping[str, object] | None = None,
        ring: bool = True,
    ) -> uuid.UUID:
        """A pending job with these files as its parts, as a door makes it."""
        organization_id = organization_id or await self.organization()
        job_id = new_job_id()
        stored = []
        for number, data in enumerate(files, 1):
            key = f"{organization_id}/{job_id}/{number}"
            head = inspect_head(data, complete=True)
            csv_format = {
                "columns": head.columns,
                "encoding": head.dialect.encoding,
                "delimiter": head.dialect.delimiter,
                "first": {"byte_offset": head.first.byte_offset, "line": head.first.line},
            }
            stored.append((number, key, await self.store.put(key, data), len(data), csv_format))
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO import_jobs (id, organization_id, created_by, options) VALUES ($1, $2, $2, $3)",
                job_id,
                organization_id,
                msgspec.json.encode(options or {}).decode(),
            )
            for number, key, etag, size, csv_format in stored:
                await connection.execute(
                    "INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag,"
                    " size_bytes, sha256, format) VALUES ($1, $2, $3, $4, $5, $6, '', $7)",
                    organization_id,
                    job_id,
                    number,
                    key,
                    etag,
                    size,
                    msgspec.json.encode(csv_format).decode(),
                )
        if ring:
            await self.ring(organization_id, job_id)
        return job_id

    async def new_file(
        self, data: bytes, filename: str, *, state: str = "pending", **asked: object
    ) -> uuid.UUID:
        """A job with a file that nobody has looked at yet; `asked` goes into its part's format."""
        organization_id = await self.organization()
        job_id = new_job_id()
        key = f"uploads/{job_id}-{filename}"
        etag = await self.store.put(key, data)
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO import_jobs (id, organization_id, created_by, filename, file_size, state)"
                " VALUES ($1, $2, $2, $3, $4, $5)",
                job_id, organization_id, filename, len(data), state,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO import_parts (organization_id, job_id, part_no, object_key, etag, size_bytes,"
                " sha256, format) VALUES ($1, $2, 1, $3, $4, $5, '', $6)",
                organization_id, job_id, key, etag, len(data),
                msgspec.json.encode({"kind": "new", **asked}).decode(),
            )  # fmt: skip
        await self.ring(organization_id, job_id)
        return job_id

    async def ring(self, organization_id: uuid.UUID, job_id: uuid.UUID) -> None:
        """Ring the readers' bell."""
        request = ImportRequested(job_id=str(job_id), organization_id=str(organization_id), requested_at=0)
        value = self.codec.encode(IMPORTS_REQUESTED.name, request)
        await self.producer.send_and_wait(IMPORTS_REQUESTED.name, value, str(job_id).encode())

    async def row(self, job_id: uuid.UUID) -> asyncpg.Record:
        """The job as the database has it."""
        row = await self.pool.fetchrow("SELECT * FROM import_jobs WHERE id = $1", job_id)
        assert row is not None
        return row

    async def until(self, job_id: uuid.UUID, state: str, seconds: float = 30) -> asyncpg.Record:
        """The job, once it is in this state."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(*DATABASE_AWAY):
                    row = await self.row(job_id)
                    if row["state"] == state:
                        return row
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_world(env: dict[str, str], settings: Settings) -> AsyncIterator[World]:
    """Connect to what the environment names."""
    codec = await load_codec(settings.schema_registry_url)
    producer = make_producer(settings)
    await producer.start()
    try:
        async with (
            asyncpg.create_pool(env["MIGRATE_DATABASE_URL"], min_size=1, max_size=8) as pool,
            open_store(settings) as store,
        ):
            yield World(env, settings, pool, codec, producer, store)
    finally:
        await producer.stop()


def nothing_is_lost(_: object) -> bool:
    """No message is lost."""
    return False


@dataclass
class Sink:
    """Stands in for streams and sink: applies batches in order, advances the jobs, tells of it.

    Its acceptance is D13's: the next batch of the job's own lease epoch, nothing else. `loses` decides about
    a batch that arrives, `mutes` about the message that tells of an applied one.
    """

    world: World
    loses: Callable[[RowsRead], bool] = nothing_is_lost
    mutes: Callable[[RowsRead], bool] = nothing_is_lost
    arrived: list[RowsRead] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    applied: dict[str, list[RowsRead]] = field(default_factory=lambda: defaultdict(list))
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, following: asyncio.Event) -> None:
        """Apply what arrives, while `open` is set."""
        follower = make_follower(self.world.settings, [ROWS_READ.name], from_start=False)
        await follower.start()
        await asyncio.gather(*(follower.position(partition) for partition in follower.assignment()))
        following.set()
        try:
            async for message in follower:
                await self.open.wait()
                batch = self.world.codec.decode(ROWS_READ.name, RowsRead, message.value)
                self.arrived.append(batch)
                self.headers.append({name: value.decode() for name, value in message.headers})
                if not self.loses(batch):
                    await self._apply_patiently(batch)
        finally:
            await follower.stop()

    async def _apply_patiently(self, batch: RowsRead) -> None:
        in_doubt = False
        while True:
            try:
                return await self._apply(batch, in_doubt=in_doubt)
            except DATABASE_AWAY:
                in_doubt = True
                await asyncio.sleep(0.1)

    async def _apply(self, batch: RowsRead, *, in_doubt: bool) -> None:
        job_id = uuid.UUID(batch.job_id)
        async with self.world.pool.acquire() as connection, connection.transaction():
            job = await connection.fetchrow(
                "SELECT applied_batch, lease_epoch FROM import_jobs WHERE id = $1 AND organization_id = $2"
                " FOR NO KEY UPDATE",
                job_id,
                uuid.UUID(batch.organization_id),
            )
            if job is None or job["lease_epoch"] != batch.lease_epoch:
                return
            # A commit whose answer was lost has happened.
            happened = in_doubt and job["applied_batch"] == batch.batch_no
            if not happened and job["applied_batch"] + 1 != batch.batch_no:
                return
            if not happened:
                await self._advance(connection, job_id, batch)
        self.applied[batch.job_id].append(batch)
        if not self.mutes(batch):
            await self._tell(batch)

    async def _advance(self, connection: Any, job_id: uuid.UUID, batch: RowsRead) -> None:
        end = batch.end
        await connection.execute(
            "UPDATE import_jobs SET applied_batch = $2, position_part = $3, position_byte = $4,"
            " position_line = $5, position_row = $6, rows_read = rows_read + $7, created = created + $7,"
            " state = CASE WHEN $8 = '' THEN state ELSE $8 END, reason = nullif($9, ''),"
            " completed_at = CASE WHEN $8 = '' THEN NULL ELSE now() END WHERE id = $1",
            job_id,
            batch.batch_no,
            end.part_no,
            end.byte_offset,
            end.line,
            end.row_no,
            len(batch.rows),
            batch.end_state,
            batch.end_reason,
        )

    async def _tell(self, batch: RowsRead) -> None:
        applied = BatchApplied(
            organization_id=batch.organization_id,
            job_id=batch.job_id,
            run=batch.run,
            lease_epoch=batch.lease_epoch,
            batch_no=batch.batch_no,
            staged=False,
            first_row_no=batch.first_row_no,
            row_count=len(batch.rows),
            state=batch.end_state or "processing",
            reason=batch.end_reason,
            counts={},
            end=batch.end,
            is_last=batch.is_last,
            applied_at=0,
            partition=0,
            next_offset=0,
        )
        value = self.world.codec.encode(BATCH_APPLIED.name, applied)
        await self.world.producer.send(BATCH_APPLIED.name, value, batch.job_id.encode())


@asynccontextmanager
async def running_sink(world: World, *, closed: bool = False, **behaviour: Any) -> AsyncIterator[Sink]:
    """A sink at work; `closed` until its `open` is set."""
    sink = Sink(world, **behaviour)
    if not closed:
        sink.open.set()
    following = asyncio.Event()
    task = asyncio.create_task(sink.work(following))
    waiting = asyncio.create_task(following.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield sink
        if task.done():
            task.result()
    finally:
        waiting.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@dataclass
class ReaderProcess:
    """A reader as it is deployed: a process."""

    process: asyncio.subprocess.Process
    base: str

    async def health(self) -> dict[str, Any]:
        """What `/health` answers; empty while nothing does."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.base}/health") as answer:
                body: dict[str, Any] = await answer.json()
                return body
        except aiohttp.ClientError:
            return {}

    async def metric(self, name: str) -> float:
        """One value of `/metrics`."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.base}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise AssertionError(f"there is no metric {name}")

    async def reaches(self, name: str, value: float, seconds: float = 30) -> None:
        """Return when a metric has reached a value."""
        async with asyncio.timeout(seconds):
            while await self.metric(name) < value:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)

    async def ready(self) -> None:
        """Return when it is."""
        async with asyncio.timeout(30):
            while (await self.health()).get("status") != "ready":
                assert self.process.returncode is None, "the reader has ended"
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def running_reader(world: World, **changes: str) -> AsyncIterator[ReaderProcess]:
    """A reader process that is ready; `changes` to its environment by name."""
    port = free_port()
    env = {**os.environ, **world.env, "METRICS_PORT": str(port), "API_HOST": "127.0.0.1", **changes}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", START, env=env)
    reader = ReaderProcess(process, f"http://127.0.0.1:{port}")
    try:
        await reader.ready()
        yield reader
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
