"""An import of many contacts through the whole system, against the least that PostgreSQL would need."""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import psutil

from sluice.rules import OnDuplicate
from tests.acceptance.client import Tenant, new_tenant
from tests.integration.stack import LocalStack

HEADER = [
    "First Name",
    "Last Name",
    "Email",
    "Phone",
    "Company",
    "Job Title",
    "Address",
    "City",
    "State",
    "Zip",
    "Country",
]
FIELDS = [
    "first_name",
    "last_name",
    "email",
    "phone",
    "company",
    "title",
    "address",
    "city",
    "state",
    "zip",
    "country",
]
TRANSACTION_ROWS = 2_000

Facts = dict[str, Any]


def contacts_file(rows: int, seed: int = 1) -> bytes:
    """Realistic rows, every e-mail and phone once; US numbers in the notations that people use."""
    chance = random.Random(seed)
    first = ["Ana", "Bo", "Chloë", "Dmitri", "Eve", "Farid", "Grace", "Hiro", "Inès", "José"]
    last = ["Nguyen", "Smith", "García", "O'Neil", "Müller", "Kim", "Okafor", "Rossi", "Silva", "Young"]
    cities = [("Austin", "TX"), ("Boston", "MA"), ("Chicago", "IL"), ("Denver", "CO"), ("Miami", "FL")]
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for number in range(rows):
        area = ("212", "310", "415", "512", "617")[number % 5]
        local = 2_000_000 + number
        digits = f"{area}{local}"
        phone = (
            digits
            if number % 3 == 0
            else f"({area}) {digits[3:6]}-{digits[6:]}"
            if number % 3 == 1
            else f"+1{digits}"
        )
        given, family = chance.choice(first), chance.choice(last)
        city, state = chance.choice(cities)
        writer.writerow(
            [
                given,
                family,
                f"{given[:2].lower()}{number}@example{number % 40}.com",
                phone,
                f"Company {number % 5000}",
                "Manager",
                f"{number % 999} Main Street",
                city,
                state,
                f"{number % 99999:05d}",
                "US",
            ]
        )
    return out.getvalue().encode()


async def import_against_limit(stack: LocalStack, rows: int) -> list[tuple[str, Facts]]:
    """First import and unchanged re-import, each as a share of the limit's rows per second, in one run."""
    content = contacts_file(rows)
    database = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    limit_before = await limit_seconds(database, content)
    async with aiohttp.ClientSession() as session:
        # A cold process is no measure of a running one.
        warm = new_tenant(stack, session, "warm up")
        await timed_import(warm, contacts_file(5_000, seed=2))
        tenant = new_tenant(stack, session, "bench")
        first, cpu = await measured(stack, tenant, content)
        again, cpu_again = await measured(stack, tenant, content, on_duplicate=OnDuplicate.OVERWRITE)
    limit_after = await limit_seconds(database, content)
    await database.close()
    limit = (limit_before + limit_after) / 2
    return [
        (
            "first import against the limit",
            {
                "rows": rows,
                "ratio": round(limit / first, 3),
                "rows_per_second": round(rows / first),
                "limit_rows_per_second": [round(rows / limit_before), round(rows / limit_after)],
                "cpu_us_per_row": per_row(cpu, rows),
            },
        ),
        (
            "the same file again, unchanged, against its first import",
            {
                "rows": rows,
                "ratio": round(first / again, 3),
                "rows_per_second": round(rows / again),
                "cpu_us_per_row": per_row(cpu_again, rows),
            },
        ),
    ]


async def measured(
    stack: LocalStack, tenant: Tenant, content: bytes, **options: str
) -> tuple[float, dict[str, float]]:
    """Seconds of one import from request to end, and CPU seconds of each process meanwhile."""
    before = cpu_seconds(stack)
    seconds = await timed_import(tenant, content, **options)
    after = cpu_seconds(stack)
    return seconds, {name: after[name] - before.get(name, 0.0) for name in after}


async def timed_import(tenant: Tenant, content: bytes, **options: str) -> float:
    started = time.perf_counter()
    job = await tenant.upload(content, **options)
    ended = await tenant.wait(job["id"], 600)
    assert ended["state"] == "completed", ended
    return time.perf_counter() - started


def cpu_seconds(stack: LocalStack) -> dict[str, float]:
    """User and system time of every process of the stack, children included."""
    return {each.name: _cpu(each.pid) for each in stack.state().processes}


def _cpu(pid: int) -> float:
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
    return total


def per_row(cpu: Mapping[str, float], rows: int) -> dict[str, float]:
    return {name: round(seconds / rows * 1e6, 1) for name, seconds in cpu.items()}


async def limit_seconds(database: asyncpg.Connection[asyncpg.Record], content: bytes) -> float:
    """csv, COPY into a staging table, INSERT ... ON CONFLICT, 2,000 rows a transaction, one connection.

    The table is made like contacts, with all its indexes and checks, and dropped again.
    """
    await database.execute("CREATE TABLE limit_contacts (LIKE contacts INCLUDING ALL)")
    columns = ["id", "organization_id", "created_by", "phone_formatted", *FIELDS]
    names = ", ".join(columns)
    await database.execute(
        f"CREATE TEMP TABLE limit_staging ON COMMIT DELETE ROWS AS SELECT {names} FROM contacts WITH NO DATA"
    )
    organization, user = uuid4(), uuid4()
    started = time.perf_counter()
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    next(rows)
    batch: list[tuple[Any, ...]] = []

    async def write() -> None:
        async with database.transaction():
            await database.copy_records_to_table("limit_staging", records=batch, columns=columns)
            await database.execute(
                f"INSERT INTO limit_contacts ({names}) SELECT {names} FROM limit_staging "
                "ON CONFLICT DO NOTHING"
            )
        batch.clear()

    for number, row in enumerate(rows):
        batch.append((UUID(int=number), organization, user, "+1" + _digits(row[3]), *row))
        if len(batch) == TRANSACTION_ROWS:
            await write()
    if batch:
        await write()
    seconds = time.perf_counter() - started
    assert await database.fetchval("SELECT count(*) FROM limit_contacts") == number + 1
    await database.execute("DROP TABLE limit_contacts; DROP TABLE limit_staging")
    return seconds


def _digits(phone: str) -> str:
    return phone.translate(_NO_SIGNS)[-10:]


_NO_SIGNS = str.maketrans("", "", "+()- ")
