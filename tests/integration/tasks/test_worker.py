"""The role as a process: it starts, says that it is ready, relays, and leaves when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from sluice.events import DncChanged
from tests.integration.stack import Servers
from tests.integration.tasks.conftest import eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def worker(stack: Servers, port: int, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """`sluice run tasks` for the length of a block."""
    environment = {**os.environ, **stack.env, "METRICS_PORT": str(port), **changes}
    process = subprocess.Popen([sys.executable, "-m", "cli.main", "run", "tasks"], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def health(port: int) -> dict[str, Any]:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/health") as answer,
        ):
            return {**await answer.json(), "code": answer.status}
    except aiohttp.ClientError:
        return {"code": 0}


async def wait_for(port: int, **facts: object) -> None:
    async def holds() -> bool:
        found = await health(port)
        return all(found.get(name) == value for name, value in facts.items())

    await eventually(holds, 30)


@pytest.mark.requirement("B-07")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_role_relays_and_leaves_in_peace(
    stack: Servers, database: Any, number: signal.Signals
) -> None:
    """Ready, a record relayed, the metric counted, and exit code 0 within seconds."""
    port = free_port()
    event = DncChanged(list_id="l", version=1, changed_at=1)
    with worker(stack, port) as process:
        await wait_for(port, code=200, relaying=True)
        await database.execute(
            "INSERT INTO outbox (topic, key, event) VALUES ('dnc.changed.v1', 'l', $1::text::jsonb)",
            msgspec.json.encode(event).decode(),
        )

        async def relayed() -> bool:
            return bool(await database.fetchval("SELECT count(*) = 0 FROM outbox"))

        await eventually(relayed)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            assert b'sluice_outbox_events_total{topic="dnc.changed.v1"} 1.0' in await answer.read()
        process.send_signal(number)
        assert process.wait(10) == 0


@pytest.mark.requirement("S0-037")
async def test_the_role_waits_for_what_is_away(stack: Servers, database: Any) -> None:
    """Neither registry, broker nor database has to be there first; it says so and still leaves when told."""
    del database
    port = free_port()
    with worker(
        stack, port, SCHEMA_REGISTRY_URL="http://127.0.0.1:1", S3_ENDPOINT_URL="http://127.0.0.1:1"
    ) as process:
        await wait_for(port, code=503)

        async def says_so() -> bool:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/metrics") as answer,
            ):
                text = await answer.read()
            return all(
                f'sluice_waiting{{dependency="{each}"}} 1.0'.encode() in text
                for each in ("registry", "store")
            )

        await eventually(says_so, 40)
        assert process.poll() is None
        process.terminate()
        assert process.wait(15) == 0
