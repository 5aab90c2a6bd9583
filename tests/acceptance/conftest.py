"""The whole system, as `make demo` runs it, for tests that use it as a customer does."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
import asyncpg
import pytest

from tests.acceptance.client import Tenant
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
        answer = json.loads(self.sluice("token", "--org", name, "--role", role, "--json"))
        return Tenant(self.stack.api, answer["token"], answer["organization_id"], self.session)

    def list_numbers(self, name: str, numbers: Sequence[str]) -> None:
        """Load a company Do-Not-Call list of an organization."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(numbers) + "\n")
            file.flush()
            self.sluice("dnc", "load", file.name, "--list", "Company", "--org", name)

    def sluice(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run the command line against this stack; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env={"PATH": "/usr/bin:/bin", "SLUICE_HOME": str(self.stack.layout.home), **self.stack.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode in codes, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout


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
