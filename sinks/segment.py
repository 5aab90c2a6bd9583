"""One segment into the database: choose, read, confirm, decide, write, record (D4); row by row if need be."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from sinks import judging
from sinks.batch import Batch, Hint, Job, Position
from sinks.created import copy_rows
from sinks.holders import ask, hinted_anew
from sinks.judging import Choice, Result
from sinks.overruled import Corrections, Hinted, correct_decided, correct_fast
from sinks.queries import SQL
from sinks.reading import Connection, StoredContacts
from sinks.refusals import Cause, cause_of, failed
from sinks.writing import announce_suppressed, as_uuid, join_list, write_decision
from sluice.contact import ContactId
from sluice.events import IdentitiesChanged
from sluice.outcome import LETTERS, Outcome
from sluice.rules import Decision, decide

JUDGE_ANEW = 5
"""Times that rows are judged anew because what they met has changed; then they are taken one by one."""
TRIES = 3
"""Times that something of our own may go wrong before rows are taken one by one (D7)."""

AT_CONTACT = frozenset(
    LETTERS[outcome]
    for outcome in (
        Outcome.CREATED,
        Outcome.UPDATED,
        Outcome.UNCHANGED,
        Outcome.MERGED,
        Outcome.DUPLICATE_IN_FILE,
        Outcome.DUPLICATE_EXISTING,
    )
)
"""Outcomes of rows that end at a contact: row rule 10 puts it on the job's list."""


@dataclass(slots=True)
class Work:
    """One transaction: what it writes with, and what it has found out besides outcomes."""

    connection: Connection
    now: datetime
    secret: bytes
    decode: Callable[[bytes, Position], Batch]
    """A stored message once more; what was stored could be decoded."""
    identities: list[IdentitiesChanged] = field(default_factory=list)
    doubted: set[uuid.UUID] = field(default_factory=set)
    """Jobs whose last hints did not hold: the sink makes them itself. The set outlives the transaction."""
    overruled: int = 0
    """Batches whose hints did not hold."""
    set_aside: list[tuple[Batch, int, BaseException]] = field(default_factory=list)
    """Rows that something of our own could not process: dead letters."""


async def apply_segment(work: Work, job: Job, batches: Sequence[Batch], results: Sequence[Result]) -> None:
    """Judge and write a run of batches of one job; the hints are believed as far as they can be confirmed.

    Raises:
        Exception: as the database gave it. Where that is because the hints did not hold, the job is doubted.
    """
    try:
        if job.id in work.doubted or not await _believe(work, job, batches, results):
            work.doubted.add(job.id)
            await _ask(work, job, batches, results)
    except asyncpg.PostgresError as error:
        if cause_of(error) is Cause.CHANGED:
            work.doubted.add(job.id)
        raise


async def _believe(work: Work, job: Job, batches: Sequence[Batch], results: Sequence[Result]) -> bool:
    """Apply the rows by the stream's hints; False where they are not true."""
    choices = judging.choose(batches)
    stored = await _read(work, job, batches, choices)
    if judging.entangled(batches, choices, stored):
        choices = judging.all_open(batches)
        stored = await _read(work, job, batches, choices)
    elif not await _confirmed(work, job, batches, choices):
        return False
    await _apply(work, job, batches, results, choices, stored, Corrections())
    return True


async def _ask(work: Work, job: Job, batches: Sequence[Batch], results: Sequence[Result]) -> None:
    """Apply the rows by hints of our own; what the stream believed wrongly is corrected in its table."""
    held = await ask(work.connection, job, batches)
    anew = [hinted_anew(batch, held) for batch in batches]
    choices = judging.choose(anew)
    stored = await _read(work, job, batches, choices)
    corrections = Corrections()
    if judging.entangled(batches, choices, stored) or not await _confirmed(work, job, anew, choices):
        choices = judging.all_open(batches)
        stored = await _read(work, job, batches, choices)
    else:
        for batch, own, choice in zip(batches, anew, choices, strict=True):
            correct_fast(corrections, batch, own, choice, held)
    if not await _apply(work, job, batches, results, choices, stored, corrections):
        work.doubted.discard(job.id)


async def apply_singly(work: Work, job: Job, batch: Batch, result: Result) -> None:
    """Judge and write one batch by the row rules alone; rows that cannot be stored end as `failed`.

    Raises:
        Exception: an outage, as the database gave it.
    """
    await _isolate(work, job, batch, result, judging.all_open([batch])[0].open)


async def _isolate(work: Work, job: Job, batch: Batch, result: Result, rows: Sequence[int]) -> None:
    """Apply `rows` under a savepoint, in halves when they cannot be applied together.

    The left half is written before the right half is judged, so the result is that of one row at a time.
    """
    if not rows:
        return
    error = await _try(work, job, batch, result, rows)
    if error is None:
        return
    if len(rows) > 1:
        middle = len(rows) // 2
        await _isolate(work, job, batch, result, rows[:middle])
        await _isolate(work, job, batch, result, rows[middle:])
        return
    result.refuse(rows[0], failed(error))
    if cause_of(error) is Cause.OWN:
        work.set_aside.append((batch, rows[0], error))


async def _try(work: Work, job: Job, batch: Batch, result: Result, rows: Sequence[int]) -> Exception | None:
    """Apply `rows`; the error that stopped it, None for none. What is no row's fault is raised."""
    choices = [Choice(open=rows)]
    attempts = {Cause.CHANGED: JUDGE_ANEW, Cause.OWN: TRIES, Cause.ROW: 1}
    while True:
        try:
            async with work.connection.transaction():
                stored = await _read(work, job, [batch], choices)
                await _apply(work, job, [batch], [result], choices, stored, Corrections())
        except Exception as error:
            cause = cause_of(error)
            if cause in (Cause.OUTAGE, Cause.CONTENDED):
                raise
            attempts[cause] -= 1
            if attempts[cause] == 0:
                return error
        else:
            return None


async def _read(work: Work, job: Job, batches: Sequence[Batch], choices: Sequence[Choice]) -> StoredContacts:
    """The contacts that hold the open rows' identities, locked."""
    emails, phones = set[str](), set[str]()
    for batch, choice in zip(batches, choices, strict=True):
        emails.update(judging.identities(batch, choice.open, "email"))
        phones.update(judging.identities(batch, choice.open, "phone_formatted"))
    if not emails and not phones:
        return StoredContacts(())
    return StoredContacts(
        await work.connection.fetch(SQL["holders"], job.organization_id, list(emails), list(phones))
    )


async def _confirmed(work: Work, job: Job, batches: Sequence[Batch], choices: Sequence[Choice]) -> bool:
    """Whether every hint that the fast path relies on, and no index will check, is true."""
    same = sorted(
        (contact, batch.message.fingerprints[16 * index : 16 * index + 16])
        for batch, choice in zip(batches, choices, strict=True)
        for index, contact in choice.same
    )
    if same:
        held = await work.connection.fetchval(
            SQL["confirm_content"], job.organization_id, [as_uuid(contact) for contact, _ in same]
        )
        if held != b"".join([content for _, content in same]):
            return False
    known = [
        found
        for batch, choice in zip(batches, choices, strict=True)
        for found in judging.holders_by_match(batch, choice)
    ]
    if not known:
        return True
    ids, emails, phones = zip(*known, strict=True)
    held = await work.connection.fetchval(
        SQL["confirm_holder"], job.organization_id, [as_uuid(contact) for contact in ids], emails, phones
    )
    return bool(held == len(known))


async def _apply(
    work: Work,
    job: Job,
    batches: Sequence[Batch],
    results: Sequence[Result],
    choices: Sequence[Choice],
    stored: StoredContacts,
    corrections: Corrections,
) -> bool:
    """Write what is chosen, and what is to be corrected; whether anything is."""
    places = [(b, index) for b, choice in enumerate(choices) for index in choice.open]
    rows = [batches[b].row(index) for b, index in places]
    decision = decide(rows, stored, batches[0].policy) if rows else Decision()
    for (b, index), judged in zip(places, decision.rows, strict=True):
        results[b].record(index, judged)
    for batch, choice, result in zip(batches, choices, results, strict=True):
        judging.settle_fast(batch, choice, result)
    if rows:
        touched = _first_batches(batches, places, decision)
        await write_decision(work.connection, job, decision, stored, touched)
    new = [(batch, choice.new) for batch, choice in zip(batches, choices, strict=True)]
    await copy_rows(work.connection, job, new)
    if job.target_list_id is not None:
        await join_list(work.connection, job, _ended_at(results, choices))
    await announce_suppressed(work.connection, job, decision, work.now)
    return _tell(work, batches, places, stored, decision, corrections)


def _first_batches(
    batches: Sequence[Batch], places: Sequence[tuple[int, int]], decision: Decision
) -> dict[ContactId, int]:
    """The number of the batch that first touched each contact."""
    first: dict[ContactId, int] = {}
    for (b, _), judged in zip(places, decision.rows, strict=True):
        if judged.contact_id is not None:
            first.setdefault(judged.contact_id, batches[b].message.batch_no)
    return first


def _ended_at(results: Sequence[Result], choices: Sequence[Choice]) -> list[ContactId]:
    return [
        result.contact(index)
        for result, choice in zip(results, choices, strict=True)
        for index in (*choice.new, *(i for i, _ in (*choice.same, *choice.known)), *choice.open)
        if result.letters[index] in AT_CONTACT
    ]


def _tell(
    work: Work,
    batches: Sequence[Batch],
    places: Sequence[tuple[int, int]],
    stored: StoredContacts,
    decision: Decision,
    corrections: Corrections,
) -> bool:
    """Correct the identities table where rows were hinted wrongly; whether any were."""
    if places and any(batch.message.hints for batch in batches):
        hints = [{index: (hint, contact) for index, hint, contact in batch.hints()} for batch in batches]
        rows = [
            Hinted(batches[b], index, *hints[b].get(index, (Hint.NONE, b"")), judged)
            for (b, index), judged in zip(places, decision.rows, strict=True)
        ]
        correct_decided(corrections, rows, stored, decision)
    event = corrections.event(work.secret, batches[0])
    if event is None:
        return False
    work.overruled += len(batches)
    work.identities.append(event)
    return True
