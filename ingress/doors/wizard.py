"""S1's door: upload, analyze, map, preview, import, with the document's own bodies, messages and statuses.

Errors are `{"error": message, "code": code}` (S1-114); what S1 knows only as a failure is 500 with the
route's own message, whatever it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ingress.commands.jobs import Job
from ingress.commands.options import V1_IMPORTS, asked_of, read_options
from ingress.commands.rows import RowResult, Rows
from ingress.commands.uploaded import FILE_ID
from ingress.commands.wizard import PREVIEW_PAGE_SIZE, Wizard
from ingress.doors.errors import FAILURES
from ingress.doors.receiving import PRINCIPAL, SERVICES, read_json, record
from sluice.errors import OptionInvalid, Refused
from sluice.events import FieldFault
from sluice.job import JobState
from sluice.mapping.sample import SYSTEM_FIELDS
from sluice.outcome import REFUSED, Outcome

WIZARD = web.AppKey("wizard", Wizard)

MAX_ERRORS = 1000

IMPORTED = (Outcome.CREATED, Outcome.UPDATED, Outcome.MERGED)
"""All other outcomes are `skipped` (S1-105), cancelled rows in neither."""


_LABELS = {field.name: field.label for field in SYSTEM_FIELDS}


class AnalyzeFieldsMissing(Refused):
    """Missing fileId or s3Key"""

    code = "MISSING_FIELDS"


class MapFieldsMissing(Refused):
    """Missing fileId or mapping"""

    code = "MISSING_FIELDS"


class FileIdParameterMissing(Refused):
    """Missing fileId parameter"""

    code = "MISSING_FILE_ID"


class FileIdMissing(Refused):
    """Missing fileId"""

    code = "MISSING_FILE_ID"


async def upload(request: web.Request) -> web.Response:
    """Where the browser may put its file: a URL to PUT it to, or a form to POST that holds it to its size."""
    body = await read_json(request)
    announced = await request.app[WIZARD].upload(
        request[PRINCIPAL], body.get("filename"), body.get("fileType"), body.get("fileSize")
    )
    record(request, "upload_announced", announced.job_id, door="s1")
    return web.json_response(
        {
            "uploadUrl": announced.url,
            "fileId": f"{FILE_ID}{announced.job_id}",
            "s3Key": announced.key,
            "uploadPost": {"url": announced.form_url, "fields": announced.fields},
        }
    )


async def analyze(request: web.Request) -> web.Response:
    """Start the analysis of a file that was put there; beside S1's two fields, how it is to be opened."""
    body = await read_json(request)
    file_id, key = body.get("fileId"), body.get("s3Key")
    if not file_id or not key:
        raise AnalyzeFieldsMissing
    asked = read_options({name: _text(body, name) for name in ("sheet", "encoding", "delimiter")}, V1_IMPORTS)
    await request.app[WIZARD].analyze(request[PRINCIPAL], file_id, key, asked_of(asked))
    return web.json_response({"status": "analyzing"})


async def status(request: web.Request) -> web.Response:
    """How far an analysis is, or what it found."""
    told = await request.app[WIZARD].status(request[PRINCIPAL], request.match_info["file_id"])
    match told["status"]:
        case "analyzing" | "complete":
            return web.json_response(told)
        case "error":
            message = told["progress"].get("message") or "Analysis failed"
            return web.json_response({"status": "error", "message": message})
    return web.json_response({"error": "Unknown status", "code": "INTERNAL_ERROR"}, status=500)


async def map_columns(request: web.Request) -> web.Response:
    """Take the mapping and judge the sample under it."""
    body = await read_json(request)
    file_id, mapping = body.get("fileId"), body.get("mapping")
    if not file_id or mapping in (None, "", 0, False):
        raise MapFieldsMissing
    rules = {"rules": body["rules"]} if body.get("rules") else {}
    await request.app[WIZARD].map_columns(request[PRINCIPAL], file_id, {"mapping": mapping, **rules})
    return web.json_response({"success": True})


async def preview(request: web.Request) -> web.Response:
    """A page of the sample."""
    file_id = request.query.get("fileId")
    if not file_id:
        raise FileIdParameterMissing
    page = _page(request.query.get("page") or "1")
    rows, total = await request.app[WIZARD].preview(request[PRINCIPAL], file_id, page)
    return web.json_response({"rows": rows, "total": total, "page": page, "pageSize": PREVIEW_PAGE_SIZE})


async def run(request: web.Request) -> web.Response:
    """Import the file: 200 with the final counts, or 202 with those so far (K-14)."""
    body = await read_json(request)
    file_id = body.get("fileId")
    if not file_id:
        raise FileIdMissing
    principal = request[PRINCIPAL]
    job = await request.app[WIZARD].run(principal, file_id, body.get("excludedRows"))
    record(request, "import_started", job.id, door="s1")
    refused: list[RowResult] = []
    if job.ended and any(job.counts[outcome] for outcome in REFUSED):
        rows = Rows(request.app[SERVICES])
        refused = await rows.page(principal, job, limit=MAX_ERRORS, outcomes=REFUSED, values=False)
    return answer(job, refused)


def answer(job: Job, refused: list[RowResult]) -> web.Response:
    """S1's ImportResult; a job that failed is S1's 500, with the reason beside it."""
    if job.state is JobState.FAILED:
        failure = {"error": FAILURES["/api/import"], "code": "IMPORT_FAILED", "reason": job.reason}
        return web.json_response(failure, status=500)
    imported = sum(job.counts[outcome] for outcome in IMPORTED)
    body: dict[str, Any] = {
        "success": job.state is not JobState.CANCELLED,
        "imported": imported,
        "skipped": job.total_rows - imported,
    }
    if refused:
        errors = [{"row": row.row_no, "message": _message(fault)} for row in refused for fault in row.faults]
        body["errors"] = errors[:MAX_ERRORS]
    if job.ended:
        return web.json_response(body)
    return web.json_response({**body, "fileId": f"{FILE_ID}{job.id}"}, status=202)


def _message(fault: FieldFault) -> str:
    """What is wrong, under the name that S1 has for the field (S1-053)."""
    label = _LABELS.get(fault.field)
    return f"{label} is required" if fault.code == "required" and label else fault.message


def _page(text: str) -> int:
    page = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if page < 1:
        raise OptionInvalid(field="page", value=text[:100], allowed="a number from 1")
    return page


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str) or len(value) > 255 or not (value.isprintable() or value == "\t"):
        raise OptionInvalid(field=name, value=str(value)[:100], allowed="a name or a character")
    return value


def routes() -> list[web.RouteDef]:
    """S1-058, S1-067, S1-079, S1-086, S1-093, S1-098."""
    return [
        web.post("/api/upload", upload),
        web.post("/api/analyze", analyze),
        web.get("/api/analyze/status/{file_id}", status, allow_head=False),
        web.post("/api/map-columns", map_columns),
        web.get("/api/preview", preview, allow_head=False),
        web.post("/api/import", run),
    ]
