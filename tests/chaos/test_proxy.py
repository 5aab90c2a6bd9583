"""The fault proxies: what they do on purpose, and that they do nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from ingress.store import open_store
from sluice.errors import StoreUnavailable
from tests.chaos.proxied import moved
from tests.chaos.proxy import HttpProxy, LoopThread, PostgresProxy
from tests.chaos.proxy.http import Fault
from tests.chaos.proxy.postgres import ClientMessages
from tests.integration.stack import Servers

Connection = Any
BROKEN = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    with LoopThread() as running:
        yield running


@pytest.fixture
def postgres(stack: Servers, thread: LoopThread) -> Iterator[PostgresProxy]:
    server = urlsplit(stack.env["MIGRATE_DATABASE_URL"])
    assert server.hostname
    assert server.port
    proxy = PostgresProxy(thread, server.hostname, server.port)
    yield proxy
    proxy.stop()


@pytest.fixture
async def proxied(stack: Servers, postgres: PostgresProxy) -> AsyncIterator[Connection]:
    """A connection through the proxy, with a table of its own."""
    dsn = moved(stack.env["MIGRATE_DATABASE_URL"], postgres.start())
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS proxied (n integer)")
    await connection.execute("TRUNCATE proxied")
    yield connection
    connection.terminate()


@pytest.fixture
async def straight(stack: Servers) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    yield connection
    await connection.execute("DROP TABLE IF EXISTS proxied")
    await connection.close()


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_messages_are_found_however_they_are_cut(step: int) -> None:
    """A start, a COPY piece and a COMMIT are told apart in pieces of any size."""
    start = (8).to_bytes(4) + (80877103).to_bytes(4) + (12).to_bytes(4) + (196608).to_bytes(4) + b"abcd"
    sync, copy, commit = (
        b"S" + (4).to_bytes(4),
        b"d" + (504).to_bytes(4) + bytes(500),
        b"Q\0\0\0\x0cCOMMIT;\0",
    )
    data = start + sync + copy + commit + sync
    messages = ClientMessages()
    found = [each for at in range(0, len(data), step) for each in messages.feed(data[at : at + step])]
    assert [letter for letter, _ in found] == [b"S", b"d", b"Q", b"S"]
    assert found[2][1] == b"COMMIT;\0"


async def test_a_passing_proxy_changes_nothing(proxied: Connection) -> None:
    """Queries, transactions and a COPY of a megabyte come through as they are."""
    async with proxied.transaction():
        await proxied.copy_records_to_table("proxied", records=[(n,) for n in range(100_000)])
    assert await proxied.fetchval("SELECT sum(n) FROM proxied") == sum(range(100_000))


async def test_a_lost_reply_leaves_the_commit_in_place(
    proxied: Connection, straight: Connection, postgres: PostgresProxy
) -> None:
    """The client sees a broken connection at COMMIT, and what it wrote is there."""
    postgres.replies_to_lose = 1
    with pytest.raises(BROKEN):
        async with proxied.transaction():
            await proxied.execute("INSERT INTO proxied VALUES (1)")
    assert await straight.fetchval("SELECT count(*) FROM proxied") == 1
    assert postgres.bites == {"reply lost": 1}


async def test_a_copy_that_is_cut_leaves_nothing(
    proxied: Connection, straight: Connection, postgres: PostgresProxy
) -> None:
    """The connection is reset in the middle of a COPY, and none of its rows are there."""
    postgres.copies_to_cut = 1
    with pytest.raises(BROKEN):
        await proxied.copy_records_to_table("proxied", records=[(n,) for n in range(200_000)])
    assert await straight.fetchval("SELECT count(*) FROM proxied") == 0
    assert postgres.bites == {"cut in COPY": 1}


async def test_a_cut_is_seen_at_once(proxied: Connection, postgres: PostgresProxy) -> None:
    """A query in flight ends with a broken connection, not with silence."""
    waiting = asyncio.create_task(proxied.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.1)
    assert postgres.cut() == 1
    with pytest.raises(BROKEN):
        await asyncio.wait_for(waiting, 5)


async def test_a_black_hole_keeps_what_it_swallows(proxied: Connection, postgres: PostgresProxy) -> None:
    """While it is paused nothing is answered; then everything is, in order."""
    postgres.pause()
    waiting = asyncio.create_task(proxied.fetchval("SELECT 7"))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    postgres.resume()
    assert await asyncio.wait_for(waiting, 5) == 7
    assert postgres.bites["held"] >= 1


async def test_a_refusing_proxy_resets_new_connections(stack: Servers, postgres: PostgresProxy) -> None:
    """Nobody gets in while it refuses, and everybody does afterwards."""
    dsn = moved(stack.env["MIGRATE_DATABASE_URL"], postgres.start())
    postgres.refusing = True
    with pytest.raises(BROKEN):
        await asyncpg.connect(dsn)
    postgres.heal()
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT 1") == 1
    connection.terminate()


async def test_signed_calls_pass_and_faults_are_as_asked_for(stack: Servers, thread: LoopThread) -> None:
    """Through the proxy S3 accepts the signatures; 503 and a reset are an outage, a cut body is a half."""
    proxy = HttpProxy(thread, stack.env["S3_ENDPOINT_URL"])
    settings = stack.settings(S3_ENDPOINT_URL=f"http://127.0.0.1:{proxy.start()}")
    content = bytes(range(256)) * 4096
    try:
        async with open_store(settings) as store:
            etag = await store.put("proxied/object", content)
            upload = await store.begin("proxied/in parts")
            part = await store.put_part("proxied/in parts", upload, 1, content)
            await store.complete("proxied/in parts", upload, [part])
            assert await store.read("proxied/object", etag, 0, len(content)) == content
            for fault, bite in ((Fault("status", status=503), "503"), (Fault("drop"), "dropped")):
                proxy.faults = (fault,)
                with pytest.raises(StoreUnavailable):
                    await store.read("proxied/object", etag, 0, len(content))
                assert proxy.bites[bite] > 0
            proxy.faults = (Fault("cut"),)
            half = content[: len(content) // 2]
            assert await store.read("proxied/object", etag, 0, len(content)) == half
            assert proxy.bites["cut"] == 1
            proxy.heal()
            assert await store.read("proxied/object", etag, 5, 9) == content[5:9]
            await store.delete("proxied/object")
            await store.delete("proxied/in parts")
    finally:
        proxy.stop()


async def test_a_slow_body_comes_at_the_pace_that_was_asked_for(thread: LoopThread) -> None:
    """2 kB at 4 kB a second take half a second; a fault that meets a share leaves the others alone."""

    async def two_kilobytes(request: web.BaseRequest) -> web.Response:
        return web.Response(body=bytes(2048))

    runner = web.ServerRunner(web.Server(two_kilobytes))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy = HttpProxy(thread, f"http://127.0.0.1:{runner.addresses[0][1]}", seed=4)
    url = f"http://127.0.0.1:{proxy.start()}/"
    loop = asyncio.get_running_loop()
    try:
        async with aiohttp.ClientSession() as session:
            proxy.faults = (Fault("slow", bytes_per_second=4096),)
            began = loop.time()
            async with session.get(url) as answer:
                assert len(await answer.read()) == 2048
            assert loop.time() - began >= 0.4
            proxy.faults = (Fault("status", share=0.5),)
            statuses = []
            for _ in range(40):
                async with session.get(url) as answer:
                    statuses.append(answer.status)
        assert 8 < statuses.count(500) < 32
        assert statuses.count(500) + statuses.count(200) == 40
    finally:
        proxy.stop()
        await runner.cleanup()
