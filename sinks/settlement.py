"""Step 1: what an earlier owner of a partition applied and perhaps did not publish (D6).

A batch is in doubt from the moment it is in PostgreSQL until it is marked published. Below the group's
committed offset it was published, because both were one transaction. So was one that is answered already in
imports.batch-applied.v1, whatever the offset says: offsets can be lost, or set back by hand. The rest is
published now, made from the same message and the same stored result, so it is byte for byte the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from sinks.batch import Batch, Position, to_milliseconds
from sinks.bookkeeping import answer_from
from sinks.contract import Applied, InDoubt, Published
from sinks.imported_events import WRITTEN
from sinks.postgres import PostgresSink
from sinks.publishing import Publications
from sluice.avro import Codec
from sluice.errors import MessageUndecodable
from sluice.events import BatchApplied
from sluice.settings import Settings
from sluice.topics import BATCH_APPLIED, ROWS_RESOLVED
from sluice.transactions import GroupConsumer, Message, Record, TransactionalProducer, read_at, read_since

log = structlog.get_logger()

CLOCKS_APART_MILLISECONDS = 3_600_000
"""How far the broker's and the workers' clocks may be apart when the answers since a time are read."""

Answer = tuple[str, int, bool]
"""Job, batch number, staged: what one answer is about."""


@dataclass(slots=True)
class Settled:
    """Where to go on: the offsets to read from, and those that no later commit may fall below."""

    read_from: dict[int, int | None]
    floors: dict[int, int]


@dataclass(slots=True)
class Settlement:
    """Settles partitions at assignment, and again after a transaction that did not take place."""

    settings: Settings
    codec: Codec
    sink: PostgresSink
    consumer: GroupConsumer
    producer: TransactionalProducer
    publications: Publications

    async def settle(self, partitions: Sequence[int], metadata: Any) -> Settled:
        """Take the partitions over and publish what is missing.

        Raises:
            Unavailable: the database or the broker is away; nothing is lost, settle again.
        """
        rows = await self.sink.take_over(partitions)
        committed = await self.consumer.committed(partitions)
        floors = {partition: offset for partition, offset in committed.items() if offset is not None}
        for row in rows:
            partition, next_offset = row["topic_partition"], row["topic_offset"] + 1
            floors[partition] = max(floors.get(partition, 0), next_offset)
        missing = await self._missing(rows, committed)
        if missing:
            offsets = {row["topic_partition"]: floors[row["topic_partition"]] for row in missing}
            await self.producer.publish(self._parts(missing), ROWS_RESOLVED.name, offsets, metadata)
            log.info("published what was in doubt", batches=len(missing))
        await self.sink.mark([Published(position, True) for position in dict.fromkeys(map(_position, rows))])
        return Settled(committed, floors)

    async def _missing(self, rows: Sequence[InDoubt], committed: Mapping[int, int | None]) -> list[InDoubt]:
        doubtful = [row for row in rows if row["topic_offset"] >= (committed[row["topic_partition"]] or 0)]
        if not doubtful:
            return []
        since = min(to_milliseconds(row["applied_at"]) for row in doubtful) - CLOCKS_APART_MILLISECONDS
        told = self._told(await read_since(self.settings, BATCH_APPLIED.name, since))
        published = {_position(row) for row in doubtful if _answered(row) in told}
        return [row for row in doubtful if _position(row) not in published]

    def _told(self, messages: Iterable[Message]) -> set[Answer]:
        told: set[Answer] = set()
        for message in messages:
            try:
                answer = self.codec.decode(BATCH_APPLIED.name, BatchApplied, message.value)
            except MessageUndecodable:
                continue
            told.add((answer.job_id, answer.batch_no, answer.staged))
        return told

    async def _parts(self, rows: Sequence[InDoubt]) -> AsyncIterator[Iterable[Record]]:
        """The records of what is missing: one part for each batch."""
        places = defaultdict(list)
        for row in rows:
            if _has_events(row) and not row["has_message"]:
                places[row["topic_partition"]].append(row["topic_offset"])
        messages = await read_at(self.settings, ROWS_RESOLVED.name, places)
        for row in rows:
            message = messages.get((row["topic_partition"], row["topic_offset"]))
            yield self.publications.records([await self._applied(row, message)])

    def _rebuilt(self, stored: asyncpg.Record, message: bytes | None) -> Applied | None:
        try:
            return self.sink.stored(stored, message)
        except MessageUndecodable:
            return None

    async def _applied(self, row: InDoubt, message: bytes | None) -> Applied:
        answer = None if _is_answered_before(row) else answer_from(row)
        if _has_events(row) and (message is not None or row["has_message"]):
            stored = await self.sink.stored_result(row["job_id"], row["batch_no"])
            applied = self._rebuilt(stored, message) if stored is not None else None
            if applied is not None and _is_about(row, applied.batch):
                applied.answer = answer
                if applied.batch is not None and applied.batch.message.options.dry_run:
                    applied.batch = None
                return applied
        if _has_events(row):
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


def _is_about(row: InDoubt, batch: Batch | None) -> bool:
    """Whether a message is the one that was applied: a topic that was made anew has others at its offsets."""
    return (
        batch is not None
        and batch.job_id == row["job_id"]
        and batch.message.batch_no == row["batch_no"]
        and batch.row_count == row["row_count"]
    )


def _position(row: InDoubt) -> Position:
    return Position(row["topic_partition"], row["topic_offset"])


def _is_answered_before(row: InDoubt) -> bool:
    """A batch that was staged, and answered then; its events follow with those of the last batch."""
    return bool(row["has_message"]) and not row["staged"] and not row["is_last"]


def _answered(row: InDoubt) -> Answer:
    return str(row["job_id"]), row["batch_no"], row["staged"]


def _has_events(row: InDoubt) -> bool:
    return not WRITTEN.isdisjoint(row["outcomes"])
