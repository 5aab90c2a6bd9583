"""Created rows into contacts by COPY, straight from their batch (D6 step 4), in COPY's text form.

Records by asyncpg cost 5.7 µs a row, most of it one call for each cell; lines of text cost 1.5, and the
server takes both at one price (measured). An empty field is null, as an empty cell is absent.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec

from sinks.batch import Batch, Job, from_milliseconds
from sinks.queries import SQL
from sinks.reading import Connection
from sluice.contact import CUSTOM, contact_id_prefix, split_tags
from sluice.errors import RowRejected

CONVERTED = ("tags", "last_contact_date")
"""Fields that are no text in the table."""
ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""What stands for the signs that COPY's text form keeps for itself."""


async def copy_rows(connection: Connection, job: Job, picked: Sequence[tuple[Batch, Sequence[int]]]) -> None:
    """Created rows into contacts, one COPY for each header among their batches."""
    headers: dict[tuple[str, ...], list[tuple[Batch, Sequence[int]]]] = {}
    for batch, indexes in picked:
        if indexes:
            headers.setdefault(tuple(batch.message.fields), []).append((batch, indexes))
    for batches in headers.values():
        rows = CreatedRows(batches[0][0], job)
        async with organization_held(connection, job):
            await connection.copy_to_table(
                "contacts", source=_chunks(rows, batches), columns=rows.columns, null=""
            )


async def _chunks(rows: CreatedRows, batches: Sequence[tuple[Batch, Sequence[int]]]) -> AsyncIterator[bytes]:
    for batch, indexes in batches:
        yield "".join(rows.lines(batch, indexes)).encode()


@asynccontextmanager
async def organization_held(connection: Connection, job: Job) -> AsyncIterator[None]:
    """The block copies contacts of the job's organization and does nothing else.

    The foreign key to the organization would be looked up for each row, 4 µs of PostgreSQL's 30 (measured).
    It is the only trigger of an insert, which a test holds: so the organization is locked once instead, as
    the key would lock it (docs/decisions/0013).
    """
    held = await connection.fetchval(SQL["hold_organization"], job.organization_id)
    yield
    if held is not None:
        await connection.execute(SQL["check_keys_again"])


class CreatedRows:
    """Lines of COPY for the created rows of batches under one header; nothing here is done twice per row."""

    def __init__(self, batch: Batch, job: Job) -> None:
        names = batch.columns
        self._custom = [
            (i, name.removeprefix(CUSTOM)) for name, i in names.items() if name.startswith(CUSTOM)
        ]
        self._plain = [
            i for name, i in names.items() if not name.startswith(CUSTOM) and name not in CONVERTED
        ]
        self._tags = names.get("tags")
        self._date = names.get("last_contact_date")
        self._only_plain = len(self._plain) == len(names)
        # The table has a default for an absent country, a file has none.
        given = batch.message.fields
        self.columns = (
            *("id", "organization_id", "created_by", "fingerprint"),
            *("modified_at", "do_not_call", "dnc_list_id", "dnc_reason"),
            *(("country",) if "country" not in names else ()),
            *(given[i] for i in self._plain),
            *(("tags",) if self._tags is not None else ()),
            *(("last_contact_date",) if self._date is not None else ()),
            *(("custom_fields",) if self._custom else ()),
        )
        self._country = "" if "country" in names else "\t"
        self._constant = f"\t{job.organization_id}\t{job.created_by}\t\\\\x"

    def lines(self, batch: Batch, indexes: Sequence[int]) -> Iterator[str]:
        """One line for each of these rows.

        Raises:
            RowRejected: a row's date is none.
        """
        message, marks = batch.message, batch.marks
        identity = str(uuid.UUID(bytes=contact_id_prefix(batch.job_id) + bytes(4)))[:-8]
        first, constant, country = message.first_row_no, self._constant, self._country
        prints, times = message.fingerprints.hex(), message.modified_at
        written_at = batch.policy.written_at.isoformat()
        cells = self._cells(message.rows, indexes)
        for index, text in zip(indexes, cells, strict=True):
            when = from_milliseconds(times[index]).isoformat() if times and times[index] else written_at
            mark = _mark(marks[index]) if index in marks else UNMARKED
            yield (
                f"{identity}{first + index:08x}{constant}{prints[32 * index : 32 * index + 32]}"
                f"\t{when}\t{mark}\t{country}{text}\n"
            )

    def _cells(self, rows: Sequence[Sequence[str]], indexes: Sequence[int]) -> list[str]:
        """The given columns of these rows, joined."""
        picked = [rows[index] for index in indexes]
        if not self._only_plain:
            picked = [self._converted(row) for row in picked]
        lines = ["\t".join(row) for row in picked]
        text = "".join(lines)
        tabs = sum(map(len, picked)) - len(picked)
        if "\\" in text or "\n" in text or "\r" in text or text.count("\t") != tabs:
            return ["\t".join([cell.translate(ESCAPED) for cell in row]) for row in picked]
        return lines

    def _converted(self, row: Sequence[str]) -> list[str]:
        cells = [row[i] for i in self._plain]
        if self._tags is not None:
            cells.append(array_literal(split_tags(row[self._tags])))
        if self._date is not None:
            date = moment(row[self._date])
            cells.append(date.isoformat() if date else "")
        if self._custom:
            given = {name: value for i, name in self._custom if (value := row[i])}
            cells.append(msgspec.json.encode(given).decode() if given else "{}")
        return cells


UNMARKED = "f\t\t"


def _mark(mark: Mapping[str, str]) -> str:
    shown = "t" if mark.get("do_not_call") else "f"
    return f"{shown}\t{mark.get('dnc_list_id', '')}\t{mark.get('dnc_reason', '').translate(ESCAPED)}"


def array_literal(items: Sequence[str]) -> str:
    """A text array as PostgreSQL reads it, every item quoted."""
    quoted = [item.replace("\\", "\\\\").replace('"', '\\"') for item in items]
    return "{" + ",".join([f'"{item}"' for item in quoted]) + "}"


def moment(text: str) -> datetime | None:
    """A time as normalize wrote it.

    Raises:
        RowRejected: it is no such time.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RowRejected(problem="its last contact date cannot be read.") from error
    if found.tzinfo is None:
        raise RowRejected(problem="its last contact date names no time zone.")
    return found
