"""One group of waiting batches in one PostgreSQL transaction: steps 3 and 4 of the procedure (D6)."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from sinks import staging
from sinks.batch import Arrival, Batch, Job, Unreadable
from sinks.bookkeeping import (
    CANCELLED,
    Verdict,
    admit,
    advance_job,
    answer_of,
    batch_record,
    count_letters,
    lock_jobs,
    store_batches,
)
from sinks.contract import Applied, Published, WriteFenced, Written
from sinks.foretelling import Changes, changes_json
from sinks.further_runs import Earlier, untouched
from sinks.imported_events import WRITTEN
from sinks.judging import Result
from sinks.queries import SQL
from sinks.reading import Connection
from sinks.segment import Work, apply_segment, apply_singly
from sinks.undecodable import Answerer
from sluice.events import SourcePosition
from sluice.job import JobState, RunKind


@dataclass(slots=True)
class Entry:
    """One batch of the group on its way through the transaction."""

    batch: Batch
    job: Job
    verdict: Verdict
    result: Result
    earlier: Earlier | None
    """Of a healing: what its rows were before."""
    state: JobState
    """Of the job, with this batch and none behind it."""


@dataclass(slots=True)
class Tally:
    """What happened to the batches of a group, for the metrics; counted once it is committed."""

    repeated: int = 0
    dropped: int = 0
    overruled: int = 0
    letters: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Group:
    """The transaction of one group. `trusting`: the hints may be believed, as far as they are confirmed."""

    work: Work
    answerer: Answerer
    hashes: dict[tuple[uuid.UUID, int], str]
    trusting: bool
    tally: Tally = field(default_factory=Tally)

    async def apply(
        self, arrivals: Sequence[Arrival], epochs: Mapping[int, int], published: Sequence[Published]
    ) -> Written:
        """Write the group; the caller commits. See `sinks.worker` for the numbers.

        Raises:
            WriteFenced: a partition has moved on.
            Exception: what the database or the rows raised; nothing of the group may be kept then.
        """
        # 3. The partitions are held until commit, then the jobs; in order, so that nobody waits in a ring.
        await self._hold(arrivals, epochs)
        written = Written(dead=[arrival for arrival in arrivals if isinstance(arrival, Unreadable)])
        batches = await self.answerer.batches(self.work.connection, arrivals)
        jobs = await lock_jobs(self.work.connection, sorted({batch.job_id for batch in batches}))
        entries = self._admitted(batches, jobs)
        await self._know_hashes(entries)
        await self._know_earlier(entries)
        # 4. Judge and write, keep the results, mark what was published meanwhile, advance the jobs.
        await mark_published(self.work.connection, published)
        for segment in _segments(entries):
            await self._judge(segment)
        await self._keep(entries, written)
        return written

    async def _hold(self, arrivals: Sequence[Arrival], epochs: Mapping[int, int]) -> None:
        partitions = sorted({arrival.position.partition for arrival in arrivals})
        rows = await self.work.connection.fetch(SQL["lock_partitions"], partitions)
        held = {row["topic_partition"]: row["epoch"] for row in rows}
        for partition in partitions:
            if held.get(partition) != epochs.get(partition) or partition not in held:
                raise WriteFenced(partition=partition)

    def _admitted(self, batches: Iterable[Batch], jobs: Mapping[uuid.UUID, Job]) -> list[Entry]:
        entries = []
        for batch in batches:
            job = jobs.get(batch.job_id)
            verdict = admit(batch, job)
            if verdict is Verdict.REPEATED:
                self.tally.repeated += 1
            elif verdict is Verdict.DROPPED or job is None:
                self.tally.dropped += 1
            else:
                entries.append(Entry(batch, job, verdict, Result.of(batch), None, job.state))
        return entries

    async def _know_earlier(self, entries: Sequence[Entry]) -> None:
        """What the rows of healings were before, read once for each job."""
        healing = [e for e in entries if e.job.run_kind is RunKind.HEAL and e.verdict is Verdict.APPLY]
        for _, each in groupby(sorted(healing, key=_job_id), key=_job_id):
            ours = list(each)
            earlier = await Earlier.of(self.work.connection, ours[0].job, [entry.batch for entry in ours])
            for entry in ours:
                entry.earlier, entry.batch = earlier, earlier.admitted(entry.batch)
                entry.result = Result.of(entry.batch)

    async def _know_hashes(self, entries: Sequence[Entry]) -> None:
        unknown = {entry.job.id for entry in entries if _part(entry.batch) not in self.hashes}
        if unknown:
            for row in await self.work.connection.fetch(SQL["part_hashes"], sorted(unknown)):
                self.hashes[row["job_id"], row["part_no"]] = row["sha256"]

    async def _judge(self, segment: Sequence[Entry]) -> None:
        job = segment[0].job
        batches, results = [entry.batch for entry in segment], [entry.result for entry in segment]
        if self.trusting:
            await apply_segment(self.work, job, batches, results)
        else:
            for batch, result in zip(batches, results, strict=True):
                await apply_singly(self.work, job, batch, result)

    async def _keep(self, entries: Sequence[Entry], written: Written) -> None:
        records = []
        ends: dict[uuid.UUID, tuple[Job, SourcePosition]] = {}
        for entry in entries:
            batch, job = entry.batch, entry.job
            records.append(await self._settle(entry, written))
            ends[job.id] = (job, batch.message.end)
        await store_batches(self.work.connection, records)
        for job, earlier in {e.job.id: (e.job, e.earlier) for e in entries}.values():
            if earlier is not None:
                await earlier.store(self.work.connection, job)
        for job, end in ends.values():
            await advance_job(self.work.connection, job, end, self.work.now)
        self.tally.overruled = self.work.overruled
        written.identities = self.work.identities

    async def _settle(self, entry: Entry, written: Written) -> tuple[object, ...]:
        """Account for one batch, in order of arrival; its row of import_batches."""
        batch, job, result = entry.batch, entry.job, entry.result
        staged = entry.verdict is Verdict.STAGE
        foretold: Changes = {}
        if entry.verdict is Verdict.CANCEL:
            result = entry.result = untouched(batch) if job.is_further_run else cancelled(batch)
            if batch.message.is_last:
                await staging.cancel(self.work, job)
        elif entry.verdict is Verdict.JUDGE:
            written.judged, foretold = await staging.judge(self.work, job, batch, result)
            entry.state = job.state
        self._count(entry, staged=staged)
        answer = answer_of(batch, job, entry.state, self.work.now, staged=staged)
        written.applied.append(
            Applied(
                organization_id=job.organization_id,
                job_id=job.id,
                run=batch.message.run,
                batch=None if staged or job.is_dry_run else batch,
                letters="" if staged else "".join(result.letters),
                contact_ids=bytes(result.contact_ids),
                images=result.images,
                object_sha256=self.hashes.get(_part(batch), ""),
                applied_at=answer.applied_at,
                answer=answer,
            )
        )
        written.published.append(Published(batch.position))
        # Until its events are published they must be rebuilt from it, whatever becomes of the topic.
        kept = batch.data if staged or not WRITTEN.isdisjoint(result.letters) else b""
        return batch_record(batch, job, None if staged else result, answer, kept, changes_json(foretold))

    def _count(self, entry: Entry, *, staged: bool) -> None:
        """The job's figures with this batch. The rows of a further run were read and counted before."""
        batch, job, letters = entry.batch, entry.job, entry.result.letters
        if entry.earlier is not None:
            taken_back = entry.earlier.replace(batch, entry.result)
            count_letters(job, letters, taken_back=taken_back)
        elif not job.is_further_run:
            job.rows_read += batch.row_count
            if staged:
                job.rows_staged += batch.row_count
                return
            count_letters(job, letters)
        if not staged:
            self.tally.letters.update(letters)


def cancelled(batch: Batch) -> Result:
    """The result of a batch whose job is being cancelled."""
    return Result([CANCELLED] * batch.row_count, bytearray(16 * batch.row_count))


def _job_id(entry: Entry) -> uuid.UUID:
    return entry.job.id


def _part(batch: Batch) -> tuple[uuid.UUID, int]:
    return batch.job_id, batch.message.start.part_no


def _segments(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Runs of batches of one job, in order within each organization: two share no contact."""
    ours = [entry for entry in entries if entry.verdict is Verdict.APPLY]
    ours.sort(key=lambda entry: entry.job.organization_id)
    return [list(run) for _, run in groupby(ours, key=_segment_key)]


def _segment_key(entry: Entry) -> tuple[object, ...]:
    # The options are the same in every batch of a job; if a sender ever disagrees, each batch keeps its own.
    return entry.job.id, entry.batch.policy


async def mark_published(connection: Connection, published: Sequence[Published]) -> None:
    """Mark the batches whose Kafka transaction is committed."""
    if published:
        await connection.execute(
            SQL["mark_published"],
            [item.position.partition for item in published],
            [item.position.offset for item in published],
        )
