"""S4's door for files: `/v1/uploads/contacts`, and the template that people fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from ingress.commands.jobs import Job
from ingress.commands.options import UPLOADS
from ingress.commands.rows import RowResult, Rows
from ingress.doors.receiving import IMPORTS, PRINCIPAL, SERVICES, receive
from ingress.doors.v1_imports import job_id_of, time_text
from ingress.templates import XLSX_TYPE, csv_template, xlsx_template
from sluice.errors import OptionInvalid
from sluice.job import JobState
from sluice.outcome import REFUSED, Outcome

PATH = "/v1/uploads/contacts"
TEMPLATE_PATH = "/v1/uploads/template"

MAX_ERRORS = 100
"""Of the faults that are told with the status; `/v1/imports/{id}/rows` and `errors.csv` have them all."""

BYTES_A_SECOND = 500_000
"""About half of what an import does on two cores (docs/performance.md): people wait gladly for less."""

STATUSES: Mapping[JobState, str] = {
    JobState.PENDING: "pending",
    JobState.AUTHENTICATING: "pending",
    JobState.UPLOADING: "pending",
    JobState.ANALYZING: "pending",
    JobState.AWAITING_MAPPING: "pending",
    JobState.FETCHING: "processing",
    JobState.PROCESSING: "processing",
    JobState.PAUSED: "processing",
    JobState.UNDOING: "processing",
    JobState.COMPLETED: "completed",
    JobState.UNDONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}
"""S4's four words for a job's state (K-08)."""

IMPORTED = (Outcome.CREATED, Outcome.UPDATED, Outcome.MERGED)
DUPLICATES = (
    Outcome.UNCHANGED,
    Outcome.DUPLICATE_IN_FILE,
    Outcome.DUPLICATE_EXISTING,
    Outcome.CONFLICT,
)
INVALID = (
    Outcome.SUPPRESSED_DNC,
    Outcome.EXCLUDED,
    Outcome.NO_IDENTITY,
    Outcome.INVALID,
    Outcome.FAILED,
)
"""S4's counters are sums of outcomes; cancelled rows are in none of the three."""


async def upload(request: web.Request) -> web.Response:
    """Take a file in; its job, and about how long it will take."""
    job = await receive(request, UPLOADS)
    data = {
        "jobId": str(job.id),
        "filename": job.filename,
        "fileSize": job.file_bytes,
        "status": STATUSES[job.state],
        "estimatedProcessingTime": estimated_time(job.file_bytes),
    }
    return web.json_response({"data": data}, status=202, headers={"Location": f"{PATH}/{job.id}"})


async def get(request: web.Request) -> web.Response:
    """One import of the organization, in S4's words."""
    principal = request[PRINCIPAL]
    job = await request.app[IMPORTS].get(principal, job_id_of(request))
    refused: Sequence[RowResult] = ()
    if any(job.counts[outcome] for outcome in REFUSED):
        rows = Rows(request.app[SERVICES])
        refused = await rows.page(principal, job, limit=MAX_ERRORS, outcomes=REFUSED, values=False)
    return web.json_response({"data": job_json(job, refused)})


async def template(request: web.Request) -> web.Response:
    """The empty file, as CSV or as a workbook."""
    wanted = request.query.get("format", "csv")
    if wanted not in ("csv", "xlsx"):
        raise OptionInvalid(field="format", value=wanted[:100], allowed="csv or xlsx")
    body, content_type = (
        (csv_template(), "text/csv; charset=utf-8") if wanted == "csv" else (xlsx_template(), XLSX_TYPE)
    )
    headers = {
        "Content-Type": content_type,
        "Content-Disposition": f'attachment; filename="contacts-template.{wanted}"',
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=body, headers=headers)


def job_json(job: Job, refused: Sequence[RowResult]) -> dict[str, Any]:
    """A job as S4 tells it (S4-044); beside it the reason of one that failed, and the exact counts."""
    errors = [
        {"row": row.row_no, "error": fault.message, "data": {fault.field: fault.value} if fault.field else {}}
        for row in refused
        for fault in row.faults
    ]
    return {
        "id": str(job.id),
        "filename": job.filename,
        "status": STATUSES[job.state],
        "reason": job.reason,
        "progress": job.progress,
        "results": results(job.counts),
        "outcomes": {outcome.value: job.counts[outcome] for outcome in Outcome},
        "validationErrors": errors[:MAX_ERRORS],
        "createdAt": time_text(job.created_at),
        "completedAt": time_text(job.completed_at),
    }


def results(counts: Mapping[Outcome, int]) -> dict[str, int]:
    """S4's counters, whose arithmetic always holds (S4-046)."""
    imported, duplicates, invalid = (
        sum(counts[outcome] for outcome in outcomes) for outcomes in (IMPORTED, DUPLICATES, INVALID)
    )
    return {
        "totalRows": imported + duplicates + invalid,
        "validContacts": imported + duplicates,
        "invalidContacts": invalid,
        "duplicates": duplicates,
        "imported": imported,
        "skipped": invalid + duplicates,
    }


def estimated_time(file_bytes: int) -> str:
    """About how long a file takes once its import begins, as text such as "2-3 minutes" (S4-043)."""
    minutes = file_bytes // (60 * BYTES_A_SECOND)
    return f"{minutes}-{minutes + 1} minutes" if minutes else "less than 1 minute"


def routes() -> list[web.RouteDef]:
    """Paths to the functions above."""
    return [
        web.post(PATH, upload),
        web.get(f"{PATH}/{{job_id}}", get, allow_head=False),
        web.get(TEMPLATE_PATH, template, allow_head=False),
    ]
