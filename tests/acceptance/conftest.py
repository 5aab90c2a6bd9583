"""The whole system, as `make demo` runs it, for tests that use it as a customer does."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
import asyncpg
import pytest

from tests.acceptance.client import Tenant, new_tenant, run_sluice
from tests.integration.stack import LocalStack

ROLES = ("ingress", "reader", "streams", "sink", "tasks")


@dataclass
class Running:
    """A running system, a connection that sees every tenant, and a session for the API."""

    stack: LocalStack
    database: asyncpg.Connection[asyncpg.Record]
    session: aiohttp.ClientSession

    async def tenant(self, name: str, role: str = "admin") -> Tenant:
        """A new organization and a token for it, as `sluice token` makes them."""
        return new_tenant(self.stack, self.session, name, role)

    def list_numbers(self, name: str, numbers: Sequence[str]) -> None:
        """Load a company Do-Not-Call list of an organization."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(numbers) + "\n")
            file.flush()
            self.sluice("dnc", "load", file.name, "--list", "Company", "--org", name)

    def sluice(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run the command line against this stack; what it prints."""
        return run_sluice(self.stack, *arguments, codes=codes)


@pytest.fixture(scope="session")
def running_stack() -> Iterator[LocalStack]:
    with LocalStack.start(roles=ROLES, environment={"ENABLE_RATE_LIMITING": "false"}) as stack:
        yield stack


@pytest.fixture(scope="session")
async def running(running_stack: LocalStack) -> AsyncIterator[Running]:
    database = await asyncpg.connect(running_stack.env["MIGRATE_DATABASE_URL"])
    async with aiohttp.ClientSession() as session:
        yield Running(running_stack, database, session)
    await database.close()
