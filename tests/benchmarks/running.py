"""A stack of its own for a benchmark, tenants on it, and imports that are timed."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from cli.commands.token import token_for
from ingress.commands.accounts import ensure_account
from sluice.broker import partition_of
from sluice.settings import Settings
from sluice.topics import PARTITIONS
from tasks import dnc
from tests.acceptance.client import Tenant
from tests.acceptance.conftest import ROLES
from tests.benchmarks.contacts import contacts_file, listed_numbers
from tests.benchmarks.processes import Usage
from tests.benchmarks.profiling import Asked, Samples, merged, recorded, report
from tests.integration.stack import LocalStack

Facts = dict[str, Any]

LISTED = 100_000
"""Numbers on the company's Do-Not-Call list."""

SMALL_AT = 3_000_000
WARM_UP_ROWS = 20_000
WARM_UP_AT = 4_000_000
TENANT_WARM_UP_AT = 4_500_000
"""Numbers of rows from which on no large file holds any."""

PATIENCE_SECONDS = 1_200
START_SECONDS = 600
"""On a machine that others keep busy too."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured, and of which processes the functions are counted."""

    rows: int = 200_000
    rounds: int = 5
    profile: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True)
class Leg:
    """One timed piece of work: `rows` in `seconds`, and who used the CPU meanwhile."""

    rows: int
    seconds: float
    usage: Usage
    samples: Samples

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


@dataclass(slots=True)
class Running:
    """A running stack, a connection that sees every tenant, and a session for the API."""

    stack: LocalStack
    database: asyncpg.Connection[asyncpg.Record]
    session: aiohttp.ClientSession
    settings: Settings
    options: Options
    _names: itertools.count[int]

    async def tenant(self, partition: int | None = None) -> Tenant:
        """A new organization and a token for it; its id falls on `partition` of the pipeline's topics."""
        while True:
            name = f"Organization {next(self._names)}"
            account = await ensure_account(self.settings, organization=name, user="Operator", role="admin")
            organization_id = str(account.organization_id)
            if partition is None or partition_of_organization(organization_id) == partition:
                token = token_for(self.settings, account)
                return Tenant(self.stack.api, token, organization_id, self.session)

    async def load_company_list(self, tenant: Tenant, rows: int, count: int = LISTED) -> UUID:
        """The tenant's Do-Not-Call list: one in a hundred of a file's `rows` is on it."""
        target = dnc.Target("Company", "company", UUID(tenant.organization_id))
        entries = (dnc.Entry(number, "asked") for number in listed_numbers(rows, count))
        loaded = await dnc.load(self.database, target, entries, replace=False, now=datetime.now(UTC))
        return loaded.list_id

    async def remove_list(self, list_id: UUID) -> None:
        """So that the lists of earlier rounds take no memory from later ones."""
        await self.database.execute("DELETE FROM dnc_lists WHERE id = $1", list_id)

    async def warm_up(self) -> None:
        """A cold process is no measure of a running one: an import by a tenant of its own."""
        tenant = await self.tenant()
        await self.import_file(tenant, contacts_file(WARM_UP_ROWS, WARM_UP_AT))

    async def warm_up_tenant(self, tenant: Tenant) -> None:
        """Ten rows of no measured file: the workers then hold the tenant's lists, as in any real use."""
        await self.import_file(tenant, contacts_file(10, TENANT_WARM_UP_AT))

    async def import_file(self, tenant: Tenant, content: bytes) -> dict[str, Any]:
        """`POST /api/contacts/import`, overwriting, which answers when all is readable.

        The answer is waited for, never asked for: questions would be paid by the import.
        """
        form = aiohttp.FormData({"duplicate_handling": "overwrite"})
        form.add_field("file", io.BytesIO(content), filename="contacts.csv", content_type="text/csv")
        address = f"{tenant.api}/api/contacts/import"
        async with self.session.post(address, data=form, headers=tenant.headers) as answer:
            body: dict[str, Any] = await answer.json()
            assert (answer.status, body["status"]) == (200, "completed"), body
            return body

    async def timed_import(self, tenant: Tenant, content: bytes, expected: dict[str, int]) -> Leg:
        """One import from request to end. `expected` outcomes are checked: a fast wrong one is no result."""
        return await self.timed_imports([(tenant, content)], expected)

    async def timed_imports(self, files: Sequence[tuple[Tenant, bytes]], expected: dict[str, int]) -> Leg:
        """Imports at once, from the first request to the last end; each must have the same outcomes."""
        await self.settle()
        async with recorded(self.stack, self.options.profile) as samples:
            before = Usage.of(self.stack)
            started = time.perf_counter()
            answers = await asyncio.gather(*(self.import_file(*each) for each in files))
            seconds = time.perf_counter() - started
            usage = Usage.of(self.stack).since(before)
        for answer in answers:
            found = {outcome: count for outcome, count in answer["outcomes"].items() if count}
            assert found == expected, (found, expected)
        return Leg(sum(expected.values()) * len(files), seconds, usage, samples)

    async def settle(self) -> None:
        """Let the database write what earlier work left, so that no leg pays for another."""
        await self.database.execute("CHECKPOINT")
        await asyncio.sleep(0.5)

    def unused_rows(self, rows: int) -> int:
        """The first of so many numbers of rows that no other file of this stack holds."""
        return SMALL_AT + rows * next(self._names)

    async def empty_contacts(self) -> None:
        """Every round begins with the same empty table, as the limit's is."""
        await self.database.execute("TRUNCATE contacts CASCADE")


def partition_of_organization(organization_id: str) -> int:
    """Where its rows go."""
    return partition_of(organization_id.encode(), PARTITIONS)


@asynccontextmanager
async def running(
    options: Options, roles: Sequence[str] = ROLES, **environment: str
) -> AsyncIterator[Running]:
    """A stack of our own, up and down."""
    waits = {"IMPORT_WAIT_SECONDS": str(PATIENCE_SECONDS)}
    given = {"ENABLE_RATE_LIMITING": "false", **waits, **environment}
    stack = await asyncio.to_thread(
        LocalStack.start, roles=roles, environment=given, timeout_seconds=START_SECONDS
    )
    try:
        database = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS)) as session:
            yield Running(stack, database, session, stack.settings(), options, itertools.count(1))
        await database.close()
    finally:
        await asyncio.to_thread(stack.stop)


def show(name: str, **facts: Any) -> None:
    """One JSON object on a line of its own."""
    print(json.dumps({"benchmark": name, **facts}, ensure_ascii=False), flush=True)


def cpu_facts(legs: Sequence[Leg]) -> Facts:
    """µs of CPU a row by process over all legs, and what was asked to be counted within one."""
    rows = sum(leg.rows for leg in legs)
    names = sorted({name for leg in legs for name in leg.usage.by_process})
    per_row = {
        name: round(sum(leg.usage.by_process.get(name, 0.0) for leg in legs) / rows * 1e6, 1)
        for name in names
    }
    facts: Facts = {
        "cpu_us_per_row": dict(sorted(per_row.items(), key=lambda each: -each[1])),
        "cpu_us_per_row_in_all": round(sum(per_row.values()), 1),
        "cores_used_by_others": [round(leg.usage.by_others, 2) for leg in legs],
    }
    return facts


def profile_facts(legs: Sequence[Leg], asked: Asked) -> Facts:
    """By process what was asked to be looked into."""
    rows = sum(leg.rows for leg in legs)
    found = {
        process: merged([leg.usage for leg in legs], [leg.samples for leg in legs], process)
        for process in asked.processes
    }
    return {
        f"profile_of_{process}": report(process, usage, stacks, rows)
        for process, (usage, stacks) in found.items()
    }
