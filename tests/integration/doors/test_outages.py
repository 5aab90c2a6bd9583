"""A dependency that is away: 503 with Retry-After and nothing left, or no difference at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from cli.local.ports import Ports
from tests.integration.doors.api import Answer, running_api
from tests.integration.stack import Servers

S0, V1 = "/api/contacts/import", "/v1/imports"
FILE = b"Email\nann@example.com\n"


class Wire:
    """A way to a server that can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.cut = False
        self.cut_behind: bytes | None = None  # what the server is sent last
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.break_off()
        await self._server.wait_closed()

    def break_off(self) -> None:
        """Cut what is open, and refuse what comes."""
        self.cut = True
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                last = self.cut_behind is not None and self.cut_behind in data
                if last:
                    # The answer has no way back any more.
                    for other in self._open - {writer}:
                        other.transport.abort()
                    self.cut = True
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """A wire to the server of this address."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    wire = Wire(parts.hostname, parts.port)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.stop()


def assert_away(answer: Answer, says: str = "Nothing was lost") -> None:
    """503 and when to come back."""
    assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert says in answer.message


@pytest.mark.requirement("S0-037")
async def test_the_database_away_after_the_upload_leaves_no_object(stack: Servers) -> None:
    """The stored file is removed again; when the database is back, so are we."""
    url = stack.env["DATABASE_URL"]
    async with wire_to(url) as wire:
        through = url.replace(f":{urlsplit(url).port}/", f":{wire.port}/")
        async with running_api(stack, DATABASE_URL=through) as api:
            tenant = await api.tenant()
            assert (await tenant.upload(FILE)).status == 202
            before = await api.objects()

            wire.break_off()

            for path in (S0, V1):
                assert_away(await tenant.upload(FILE, path))
            assert_away(await tenant.get(V1))
            assert (await api.call("GET", "/health")).status == 503
            assert await api.objects() == before
            wire.cut = False
            assert (await tenant.upload(FILE)).status == 202
            assert await tenant.jobs() == 2
            await api.services.audit.flush()


@pytest.mark.requirement("S0-037", "S0-045")
async def test_a_job_whose_commit_nobody_confirmed_keeps_its_file(stack: Servers) -> None:
    """The database stored the job and went away before it said so: the job can still be read."""
    url = stack.env["DATABASE_URL"]
    async with wire_to(url) as wire:
        through = url.replace(f":{urlsplit(url).port}/", f":{wire.port}/")
        async with running_api(stack, DATABASE_URL=through) as api:
            tenant = await api.tenant()
            assert (await tenant.get(V1)).status == 200
            wire.cut_behind = b"COMMIT"

            assert_away(await tenant.upload(FILE), says="may or may not be done")

            wire.cut_behind, wire.cut = None, False
            async with asyncio.timeout(10):
                while not await tenant.jobs():  # noqa: ASYNC110 - the server may still be at it
                    await asyncio.sleep(0.05)
            part = await api.database.fetchrow(
                "SELECT * FROM import_parts WHERE organization_id = $1", tenant.account.organization_id
            )
            assert part is not None
            assert await api.services.store.read(part["object_key"], part["etag"], 0, len(FILE)) == FILE


@pytest.mark.requirement("S0-037")
async def test_the_store_away_is_told_and_leaves_no_job(stack: Servers) -> None:
    """503 on both doors; what needs no store goes on."""
    nowhere = f"http://127.0.0.1:{Ports.free(0).s3}"
    async with running_api(stack, S3_ENDPOINT_URL=nowhere) as api:
        tenant = await api.tenant()
        for path in (S0, V1):
            assert_away(await tenant.upload(FILE, path))
        assert await tenant.jobs() == 0
        assert (await tenant.get(V1)).status == 200
        health = await api.call("GET", "/health")
        assert (health.status, health.json["services"]["s3"]) == (503, "unhealthy")


@pytest.mark.requirement("S0-037")
async def test_the_broker_away_loses_no_job(stack: Servers) -> None:
    """The job is in the database and readers poll, so the import is accepted all the same."""
    nowhere = f"127.0.0.1:{Ports.free(0).kafka}"
    async with running_api(stack, KAFKA_BOOTSTRAP_SERVERS=nowhere) as api:
        tenant = await api.tenant()
        assert (await tenant.upload(FILE)).status == 202
        assert await tenant.jobs() == 1
        health = await api.call("GET", "/health")
        assert (health.status, health.json["status"]) == (200, "degraded")
        assert health.json["services"]["queue"] == "unhealthy"


async def test_health_tells_of_every_service(stack: Servers) -> None:
    """S4's shape; metrics and the API's description answer without a token too."""
    async with running_api(stack) as api:
        health = await api.call("GET", "/health")
        assert health.status == 200
        assert set(health.json) == {"status", "timestamp", "services", "metrics"}
        assert health.json["status"] == "healthy"
        assert health.json["services"] == dict.fromkeys(("database", "redis", "s3", "queue"), "healthy")
        assert set(health.json["metrics"]) == {"uptime", "memory_usage", "cpu_usage"}
        metrics = (await api.call("GET", "/metrics")).text
        assert 'sluice_http_requests_total{method="GET",route="/health",status="200"} 1.0' in metrics
        assert (await api.call("GET", "/v1/openapi.json")).json["openapi"] == "3.1.0"
        page = await api.call("GET", "/docs")
        assert page.headers["Content-Type"].startswith("text/html")
        assert "http://" not in page.text
        assert "https://" not in page.text
