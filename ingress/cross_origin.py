"""Pages of other origins may call the API from a browser where BROWSER_ORIGINS names them.

This is the CORS protocol of the Fetch standard. Tokens go in a header that the page itself makes, so no
cookie is ever asked for.
"""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

METHODS = "GET, POST, DELETE"
REQUEST_HEADERS = "authorization, content-type, x-organization-id, x-request-id"
ANSWER_HEADERS = "content-disposition, location, retry-after, x-request-id"

MAX_AGE_SECONDS = 3600
"""How long a browser need not ask again."""


def is_preflight(request: web.Request) -> bool:
    """Whether a browser asks, without a token, if a page may make a call."""
    headers = request.headers
    return request.method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers


def preflight(origin: str, allowed: Collection[str]) -> web.Response:
    """The answer to that; a page that may not is told nothing."""
    response = web.Response(status=204)
    if origin in allowed:
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
    return response


def let_read(response: web.StreamResponse, origin: str | None, allowed: Collection[str]) -> None:
    """Let a page of an allowed origin read the answer."""
    if not allowed:
        return
    response.headers.add("Vary", "Origin")
    if origin in allowed:
        response.headers["Access-Control-Allow-Origin"] = str(origin)
        response.headers["Access-Control-Expose-Headers"] = ANSWER_HEADERS
