"""Step 1: what an earlier owner of a partition applied and perhaps did not publish (D6).

A batch is in doubt from the moment it is in PostgreSQL until it is marked published. Below the group's
committed offset it was published, because both were one transaction, as long as a sink committed that offset
and of the topic as it is now: offsets can be set by hand or lost, and a topic that was made anew has other
messages at its offsets, so a sink notes the topic's id beside each. A batch that is answered already in
imports.batch-applied.v1 was published whatever the offset says. The rest is published now, made from the
stored message and the stored result, so it is byte for byte the same, whatever has become of the topic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from sinks.batch import Position, to_milliseconds
from sinks.bookkeeping import answer_from
from sinks.contract import Applied, InDoubt, Published
from sinks.imported_events import WRITTEN
from sinks.postgres import PostgresSink
from sinks.publishing import Publications
from sluice.avro import Codec
from sluice.errors import MessageUndecodable
from sluice.events import BatchApplied
from sluice.settings import Settings
from sluice.topic_reads import read_since
from sluice.topics import BATCH_APPLIED, ROWS_RESOLVED
from sluice.transactions import (
    Committed,
    GroupConsumer,
    Message,
    Record,
    TransactionalProducer,
)

log = structlog.get_logger()

CLOCKS_APART_MILLISECONDS = 3_600_000
"""How far the broker's and the workers' clocks may be apart when the answers since a time are read."""

Answer = tuple[str, int, bool]
"""Job, batch number, staged: what one answer is about."""


@dataclass(slots=True)
class Settlement:
    """Settles partitions at assignment, and again after a transaction that did not take place."""

    settings: Settings
    codec: Codec
    sink: PostgresSink
    consumer: GroupConsumer
    producer: TransactionalProducer
    publications: Publications

    async def settle(self, partitions: Sequence[int], metadata: Any) -> dict[int, int | None]:
        """Take the partitions over and publish what is missing; where to read on, None for the beginning.

        Raises:
            Unavailable: the database or the broker is away; nothing is lost, settle again.
        """
        rows = await self.sink.take_over(partitions)
        committed = await self.consumer.committed(partitions)
        missing = await self._missing(rows, committed)
        read_from = {
            partition: None if found.topic_id not in ("", self.producer.topic_id) else found.offset
            for partition, found in committed.items()
        }
        if missing:
            # Where the group stands already: they fence the transaction of whoever has lost the partitions.
            offsets = {row["topic_partition"]: read_from[row["topic_partition"]] or 0 for row in missing}
            await self.producer.publish(self._parts(missing), ROWS_RESOLVED.name, offsets, metadata)
            log.info("published what was in doubt", batches=len(missing))
        await self.sink.mark([Published(position) for position in dict.fromkeys(map(_position, rows))])
        return read_from

    async def _missing(self, rows: Sequence[InDoubt], committed: Mapping[int, Committed]) -> list[InDoubt]:
        doubtful = [row for row in rows if not self._is_behind(row, committed[row["topic_partition"]])]
        if not doubtful:
            return []
        since = min(to_milliseconds(row["applied_at"]) for row in doubtful) - CLOCKS_APART_MILLISECONDS
        told = await self._told(await read_since(self.settings, BATCH_APPLIED.name, since))
        # What was staged shares its place with the last batch of its job; its own answer is older.
        published = {_place(row) for row in doubtful if _answered(row) in told}
        return [row for row in doubtful if _place(row) not in published]

    def _is_behind(self, row: InDoubt, committed: Committed) -> bool:
        """Whether the offset that was committed proves that the row was published with it."""
        proves = committed.offset is not None and committed.topic_id == self.producer.topic_id
        return proves and row["topic_offset"] < committed.offset

    async def _told(self, messages: Iterable[Message]) -> set[Answer]:
        told: set[Answer] = set()
        for message in messages:
            await self.codec.learn(message.value)
            try:
                answer = self.codec.decode(BATCH_APPLIED.name, BatchApplied, message.value)
            except MessageUndecodable:
                continue
            told.add((answer.job_id, answer.batch_no, answer.staged))
        return told

    async def _parts(self, rows: Sequence[InDoubt]) -> AsyncIterator[Iterable[Record]]:
        """The records of what is missing: one part for each batch."""
        ends = {_place(row) for row in rows if row["is_last"]}
        for row in rows:
            # A batch that was staged was answered then; its events follow with those of the last one.
            answered = not row["is_last"] and _place(row) in ends
            yield self.publications.records([await self._applied(row, answered=answered)])

    def _rebuilt(self, stored: asyncpg.Record) -> Applied | None:
        try:
            return self.sink.stored(stored)
        except MessageUndecodable:
            return None

    async def _applied(self, row: InDoubt, *, answered: bool) -> Applied:
        answer = None if answered else answer_from(row)
        if not row["dry_run"] and not WRITTEN.isdisjoint(row["outcomes"]):
            stored = await self.sink.stored_result(row["job_id"], row["batch_no"])
            applied = self._rebuilt(stored) if stored is not None else None
            if applied is not None:
                applied.answer = answer
                return applied
            log.error("message gone, events lost", job_id=str(row["job_id"]), batch=row["batch_no"])
        return Applied(
            organization_id=row["organization_id"],
            job_id=row["job_id"],
            run=row["run"],
            batch=None,
            letters="",
            contact_ids=b"",
            images={},
            object_sha256="",
            applied_at=to_milliseconds(row["applied_at"]),
            answer=answer,
        )


def _position(row: InDoubt) -> Position:
    return Position(row["topic_partition"], row["topic_offset"])


def _place(row: InDoubt) -> tuple[Any, Position]:
    """Positions are unique within a job; a topic that was made anew has other jobs at the same ones."""
    return row["job_id"], _position(row)


def _answered(row: InDoubt) -> Answer:
    return str(row["job_id"]), row["batch_no"], row["staged"]
