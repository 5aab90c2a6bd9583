"""The reader's border to PostgreSQL: leases, and how far the sink is. Statements: `sql/reader.sql`."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from ingress.reading.job import Ending, LeasedJob, Part, Standing, leased_job
from ingress.state import Acting, acting_over
from sluice.errors import DatabaseUnavailable
from sluice.mapping.proposals import header_set_key
from sluice.postgres import AWAY
from sluice.sql import load_queries

SQL = load_queries(Path(__file__).resolve().parent.parent / "sql" / "reader.sql")

# Far more than any of these statements needs: none of them waits for a lock.
COMMAND_TIMEOUT_SECONDS = 10.0

# PostgreSQL's own refusals too: these statements hold no user's value that could be at fault.
REFUSED = (asyncpg.PostgresError, *AWAY)


class Leases:
    """Jobs are taken, kept and given back here. Every method raises DatabaseUnavailable when it cannot tell.

    `owner` names this process among the readers; `seconds` is how long a lease holds without renewal.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], owner: str, seconds: float) -> None:
        self._pool = pool
        self._owner = owner
        self._seconds = seconds

    @property
    def acting(self) -> Acting:
        """Connections for a state store."""
        return acting_over(self._pool)

    async def take_next(
        self, full: Collection[uuid.UUID] = (), besides: Collection[uuid.UUID] = ()
    ) -> LeasedJob | None:
        """The job that waits longest for a reader; none of organizations `full`, none of jobs `besides`."""
        rows = await self._fetch("lease_next", self._owner, self._seconds, list(full), list(besides))
        return leased_job(dict(rows[0])) if rows else None

    async def take(self, organization_id: uuid.UUID, job_id: uuid.UUID) -> LeasedJob | None:
        """This job, unless it has ended, is not ready, or somebody has it."""
        rows = await self._fetch("lease_named", self._owner, self._seconds, organization_id, job_id)
        return leased_job(dict(rows[0])) if rows else None

    async def look(self, jobs: Iterable[LeasedJob]) -> list[Standing]:
        """How the database knows these jobs now; one that is gone is left out."""
        organizations, ids, _ = _columns(jobs)
        rows = await self._fetch("look", organizations, ids)
        return [
            Standing(row["id"], row["lease_epoch"], row["applied_batch"], row["state"], row["cancelled"])
            for row in rows
        ]

    async def renew(self, jobs: Iterable[LeasedJob]) -> set[uuid.UUID]:
        """Keep the leases; returns the jobs whose lease is renewed.

        Another's lease is never touched; of one's own a job is left out while the sink holds its row.
        """
        organizations, ids, epochs = _columns(jobs)
        rows = await self._fetch("renew", organizations, ids, epochs, self._seconds)
        return {row["id"] for row in rows}

    async def release(self, jobs: Iterable[LeasedJob]) -> None:
        """Give the leases back, as far as they are still held."""
        organizations, ids, epochs = _columns(jobs)
        await self._fetch("release", organizations, ids, epochs)

    async def release_left_behind(self) -> None:
        """Give back what an earlier process of the same name held when it was killed."""
        await self._fetch("release_left_behind", self._owner)

    async def opened(self, job: LeasedJob, part: Part, file_bytes: int, source: str) -> None:
        """Keep what a new part turned out to be; nothing happens where another reader has the job by now."""
        await self._fetch(
            "open_part",
            job.organization_id,
            job.id,
            job.lease_epoch,
            part.part_no,
            part.object_key,
            part.etag,
            part.size_bytes,
            part.sha256,
            msgspec.to_builtins(part.format),
            file_bytes,
            source,
        )

    async def analyzed(self, job: LeasedJob) -> bool:
        """The job waits for its mapping; False, and nothing happens, where another reader has it by now."""
        return bool(await self._fetch("analyzed", job.organization_id, job.id, job.lease_epoch))

    async def remembered(self, job: LeasedJob, columns: Sequence[str]) -> Any | None:
        """The mapping that the job's organization chose last for these columns, in whatever order."""
        rows = await self._fetch("remembered_mapping", job.organization_id, header_set_key(columns))
        return rows[0]["mapping"] if rows else None

    async def end_analysis(self, job: LeasedJob, ending: Ending) -> None:
        """End a job of which no row was sent; nothing happens where another reader has it by now."""
        await self._fetch(
            "analysis_ended", job.organization_id, job.id, job.lease_epoch, ending.state, ending.reason
        )

    async def _fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        try:
            async with self._pool.acquire(timeout=COMMAND_TIMEOUT_SECONDS) as connection:
                return await connection.fetch(SQL[query], *arguments)
        except REFUSED as error:
            raise DatabaseUnavailable from error


@asynccontextmanager
async def open_leases(dsn: str, owner: str, seconds: float) -> AsyncIterator[Leases]:
    """Leases over a pool of their own. Raises DatabaseUnavailable when the database does not answer."""
    pool = asyncpg.create_pool(
        dsn, min_size=1, max_size=4, command_timeout=COMMAND_TIMEOUT_SECONDS, init=_decode_json
    )
    try:
        await pool
    except REFUSED as error:
        raise DatabaseUnavailable from error
    try:
        yield Leases(pool, owner, seconds)
    finally:
        # close() would wait for a server that does not answer.
        pool.terminate()


async def _decode_json(connection: Any) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


def _columns(jobs: Iterable[LeasedJob]) -> tuple[list[uuid.UUID], list[uuid.UUID], list[int]]:
    held = list(jobs)
    return (
        [job.organization_id for job in held],
        [job.id for job in held],
        [job.lease_epoch for job in held],
    )
