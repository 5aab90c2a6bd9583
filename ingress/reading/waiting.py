"""Waiting for a dependency that is away: with backoff, a metric, and without end (D7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
import structlog

from sluice.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    RegistryUnavailable,
    StoreUnavailable,
    Unavailable,
)
from sluice.telemetry import Telemetry

log = structlog.get_logger(__name__)

DEPENDENCIES: dict[type[Unavailable], str] = {
    DatabaseUnavailable: "database",
    BrokerUnavailable: "broker",
    StoreUnavailable: "store",
    RegistryUnavailable: "registry",
}

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0

T = TypeVar("T")


async def patiently(work: Callable[[], Awaitable[T]], telemetry: Telemetry) -> T:
    """What `work` returns, asked again until nothing that it needs is away; other errors pass through."""
    missed: set[str] = set()

    def away(error: Exception) -> bool:
        dependency = DEPENDENCIES.get(type(error)) if isinstance(error, Unavailable) else None
        if dependency is None:
            return False
        if dependency not in missed:
            missed.add(dependency)
            log.warning("waiting", dependency=dependency, cause=repr(error.__cause__))
        telemetry.gauge("sluice_waiting", 1, dependency=dependency)
        return True

    attempts = stamina.retry_context(
        on=away,
        attempts=None,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_jitter=FIRST_WAIT_SECONDS,
        wait_max=LONGEST_WAIT_SECONDS,
    )
    async for attempt in attempts:
        with attempt:
            result = await work()
    for dependency in missed:
        telemetry.gauge("sluice_waiting", 0, dependency=dependency)
        log.info("back", dependency=dependency)
    return result
