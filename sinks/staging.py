"""Atomic jobs and dry runs (D14): rows wait in import_batches until the last batch, which judges them all.

Everything is written in the one transaction of the last batch, under savepoints: a refused row of an atomic
job, or a dry run, rolls the writes back and keeps the outcomes. Staged messages are read one at a time and
only outcomes, contacts and faults stay in memory, so a large file costs time and not memory.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from sinks.batch import Batch, Job, Position
from sinks.bookkeeping import count_letters, faults_json, images_bytes
from sinks.judging import NOBODY, Result
from sinks.queries import SQL
from sinks.segment import Work, apply_singly
from sluice.contact import contact_id_prefix
from sluice.job import JobState
from sluice.outcome import LETTERS, REFUSED, WRITING, Outcome

REFUSED_LETTERS = frozenset(LETTERS[outcome] for outcome in REFUSED)
WRITING_LETTERS = frozenset(LETTERS[outcome] for outcome in WRITING)
CANCELLED = LETTERS[Outcome.CANCELLED]


@dataclass(slots=True)
class _Judgement:
    """The staged batches of one job as they were judged, without images."""

    results: list[tuple[int, Result]] = field(default_factory=list)
    refused: int = 0

    def add(self, batch_no: int, result: Result) -> None:
        self.results.append((batch_no, Result(result.letters, result.contact_ids, result.faults)))
        self.count(result)

    def count(self, result: Result) -> None:
        self.refused += sum(letter in REFUSED_LETTERS for letter in result.letters)


async def judge(work: Work, job: Job, last: Batch, result: Result) -> list[tuple[uuid.UUID, int]]:
    """Judge everything staged and the last batch, filling its `result`; the job's counts and state follow.

    Returns the staged batches whose events are now due: none for a dry run or an atomic job that failed.
    """
    judgement = _Judgement()
    writes = work.connection.transaction()
    await writes.start()
    try:
        await _judge_staged(work, job, last, judgement)
        await apply_singly(work, job, last, result)
        judgement.count(result)
    except BaseException:
        await writes.rollback()
        raise
    dry_run = job.is_dry_run
    if dry_run or judgement.refused:
        await writes.rollback()
        await _keep_outcomes(work, job, judgement, result)
        if not dry_run:
            job.state = JobState.FAILED
            rows = "row was" if judgement.refused == 1 else "rows were"
            job.reason = f"{judgement.refused} {rows} refused, so nothing of this atomic import was written."
        due = []
    else:
        await writes.commit()
        due = [(job.id, batch_no) for batch_no, _ in judgement.results]
    job.rows_staged = 0
    for _, judged in judgement.results:
        count_letters(job, judged.letters)
    return due


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
        judgement.add(batch_no, result)


async def _settle(work: Work, job: Job, batch_no: int, result: Result, position: Position | None) -> None:
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
        job.is_dry_run,
    )


async def _keep_outcomes(work: Work, job: Job, judgement: _Judgement, last_result: Result) -> None:
    """What was judged, without what was rolled back: contacts that this job would have created are none."""
    own = contact_id_prefix(job.id)
    for _, result in (*judgement.results, (0, last_result)):
        _take_back(result, own, keep_letters=job.is_dry_run)
    for batch_no, result in judgement.results:
        await _settle(work, job, batch_no, result, None)


def _take_back(result: Result, own: bytes, *, keep_letters: bool) -> None:
    result.images.clear()
    for index, letter in enumerate(result.letters):
        if result.contact(index).startswith(own):
            result.contact_ids[16 * index : 16 * index + 16] = NOBODY
        if letter in WRITING_LETTERS and not keep_letters:
            result.letters[index] = CANCELLED


async def cancel(work: Work, job: Job) -> None:
    """The job ends without judgement: what was staged is cancelled."""
    await work.connection.execute(SQL["cancel_staged"], job.id, job.organization_id, job.run)
    job.counts[Outcome.CANCELLED] += job.rows_staged
    job.rows_staged = 0
