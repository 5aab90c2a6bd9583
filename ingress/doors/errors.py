"""One inner error, a serializer for each door (K-19)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from sluice.errors import RateLimited, Refused, SluiceError, Unavailable

RETRY_AFTER_SECONDS = 5
"""What a client is asked to wait when a service of ours is away: about as long as a restart takes."""

MAX_SHOWN = 200


class PathUnknown(Refused):
    """There is nothing at this address. The description of the API is at /docs."""

    code = "NOT_FOUND"
    status = 404


class MethodUnknown(Refused):
    """This address does not take this method. It takes {allowed}."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class Unexpected(SluiceError):
    """Something went wrong on our side. Nothing more was done; tell the operators the request id."""


FAILURES: Mapping[str, str] = {
    "/api/upload": "Failed to generate upload URL",
    "/api/analyze/status": "Failed to get analysis status",
    "/api/analyze": "Failed to start analysis",
    "/api/map-columns": "Failed to map columns",
    "/api/preview": "Failed to get preview data",
    "/api/import": "Failed to import contacts",
}
"""S1's routes, the longer path first, and what each says of a failure (S1-066, 070, 085, 092, 097, 107)."""

Serializer = Callable[[SluiceError, str, datetime], dict[str, Any]]


def canonical(error: SluiceError, request_id: str, now: datetime) -> dict[str, Any]:
    """S4's error object: `/v1` and whatever has no shape of its own."""
    facts = error.facts
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "details": {
                "field": _shown(facts.get("field")),
                "value": _shown(facts.get("value")),
                "constraint": _shown(facts.get("allowed") or facts.get("constraint")),
            },
            "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestId": request_id,
        }
    }


def contacts_import(error: SluiceError, request_id: str, now: datetime) -> dict[str, Any]:
    """S0 names no error shape: S4's object, and its own `success` and `status`."""
    return {"success": False, "status": "failed", **canonical(error, request_id, now)}


def wizard(failure: str) -> Serializer:
    """S1-114: a message and a code; whatever is our fault is only the route's own `failure`."""

    def serializer(error: SluiceError, request_id: str, now: datetime) -> dict[str, Any]:
        return {"error": failure if error.status >= 500 else error.message, "code": error.code}

    return serializer


SERIALIZERS: Mapping[str, Serializer] = {
    "/api/contacts/import": contacts_import,
    **{path: wizard(failure) for path, failure in FAILURES.items()},
}
"""By the path or its start; others are canonical."""


def serializer_of(path: str) -> Serializer:
    """How errors are told at this path."""
    return next((each for start, each in SERIALIZERS.items() if _is_below(path, start)), canonical)


def status_of(error: SluiceError, path: str) -> int:
    """The error's status at this path: S1 knows 400 where others are exact (K-20), and no 503."""
    if not any(_is_below(path, start) for start in FAILURES):
        return error.status
    return 500 if error.status >= 500 else 400 if error.status in (413, 415, 422) else error.status


def _is_below(path: str, start: str) -> bool:
    return path == start or path.startswith(f"{start}/")


def error_response(error: SluiceError, path: str, request_id: str, now: datetime) -> web.Response:
    """The answer that tells an error; only our own errors come here, so nothing inner is told."""
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.facts["retry_after_seconds"])
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, MethodUnknown):
        headers["Allow"] = str(error.facts["allowed"])
    body = serializer_of(path)(error, request_id, now)
    return web.json_response(body, status=status_of(error, path), headers=headers)


def _shown(fact: object) -> str | None:
    return None if fact is None else str(fact)[:MAX_SHOWN]
