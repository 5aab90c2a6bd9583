"""The canonical door: `/v1/imports` and what can be read of an import."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, TypeVar

from aiohttp import web

from ingress.commands import runs
from ingress.commands.errors_file import errors_file
from ingress.commands.jobs import Job, Undo
from ingress.commands.options import V1_IMPORTS
from ingress.commands.rows import PENDING, RowResult, Rows
from ingress.commands.uploaded import Uploads
from ingress.doors.receiving import IMPORTS, PRINCIPAL, SERVICES, read_json, receive, record, take_in
from sluice.errors import NotFound, OptionInvalid
from sluice.job import JobState
from sluice.outcome import Outcome

PATH = "/v1/imports"

PAGE = 50
MAX_JOBS = 100
MAX_ROWS = 500

Value = TypeVar("Value")


async def create(request: web.Request) -> web.Response:
    """Take a file in, or one that was uploaded before; its job, which is on its way."""
    if request.content_type == "application/json":
        options = await read_json(request)
        if not (file_id := options.pop("fileId", None)):
            raise OptionInvalid(field="fileId", value="", allowed="the fileId that POST /api/upload answered")
        job = await Uploads(request.app[SERVICES]).run(request[PRINCIPAL], file_id, options)
        record(request, "import_started", job.id, door=V1_IMPORTS.door)
    else:
        job = await receive(request, V1_IMPORTS)
    body = {"data": job_json(job, request.app[SERVICES].clock.now())}
    return web.json_response(body, status=202, headers={"Location": f"{PATH}/{job.id}"})


async def list_all(request: web.Request) -> web.Response:
    """The organization's imports, newest first."""
    limit = limit_of(request, MAX_JOBS)
    cursor = request.query.get("cursor")
    before = None if cursor is None else cursor_of(cursor, "cursor")
    state = _choice(request, "state", {each.value: each for each in JobState})
    jobs = await request.app[IMPORTS].list(request[PRINCIPAL], before=before, state=state, limit=limit)
    now = request.app[SERVICES].clock.now()
    following = str(jobs[-1].id) if len(jobs) == limit else None
    return web.json_response(
        {"data": [job_json(job, now) for job in jobs], "pagination": {"next_cursor": following}}
    )


async def get(request: web.Request) -> web.Response:
    """One import."""
    job = await request.app[IMPORTS].get(request[PRINCIPAL], job_id_of(request))
    return web.json_response({"data": job_json(job, request.app[SERVICES].clock.now())})


async def rows(request: web.Request) -> web.Response:
    """The rows of an import, in order, of one outcome or of any."""
    principal, services = request[PRINCIPAL], request.app[SERVICES]
    limit = limit_of(request, MAX_ROWS)
    behind = number_of(request, "cursor", 0, 0, 2**31 - 1)
    choices: dict[str, Outcome | None] = {each.value: each for each in Outcome}
    wanted = request.query.get("outcome")
    outcome = _choice(request, "outcome", choices | {PENDING: None})
    job = await request.app[IMPORTS].get_stored(principal, job_id_of(request))
    found = await Rows(services).page(
        principal, job, behind=behind, limit=limit, outcomes=() if wanted is None else (outcome,)
    )
    following = str(found[-1].row_no) if len(found) == limit else None
    return web.json_response(
        {"data": [row_json(row) for row in found], "pagination": {"next_cursor": following}}
    )


async def row(request: web.Request) -> web.Response:
    """Where one row went."""
    principal = request[PRINCIPAL]
    job = await request.app[IMPORTS].get_stored(principal, job_id_of(request))
    text = request.match_info["row_no"]
    row_no = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if row_no < 1:
        raise NotFound(what=f"row {text[:20]} of the import")
    found = await Rows(request.app[SERVICES]).one(principal, job, row_no)
    return web.json_response({"data": row_json(found)})


async def errors_csv(request: web.Request) -> web.StreamResponse:
    """The refused rows as a file to be mended, sent as it is read."""
    principal = request[PRINCIPAL]
    job = await request.app[IMPORTS].get_stored(principal, job_id_of(request))
    found = Rows(request.app[SERVICES])
    form = await found.form(principal, job)
    pieces = errors_file(job.id, form, found.refused(principal, job))
    # The first piece is made before the answer begins, so an outage is still told by its status.
    first = await anext(pieces)
    response = web.StreamResponse(
        headers={
            "Content-Type": f"text/csv; charset={form.encoding}",
            "Content-Disposition": f'attachment; filename="errors-{job.id}.csv"',
            "X-Content-Type-Options": "nosniff",
        }
    )
    await response.prepare(request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def heal(request: web.Request) -> web.Response:
    """Take the errors file in again, corrected; the job, whose rows are on their way once more."""
    job = await take_in(request, runs.Healing(request.app[SERVICES], request[PRINCIPAL], job_id_of(request)))
    return acted(request, "import_healed", job, status=202)


async def commit(request: web.Request) -> web.Response:
    """Write a dry run: 200 when it is written, 409 when rows end otherwise by now, 202 over the wait."""
    services, principal = request.app[SERVICES], request[PRINCIPAL]
    job = await runs.commit(services, principal, job_id_of(request))
    job = await request.app[IMPORTS].wait(principal, job, services.settings.import_wait_seconds)
    if not job.ended:
        return acted(request, "import_committed", job, status=202)
    return acted(request, "import_committed", runs.outcome_of_commit(job))


async def cancel(request: web.Request) -> web.Response:
    """Ask that an import ends: 200 when it is cancelled, 202 while it is about to be."""
    job = await request.app[IMPORTS].cancel(request[PRINCIPAL], job_id_of(request))
    return acted(request, "import_cancelled", job, status=200 if job.ended else 202)


async def pause(request: web.Request) -> web.Response:
    """Send no more of an import until it is resumed."""
    job = await request.app[IMPORTS].pause(request[PRINCIPAL], job_id_of(request))
    return acted(request, "import_paused", job)


async def resume(request: web.Request) -> web.Response:
    """Let a paused import go on."""
    job = await request.app[IMPORTS].resume(request[PRINCIPAL], job_id_of(request))
    return acted(request, "import_resumed", job)


def acted(request: web.Request, action: str, job: Job, status: int = 200) -> web.Response:
    """The job that was acted upon, with its entry in the audit log."""
    record(request, action, job.id)
    return web.json_response({"data": job_json(job, request.app[SERVICES].clock.now())}, status=status)


def job_json(job: Job, now: datetime) -> dict[str, Any]:
    """A job as `/v1` tells it."""
    return {
        "id": str(job.id),
        "state": job.state.value,
        "reason": job.reason,
        "run": job.run,
        "run_kind": job.run_kind.value,
        "rows_read": job.rows_read,
        "total_rows": job.total_rows,
        "processed_rows": job.rows_read,
        "progress": job.progress,
        "counts": {**{each.value: job.counts[each] for each in Outcome}, PENDING: job.rows_staged},
        "file": {"name": job.filename, "bytes": job.file_bytes, "sha256": job.file_sha256},
        "list_id": str(job.list_id) if job.list_id else None,
        "options": dict(job.options),
        "rate_rows_per_second": job.rate(now),
        "eta_seconds": job.eta_seconds(now),
        "cancel_requested": job.cancel_requested,
        "timings": _timings(job, now),
        "created_at": time_text(job.created_at),
        "started_at": time_text(job.started_at),
        "completed_at": time_text(job.completed_at),
        "created_by": str(job.created_by),
        "undo": None if job.undo is None else undo_json(job.undo),
    }


def undo_json(undo: Undo) -> dict[str, int | None]:
    """How far an undo is; `total` is null until it was counted."""
    return {
        "total": undo.total,
        "done": undo.done,
        "reversed": undo.reversed,
        "kept_edited": undo.kept_edited,
        "kept_colliding": undo.kept_colliding,
        "left_lists": undo.left_lists,
    }


def _timings(job: Job, now: datetime) -> dict[str, float | None]:
    began, ended = job.started_at, job.completed_at
    return {
        "waiting_seconds": _seconds(job.asked_at, began or ended or now),
        "processing_seconds": None if began is None else _seconds(began, ended or now),
        "total_seconds": _seconds(job.asked_at, ended or now),
    }


def row_json(row: RowResult) -> dict[str, Any]:
    """A row as `/v1` tells it; `values` are under the source's own columns, null when the source is gone."""
    return {
        "row_no": row.row_no,
        "source_line": row.source_line,
        "outcome": row.state,
        "run": row.run,
        "contact_id": str(row.contact_id) if row.contact_id else None,
        "errors": [
            {"field": fault.field, "code": fault.code, "message": fault.message, "value": fault.value}
            for fault in row.faults
        ],
        "values": None if row.cells is None else dict(zip(row.columns, row.cells, strict=False)),
        "changes": None
        if row.changes is None
        else {field: {"from": before, "to": after} for field, (before, after) in row.changes.items()},
        "surplus": [] if row.cells is None else list(row.cells[len(row.columns) :]),
    }


def _seconds(start: datetime, end: datetime) -> float:
    return round(max(0.0, (end - start).total_seconds()), 3)


def time_text(moment: datetime | None) -> str | None:
    """A time as `/v1` tells it, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_id_of(request: web.Request) -> uuid.UUID:
    """The job that the path names, with or without `file_`. Raises NotFound for what cannot be one."""
    try:
        return uuid.UUID(request.match_info["job_id"].removeprefix("file_"))
    except ValueError:
        raise NotFound(what="import") from None


def cursor_of(text: str, field: str) -> uuid.UUID:
    """A page's cursor that is an id. Raises OptionInvalid."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise OptionInvalid(field=field, value=text[:100], allowed="the next_cursor of a page") from None


def limit_of(request: web.Request, most: int) -> int:
    """How many a page is to hold. Raises OptionInvalid."""
    return number_of(request, "limit", PAGE, 1, most)


def number_of(request: web.Request, field: str, default: int, least: int, most: int) -> int:
    """A number from the query. Raises OptionInvalid."""
    text = request.query.get(field)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not least <= number <= most:
        raise OptionInvalid(field=field, value=text[:100], allowed=f"a number from {least} to {most}")
    return number


def _choice(request: web.Request, field: str, choices: dict[str, Value]) -> Value | None:
    text = request.query.get(field)
    if text is None:
        return None
    if text not in choices:
        raise OptionInvalid(field=field, value=text[:100], allowed=", ".join(choices))
    return choices[text]


def routes() -> list[web.RouteDef]:
    """Paths to the functions above."""
    one = f"{PATH}/{{job_id}}"
    return [
        web.post(PATH, create),
        web.get(PATH, list_all, allow_head=False),
        web.get(one, get, allow_head=False),
        web.get(f"{one}/rows", rows, allow_head=False),
        web.get(f"{one}/rows/{{row_no}}", row, allow_head=False),
        web.get(f"{one}/errors.csv", errors_csv, allow_head=False),
        web.post(f"{one}/rows", heal),
        web.post(f"{one}/commit", commit),
        web.post(f"{one}/cancel", cancel),
        web.post(f"{one}/pause", pause),
        web.post(f"{one}/resume", resume),
    ]
