"""The streams role's one border to PostgreSQL: Do-Not-Call lists, read only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg

from sluice.errors import DatabaseUnavailable
from sluice.postgres import AWAY
from sluice.sql import load_queries

_SQL = Path(__file__).parent / "sql"

# The lists are read in pages of this many rows, so that a large one never stands in memory twice.
_PAGE_ROWS = 5_000

_BEFORE_ALL = -1

# A query of these takes milliseconds; one that hangs must not look like a list that is fresh.
_TIMEOUT_SECONDS = 30.0


class ListRow(NamedTuple):
    """One Do-Not-Call list. No organization: shared by all tenants; no `last_updated`: never loaded."""

    id: uuid.UUID
    organization_id: uuid.UUID | None
    version: int
    last_updated: datetime | None
    active: bool


class EntryRow(NamedTuple):
    """One number of a list. `organization_id` is set in a shared list for the entries of one tenant alone."""

    phone_number: str
    organization_id: uuid.UUID | None
    reason: str | None
    date_added: datetime
    expiry_date: datetime | None
    active: bool


class Changes(NamedTuple):
    """Entries of a list: all of them if `is_whole`, else those that changed since the version known here.

    `total` is how many active entries the list has.
    """

    is_whole: bool
    entries: list[EntryRow]
    total: int


class Snapshot(NamedTuple):
    """The lists as they stood at one moment, and the changes of those whose version had moved."""

    lists: list[ListRow]
    changes: dict[uuid.UUID, Changes]


def _queries() -> Mapping[str, str]:
    return load_queries(_SQL / "dnc.sql")


class DncReader:
    """Reads lists over one connection, which is made anew when it breaks."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def read(self, known: Mapping[uuid.UUID, int]) -> Snapshot:
        """What changed since the versions that are `known`.

        A list whose version went on by one is read from there; any other step reads it whole.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        try:
            return await self._read(known)
        except (asyncpg.PostgresError, *AWAY) as error:
            await self.close()
            raise DatabaseUnavailable from error

    async def _read(self, known: Mapping[uuid.UUID, int]) -> Snapshot:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, command_timeout=_TIMEOUT_SECONDS, timeout=_TIMEOUT_SECONDS
            )
        connection = self._connection
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = [ListRow(*row) for row in await connection.fetch(_queries()["lists"])]
            changes = {
                row.id: await self._changes(connection, row, known.get(row.id))
                for row in rows
                if row.last_updated is not None and known.get(row.id) != row.version
            }
        return Snapshot(rows, changes)

    async def _changes(
        self, connection: asyncpg.Connection[asyncpg.Record], row: ListRow, known: int | None
    ) -> Changes:
        is_whole = known is None or row.version != known + 1
        entries = await self._entries(connection, row.id, _BEFORE_ALL if is_whole or known is None else known)
        total = await connection.fetchval(_queries()["count_entries"], row.id)
        return Changes(is_whole, entries, total)

    async def _entries(
        self, connection: asyncpg.Connection[asyncpg.Record], list_id: uuid.UUID, version: int
    ) -> list[EntryRow]:
        cursor = connection.cursor(_queries()["entries_since"], list_id, version, prefetch=_PAGE_ROWS)
        return [EntryRow(*row) async for row in cursor]

    async def close(self) -> None:
        """Close the connection; the next read makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
