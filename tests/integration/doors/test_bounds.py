"""What one caller can make the API hold, keep or write down has a bound."""

from __future__ import annotations

import asyncio
import tracemalloc
import uuid

import pytest
from structlog.testing import capture_logs

from sluice.outcome import Outcome
from tests.integration.doors.api import Api, Tenant, apply_batch, running_api
from tests.integration.stack import Servers

V1 = "/v1/imports"
MEGABYTE = 1024 * 1024
HEADER = b"Email,Name\n"


async def test_a_row_as_long_as_the_file_is_told_in_little_memory(stack: Servers) -> None:
    """One row of 24 MB: it is answered, cut short, and never held whole."""
    async with running_api(stack, MAX_FILE_SIZE_MB="30", IMPORT_WAIT_SECONDS="0.5") as api:
        tenant = await api.tenant()
        job_id = await tenant.import_id(HEADER + b"ann@example.com," + b"x" * 24 * MEGABYTE + b"\n")
        await apply_batch(api, job_id, [Outcome.INVALID])
        tracemalloc.start()
        try:
            answer = await tenant.get(f"{V1}/{job_id}/rows/1")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert answer.status == 200
    assert answer.json["data"]["values"]["Email"] == "ann@example.com"
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("size", [100, 2 * MEGABYTE])
async def test_a_file_may_have_a_very_long_name(stack: Servers, size: int) -> None:
    """300 characters are stored like three, put whole or in parts, and the job keeps the name's end."""
    row = b"ann@example.com,Ann\n"
    async with running_api(stack, MAX_FILE_SIZE_MB="30", IMPORT_WAIT_SECONDS="0.5") as api:
        tenant = await api.tenant()
        # Three times 2 MB are two parts.
        answer = await tenant.upload(HEADER + row * (3 * size // len(row)), name="n" * 296 + ".csv")
    assert answer.status == 202, answer.text
    assert answer.json["data"]["file"]["name"].endswith("n.csv")


@pytest.mark.parametrize("path", [V1, "/api/contacts/import"])
async def test_a_body_that_trickles_is_ended(stack: Servers, path: str) -> None:
    """Never idle and never done: 400 when the whole body's time is over, no object, no job."""
    async with running_api(stack, body_seconds=0.5) as api:
        tenant = await api.tenant()
        before = await api.objects()
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tenant.token}\r\n"
            "Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: 100000\r\n\r\n"
            '--XX\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nEmail\n'.encode()
        )
        trickling = asyncio.create_task(_trickle(writer))
        async with asyncio.timeout(10):
            text = (await reader.readuntil(b"\r\n\r\n")).decode()
            body = (await reader.readuntil(b"}}")).decode()
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
        writer.close()
        assert text.startswith("HTTP/1.1 400 ")
        assert "BODY_INCOMPLETE" in body
        assert await api.objects() == before
        assert await tenant.jobs() == 0


async def _trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/zz/leak@pii-domain.com", "unmatched"), (f"{V1}/leak@pii-domain.com", f"{V1}/{{job_id}}")],
)
@pytest.mark.parametrize("known", [True, False])
async def test_an_address_is_not_written_down(
    api: Api, tenant: Tenant, path: str, kept: str, known: bool
) -> None:
    """Log and audit log have the route's own path, whoever calls: the caller's may hold personal data."""
    request_id = f"path-{uuid.uuid4()}"
    with capture_logs() as logs:
        answer = await api.call(
            "GET",
            path,
            token=tenant.token if known else "nonsense",
            headers={"X-Request-ID": request_id},
        )
        await api.services.audit.flush()
    assert answer.status == (404 if known else 401)
    entry = await api.database.fetchrow("SELECT * FROM audit_log WHERE request_id = $1", request_id)
    assert entry is not None
    assert entry["resource_id"] == kept
    assert any(line.get("resource_id") == kept for line in logs)
    assert "pii-domain" not in repr(logs) + repr(dict(entry))
