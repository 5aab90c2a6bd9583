"""The reader while what it needs is killed: it waits, and nothing is lost, doubled or failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.reader_world import World, open_world, own_database, running_reader, running_sink
from tests.integration.stack import LocalStack
from tests.integration.test_reader import emails, people

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def servers() -> Iterator[LocalStack]:
    """Servers that may be killed: nobody else's."""
    with LocalStack.start() as started:
        yield started


@pytest.fixture(scope="module")
async def world(servers: LocalStack) -> AsyncIterator[World]:
    """A database on them."""
    async with own_database(servers) as env, open_world(env, servers.settings(**env)) as opened:
        yield opened


@pytest.mark.parametrize("server", ["kafka", "postgres", "s3"])
async def test_a_killed_server_only_delays_an_import(servers: LocalStack, world: World, server: str) -> None:
    """Each server is killed once in the middle of a file; every row arrives once, in order."""
    async with running_sink(world) as sink, running_reader(world) as reader:
        job_id = await world.job(people(150_000))
        await reader.reaches("sluice_batches_sent_total", 60)
        servers.kill(server)
        job = await world.until(job_id, "completed", seconds=120)
    assert (job["rows_read"], job["reason"], job["lease_epoch"]) == (150_000, None, 1)
    assert emails(sink.applied[str(job_id)]) == [f"person{n}@example.com" for n in range(1, 150_001)]
