"""The migration runner: numbered SQL files, each once, each in one transaction, never two runners at a time.

A file's name is `NNNN_what.sql`; the checksum of what ran is kept, and a file that changed afterwards is
refused, because a database would then depend on when it was made.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import asyncpg

from sluice.errors import DatabaseUnavailable, MigrationRefused

LOCK = 7_583_002_114
"""Advisory lock of all runners on one database: any number, but the same for ever."""

LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def migrate(dsn: str, directory: Path) -> list[str]:
    """Apply what has not run yet, in order of names; safe to repeat and to run at once. Returns what ran.

    Raises:
        MigrationRefused: a file that ran was changed or removed, or its SQL fails; nothing of it remains.
        DatabaseUnavailable: the database does not answer.
    """
    try:
        connection = await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable from error
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(LEDGER)
        return await _apply(connection, directory)
    finally:
        await connection.close()


async def _apply(connection: asyncpg.Connection[asyncpg.Record], directory: Path) -> list[str]:
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
    ran = {row["name"]: row["checksum"] for row in rows}
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.sql"))}
    for name, checksum in ran.items():
        if name not in files:
            raise MigrationRefused(problem=f"{name} ran on this database but is gone. Restore the file.")
        if _checksum(files[name]) != checksum:
            raise MigrationRefused(
                problem=f"{name} ran on this database and was changed since. Restore it; add a new file."
            )
    applied = []
    for name, sql in files.items():
        if name not in ran:
            await _apply_one(connection, name, sql)
            applied.append(name)
    return applied


async def _apply_one(connection: asyncpg.Connection[asyncpg.Record], name: str, sql: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(sql)
            await connection.execute(
                "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", name, _checksum(sql)
            )
    except asyncpg.PostgresError as error:
        raise MigrationRefused(problem=f"{name} failed and was rolled back: {error}") from error


def _checksum(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()
