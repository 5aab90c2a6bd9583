"""`/health` in S4's shape and `/metrics`: for load balancers and operators, without a token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import psutil
from aiohttp import web

from ingress.doors.receiving import SERVICES
from ingress.services import Services
from sluice.clock import Clock
from sluice.errors import SluiceError

HEALTHY, UNHEALTHY, STARTING, DEGRADED = "healthy", "unhealthy", "starting", "degraded"

ASK_SECONDS = 3.0
"""A service that takes longer is not well."""

REMEMBER_SECONDS = 1.0
"""Anybody may ask, so the services behind are not asked each time."""

NEEDED = ("database", "s3")
"""Without these nothing is taken in; without the queue a job only starts later."""


class Health:
    """Asks the services that the API needs, at most once a second."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clock: Clock = services.clock
        self._began = services.clock.monotonic()
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._states: Mapping[str, str] = {}

    async def facts(self) -> dict[str, Any]:
        """S4-111, with the state of each service."""
        async with self._lock:
            if self._clock.monotonic() - self._asked_at >= REMEMBER_SECONDS:
                self._states = await self._ask()
                self._asked_at = self._clock.monotonic()
        return {
            "status": _summary(self._states),
            "timestamp": self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "services": dict(self._states),
            "metrics": {
                "uptime": round(self._clock.monotonic() - self._began),
                "memory_usage": f"{psutil.virtual_memory().percent:.0f}%",
                "cpu_usage": f"{psutil.cpu_percent():.0f}%",
            },
        }

    async def _ask(self) -> dict[str, str]:
        database, store, queue = await asyncio.gather(
            _state(self._services.database.check()),
            _state(self._services.store.check()),
            _state(self._services.bell.check()),
        )
        if not self._services.bell.tried:
            queue = STARTING
        # `redis` is S4's name for the place where the wizard keeps its state (K-41).
        state = store if self._services.settings.state_backend == "objects" else database
        return {"database": database, "redis": state, "s3": store, "queue": queue}


def _summary(states: Mapping[str, str]) -> str:
    if any(states[name] == UNHEALTHY for name in NEEDED):
        return UNHEALTHY
    if STARTING in states.values():
        return STARTING
    return DEGRADED if UNHEALTHY in states.values() else HEALTHY


async def _state(asked: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await asked
    except (SluiceError, TimeoutError):
        return UNHEALTHY
    return HEALTHY


HEALTH = web.AppKey("health", Health)


async def health(request: web.Request) -> web.Response:
    """200 while files can be taken in, else 503."""
    facts = await request.app[HEALTH].facts()
    return web.json_response(facts, status=200 if facts["status"] in (HEALTHY, DEGRADED) else 503)


async def metrics(request: web.Request) -> web.Response:
    """This process's metrics in Prometheus' text format."""
    return web.Response(
        body=request.app[SERVICES].telemetry.text(), content_type="text/plain", charset="utf-8"
    )
