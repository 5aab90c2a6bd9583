"""Atomic jobs and dry runs (D14): rows wait in import_batches until the last batch, which judges them all.

Everything is written in the one transaction of the last batch, under a savepoint. It is rolled back, and only
the outcomes are kept,

    dry run     always
    atomic      when a row was refused: the job ends `failed`, its writable rows `cancelled`
    commit      of a dry run: when a row ends otherwise than was foretold: nothing of it is kept

Staged messages are read one at a time and only outcomes, contacts and faults stay in memory, so a large file
costs time and not memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from sinks.batch import Batch, Job, Position
from sinks.bookkeeping import count_letters, faults_json, images_bytes
from sinks.foretelling import Changes, Spool, changes_json, changes_of, spooled
from sinks.further_runs import REFUSED_LETTERS, changed_rows, untouched
from sinks.judging import NOBODY, Result
from sinks.queries import SQL
from sinks.segment import Work, apply_singly
from sluice.contact import contact_id_prefix
from sluice.job import JobState, RunKind
from sluice.outcome import ELSEWHERE, LETTERS, WRITING, Outcome

WRITING_LETTERS = frozenset(LETTERS[outcome] for outcome in WRITING)
CANCELLED = LETTERS[Outcome.CANCELLED]

NAMED = 20
"""Rows that the reason of a refused commit names; how many there are in all it says too."""

Due = list[tuple[uuid.UUID, int]]
"""Job and number of the staged batches whose events are to be published now."""


@dataclass(slots=True)
class _Judgement:
    """The batches of one job as they were judged, the last one at the end, without images."""

    changes: Spool
    results: list[tuple[int, Result]] = field(default_factory=list)
    refused: int = 0
    rows: int = 0
    changed: list[int] = field(default_factory=list)
    """Rows of a commit that end otherwise than was foretold."""

    @property
    def staged(self) -> Iterator[tuple[int, Result]]:
        """Without the last batch."""
        return iter(self.results[:-1])

    async def add(self, work: Work, job: Job, batch: Batch, result: Result) -> None:
        """Take what became of the next batch."""
        batch_no = batch.message.batch_no
        if job.is_dry_run:
            changes = changes_of(result)
            self.changes.add(batch_no, changes)
            if job.run_kind is RunKind.COMMIT:
                self.changed += await changed_rows(work.connection, job, batch, result, changes)
        self.results.append((batch_no, Result(result.letters, result.contact_ids, result.faults)))
        self.refused += sum(letter in REFUSED_LETTERS for letter in result.letters)
        self.rows += batch.row_count


async def judge(work: Work, job: Job, last: Batch, result: Result) -> tuple[Due, Changes]:
    """Judge everything staged and the last batch, filling its `result`; the job's counts and state follow.

    Returns the staged batches whose events are now due, none where the writes were rolled back, and what a
    dry run's last batch would change.
    """
    with spooled() as spool:
        judgement = _Judgement(spool)
        writes = work.connection.transaction()
        await writes.start()
        try:
            await _judge_staged(work, job, last, judgement)
            await apply_singly(work, job, last, result)
            await judgement.add(work, job, last, result)
        except BaseException:
            await writes.rollback()
            raise
        if job.run_kind is RunKind.COMMIT:
            kept = not judgement.changed and judgement.rows == job.rows_read
        else:
            kept = not job.is_dry_run and not judgement.refused
        await (writes.commit if kept else writes.rollback)()
        if job.run_kind is RunKind.COMMIT:
            await _end_commit(work, job, last, result, judgement, committed=kept)
        else:
            await _end_first_run(work, job, result, judgement, written=kept)
        foretold = spool.of(last.message.batch_no) if job.is_dry_run and not job.is_further_run else {}
    return [(job.id, batch_no) for batch_no, _ in judgement.staged] if kept else [], foretold


async def _judge_staged(work: Work, job: Job, last: Batch, judgement: _Judgement) -> None:
    connection = work.connection
    run = last.message.run
    for row in await connection.fetch(SQL["staged_batches"], job.id, job.organization_id, run):
        batch_no = row["batch_no"]
        data = await connection.fetchval(SQL["stored_message"], job.id, job.organization_id, batch_no)
        batch = work.decode(data, Position(row["topic_partition"], row["topic_offset"]))
        result = Result.of(batch)
        await apply_singly(work, job, batch, result)
        # With the position of the last batch: their events are published when that one is.
        await _settle(work, job, batch_no, result, last.position)
        await judgement.add(work, job, batch, result)


async def _settle(
    work: Work,
    job: Job,
    batch_no: int,
    result: Result,
    position: Position | None,
    changes: Changes | None = None,
) -> None:
    await work.connection.execute(
        SQL["settle_staged"],
        job.id,
        job.organization_id,
        batch_no,
        "".join(result.letters),
        bytes(result.contact_ids),
        faults_json(result.faults),
        images_bytes(result.images),
        position.partition if position else None,
        position.offset if position else None,
        work.now,
        changes_json(changes or {}),
    )


# The first run ---------------------------------------------------------------------------------


async def _end_first_run(
    work: Work, job: Job, last_result: Result, judgement: _Judgement, *, written: bool
) -> None:
    if not written:
        last_result.images.clear()
        # Contacts that this job would have created are none.
        own = contact_id_prefix(job.id)
        for _, result in judgement.results:
            _take_back(result, own, keep_letters=job.is_dry_run)
        for batch_no, result in judgement.staged:
            await _settle(work, job, batch_no, result, None, judgement.changes.of(batch_no))
    if not written and not job.is_dry_run:
        job.state = JobState.FAILED
        rows = "row was" if judgement.refused == 1 else "rows were"
        job.reason = f"{judgement.refused} {rows} refused, so nothing of this atomic import was written."
    job.rows_staged = 0
    for _, result in judgement.staged:
        count_letters(job, result.letters)


def _take_back(result: Result, own: bytes, *, keep_letters: bool) -> None:
    for index, letter in enumerate(result.letters):
        if result.contact(index).startswith(own):
            result.contact_ids[16 * index : 16 * index + 16] = NOBODY
        if letter in WRITING_LETTERS and not keep_letters:
            result.letters[index] = CANCELLED


async def cancel(work: Work, job: Job) -> None:
    """The run ends without judgement: what was staged is cancelled, or is as it was before the run."""
    letter = ELSEWHERE if job.is_further_run else CANCELLED
    await work.connection.execute(SQL["cancel_staged"], job.id, job.organization_id, job.run, letter)
    job.counts[Outcome.CANCELLED] += job.rows_staged
    job.rows_staged = 0


# The commit of a dry run -----------------------------------------------------------------------


async def _end_commit(
    work: Work, job: Job, last: Batch, result: Result, judgement: _Judgement, *, committed: bool
) -> None:
    if committed:
        # Every outcome is what it was, so the job's counts are right as they stand.
        await work.connection.execute(SQL["supersede_runs"], job.id, job.organization_id, job.run, ELSEWHERE)
        await work.connection.execute(SQL["commit_dry_run"], job.id, job.organization_id)
        job.options = {**job.options, "dry_run": False}
        return
    await cancel(work, job)
    nothing = untouched(last)
    result.letters, result.contact_ids = nothing.letters, nothing.contact_ids
    result.faults, result.images = {}, {}
    job.reason = _why(judgement, job)


def _why(judgement: _Judgement, job: Job) -> str:
    changed = judgement.changed
    if not changed:
        return f"Nothing was written: {judgement.rows} rows were read where the dry run had {job.rows_read}."
    rows = "1 row ends" if len(changed) == 1 else f"{len(changed)} rows end"
    named = ", ".join(map(str, changed[:NAMED]))
    more = " and others" if len(changed) > NAMED else ""
    return (
        f"Nothing was written: {rows} otherwise by now than the dry run foretold: {named}{more}."
        " Look at them, then make a new dry run."
    )
