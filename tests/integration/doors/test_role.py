"""The role as a process: it serves, it stops when told, and a request in its hands ends well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from cli.local.ports import Ports
from ingress.authentication import issue_token
from ingress.commands.accounts import ensure_account
from tests.integration.doors.api import form
from tests.integration.stack import Servers


@asynccontextmanager
async def role(stack: Servers, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`sluice run ingress` in a process of its own, once it answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        "run",
        "ingress",
        env={**os.environ, **stack.env, "API_PORT": str(port), "IMPORT_WAIT_SECONDS": "1"},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while not await _healthy(session, port):  # noqa: ASYNC110 - a process sends no event
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _healthy(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_role_stops_when_told(stack: Servers, number: signal.Signals) -> None:
    """Exit code 0, and a request that was on its way is answered first."""
    settings = stack.settings()
    account = await ensure_account(settings, organization="role", user="u", role="admin", tier="enterprise")
    token = issue_token(
        settings, user_id=account.user_id, organization_id=account.organization_id, role="admin"
    )
    port = Ports.free(0).api
    async with role(stack, port) as process, aiohttp.ClientSession() as session:

        async def slow() -> int:
            async with session.post(
                f"http://127.0.0.1:{port}/api/contacts/import",
                data=form(("file", b"Email\nann@example.com\n", "a.csv")),
                headers={"Authorization": f"Bearer {token}"},
            ) as answer:
                return answer.status

        waiting = asyncio.create_task(slow())
        await asyncio.sleep(0.5)
        process.send_signal(number)
        assert await process.wait() == 0
        assert await waiting == 202
