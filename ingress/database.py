"""The API's one way to PostgreSQL: named statements from `ingress/sql/`, transactions under row security."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg

from sluice.errors import DatabaseUnavailable
from sluice.postgres import AWAY, is_away
from sluice.sql import load_queries

SQL = Path(__file__).resolve().parent / "sql"

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
"""Longer than any statement here takes; a server that went away without a word is noticed by it."""

CONNECTIONS = 12

# As texts: asyncpg's classes are generic for the type checker only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pooled: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record


class CommitUnknown(DatabaseUnavailable):
    """The database left while it stored the request: it may or may not be done. Look, then try again."""


def statements(name: str) -> Mapping[str, str]:
    """The statements of `ingress/sql/<name>.sql` by their names."""
    return load_queries(SQL / f"{name}.sql")


class Database:
    """A pool of connections as the API's role, which is under row security."""

    def __init__(self, dsn: str, *, connections: int = CONNECTIONS) -> None:
        self._dsn = dsn
        self._connections = connections
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Make the pool; nothing is connected before it is needed, so this works while the server is away."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._connections,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            reset=_nothing_to_reset,
            # Only plain UUIDs and constants are put into the statement that opens a transaction, and plans
            # of a few dozen fixed statements are all there is to cache.
            max_cacheable_statement_size=64 * 1024,
        )

    async def close(self) -> None:
        """Close every connection; those in use are cut off."""
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def acting_for(
        self, organization_id: uuid.UUID | None, user_id: uuid.UUID | None
    ) -> AsyncIterator[Pooled]:
        """A transaction in which row security shows what this organization and user may see, and no more.

        It commits at the end of the block and rolls back when the block raises.

        Raises:
            DatabaseUnavailable: the server does not answer, or leaves while the transaction runs.
            CommitUnknown: it left while it was asked to commit.
        """
        assert self._pool is not None, "open() comes first"
        with unavailable():
            connection = await self._pool.acquire(timeout=CONNECT_SECONDS)
            try:
                try:
                    await connection.execute(_opening(organization_id, user_id))
                    yield connection
                except BaseException:
                    await _roll_back(connection)
                    raise
                with unavailable(CommitUnknown):
                    await connection.execute("COMMIT")
            finally:
                # One that is broken or still in a transaction is closed by the pool, not given on.
                await asyncio.shield(self._pool.release(connection, timeout=CONNECT_SECONDS))

    async def check(self) -> None:
        """Return when the server answers. Raises DatabaseUnavailable."""
        async with self.acting_for(None, None) as connection:
            await connection.execute("SELECT 1")


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """One connection with one transaction, for the command line's work. Raises DatabaseUnavailable."""
    with unavailable():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS)
        try:
            async with connection.transaction():
                yield connection
        finally:
            connection.terminate()


@contextmanager
def unavailable(kind: type[DatabaseUnavailable] = DatabaseUnavailable) -> Iterator[None]:
    """Translate what asyncpg raises when the server is away; a statement that is wrong stays what it is."""
    try:
        yield
    except (asyncpg.PostgresError, *AWAY) as error:
        if is_away(error):
            raise kind from error
        raise


def _opening(organization_id: uuid.UUID | None, user_id: uuid.UUID | None) -> str:
    """One round trip: begin, and say for whom. The values are UUIDs, so they need no quoting."""
    return (
        f"BEGIN; SET LOCAL sluice.organization_id = '{organization_id or ''}';"
        f" SET LOCAL sluice.user_id = '{user_id or ''}'"
    )


async def _roll_back(connection: Pooled) -> None:
    try:
        await asyncio.shield(connection.execute("ROLLBACK"))
    except (asyncpg.PostgresError, *AWAY):
        connection.terminate()


async def _nothing_to_reset(connection: object) -> None:
    """Everything is set with SET LOCAL, so the usual reset would be a round trip for nothing."""
