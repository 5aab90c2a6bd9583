"""Waiting for what is away: an outage is never an error of the work that meets it (D7)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from sluice.clock import Clock
from sluice.errors import BrokerUnavailable, DatabaseUnavailable, RegistryUnavailable, Unavailable
from sluice.telemetry import Telemetry

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 5.0
"""The most by which our waiting prolongs an outage."""

WORKED_SECONDS = 60.0
"""Longer than any attempt at something that is away takes (the broker's is 40 s), so it has worked."""

log = structlog.get_logger("sluice.tasks")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How the works of this role wait for their dependencies."""

    telemetry: Telemetry
    clock: Clock
    stopping: asyncio.Event

    async def keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work` until it returns; where it ends with an outage, call it again after a growing delay."""
        delay = FIRST_DELAY_SECONDS
        while not self.stopping.is_set():
            began = self.clock.monotonic()
            try:
                await work()
                return
            except Unavailable as outage:
                if self.clock.monotonic() - began > WORKED_SECONDS:
                    # A new outage, not the last one going on.
                    delay = FIRST_DELAY_SECONDS
                await self._wait(name, outage, delay)
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def _wait(self, name: str, outage: Unavailable, delay: float) -> None:
        dependency = dependency_of(outage)
        cause = type(outage.__cause__).__name__
        log.warning("waiting", work=name, dependency=dependency, cause=cause, delay_seconds=delay)
        self.telemetry.gauge("sluice_waiting", 1, dependency=dependency)
        await pause(self.stopping, delay)


def all_well(telemetry: Telemetry, *dependencies: str) -> None:
    """Say that these answer: the gauge stays up through all attempts until one succeeds."""
    for dependency in dependencies:
        telemetry.gauge("sluice_waiting", 0, dependency=dependency)


def dependency_of(outage: Unavailable) -> str:
    """What is away, in one word."""
    if isinstance(outage, DatabaseUnavailable):
        return "database"
    if isinstance(outage, BrokerUnavailable):
        return "broker"
    return "registry" if isinstance(outage, RegistryUnavailable) else "store"


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or until told to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
