"""A sink on a real PostgreSQL without Kafka: jobs, batches, and what became of them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from ingress.database import statements
from sinks.batch import Arrival, Batch, Hint, Position, batch_of
from sinks.contract import Published, Written
from sinks.judging import Stored
from sinks.postgres import PostgresSink
from sinks.queries import SQL
from sinks.reading import StoredContacts
from sluice.avro import Codec, parsed_schema
from sluice.clock import FakeClock
from sluice.contact import Contact, fingerprint
from sluice.events import DncMark, FieldFault, ImportOptions, Refusal, RowsResolved, SourcePosition
from sluice.job import new_job_id
from sluice.outcome import Outcome, decode_outcomes
from sluice.rules import Decision, Row, decide
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_RESOLVED, TOPICS

SECRET = bytes(range(32))
RUNS = statements("runs")
PARTITION = 3


def offline_codec() -> Codec:
    """The codec without a registry: every schema under an id of its own."""
    ids = {topic: number for number, topic in enumerate(TOPICS, start=1)}
    return Codec(ids, {number: parsed_schema(topic) for topic, number in ids.items()})


def options(**given: Any) -> ImportOptions:
    """A job's options, with the defaults of `/v1/imports`."""
    chosen: dict[str, Any] = {
        "on_duplicate": "skip",
        "match_on": "email",
        "dnc_policy": "flag",
        "phone_check": "strict",
        "mode": "partial",
        "dry_run": False,
        "blanks": "keep",
        "region": "US",
        "required": [],
        "missing_email": "invalid",
        "mapping": None,
        "created_at": 1_767_225_600_000,
    }
    return ImportOptions(**{**chosen, **given})


@dataclass
class Given:
    """One row as the stream resolved it."""

    values: dict[str, str] = field(default_factory=dict)
    modified_at: int = 0
    listed: bool = False
    refused: Outcome | None = None


MARK_LIST = "7b1f1d0c-4d0e-4f0e-8c9c-0f6a1c9f3a11"


@dataclass
class ImportJob:
    """A leased job as the reader sees it."""

    id: uuid.UUID
    organization_id: uuid.UUID
    options: ImportOptions
    batch_no: int = 0
    row_no: int = 1
    run: int = 1
    lease_epoch: int = 1


class World:
    """Organizations, jobs and a sink, on one database."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], sink: PostgresSink) -> None:
        self.connection = connection
        self.sink = sink
        self.codec = sink.codec
        self.offsets = itertools.count(1)
        self.jobs: list[uuid.UUID] = []

    @classmethod
    async def open(cls, dsn: str) -> World:
        connection = await asyncpg.connect(dsn)
        clock = FakeClock()
        sink = PostgresSink(dsn, offline_codec(), SECRET, "test", clock, Telemetry("sink"))
        await sink.connect()
        await sink.take_over([PARTITION])
        return cls(connection, sink)

    async def close(self) -> None:
        """Leave nothing in doubt: these batches were in no topic, so no worker may settle them."""
        await self.sink.close()
        await self.connection.execute(
            "UPDATE import_batches SET published = true WHERE NOT published AND job_id = ANY ($1::uuid[])",
            self.jobs,
        )
        await self.connection.close()

    async def organization(self) -> uuid.UUID:
        """A new tenant."""
        organization_id = uuid.uuid4()
        await self.connection.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Acme', $2)",
            organization_id,
            organization_id.hex,
        )
        return organization_id

    async def job(
        self, organization_id: uuid.UUID, *, list_id: uuid.UUID | None = None, **given: Any
    ) -> ImportJob:
        """A new job, leased and processing."""
        job_id, user_id, chosen = new_job_id(), uuid.uuid4(), options(**given)
        await self.connection.execute("INSERT INTO users (id) VALUES ($1)", user_id)
        await self.connection.execute(
            """INSERT INTO import_jobs
                   (id, organization_id, created_by, target_list_id, options, state, lease_epoch)
               VALUES ($1, $2, $3, $4, $5, 'processing', 1)""",
            job_id,
            organization_id,
            user_id,
            list_id,
            msgspec.json.encode(chosen).decode(),
        )
        await self.connection.execute(
            """INSERT INTO import_parts
                   (organization_id, job_id, part_no, object_key, etag, size_bytes, sha256)
               VALUES ($1, $2, 1, 'key', 'etag', 1, 'abc123')""",
            organization_id,
            job_id,
        )
        self.jobs.append(job_id)
        return ImportJob(job_id, organization_id, chosen)

    async def contact_list(self, organization_id: uuid.UUID) -> uuid.UUID:
        """A new, empty contact list."""
        list_id: uuid.UUID = await self.connection.fetchval(
            """INSERT INTO contact_lists (organization_id, name, created_by)
               VALUES ($1, 'VIP', $1) RETURNING id""",
            organization_id,
        )
        return list_id

    async def heal(self, job: ImportJob) -> None:
        """Another run of an ended job, leased: its next batches heal rows."""
        part = ("corrected", "etag", 1, "def456", "{}", datetime.now(UTC))
        await self._run_again(job, "begin_healing", *part)

    async def commit(self, job: ImportJob) -> None:
        """Another run of a dry run, leased: its next batches are the whole file once more."""
        await self._run_again(job, "begin_commit", datetime.now(UTC))
        job.row_no = 1

    async def _run_again(self, job: ImportJob, statement: str, *values: Any) -> None:
        await self.connection.execute(RUNS[statement], job.id, *values)
        job.run, job.lease_epoch = job.run + 1, job.lease_epoch + 1
        await self.connection.execute(
            "UPDATE import_jobs SET lease_epoch = $2 WHERE id = $1", job.id, job.lease_epoch
        )

    def batch(
        self,
        job: ImportJob,
        rows: Sequence[Given],
        *,
        hints: Sequence[tuple[int, bytes]] | None = None,
        end: str = "",
        **changes: Any,
    ) -> Batch:
        """The job's next batch; `end` names the state it ends the job in."""
        message = message_of(job, rows, hints, end)
        message = msgspec.structs.replace(message, **changes)
        job.batch_no, job.row_no = job.batch_no + 1, job.row_no + len(rows)
        return self.arrival(message)

    def arrival(self, message: RowsResolved, partition: int = PARTITION) -> Batch:
        """A message as it comes out of the topic."""
        data = self.codec.encode(ROWS_RESOLVED.name, message)
        decoded = self.codec.decode(ROWS_RESOLVED.name, RowsResolved, data)
        return batch_of(decoded, Position(partition, next(self.offsets)), data)

    async def write(self, *arrivals: Arrival, published: Sequence[Published] = ()) -> Written:
        """One group."""
        return await self.sink.write(arrivals, published)

    async def contacts(self, organization_id: uuid.UUID) -> dict[bytes, Contact]:
        """Everything that the organization holds."""
        sql = SQL["holders"].replace(
            SQL["holders"][SQL["holders"].index("AND id IN") : SQL["holders"].index("ORDER BY")], ""
        )
        rows = await self.connection.fetch(sql, organization_id)
        return StoredContacts(rows).contacts

    async def outcomes(self, job: ImportJob) -> list[Outcome]:
        """Every row's stored outcome, in row order."""
        rows = await self.connection.fetch(
            "SELECT outcomes FROM import_batches WHERE job_id = $1 AND NOT staged ORDER BY batch_no", job.id
        )
        return [outcome for row in rows for outcome in decode_outcomes(row["outcomes"])]

    async def newest(self, job: ImportJob) -> list[Outcome]:
        """Every row's outcome, in order of rows, each from the one batch that holds it."""
        rows = await self.connection.fetch(
            "SELECT row_no, outcome_letter FROM imported_contacts WHERE import_job_id = $1 ORDER BY row_no",
            job.id,
        )
        assert [row["row_no"] for row in rows] == list(range(1, len(rows) + 1))
        return decode_outcomes("".join(row["outcome_letter"] for row in rows))

    async def row(self, job: ImportJob) -> asyncpg.Record:
        """The job's own row."""
        found = await self.connection.fetchrow("SELECT * FROM import_jobs WHERE id = $1", job.id)
        assert found is not None
        return found


def message_of(
    job: ImportJob, rows: Sequence[Given], hints: Sequence[tuple[int, bytes]] | None, end: str
) -> RowsResolved:
    """A RowsResolved like the stream's."""
    fields = list(dict.fromkeys(name for row in rows for name in row.values))
    hinted = hints if hints is not None else [(Hint.NONE, b"")] * len(rows)
    marks = [
        DncMark(index=index, list_id=MARK_LIST, version=1, listed_on="2026-01-01", reason="listed")
        for index, row in enumerate(rows)
        if row.listed and row.refused is None
    ]
    fault = FieldFault(field="email", code="email_invalid", message="Invalid email format", value="x\x00")
    times = [row.modified_at for row in rows]
    return RowsResolved(
        organization_id=str(job.organization_id),
        job_id=str(job.id),
        run=job.run,
        lease_epoch=job.lease_epoch,
        batch_no=job.batch_no + 1,
        applied_through=job.batch_no,
        target="contacts",
        scope="",
        options=job.options,
        first_row_no=job.row_no,
        fields=fields,
        rows=[[row.values.get(name, "") for name in fields] for row in rows],
        lines=[job.row_no + index + 1 for index in range(len(rows))],
        modified_at=times if any(times) else [],
        refusals=[
            Refusal(index=index, outcome=row.refused.value, faults=[fault])
            for index, row in enumerate(rows)
            if row.refused is not None
        ],
        marks=marks,
        hints=bytes(hint for hint, _ in hinted),
        hinted=b"".join(ids for _, ids in hinted),
        fingerprints=b"".join(
            bytes(16) if row.refused else fingerprint(row.values | mark_of(row)) for row in rows
        ),
        start=SourcePosition(part_no=1, byte_offset=job.row_no, line=job.row_no + 1, row_no=job.row_no),
        end=SourcePosition(
            part_no=1, byte_offset=job.row_no + len(rows), line=job.row_no + 1, row_no=job.row_no + len(rows)
        ),
        is_last=bool(end),
        end_state=end,
        end_reason="",
        read_at=job.options.created_at,
    )


def mark_of(row: Given) -> dict[str, str]:
    """The Do-Not-Call fields that a listed row sets."""
    if not row.listed:
        return {}
    return {"do_not_call": "true", "dnc_list_id": MARK_LIST, "dnc_reason": "listed"}


@dataclass
class Dictionary:
    """The reference: an organization as a plain dictionary, rows applied one by one by the kernel's rules."""

    contacts: dict[bytes, Contact] = field(default_factory=dict)

    def apply(self, rows: Sequence[Row], batch: Batch) -> list[Outcome]:
        """Apply rows one at a time; their outcomes."""
        outcomes = []
        for row in rows:
            decision = self.foresee([row], batch)
            self.contacts |= decision.updated | decision.created
            outcomes.append(decision.rows[0].outcome)
        return outcomes

    def foresee(self, rows: Sequence[Row], batch: Batch) -> Decision:
        """What rows would do, without doing it."""
        return decide(rows, Stored(self.contacts.values()), batch.policy)
