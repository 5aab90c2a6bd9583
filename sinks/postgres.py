"""PostgreSQL as a sink: connections, transactions, what is done about each kind of error (D6 step 5, D7)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import asyncpg
import structlog

from sinks.batch import Arrival, Batch, Position, Unreadable, batch_of, from_milliseconds, to_milliseconds
from sinks.bookkeeping import images_from
from sinks.contract import Applied, InDoubt, Published, WriteFenced, Written
from sinks.group import Group, Tally, mark_published
from sinks.queries import SQL
from sinks.reading import Connection
from sinks.refusals import Cause, cause_of
from sinks.segment import Work
from sinks.undecodable import Answerer
from sluice.avro import Codec
from sluice.clock import Clock
from sluice.errors import DatabaseUnavailable
from sluice.events import RowsResolved
from sluice.outcome import BY_LETTER, ELSEWHERE
from sluice.postgres import AWAY
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_RESOLVED

log = structlog.get_logger()

SESSION = {
    "application_name": "sluice-sink",
    # The statements are many and short: compiling them costs more than it saves.
    "jit": "off",
    # A writer whose machine has gone must not hold its partitions and jobs for ever.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
WRITER_SECONDS = 75.0
"""How long a new owner waits for the last one, which the database ends after a minute of silence between two
statements. In the middle of a COPY no time limit of the database reaches it, so its successor ends it."""
TRIES_TOGETHER = 3
"""Times that a group is tried whole when what it met has changed; then it goes batch by batch."""
KEPT = 10_000
"""Entries of each kind that are remembered between groups."""


@dataclass(slots=True)
class PostgresSink:
    """The sink of contacts. One `write` at a time; `results` may run beside it, on its own connection."""

    dsn: str
    codec: Codec
    secret: bytes
    owner: str
    clock: Clock
    telemetry: Telemetry
    _writer: Connection | None = None
    _reader: Connection | None = None
    _epochs: dict[int, int] = field(default_factory=dict)
    _hashes: dict[tuple[uuid.UUID, int], str] = field(default_factory=dict)
    _doubted: set[uuid.UUID] = field(default_factory=set)

    async def connect(self) -> None:
        """Open the connections.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        try:
            self._writer = await asyncpg.connect(self.dsn, server_settings=SESSION, timeout=10)
            self._reader = await asyncpg.connect(self.dsn, server_settings=SESSION, timeout=10)
        except (asyncpg.PostgresError, *AWAY) as error:
            raise DatabaseUnavailable from error

    async def close(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None and not connection.is_closed():
                try:
                    await connection.close(timeout=5)
                except (asyncpg.PostgresError, *AWAY):
                    connection.terminate()

    @property
    def writer(self) -> Connection:
        assert self._writer is not None, "connect first"
        return self._writer

    @property
    def reader(self) -> Connection:
        assert self._reader is not None, "connect first"
        return self._reader

    async def take_over(self, partitions: Sequence[int]) -> list[InDoubt]:
        """Raise the partitions' epochs, which waits for whoever still writes; what is in doubt of them."""
        with _outages():
            raising = asyncio.ensure_future(
                self.writer.fetch(SQL["raise_epochs"], sorted(partitions), self.owner)
            )
            try:
                while not raising.done():
                    await asyncio.wait({raising}, timeout=WRITER_SECONDS)
                    if not raising.done():
                        await self.reader.execute(SQL["end_writers"], self.writer.get_server_pid())
                rows = await raising
            finally:
                raising.cancel()
            self._epochs.update({row["topic_partition"]: row["epoch"] for row in rows})
            return [dict(row) for row in await self.reader.fetch(SQL["in_doubt"], sorted(partitions))]

    async def mark(self, published: Sequence[Published]) -> None:
        """Mark what is published, outside a group."""
        with _outages():
            await mark_published(self.writer, published)

    async def write(self, arrivals: Sequence[Arrival], published: Sequence[Published]) -> Written:
        """Judge and write one group; batch by batch where it does not go together."""
        for _ in range(TRIES_TOGETHER):
            try:
                return await self._write(arrivals, published, trusting=True)
            except Exception as error:
                cause = _raised(error)
                if cause in (Cause.CONTENDED, Cause.CHANGED):
                    continue
                log.info("group written singly", batches=len(arrivals), error=type(error).__name__)
                break
        return await self._write_singly(arrivals, published)

    async def _write_singly(self, arrivals: Sequence[Arrival], published: Sequence[Published]) -> Written:
        whole = Written()
        for arrival in arrivals:
            try:
                written = await self._write([arrival], published, trusting=False)
            except Exception as error:
                if _raised(error) is Cause.CONTENDED:
                    raise DatabaseUnavailable from error
                written = self._give_up(arrival, error)
            published = ()
            whole.applied += written.applied
            whole.judged += written.judged
            whole.identities += written.identities
            whole.dead += written.dead
            whole.published += written.published
        return whole

    def _give_up(self, arrival: Arrival, error: Exception) -> Written:
        """A batch that cannot even be answered: a dead letter, and its partition goes on."""
        problem = f"{type(error).__name__}: the batch could not be written."
        if isinstance(arrival, Unreadable):
            return Written(dead=[arrival])
        log.error(
            "batch given up", job_id=str(arrival.job_id), batch=arrival.message.batch_no, exc_info=error
        )
        return Written(dead=[dead_letter_of(arrival, problem)])

    async def _write(
        self, arrivals: Sequence[Arrival], published: Sequence[Published], *, trusting: bool
    ) -> Written:
        now = from_milliseconds(to_milliseconds(self.clock.now()))
        started = self.clock.monotonic()
        group = Group(
            work=Work(self.writer, now, self.secret, self.decode, doubted=self._doubted),
            answerer=Answerer(self.codec),
            hashes=self._hashes,
            trusting=trusting,
        )
        async with self.writer.transaction():
            written = await group.apply(arrivals, self._epochs, published)
        for batch, index, error in group.work.set_aside:
            log.error("row set aside", job_id=str(batch.job_id), batch=batch.message.batch_no, exc_info=error)
            row_no = batch.message.first_row_no + index
            written.dead.append(dead_letter_of(batch, f"{type(error).__name__} in row {row_no}."))
        for kept in (self._hashes, self._doubted):
            if len(kept) > KEPT:
                kept.clear()
        self.telemetry.observe("sluice_write_seconds", self.clock.monotonic() - started)
        self._count(group.tally, trusting)
        return written

    def _count(self, tally: Tally, trusting: bool) -> None:
        count = self.telemetry.count
        count("sluice_groups_total", path="together" if trusting else "singly")
        if tally.repeated:
            count("sluice_batches_repeated_total", tally.repeated, role="sink")
        if tally.dropped:
            count("sluice_batches_dropped_total", tally.dropped, role="sink")
        if tally.overruled:
            count("sluice_hints_overruled_total", tally.overruled)
        for letter, rows in tally.letters.items():
            if letter == ELSEWHERE:
                continue
            count("sluice_rows_applied_total", rows, outcome=BY_LETTER[letter].value)

    def decode(self, data: bytes, position: Position) -> Batch:
        """A message's batch.

        Raises:
            MessageUndecodable: it is none.
        """
        return batch_of(self.codec.decode(ROWS_RESOLVED.name, RowsResolved, data), position, data)

    async def results(self, written: Written) -> AsyncIterator[Applied]:
        """What is to be published of a group: staged batches that were judged come first."""
        for job_id, batch_no in written.judged:
            with _outages():
                row = await self.reader.fetchrow(SQL["stored_result"], job_id, batch_no)
            if row is not None:
                yield self.stored(row)
        for applied in written.applied:
            yield applied

    def stored(self, row: asyncpg.Record) -> Applied:
        """A stored result with its stored message.

        Raises:
            MessageUndecodable: its message is not kept any more.
        """
        position = Position(row["topic_partition"], row["topic_offset"])
        return Applied(
            organization_id=row["organization_id"],
            job_id=row["job_id"],
            run=row["run"],
            batch=self.decode(row["message"], position),
            letters=row["outcomes"],
            contact_ids=row["contact_ids"],
            images=images_from(row["images"]),
            object_sha256=row["sha256"] or "",
            applied_at=to_milliseconds(row["applied_at"]),
            answer=None,
        )

    async def stored_result(self, job_id: uuid.UUID, batch_no: int) -> asyncpg.Record | None:
        """The stored result of one batch."""
        with _outages():
            return await self.reader.fetchrow(SQL["stored_result"], job_id, batch_no)


def dead_letter_of(batch: Batch, problem: str) -> Unreadable:
    """A batch of which something could not be processed, for inspection."""
    key = batch.message.organization_id.encode()
    headers: list[tuple[str, bytes | None]] = [
        ("job_id", batch.message.job_id.encode()),
        ("batch_no", str(batch.message.batch_no).encode()),
    ]
    return Unreadable(batch.position, key, batch.data, headers, problem)


def _raised(error: Exception) -> Cause:
    """The cause of an error that the sink can answer; an outage or a fence is raised on."""
    if isinstance(error, WriteFenced):
        raise error
    cause = cause_of(error)
    if cause is Cause.OUTAGE:
        raise DatabaseUnavailable from error
    return cause


@contextmanager
def _outages() -> Iterator[None]:
    """Translates what the database raises in the block: outside a group nothing is a row's fault."""
    try:
        yield
    except (asyncpg.PostgresError, *AWAY) as error:
        raise DatabaseUnavailable from error
