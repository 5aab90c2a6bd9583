"""The tasks' one way to PostgreSQL: named statements from `tasks/sql/`, and connections that cannot hang."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg

from sluice.errors import DatabaseUnavailable
from sluice.postgres import AWAY, is_away
from sluice.settings import Settings
from sluice.sql import load_queries

SQL = Path(__file__).resolve().parent / "sql"

CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 60.0
"""Longer than any statement here takes; a server that went away without a word is noticed by it."""


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def statements(name: str) -> Mapping[str, str]:
    """The statements of `tasks/sql/<name>.sql` by their names."""
    return load_queries(SQL / f"{name}.sql")


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connection]:
    """A connection as the workers' role, which is above row security and names the organization itself.

    Raises:
        DatabaseUnavailable: the server does not answer, or leaves while it is used. A statement that is
            wrong stays what it is.
    """
    dsn = settings.sink_database_url.get_secret_value()
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS)
        try:
            yield connection
        finally:
            # close() would wait for the answer of a server that is gone.
            connection.terminate()
    except (asyncpg.PostgresError, *AWAY) as error:
        if is_away(error):
            raise DatabaseUnavailable from error
        raise
