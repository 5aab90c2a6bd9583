"""S0's door: `POST /api/contacts/import`, answered in full when the import ends soon enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ingress.commands.jobs import Job
from ingress.commands.options import CONTACTS_IMPORT
from ingress.commands.rows import RowResult, Rows
from ingress.doors.receiving import IMPORTS, PRINCIPAL, SERVICES, receive
from sluice.job import JobState
from sluice.outcome import REFUSED, Outcome

PATH = "/api/contacts/import"

MAX_ERRORS = 1000

COUNTERS: Mapping[Outcome, str] = {
    Outcome.CREATED: "created",
    Outcome.UPDATED: "updated",
    Outcome.MERGED: "updated",
    Outcome.UNCHANGED: "updated",
    Outcome.DUPLICATE_IN_FILE: "skipped",
    Outcome.DUPLICATE_EXISTING: "skipped",
    Outcome.SUPPRESSED_DNC: "skipped",
    Outcome.EXCLUDED: "skipped",
    Outcome.CONFLICT: "failed",
    Outcome.NO_IDENTITY: "failed",
    Outcome.INVALID: "failed",
    Outcome.FAILED: "failed",
}
"""Outcome to the counter that it is in; cancelled rows show in `outcomes` alone."""


async def import_contacts(request: web.Request) -> web.Response:
    """Take the file, wait for its import up to IMPORT_WAIT_SECONDS, and tell what became of it."""
    services, principal = request.app[SERVICES], request[PRINCIPAL]
    job = await receive(request, CONTACTS_IMPORT)
    job = await request.app[IMPORTS].wait(principal, job, services.settings.import_wait_seconds)
    refused: list[RowResult] = []
    if any(job.counts[outcome] for outcome in REFUSED):
        refused = await Rows(services).page(principal, job, limit=MAX_ERRORS, outcomes=REFUSED)
    milliseconds = ((job.completed_at or services.clock.now()) - job.created_at).total_seconds() * 1000
    return web.json_response(answer(job, refused, round(milliseconds)), status=200 if job.ended else 202)


def answer(job: Job, refused: list[RowResult], milliseconds: int) -> dict[str, Any]:
    """S0's answer, the same shape whether the import has ended or not."""
    counters = dict.fromkeys(("created", "updated", "skipped", "failed"), 0)
    for outcome, counter in COUNTERS.items():
        counters[counter] += job.counts[outcome]
    body: dict[str, Any] = {
        "success": job.state not in (JobState.FAILED, JobState.CANCELLED),
        "status": job.state.value,
        "jobId": str(job.id),
        **counters,
        "total": sum(counters.values()),
        "errors": _errors(refused),
        "errorsUrl": f"/v1/imports/{job.id}/errors.csv" if refused else None,
        "processingTimeMs": milliseconds,
        "outcomes": {outcome.value: job.counts[outcome] for outcome in Outcome},
    }
    if job.reason:
        body["message"] = job.reason
    return body


def _errors(refused: list[RowResult]) -> list[dict[str, Any]]:
    errors = [
        {
            "row": row.row_no,
            "line": row.source_line,
            "field": fault.field,
            "code": fault.code,
            "message": fault.message,
        }
        for row in refused
        for fault in row.faults
    ]
    return errors[:MAX_ERRORS]
