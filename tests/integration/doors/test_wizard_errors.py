"""Every error row of S1, by one table: status, message to the letter, a code, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ingress.doors.errors import FAILURES
from ingress.state import analysis_key, mapping_key, progress_key
from tests.integration.doors.api import Answer, Api, Tenant, running_api
from tests.integration.doors.wizard import (
    COLUMNS,
    CSV,
    Sent,
    analyzed,
    announce,
    mapped,
    post,
    sent,
    state_of,
)
from tests.integration.stack import Servers

UPLOAD = {"filename": "contacts.csv", "fileType": CSV, "fileSize": 1000}
NOBODYS = f"file_{uuid.UUID(int=0)}"

Prepared = Callable[[Tenant], Awaitable[Mapping[str, Any]]]
"""Makes what a request is about; gives what is put into its path and body."""


async def nothing(tenant: Tenant) -> Mapping[str, Any]:
    return {"fileId": NOBODYS}


async def announced_only(tenant: Tenant) -> Mapping[str, Any]:
    return _facts(await announce(tenant))


async def stored(tenant: Tenant) -> Mapping[str, Any]:
    return _facts(await sent(tenant))


async def ready(tenant: Tenant) -> Mapping[str, Any]:
    return _facts(await analyzed(tenant))


async def a_colleagues(tenant: Tenant) -> Mapping[str, Any]:
    """A mapped file of another user of the same organization."""
    file = await mapped(tenant)
    await tenant.api.database.execute("INSERT INTO users (id) VALUES ($1)", (other := uuid.uuid4()))
    await tenant.api.database.execute(
        "UPDATE import_jobs SET created_by = $2 WHERE id = $1", file.job_id, other
    )
    return _facts(file)


async def anothers(tenant: Tenant) -> Mapping[str, Any]:
    """A mapped file of another organization."""
    return _facts(await mapped(await tenant.api.tenant()))


async def results_gone(tenant: Tenant) -> Mapping[str, Any]:
    file = await analyzed(tenant)
    await tenant.api.services.state.delete(tenant.account.organization_id, analysis_key(file.job_id))
    return _facts(file)


async def mapping_gone(tenant: Tenant) -> Mapping[str, Any]:
    file = await mapped(tenant)
    await tenant.api.services.state.delete(tenant.account.organization_id, mapping_key(file.job_id))
    return _facts(file)


async def napping(tenant: Tenant) -> Mapping[str, Any]:
    file = await analyzed(tenant)
    key = progress_key(file.job_id)
    await tenant.api.services.state.set(tenant.account.organization_id, key, {"status": "napping"})
    return _facts(file)


def _facts(file: Sent) -> Mapping[str, Any]:
    return {"fileId": file.file_id, "s3Key": file.key}


@dataclass(frozen=True)
class Row:
    """What is asked, about what, and what has to come back."""

    rows: str
    method: str
    path: str
    status: int
    error: str
    code: str
    body: Mapping[str, Any] = field(default_factory=dict)
    about: Prepared = nothing


MISSING = "Missing required fields: filename, fileType"
WRONG_TYPE = "Invalid file type. Only CSV and Excel files are allowed."
NO_ANALYSIS = "Analysis not found. Please analyze file first."
NO_MAPPING = "Column mapping not found. Please map columns first."
STATUS = "/api/analyze/status/{fileId}"
TO_MAP: Mapping[str, Any] = {"mapping": {"Email Address": "email"}}

TABLE = {
    "upload without a name": Row(
        "S1-061", "POST", "/api/upload", 400, MISSING, "MISSING_FIELDS", UPLOAD | {"filename": ""}
    ),
    "upload without a type": Row(
        "S1-061", "POST", "/api/upload", 400, MISSING, "MISSING_FIELDS", {"filename": "a.csv", "fileSize": 1}
    ),
    "upload of a PDF": Row(
        "S1-062",
        "POST",
        "/api/upload",
        400,
        WRONG_TYPE,
        "INVALID_FILE_TYPE",
        UPLOAD | {"fileType": "application/pdf"},
    ),
    "upload of bytes": Row(
        "S1-062",
        "POST",
        "/api/upload",
        400,
        WRONG_TYPE,
        "INVALID_FILE_TYPE",
        UPLOAD | {"fileType": "application/octet-stream"},
    ),
    "upload under a name that is none": Row(
        "S1-049",
        "POST",
        "/api/upload",
        400,
        "Unsupported file type: pdf",
        "UNSUPPORTED_FILE_TYPE",
        UPLOAD | {"filename": "contacts.PDF"},
    ),
    "upload of too much": Row(
        "S1-063",
        "POST",
        "/api/upload",
        400,
        "File size exceeds maximum of 1MB",
        "FILE_TOO_LARGE",
        UPLOAD | {"fileSize": 1024 * 1024 + 1},
    ),
    "upload without a size": Row(
        "T-06",
        "POST",
        "/api/upload",
        400,
        "fileSize has to be the file's size, a whole number of bytes.",
        "INVALID_FILE_SIZE",
        {"filename": "contacts.csv", "fileType": CSV},
    ),
    "upload of less than nothing": Row(
        "T-06",
        "POST",
        "/api/upload",
        400,
        "fileSize has to be the file's size, a whole number of bytes.",
        "INVALID_FILE_SIZE",
        UPLOAD | {"fileSize": -1},
    ),
    "analyze without a key": Row(
        "S1-069",
        "POST",
        "/api/analyze",
        400,
        "Missing fileId or s3Key",
        "MISSING_FIELDS",
        {"fileId": NOBODYS},
    ),
    "analyze without an id": Row(
        "S1-069", "POST", "/api/analyze", 400, "Missing fileId or s3Key", "MISSING_FIELDS", {"s3Key": "a"}
    ),
    "analyze nobody's file": Row(
        "S1-121", "POST", "/api/analyze", 404, "Upload not found", "NOT_FOUND", {"s3Key": "uploads/1-a-b.csv"}
    ),
    "analyze by another's key": Row(
        "T-07",
        "POST",
        "/api/analyze",
        404,
        "Upload not found",
        "NOT_FOUND",
        {"s3Key": "uploads/1-a-b.csv"},
        stored,
    ),
    "analyze a colleague's file": Row(
        "T-07", "POST", "/api/analyze", 404, "Upload not found", "NOT_FOUND", {}, a_colleagues
    ),
    "analyze another organization's file": Row(
        "T-07", "POST", "/api/analyze", 404, "Upload not found", "NOT_FOUND", {}, anothers
    ),
    "status of nobody's file": Row("S1-083", "GET", STATUS, 404, "Analysis not found", "NOT_FOUND"),
    "status of what is no id": Row(
        "S1-083", "GET", "/api/analyze/status/..%2F..%2Fetc", 404, "Analysis not found", "NOT_FOUND"
    ),
    "status before the analysis": Row(
        "S1-083", "GET", STATUS, 404, "Analysis not found", "NOT_FOUND", {}, stored
    ),
    "status of a colleague's file": Row(
        "T-07", "GET", STATUS, 404, "Analysis not found", "NOT_FOUND", {}, a_colleagues
    ),
    "status when the results are gone": Row(
        "S1-084", "GET", STATUS, 404, "Analysis results not found", "NOT_FOUND", {}, results_gone
    ),
    "status that nobody knows": Row(
        "S1-085", "GET", STATUS, 500, "Unknown status", "INTERNAL_ERROR", {}, napping
    ),
    "map without a mapping": Row(
        "S1-088",
        "POST",
        "/api/map-columns",
        400,
        "Missing fileId or mapping",
        "MISSING_FIELDS",
        {"fileId": NOBODYS},
    ),
    "map without an id": Row(
        "S1-088", "POST", "/api/map-columns", 400, "Missing fileId or mapping", "MISSING_FIELDS", TO_MAP
    ),
    "map nobody's file": Row("S1-089", "POST", "/api/map-columns", 404, NO_ANALYSIS, "NOT_FOUND", TO_MAP),
    "map before the analysis": Row(
        "S1-089", "POST", "/api/map-columns", 404, NO_ANALYSIS, "NOT_FOUND", TO_MAP, stored
    ),
    "map a colleague's file": Row(
        "T-07", "POST", "/api/map-columns", 404, NO_ANALYSIS, "NOT_FOUND", TO_MAP, a_colleagues
    ),
    "preview without an id": Row(
        "S1-095", "GET", "/api/preview?page=1", 400, "Missing fileId parameter", "MISSING_FILE_ID"
    ),
    "preview of nobody's file": Row(
        "S1-096", "GET", "/api/preview?fileId={fileId}", 404, "Preview data not found", "NOT_FOUND"
    ),
    "preview before the analysis": Row(
        "S1-096",
        "GET",
        "/api/preview?fileId={fileId}&page=1",
        404,
        "Preview data not found",
        "NOT_FOUND",
        {},
        announced_only,
    ),
    "preview of another's file": Row(
        "T-07",
        "GET",
        "/api/preview?fileId={fileId}",
        404,
        "Preview data not found",
        "NOT_FOUND",
        {},
        anothers,
    ),
    "import without an id": Row(
        "S1-100", "POST", "/api/import", 400, "Missing fileId", "MISSING_FILE_ID", {"excludedRows": [1]}
    ),
    "import of nobody's file": Row("S1-101", "POST", "/api/import", 404, NO_MAPPING, "NOT_FOUND", {}),
    "import before the mapping": Row(
        "S1-101", "POST", "/api/import", 404, NO_MAPPING, "NOT_FOUND", {}, ready
    ),
    "import when the mapping is gone": Row(
        "S1-101", "POST", "/api/import", 404, NO_MAPPING, "NOT_FOUND", {}, mapping_gone
    ),
    "import of a colleague's file": Row(
        "T-07", "POST", "/api/import", 404, NO_MAPPING, "NOT_FOUND", {}, a_colleagues
    ),
}


async def ask(tenant: Tenant, row: Row, facts: Mapping[str, Any]) -> Answer:
    """Send what the row says about what was prepared; what the row says itself wins."""
    if row.method == "GET":
        return await tenant.get(row.path.format(**facts))
    without_id = "Missing" in row.error or row.path == "/api/upload"
    return await post(tenant, row.path, dict(row.body) if without_id else {**facts, **row.body})


@pytest.mark.requirement("S1-049", "S1-061", "S1-062", "S1-063", "S1-069", "S1-083", "S1-084", "S1-085")
@pytest.mark.requirement("S1-088", "S1-089", "S1-095", "S1-096", "S1-100", "S1-101", "S1-114", "S1-116")
@pytest.mark.requirement("S1-118", "S1-119", "S1-120", "S1-121", "T-06", "T-07", "K-20")
@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
async def test_each_error_row_of_s1(tenant: Tenant, row: Row) -> None:
    """The body has a message and a code, as S1-114 has it, and no word more."""
    facts = await row.about(tenant)
    answer = await ask(tenant, row, facts)
    assert (answer.status, answer.json) == (row.status, {"error": row.error, "code": row.code})


BAD_BODIES = {"no JSON": b"{", "a list": b"[]", "deep": b"[" * 100_000, "nothing": b"", "binary": b"\xff\xfe"}


@pytest.mark.requirement("S1-116")
@pytest.mark.parametrize("path", ["/api/upload", "/api/analyze", "/api/map-columns", "/api/import"])
@pytest.mark.parametrize("content", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_body_that_is_no_object_is_refused(tenant: Tenant, path: str, content: bytes) -> None:
    """In the shape of the route, with what to send instead."""
    answer = await tenant.post(path, data=content, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.json == {
        "error": "The request's body has to be a JSON object.",
        "code": "BAD_REQUEST",
    }


BAD_VALUES = {
    "rows that are no numbers": ("/api/import", {"excludedRows": ["five"]}),
    "row zero": ("/api/import", {"excludedRows": [0]}),
    "a row that is true": ("/api/import", {"excludedRows": [True]}),
    "rows that are no list": ("/api/import", {"excludedRows": {"a": 1}}),
    "a mapping that is a list": ("/api/map-columns", {"mapping": [1]}),
    "a mapping to a number": ("/api/map-columns", {"mapping": {"Email Address": 5}}),
    "a mapping to no field": ("/api/map-columns", {"mapping": {"Email Address": "shoe size"}}),
    "a mapping of no column": ("/api/map-columns", {"mapping": {"E-Mail": "email"}}),
    "a field twice": ("/api/map-columns", {"mapping": dict.fromkeys(COLUMNS, "email")}),
    "a sheet that is a number": ("/api/analyze", {"sheet": 5}),
    "a sheet of control characters": ("/api/analyze", {"sheet": "a\0b"}),
}


@pytest.mark.requirement("K-20")
@pytest.mark.parametrize(("path", "body"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
async def test_a_value_that_cannot_be_is_a_400_with_a_sentence(
    tenant: Tenant, path: str, body: Mapping[str, Any]
) -> None:
    """Where the canonical door says 422; the file stays as it was."""
    file = await mapped(tenant)
    answer = await post(tenant, path, {**file.named, **body})
    assert (answer.status, answer.json["code"]) == (400, "VALIDATION_ERROR")
    assert answer.json["error"].endswith((".", '"', "array"))
    assert await state_of(tenant, file) == "awaiting_mapping"


@pytest.mark.parametrize("page", ["0", "-1", "x", "1.5", "9999999999"])
async def test_a_page_that_cannot_be_is_refused(tenant: Tenant, page: str) -> None:
    """And one behind the last is empty."""
    file = await analyzed(tenant)
    answer = await tenant.get(f"/api/preview?fileId={file.file_id}&page={page}")
    assert (answer.status, answer.json["code"]) == (400, "VALIDATION_ERROR")


ROUTES: Mapping[str, tuple[str, str, Mapping[str, Any] | None]] = {
    "/api/upload": ("POST", "/api/upload", UPLOAD),
    "/api/analyze": ("POST", "/api/analyze", {"fileId": NOBODYS, "s3Key": "a"}),
    "/api/analyze/status": ("GET", f"/api/analyze/status/{NOBODYS}", None),
    "/api/map-columns": ("POST", "/api/map-columns", {"fileId": NOBODYS, **TO_MAP}),
    "/api/preview": ("GET", f"/api/preview?fileId={NOBODYS}", None),
    "/api/import": ("POST", "/api/import", {"fileId": NOBODYS}),
}


@pytest.mark.requirement("K-04")
@pytest.mark.parametrize("route", ROUTES)
async def test_nobody_without_a_token(api: Api, route: str) -> None:
    """S1 shows no authentication; here it is as everywhere, told in S1's shape."""
    method, path, body = ROUTES[route]
    answer = await api.call(method, path, json=body)
    assert (answer.status, answer.json["code"]) == (401, "UNAUTHENTICATED")
    assert set(answer.json) == {"error", "code"}


@pytest.mark.requirement("K-06")
async def test_an_agent_may_not_import(api: Api) -> None:
    """Nothing is announced for whoever may not import."""
    agent = await api.tenant(role="agent")
    answer = await post(agent, "/api/upload", UPLOAD)
    assert (answer.status, answer.json["code"]) == (403, "FORBIDDEN")
    assert await agent.jobs() == 0


@pytest.mark.requirement("S1-066", "S1-070", "S1-085", "S1-092", "S1-097", "S1-107", "S1-115", "S1-122")
@pytest.mark.parametrize("route", ROUTES)
async def test_without_its_database_each_route_fails_in_its_own_words(
    api: Api, stack: Servers, route: str
) -> None:
    """500 with the route's message and nothing of what it was."""
    tenant = await api.tenant()
    method, path, body = ROUTES[route]
    away = "postgresql://sluice_api:hidden@127.0.0.1:1/sluice"
    async with running_api(stack, DATABASE_URL=away) as cut_off:
        answer = await cut_off.call(method, path, token=tenant.token, json=body)
    assert answer.status == 500
    assert answer.json == {"error": FAILURES[route], "code": "SERVICE_UNAVAILABLE"}
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.requirement("S1-070", "S1-085", "S1-092", "S1-097", "S1-107", "S1-123", "S1-124")
@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/api/upload"])
async def test_without_its_object_store_each_route_fails_in_its_own_words(
    api: Api, stack: Servers, route: str
) -> None:
    """Where the state is kept in the bucket, too; the file stays as it was."""
    tenant = await api.tenant()
    file = await mapped(tenant)
    method, path, body = ROUTES[route]
    path = path.replace(NOBODYS, file.file_id)
    body = None if body is None else {**body, **file.named}
    async with running_api(stack, S3_ENDPOINT_URL="http://127.0.0.1:1", STATE_BACKEND="objects") as cut_off:
        answer = await cut_off.call(method, path, token=tenant.token, json=body)
    assert (answer.status, answer.json["error"]) == (500, FAILURES[route])
    assert await state_of(tenant, file) == "awaiting_mapping"
