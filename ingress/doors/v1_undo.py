"""Undo of imports under `/v1`: asking for it, what it kept, and the history of a job."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ingress.commands.undo import HistoryEvent, KeptContact, Undoes
from ingress.doors.receiving import PRINCIPAL, SERVICES
from ingress.doors.v1_imports import PATH, acted, cursor_of, job_id_of, limit_of, number_of, time_text

MAX_KEPT = 500
MAX_EVENTS = 500

REASONS = {
    "edited": "It was edited since the import, so it stays as it is.",
    "deleted": "It was deleted since the import, so there is nothing to put back.",
    "colliding": "Another contact holds its e-mail or its phone now, so it stays as it is.",
}


async def undo(request: web.Request) -> web.Response:
    """Have an import undone: 200 when that is done, as nothing was written, 202 while it goes on."""
    job = await Undoes(request.app[SERVICES]).ask(request[PRINCIPAL], job_id_of(request))
    return acted(request, "import_undo_asked", job, status=200 if job.state == "undone" else 202)


async def kept(request: web.Request) -> web.Response:
    """Contacts that the undo of an import left as they are, and why."""
    limit = limit_of(request, MAX_KEPT)
    cursor = request.query.get("cursor")
    behind = None if cursor is None else cursor_of(cursor, "cursor")
    found = await Undoes(request.app[SERVICES]).kept(request[PRINCIPAL], job_id_of(request), behind, limit)
    following = str(found[-1].contact_id) if len(found) == limit else None
    return web.json_response(
        {"data": [kept_json(each) for each in found], "pagination": {"next_cursor": following}}
    )


async def history(request: web.Request) -> web.Response:
    """What happened to an import, in order."""
    limit = limit_of(request, MAX_EVENTS)
    behind = number_of(request, "cursor", 0, 0, 10**11 - 1)
    undoes = Undoes(request.app[SERVICES])
    found = await undoes.history(request[PRINCIPAL], job_id_of(request), behind, limit)
    following = str(found[-1].id) if len(found) == limit else None
    return web.json_response(
        {"data": [event_json(each) for each in found], "pagination": {"next_cursor": following}}
    )


def kept_json(kept: KeptContact) -> dict[str, Any]:
    """A contact that was kept, as `/v1` tells it."""
    return {
        "contact_id": str(kept.contact_id),
        "reason": kept.reason,
        "message": REASONS[kept.reason],
        "held_by": str(kept.held_by) if kept.held_by else None,
        "contact": dict(kept.values),
    }


def event_json(event: HistoryEvent) -> dict[str, Any]:
    """An event of a job's history, as `/v1` tells it."""
    return {
        "event": event.event,
        "run": event.run,
        "at": time_text(event.at),
        "user_id": str(event.user_id) if event.user_id else None,
        "details": dict(event.details),
    }


def routes() -> list[web.RouteDef]:
    """Paths to the functions above."""
    one = f"{PATH}/{{job_id}}"
    return [
        web.post(f"{one}/undo", undo),
        web.get(f"{one}/undo", kept, allow_head=False),
        web.get(f"{one}/history", history, allow_head=False),
    ]
