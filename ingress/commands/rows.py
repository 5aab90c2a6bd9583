"""What became of each row: outcomes from `import_batches`, values read back from the stored source.

A row's cells are kept nowhere but in the source (docs/decisions/0007). A batch knows where it starts, so a
page of rows costs one ranged read for each batch that it touches. Rows that were healed lie scattered in
batches of later runs (docs/decisions/0014): the two kinds of batches are two streams in order of rows, and
what is asked for is both, merged.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from ingress.authentication import Principal
from ingress.commands.jobs import Job
from ingress.commands.row_sources import Cells, Range, Source, form_of, joined, read_rows, source_of
from ingress.database import Pooled, Record, statements
from ingress.formats.parts import PartFormat
from ingress.formats.rows import Position
from ingress.services import Services
from sluice.errors import NotFound
from sluice.events import FieldFault
from sluice.outcome import BY_LETTER, ELSEWHERE, LETTERS, REFUSED, Outcome

PENDING = "pending"

BATCHES_AT_ONCE = 8
"""Asked for together; the source is read for one at a time, so a request holds 512 KiB of rows of it."""
HEALED_AT_ONCE = 200
"""Healed rows asked for together."""

NO_CONTACT = bytes(16)

DEFAULT_FAULTS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.NO_IDENTITY: ("no_identity", "The row has neither an e-mail address nor a phone number."),
    Outcome.INVALID: ("invalid", "A value of the row breaks a rule."),
    Outcome.CONFLICT: ("identity_conflict", "The row's identities belong to different contacts."),
    Outcome.FAILED: ("failed", "The row could not be stored."),
}
"""What is said of a refused row for which nothing more exact is known."""

_SQL = statements("imports")

Changes = Mapping[str, Sequence[str | None]]
"""Field to its values before and after."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """One row. `outcome` is None while it is staged, `cells` when the source is gone or was changed.

    `cells` has one text a column, and more where the row had more; `source_line` is None without the source.
    `run` is the run that decided it, and whose file `source_line` counts in. `changes` are what an update of
    a dry run would change, None for every other row.
    """

    row_no: int
    outcome: Outcome | None
    contact_id: uuid.UUID | None
    faults: Sequence[FieldFault]
    columns: Sequence[str]
    cells: Sequence[str] | None
    source_line: int | None
    run: int = 1
    changes: Changes | None = None

    @property
    def state(self) -> str:
        """The outcome's name, or pending."""
        return self.outcome.value if self.outcome is not None else PENDING


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a job's rows: up to `limit` of these outcomes (None: staged), or of any.

    Without `values` the source is not read.
    """

    principal: Principal
    job: Job
    limit: int | None
    outcomes: Collection[Outcome | None]
    sources: dict[int, Source]
    values: bool = True

    @property
    def letters(self) -> str:
        """The outcomes' letters; empty for any."""
        if None in self.outcomes:
            return ""
        return "".join(LETTERS[each] for each in self.outcomes if each is not None)


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
        values: bool = True,
    ) -> list[RowResult]:
        """Up to `limit` rows behind row `behind`, in order; of these outcomes alone (None: staged) or any.

        Without `values` the source is not read, and the rows come without cells and source lines.
        """
        found: list[RowResult] = []
        async with aclosing(
            self._each(_Asked(principal, job, limit, outcomes, {}, values), behind)
        ) as results:
            async for result in results:
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
        return self._each(_Asked(principal, job, None, REFUSED, {}), 0)

    async def form(self, principal: Principal, job: Job) -> PartFormat:
        """How the errors file is written: as the import's own file, or as UTF-8 once one of another encoding
        healed it, whose letters that might not have."""
        async with self._acting(principal) as connection:
            parts = await connection.fetch(_SQL["part_formats"], job.id)
        forms = [form_of(part["format"]) for part in parts] or [PartFormat()]
        if len({form.encoding for form in forms}) == 1:
            return forms[0]
        return msgspec.structs.replace(forms[0], encoding="utf-8")

    def _each(self, asked: _Asked, behind: int) -> AsyncGenerator[RowResult]:
        if asked.job.run == 1:
            return self._in_order(asked, behind)
        return _merged(self._in_order(asked, behind), self._healed(asked, behind))

    # Rows in the batches of the whole file -----------------------------------------------------------------

    async def _in_order(self, asked: _Asked, behind: int) -> AsyncGenerator[RowResult]:
        while batches := await self._batches("batches_behind", asked, behind, BATCHES_AT_ONCE):
            for batch in batches:
                wanted = _wanted(batch, behind, asked)
                cells = await self._cells(asked, [_range(batch)]) if wanted else {}
                source = asked.sources.get(batch["start_part"])
                for result in _results(batch, wanted, source, cells):
                    yield result
                behind = max(behind, batch["first_row_no"] + batch["row_count"] - 1)

    # Rows in the batches of healings -----------------------------------------------------------------------

    async def _healed(self, asked: _Asked, behind: int) -> AsyncGenerator[RowResult]:
        limit = min(asked.limit or HEALED_AT_ONCE, HEALED_AT_ONCE)
        while rows := await self._batches("healed_behind", asked, behind, limit):
            wanted = [row for row in rows if not asked.outcomes or BY_LETTER[row["letter"]] in asked.outcomes]
            ranges = {row["batch_no"]: _range(row) for row in wanted}
            cells = await self._cells(asked, joined(list(ranges.values())))
            for row in wanted:
                source = asked.sources.get(row["start_part"])
                outcome, faults = BY_LETTER[row["letter"]], msgspec.json.decode(row["faults"] or "[]")
                yield _result(row, row["row_no"], outcome, (row["contact_id"], faults, None), source, cells)
            behind = rows[-1]["row_no"]

    async def _batches(self, query: str, asked: _Asked, behind: int, limit: int) -> list[Record]:
        sources = asked.sources
        async with self._acting(asked.principal) as connection:
            batches = await connection.fetch(_SQL[query], asked.job.id, behind, asked.letters, limit)
            missing = {batch["start_part"] for batch in batches} - sources.keys()
            if missing:
                parts = await connection.fetch(_SQL["job_parts"], asked.job.id, list(missing))
                sources.update({part["part_no"]: source_of(part) for part in parts})
        return batches

    async def _cells(self, asked: _Asked, ranges: Sequence[Range]) -> Mapping[int, Cells]:
        """The rows of these ranges as their sources have them, as far as those are there."""
        found: dict[int, Cells] = {}
        for each in ranges if asked.values else ():
            source = asked.sources.get(each.part_no)
            rows = await read_rows(self._services.store, source, each.start, each.end_byte)
            found.update(rows or {})
        return found

    def _acting(self, principal: Principal) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(principal.organization_id, principal.user_id)


async def _merged(
    first: AsyncGenerator[RowResult], second: AsyncGenerator[RowResult]
) -> AsyncGenerator[RowResult]:
    """Two streams in order of rows as one."""
    async with aclosing(first), aclosing(second):
        one, other = await anext(first, None), await anext(second, None)
        while one is not None or other is not None:
            if other is None or (one is not None and one.row_no < other.row_no):
                assert one is not None, "one of the two is there"
                yield one
                one = await anext(first, None)
            else:
                yield other
                other = await anext(second, None)


def _range(batch: Record) -> Range:
    start = Position(batch["start_part"], batch["start_byte"], batch["start_line"], batch["first_row_no"])
    return Range(batch["start_part"], start, batch["end_byte"])


def _wanted(batch: Record, behind: int, asked: _Asked) -> list[tuple[int, Outcome | None]]:
    """The rows of a batch that were asked for: index and outcome."""
    letters: str = batch["outcomes"]
    decided: Sequence[tuple[int, Outcome | None]] = (
        [(index, None) for index in range(batch["row_count"])]
        if batch["staged"] and not letters
        else [(index, BY_LETTER[each]) for index, each in enumerate(letters) if each != ELSEWHERE]
    )
    first = behind + 1 - batch["first_row_no"]
    wanted = [
        (index, outcome)
        for index, outcome in decided
        if index >= first and (not asked.outcomes or outcome in asked.outcomes)
    ]
    return wanted if asked.limit is None else wanted[: asked.limit]


def _results(
    batch: Record,
    wanted: Sequence[tuple[int, Outcome | None]],
    source: Source | None,
    cells: Mapping[int, Cells],
) -> Iterator[RowResult]:
    faults: Mapping[str, Any] = msgspec.json.decode(batch["faults"]) if wanted else {}
    changes: Mapping[str, Changes] = msgspec.json.decode(batch["changes"] or "{}") if wanted else {}
    ids: bytes = batch["contact_ids"]
    for index, outcome in wanted:
        kept = (ids[16 * index : 16 * index + 16], faults.get(str(index), ()), changes.get(str(index)))
        yield _result(batch, batch["first_row_no"] + index, outcome, kept, source, cells)


def _result(
    batch: Record,
    row_no: int,
    outcome: Outcome | None,
    kept: tuple[bytes, Sequence[Mapping[str, str]], Changes | None],
    source: Source | None,
    cells: Mapping[int, Cells],
) -> RowResult:
    contact_id, faults, changes = kept
    known = cells.get(row_no)
    return RowResult(
        row_no=row_no,
        outcome=outcome,
        contact_id=None if contact_id in (b"", NO_CONTACT) else uuid.UUID(bytes=contact_id),
        faults=_faults(outcome, faults),
        columns=source.columns if source else (),
        cells=known.cells if known else None,
        source_line=known.line if known else None,
        run=batch["run"],
        changes=changes,
    )


def _faults(outcome: Outcome | None, stored: Sequence[Mapping[str, str]]) -> list[FieldFault]:
    if stored:
        return [msgspec.convert(fault, FieldFault) for fault in stored]
    if outcome is not None and outcome in DEFAULT_FAULTS:
        code, message = DEFAULT_FAULTS[outcome]
        return [FieldFault(field="", code=code, message=message, value="")]
    return []
