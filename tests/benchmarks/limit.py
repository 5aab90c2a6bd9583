"""The limit: the least that PostgreSQL would need for the same rows."""

from __future__ import annotations

import csv
import io
import time
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.benchmarks.contacts import FIELDS

TRANSACTION_ROWS = 2_000

_COLUMNS = ["id", "organization_id", "created_by", "phone_formatted", *FIELDS]
_NAMES = ", ".join(_COLUMNS)


async def limit_seconds(database: asyncpg.Connection[asyncpg.Record], content: bytes) -> float:
    """csv, COPY into a staging table, INSERT ... ON CONFLICT, 2,000 rows a transaction, one connection.

    The table is made like contacts, with all its indexes and checks, and dropped again.
    """
    await database.execute("CREATE TABLE limit_contacts (LIKE contacts INCLUDING ALL)")
    await database.execute(
        f"CREATE TEMP TABLE limit_staging ON COMMIT DELETE ROWS AS SELECT {_NAMES} FROM contacts WITH NO DATA"
    )
    organization, user = uuid4(), uuid4()
    started = time.perf_counter()
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    next(rows)
    batch: list[tuple[Any, ...]] = []
    count = 0
    for count, row in enumerate(rows, start=1):
        batch.append((UUID(int=count), organization, user, "+1" + _digits(row[3]), *row))
        if len(batch) == TRANSACTION_ROWS:
            await _write(database, batch)
            batch = []
    if batch:
        await _write(database, batch)
    seconds = time.perf_counter() - started
    assert await database.fetchval("SELECT count(*) FROM limit_contacts") == count
    await database.execute("DROP TABLE limit_contacts; DROP TABLE limit_staging")
    return seconds


async def _write(database: asyncpg.Connection[asyncpg.Record], batch: list[tuple[Any, ...]]) -> None:
    async with database.transaction():
        await database.copy_records_to_table("limit_staging", records=batch, columns=_COLUMNS)
        await database.execute(
            f"INSERT INTO limit_contacts ({_NAMES}) SELECT {_NAMES} FROM limit_staging ON CONFLICT DO NOTHING"
        )


def _digits(phone: str) -> str:
    return phone.translate(_NO_SIGNS)[-10:]


_NO_SIGNS = str.maketrans("", "", "+()- ")
