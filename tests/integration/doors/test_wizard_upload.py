"""Step 1 and 2 of the wizard: a file is announced and goes straight to the store."""

from __future__ import annotations

import asyncio
import io
import re
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.integration.doors.api import Api, Tenant
from tests.integration.doors.wizard import (
    CSV,
    FILE,
    XLSX,
    announce,
    post,
    put,
)
from tests.integration.stack import Servers


@pytest.mark.requirement(
    "S1-001", "S1-034", "S1-037", "S1-058", "S1-059", "S1-060", "S1-064", "S1-065", "K-36"
)
async def test_an_announced_file_may_be_put_to_the_store(tenant: Tenant) -> None:
    """The answer has the document's three names; the URL holds an hour; the job waits for its file."""
    answer = await post(
        tenant, "/api/upload", {"filename": "my contacts (1).CSV", "fileType": CSV, "fileSize": len(FILE)}
    )
    assert answer.status == 200
    told = answer.json
    assert re.fullmatch(r"uploads/\d{13}-[0-9a-z]+-my_contacts__1_\.CSV", told["s3Key"])
    file_id = told["fileId"]
    assert file_id.startswith("file_")
    assert uuid.UUID(file_id.removeprefix("file_")).version == 4
    assert parse_qs(urlsplit(told["uploadUrl"]).query)["X-Amz-Expires"] == ["3600"]
    assert await put(tenant.api, told["uploadUrl"]) == 200
    assert (await tenant.api.services.store.head(told["s3Key"])).size_bytes == len(FILE)
    job = (await tenant.get(f"/v1/imports/{file_id}")).json["data"]
    assert (job["state"], job["file"]["name"]) == ("uploading", "my contacts (1).CSV")


@pytest.mark.requirement("S1-034")
async def test_the_url_is_bound_to_its_key_and_type(tenant: Tenant) -> None:
    """Another key, another content type or a changed expiry is not what was signed."""
    file = await announce(tenant)
    assert await put(tenant.api, file.url, content_type=XLSX) == 403
    assert await put(tenant.api, file.url.replace("contacts.csv", "other.csv")) == 403
    assert await put(tenant.api, file.url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200")) == 403
    assert await put(tenant.api, file.url) == 200


@pytest.mark.requirement("S1-065", "S1-128")
async def test_a_url_that_has_expired_is_refused(api: Api) -> None:
    """By the store itself."""
    url = await api.services.store.presign_put(f"uploads/{uuid.uuid4()}", CSV, 1)
    await asyncio.sleep(2.1)  # the store's own clock
    assert await put(api, url) == 403


async def test_the_form_holds_the_file_to_its_announced_size(tenant: Tenant) -> None:
    """The safe way: the store takes the announced bytes and refuses one more."""

    async def send(form: dict[str, Any], content: bytes) -> int:
        data = aiohttp.FormData()
        for name, value in form["fields"].items():
            data.add_field(name, value)
        data.add_field("file", io.BytesIO(content), filename="contacts.csv", content_type=CSV)
        async with tenant.api.session.post(form["url"], data=data) as answer:
            return answer.status

    file = await announce(tenant)
    assert await send(file.form, FILE + b"x") in (400, 403)
    assert await send(file.form, FILE) in (200, 201, 204)
    assert (await tenant.api.services.store.head(file.key)).size_bytes == len(FILE)


@pytest.mark.requirement("S1-032", "S1-040", "S1-049")
@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.csv", CSV),
        ("A.CSV", "application/vnd.ms-excel"),
        ("a.xls", "application/vnd.ms-excel"),
        ("a.xlsx", XLSX),
        (".csv", CSV),
        ("csv", CSV),
        ("a.tsv", "text/tab-separated-values"),
        ("a.ods", "application/vnd.oasis.opendocument.spreadsheet"),
        ("a.json", "application/json"),
        ("a.jsonl", "application/x-ndjson"),
        ("a.vcf", "text/vcard"),
        ("a.ldif", "text/x-ldif"),
        ("a.ldif", "text/ldif"),
        ("a.csv.zip", "application/zip"),
        ("a.csv.zip", "application/x-zip-compressed"),
        ("a.csv.gz", "application/gzip"),
    ],
)
async def test_every_kind_that_can_be_opened_may_be_announced(
    tenant: Tenant, name: str, content_type: str
) -> None:
    """The document's three types, and those of the other formats."""
    file = await announce(tenant, name=name, content_type=content_type)
    assert await put(tenant.api, file.url, content_type=content_type) == 200


@pytest.mark.requirement("S1-113")
async def test_the_files_name_is_made_harmless(tenant: Tenant) -> None:
    """In the key only letters, digits, dot and hyphen; no directory; nothing too long for a store."""
    file = await announce(tenant, name='..\\..//etc/<script>"\0' + "ä" * 600 + ".csv")
    assert re.fullmatch(r"uploads/\d{13}-[0-9a-z]+-[A-Za-z0-9._-]{1,100}", file.key)
    assert await put(tenant.api, file.url) == 200


@pytest.mark.requirement("S1-108", "S1-110", "S1-111", "T-09")
async def test_the_free_tier_announces_ten_files_an_hour(api: Api) -> None:
    """Counted for the organization, whatever address a header forges; the answer is the document's."""
    tenant = await api.tenant(tier="free")
    body = {"filename": "a.csv", "fileType": CSV, "fileSize": 1}
    for number in range(10):
        assert (await post(tenant, "/api/upload", body)).status == 200, number
    answer = await tenant.post("/api/upload", json=body, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status == 429
    assert answer.json == {"error": "Rate limit exceeded. Please try again later.", "code": "RATE_LIMITED"}
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_file_that_was_only_uploaded_is_no_import(api: Api) -> None:
    """Five files that nobody imports leave the free tier its imports of the day."""
    tenant = await api.tenant(tier="free")
    for _ in range(6):
        await announce(tenant)
    answer = await tenant.upload(b"Email\nann@example.com\n")
    assert answer.status == 202, answer.text


@pytest.mark.requirement("S1-128", "S1-129")
async def test_a_page_of_an_allowed_origin_may_upload(tenant: Tenant, stack: Servers) -> None:
    """The browser's question first, then the file; a page of another origin is told nothing."""
    origin = stack.settings().allowed_origins[-1]
    file = await announce(tenant)

    async def preflight(asking: str) -> str | None:
        headers = {
            "Origin": asking,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        }
        async with tenant.api.session.options(file.url, headers=headers) as answer:
            allowed: str | None = answer.headers.get("Access-Control-Allow-Origin")
            return allowed if answer.status == 200 else None

    assert await preflight(origin) in (origin, "*")
    assert await preflight("https://elsewhere.example") is None
    headers = {"Content-Type": CSV, "Origin": origin}
    async with tenant.api.session.put(file.url, data=FILE, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] in (origin, "*")


@pytest.mark.requirement("S1-129")
@pytest.mark.parametrize("path", ["/api/upload", "/v1/imports", "/nowhere"])
async def test_a_page_of_an_allowed_origin_may_call_the_api(tenant: Tenant, path: str) -> None:
    """The browser's question needs no token; answers and refusals may be read; others are told nothing."""
    api = tenant.api
    origin = api.services.settings.allowed_origins[-1]
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = await api.call("OPTIONS", path, headers={"Origin": origin, **asked})
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    refused = await tenant.post(path, json={}, headers={"Origin": origin})
    assert refused.status in (400, 404, 422)
    assert refused.headers["Access-Control-Allow-Origin"] == origin
    for headers in ({"Origin": "https://elsewhere.example", **asked}, {"Origin": "null", **asked}):
        other = await api.call("OPTIONS", path, headers=headers)
        assert "Access-Control-Allow-Origin" not in other.headers
        assert "Access-Control-Allow-Methods" not in other.headers
