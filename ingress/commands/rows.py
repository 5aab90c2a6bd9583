"""What became of each row: outcomes from `import_batches`, values read back from the stored source.

A row's cells are kept nowhere but in the source (docs/decisions/0007). A batch knows where it starts, so a
page of rows costs one ranged read for each batch that it touches.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from ingress.authentication import Principal
from ingress.commands.jobs import Job
from ingress.database import Pooled, Record, statements
from ingress.formats.csv import CsvChunker, CsvDialect
from ingress.formats.rows import Position, RowChunk
from ingress.services import Services
from sluice.errors import NotFound, SourceChanged
from sluice.events import FieldFault
from sluice.outcome import BY_LETTER, LETTERS, REFUSED, Outcome

PENDING = "pending"

BATCHES_AT_ONCE = 8
"""Asked for together; the source is read for one at a time, so a request holds 512 KiB of rows of it."""

NO_CONTACT = bytes(16)

DEFAULT_FAULTS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.NO_IDENTITY: ("no_identity", "The row has neither an e-mail address nor a phone number."),
    Outcome.INVALID: ("invalid", "A value of the row breaks a rule."),
    Outcome.CONFLICT: ("identity_conflict", "The row's identities belong to different contacts."),
    Outcome.FAILED: ("failed", "The row could not be stored."),
}
"""What is said of a refused row for which nothing more exact is known."""

_SQL = statements("imports")


@dataclass(frozen=True, slots=True)
class RowResult:
    """One row. `outcome` is None while it is staged; `cells` is None when the source is gone or was changed.

    `cells` has one text a column, and more where the row had more; `source_line` is None without the source.
    """

    row_no: int
    outcome: Outcome | None
    contact_id: uuid.UUID | None
    faults: Sequence[FieldFault]
    columns: Sequence[str]
    cells: Sequence[str] | None
    source_line: int | None

    @property
    def state(self) -> str:
        """The outcome's name, or pending."""
        return self.outcome.value if self.outcome is not None else PENDING


@dataclass(frozen=True, slots=True)
class _Source:
    key: str
    etag: str
    columns: Sequence[str]
    dialect: CsvDialect


class Rows:
    """Reads the rows of one organization's jobs."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def page(
        self,
        principal: Principal,
        job: Job,
        *,
        behind: int = 0,
        limit: int,
        outcomes: Collection[Outcome | None] = (),
    ) -> list[RowResult]:
        """Up to `limit` rows behind row `behind`, in order; of these outcomes alone (None: staged) or any."""
        found: list[RowResult] = []
        async for result in self._each(principal, job, behind, limit, outcomes):
            found.append(result)
            if len(found) == limit:
                break
        return found

    async def one(self, principal: Principal, job: Job, row_no: int) -> RowResult:
        """One row by its number. Raises NotFound for one that was not read, or not yet."""
        found = await self.page(principal, job, behind=row_no - 1, limit=1)
        if not found or found[0].row_no != row_no:
            raise NotFound(what=f"row {row_no} of the import")
        return found[0]

    def refused(self, principal: Principal, job: Job) -> AsyncIterator[RowResult]:
        """Every row that a person can mend, in order, reading the source as it goes."""
        return self._each(principal, job, 0, None, REFUSED)

    async def _each(
        self,
        principal: Principal,
        job: Job,
        behind: int,
        limit: int | None,
        outcomes: Collection[Outcome | None],
    ) -> AsyncIterator[RowResult]:
        sources: dict[int, _Source] = {}
        while batches := await self._batches(principal, job, behind, outcomes, sources):
            for batch in batches:
                wanted = _wanted(batch, behind, outcomes, limit)
                chunks = await self._read(batch, sources) if wanted else None
                columns = sources[batch["start_part"]].columns if batch["start_part"] in sources else ()
                for result in _results(batch, wanted, columns, chunks):
                    yield result
                behind = max(behind, batch["first_row_no"] + batch["row_count"] - 1)

    async def _batches(
        self,
        principal: Principal,
        job: Job,
        behind: int,
        outcomes: Collection[Outcome | None],
        sources: dict[int, _Source],
    ) -> list[Record]:
        letters = "" if None in outcomes else "".join(LETTERS[each] for each in outcomes if each is not None)
        async with self._acting(principal) as connection:
            batches = await connection.fetch(_SQL["batches_behind"], job.id, behind, letters, BATCHES_AT_ONCE)
            missing = {batch["start_part"] for batch in batches} - sources.keys()
            if missing:
                parts = await connection.fetch(_SQL["job_parts"], job.id, list(missing))
                sources.update({part["part_no"]: _source(part) for part in parts})
        return batches

    async def _read(self, batch: Record, sources: Mapping[int, _Source]) -> list[RowChunk] | None:
        """The rows of a batch as the source has them; None when the source is gone or another."""
        source = sources.get(batch["start_part"])
        if source is None:
            return None
        start = Position(batch["start_part"], batch["start_byte"], batch["start_line"], batch["first_row_no"])
        chunker = CsvChunker(source.columns, source.dialect, start)
        chunks: list[RowChunk] = []
        # In pieces: one row may be as long as the file, and the chunker keeps only the start of it.
        pieces = self._services.store.stream(source.key, source.etag, batch["start_byte"], batch["end_byte"])
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    chunks += chunker.feed(piece)
        except SourceChanged:
            return None
        while (chunk := chunker.finish()) is not None:
            chunks.append(chunk)
        return chunks

    def _acting(self, principal: Principal) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(principal.organization_id, principal.user_id)


def _source(part: Record) -> _Source:
    form = msgspec.json.decode(part["format"])
    dialect = CsvDialect(form["encoding"], form["delimiter"])
    return _Source(part["object_key"], part["etag"], form["columns"], dialect)


def _wanted(
    batch: Record, behind: int, outcomes: Collection[Outcome | None], limit: int | None
) -> list[tuple[int, Outcome | None]]:
    """The rows of a batch that were asked for: index and outcome."""
    letters: str = batch["outcomes"]
    decided: Sequence[Outcome | None] = (
        [None] * batch["row_count"]
        if batch["staged"] and not letters
        else [BY_LETTER[each] for each in letters]
    )
    first = max(0, behind + 1 - batch["first_row_no"])
    wanted = [
        (index, outcome)
        for index, outcome in enumerate(decided)
        if index >= first and (not outcomes or outcome in outcomes)
    ]
    return wanted if limit is None else wanted[:limit]


def _results(
    batch: Record,
    wanted: Sequence[tuple[int, Outcome | None]],
    columns: Sequence[str],
    chunks: list[RowChunk] | None,
) -> Iterator[RowResult]:
    faults: Mapping[str, Any] = msgspec.json.decode(batch["faults"]) if wanted else {}
    cells = None if chunks is None else [row for chunk in chunks for row in chunk.rows]
    lines = None if chunks is None else [line for chunk in chunks for line in chunk.lines]
    ids: bytes = batch["contact_ids"]
    for index, outcome in wanted:
        contact_id = ids[16 * index : 16 * index + 16]
        known = cells is not None and index < len(cells)
        yield RowResult(
            row_no=batch["first_row_no"] + index,
            outcome=outcome,
            contact_id=None if contact_id in (b"", NO_CONTACT) else uuid.UUID(bytes=contact_id),
            faults=_faults(outcome, faults.get(str(index), ())),
            columns=columns,
            cells=cells[index] if cells is not None and known else None,
            source_line=lines[index] if lines is not None and known else None,
        )


def _faults(outcome: Outcome | None, stored: Sequence[Mapping[str, str]]) -> list[FieldFault]:
    if stored:
        return [msgspec.convert(fault, FieldFault) for fault in stored]
    if outcome is not None and outcome in DEFAULT_FAULTS:
        code, message = DEFAULT_FAULTS[outcome]
        return [FieldFault(field="", code=code, message=message, value="")]
    return []
