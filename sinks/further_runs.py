"""Further runs of a job (D14): rows that have an outcome get another one, under the job's lock.

Each row of a job has its result in exactly one stored batch. A further run puts the new result into its own
batch and `ELSEWHERE` where the old one was, in the transaction that applies it; a row that it does not decide
is `ELSEWHERE` in the new batch, and keeps what it had. So the outcomes sum to the rows read at every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import msgspec

from sinks.batch import Batch, Job
from sinks.judging import NOBODY, Result
from sinks.queries import SQL
from sinks.reading import Connection
from sluice.contact import contact_id_prefix
from sluice.outcome import ELSEWHERE, LETTERS, REFUSED, Drop, Outcome

REFUSED_LETTERS = frozenset(LETTERS[outcome] for outcome in REFUSED)

NOT_ASKED = Drop(Outcome.FAILED)
"""Keeps a row away from judgement whose result is not to be replaced; `Earlier.replace` overrules it."""


@dataclass(slots=True)
class _Held:
    """A stored batch whose rows are being decided anew."""

    letters: list[str]
    taken: list[int] = field(default_factory=list)


class Earlier:
    """What the rows of a healing are before it, and what of that it replaces."""

    def __init__(self, records: Iterable[asyncpg.Record]) -> None:
        self._held: dict[int, _Held] = {}
        self._places: dict[int, tuple[int, int]] = {}
        for record in records:
            batch_no, first, letters = record["batch_no"], record["first_row_no"], record["outcomes"]
            self._held[batch_no] = _Held(list(letters))
            for index, letter in enumerate(letters):
                if letter != ELSEWHERE:
                    self._places[first + index] = (batch_no, index)

    @classmethod
    async def of(cls, connection: Connection, job: Job, batches: Sequence[Batch]) -> Earlier:
        """The results of these batches' rows before this run."""
        return cls(await _results(connection, job, batches))

    def admitted(self, batch: Batch) -> Batch:
        """The batch with the rows left out of judgement that are not refused: what was written stays."""
        first = batch.message.first_row_no
        settled = {i: NOT_ASKED for i in range(batch.row_count) if not self._is_refused(first + i)}
        return replace(batch, drops={**batch.drops, **settled}) if settled else batch

    def replace(self, batch: Batch, result: Result) -> list[str]:
        """Take the old results of the rows that have a new one; their letters."""
        old, first = [], batch.message.first_row_no
        for index in range(batch.row_count):
            if batch.drops.get(index) is NOT_ASKED:
                result.letters[index] = ELSEWHERE
                continue
            batch_no, at = self._places.pop(first + index)
            held = self._held[batch_no]
            old.append(held.letters[at])
            held.letters[at] = ELSEWHERE
            held.taken.append(at)
        return old

    async def store(self, connection: Connection, job: Job) -> None:
        """Write down which results have been replaced; what was wrong with those rows is forgotten."""
        taken = {batch_no: held for batch_no, held in self._held.items() if held.taken}
        if taken:
            await connection.execute(
                SQL["supersede_rows"],
                job.id,
                job.organization_id,
                list(taken),
                ["".join(held.letters) for held in taken.values()],
                [",".join(map(str, held.taken)) for held in taken.values()],
            )

    def _is_refused(self, row_no: int) -> bool:
        place = self._places.get(row_no)
        return place is not None and self._held[place[0]].letters[place[1]] in REFUSED_LETTERS


def untouched(batch: Batch) -> Result:
    """The result of a batch that decides nothing: every row keeps what it had."""
    return Result([ELSEWHERE] * batch.row_count, bytearray(16 * batch.row_count))


async def changed_rows(
    connection: Connection, job: Job, batch: Batch, result: Result, changes: Mapping[str, Any]
) -> list[int]:
    """The rows that end otherwise than the dry run foretold: outcome, contact, or what becomes of it."""
    own, first = contact_id_prefix(job.id), batch.message.first_row_no
    foretold = dict[int, tuple[str, bytes, Any]]()
    for record in await _results(connection, job, [batch]):
        if record["changes"] is None:
            # A dry run from before changes were kept: its outcomes and contacts are all that was foretold.
            changes = {}
        foretold.update(_foretold(record))
    return [
        first + index
        for index, letter in enumerate(result.letters)
        if foretold.get(first + index)
        != (letter, _not_own(result.contact(index), own), changes.get(str(index)))
    ]


def _foretold(record: asyncpg.Record) -> Iterator[tuple[int, tuple[str, bytes, Any]]]:
    changes, contacts = msgspec.json.decode(record["changes"] or "{}"), record["contact_ids"]
    for index, letter in enumerate(record["outcomes"]):
        if letter != ELSEWHERE:
            contact = contacts[16 * index : 16 * index + 16]
            yield record["first_row_no"] + index, (letter, contact, changes.get(str(index)))


def _not_own(contact: bytes, own: bytes) -> bytes:
    """A contact that this job made was none in the dry run."""
    return NOBODY if contact.startswith(own) else contact


async def _results(connection: Connection, job: Job, batches: Sequence[Batch]) -> list[asyncpg.Record]:
    """The stored batches of earlier runs that hold rows of these."""
    first = [batch.message.first_row_no for batch in batches]
    behind = [batch.message.first_row_no + batch.row_count for batch in batches]
    rows = await connection.fetch(SQL["earlier_results"], job.id, job.organization_id, job.run, first, behind)
    return list({row["batch_no"]: row for row in rows}.values())
