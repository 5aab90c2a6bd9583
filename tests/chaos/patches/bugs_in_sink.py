"""Planted bugs of the sink."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from sluice.outcome import BY_LETTER
from sluice.topics import ROWS_RESOLVED, SINK_GROUP
from tests.chaos.patches import Entry, expect, replace


def _told(entry: Entry) -> bool:
    return entry.bite(f"bug {entry.options['name']}")


async def _nothing() -> AsyncIterator[Sequence[Any]]:
    yield ()


def commit_offsets_first(entry: Entry) -> None:
    expect("sluice.transactions:TransactionalProducer.publish", 5)

    def make(original: Any) -> Any:
        async def apply(self: Any, group: Any, sink: Any, publisher: Any, metadata: Any) -> None:
            if _told(entry):
                await publisher.finish()
                offsets: dict[int, int] = {}
                for arrival in group:
                    offsets[arrival.position.partition] = arrival.position.offset + 1
                await publisher.producer.publish(_nothing(), ROWS_RESOLVED.name, offsets, metadata)
            await original(self, group, sink, publisher, metadata)

        return apply

    replace("sinks.worker:SinkWorker._apply", make)


def publish_first(entry: Entry) -> None:
    applying: list[tuple[Any, Any, Any]] = []
    published: list[Any] = []
    expect("sinks.worker:Publisher.finish", 1)

    def applies(original: Any) -> Any:
        async def apply(self: Any, group: Any, sink: Any, publisher: Any, metadata: Any) -> None:
            applying[:] = [(publisher, [arrival.position for arrival in group], metadata)]
            await original(self, group, sink, publisher, metadata)

        return apply

    def writes(original: Any) -> Any:
        async def group_apply(self: Any, arrivals: Any, epochs: Any, marks: Any) -> Any:
            written = await original(self, arrivals, epochs, marks)
            if applying and _told(entry):
                publisher, positions, metadata = applying.pop()
                await publisher.begin(written, positions, metadata)
                await publisher.finish()
                published[:] = [written]
            return written

        return group_apply

    def begins(original: Any) -> Any:
        async def begin(self: Any, written: Any, positions: Any, metadata: Any) -> None:
            if not published or published.pop() is not written:
                await original(self, written, positions, metadata)

        return begin

    replace("sinks.worker:SinkWorker._apply", applies)
    replace("sinks.group:Group.apply", writes)
    replace("sinks.worker:Publisher.begin", begins)


def swallow_violations(entry: Entry) -> None:
    def make(original: Any) -> Any:
        async def copy_rows(connection: Any, job: Any, new: Any) -> Any:
            try:
                async with connection.transaction():
                    return await original(connection, job, new)
            except asyncpg.UniqueViolationError:
                if not _told(entry):
                    raise
                return None

        return copy_rows

    replace("sinks.segment:copy_rows", make)


def count_repeats(entry: Entry) -> None:
    from sinks.bookkeeping import Verdict

    repeats: list[Any] = []

    def admits(original: Any) -> Any:
        def admit(batch: Any, job: Any) -> Any:
            verdict = original(batch, job)
            if verdict is Verdict.REPEATED:
                repeats.append(batch)
            return verdict

        return admit

    def keeps(original: Any) -> Any:
        async def keep(self: Any, entries: Any, written: Any) -> None:
            await original(self, entries, written)
            for batch in repeats:
                if _told(entry):
                    await _count_again(self.work.connection, batch)
            repeats.clear()

        return keep

    replace("sinks.group:admit", admits)
    replace("sinks.group:Group._keep", keeps)


async def _count_again(connection: Any, batch: Any) -> None:
    letters = await connection.fetchval(
        "SELECT outcomes FROM import_batches WHERE job_id = $1 AND batch_no = $2",
        batch.job_id,
        batch.message.batch_no,
    )
    counted = Counter(BY_LETTER[letter].value for letter in letters or "")
    added = ", ".join(f"{outcome} = {outcome} + {count}" for outcome, count in counted.items())
    if added:
        await connection.execute(
            f"UPDATE import_jobs SET rows_read = rows_read + {counted.total()}, {added} WHERE id = $1",
            batch.job_id,
        )


def admit_ahead(entry: Entry) -> None:
    from sinks.bookkeeping import Verdict

    def make(original: Any) -> Any:
        def admit(batch: Any, job: Any) -> Any:
            verdict = original(batch, job)
            if verdict is Verdict.DROPPED and job is not None and _is_ahead(batch, job) and _told(entry):
                job.applied_batch = batch.message.batch_no - 1
                return original(batch, job)
            return verdict

        return admit

    replace("sinks.group:admit", make)


def _is_ahead(batch: Any, job: Any) -> bool:
    message = batch.message
    ours = message.lease_epoch == job.lease_epoch and message.run == job.run
    return bool(ours and message.batch_no > job.applied_batch + 1)


def ignore_epochs(entry: Entry) -> None:
    from sinks.contract import WriteFenced

    def make(original: Any) -> Any:
        async def hold(self: Any, arrivals: Any, epochs: Any) -> None:
            try:
                await original(self, arrivals, epochs)
            except WriteFenced:
                if not _told(entry):
                    raise

        return hold

    replace("sinks.group:Group._hold", make)


def publish_without_generation(entry: Entry) -> None:
    from confluent_kafka import Consumer

    # Who has never joined has no generation, and the broker asks for none.
    anybody = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": SINK_GROUP, "log_level": 0})
    metadata = anybody.consumer_group_metadata()

    def make(original: Any) -> Any:
        async def commit(self: Any, places: Any, member: Any) -> None:
            await original(self, places, metadata if _told(entry) else member)

        return commit

    replace("sluice.transactions:TransactionalProducer._commit", make)


def trust_hints(entry: Entry) -> None:
    def make(original: Any) -> Any:
        async def confirmed(*args: Any) -> bool:
            return bool(await original(*args)) or _told(entry)

        return confirmed

    replace("sinks.segment:_confirmed", make)


def publish_copies(entry: Entry) -> None:
    from sinks.bookkeeping import Verdict

    copies: list[Any] = []

    def admits(original: Any) -> Any:
        def admit(batch: Any, job: Any) -> Any:
            verdict = original(batch, job)
            if verdict is Verdict.REPEATED:
                copies.append(batch)
            return verdict

        return admit

    def writes(original: Any) -> Any:
        async def write(self: Any, *args: Any, **options: Any) -> Any:
            copies.clear()
            written = await original(self, *args, **options)
            for batch in copies:
                stored = await self.stored_result(batch.job_id, batch.message.batch_no)
                if stored is not None and _told(entry):
                    # Its own message is kept only until it is published.
                    written.applied.append(self.stored({**stored, "message": batch.data}))
            return written

        return write

    expect("sinks.postgres:PostgresSink.stored", 2)
    replace("sinks.group:admit", admits)
    replace("sinks.postgres:PostgresSink._write", writes)
