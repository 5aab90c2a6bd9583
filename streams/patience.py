"""Waiting for what is away, without end, but not beyond the time that this process has the message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluice.telemetry import Telemetry

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0

# Faust waits for messages that are being processed before it stops or hands partitions over, for ever.
_LOOK_SECONDS = 0.5


class GivenUp(Exception):
    """The process stops, or its partitions move: the message is not acknowledged and comes again."""


class Patience:
    """Waits longer and longer for one dependency, and shows it in `sluice_waiting`."""

    def __init__(self, dependency: str, telemetry: Telemetry, gives_up: Callable[[], bool]) -> None:
        self._dependency = dependency
        self._telemetry = telemetry
        self._gives_up = gives_up
        self._next_seconds = 0.0

    async def wait(self) -> None:
        """Wait once more.

        Raises:
            GivenUp: somebody else is going to wait.
        """
        self._next_seconds = min(self._next_seconds * 2 or FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        self._telemetry.gauge("sluice_waiting", 1, dependency=self._dependency)
        left = self._next_seconds
        while left > 0:
            if self._gives_up():
                raise GivenUp
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            left -= _LOOK_SECONDS

    def answered(self) -> None:
        """The dependency is back, or was never away."""
        if self._next_seconds:
            self._next_seconds = 0.0
            self._telemetry.gauge("sluice_waiting", 0, dependency=self._dependency)
