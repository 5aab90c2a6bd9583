"""The tasks role: background work that is no import. The outbox relay, the sweeper, undo."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping

import structlog

from sluice.avro import load_codec
from sluice.clock import Clock, SystemClock
from sluice.settings import Settings
from sluice.telemetry import Telemetry, configure_logging, serve_metrics
from tasks.outage import Waiting
from tasks.relay import Relay
from tasks.sweeper import Sweeper
from tasks.undo.work import Undo

STOP_SECONDS = 5.0
"""How long work may go on after SIGTERM before it is cut off; what is cut off is repeated later."""

log = structlog.get_logger("sluice.tasks")


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then return."""
    configure_logging(settings.log_level)
    asyncio.run(_until_signalled(settings))


async def _until_signalled(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopping.set)
    await Worker(settings, SystemClock()).run(stopping)


class Worker:
    """Everything that the role does, side by side; an outage of one part does not stop the others."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._telemetry = Telemetry("tasks")
        self._relay: Relay | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set."""
        host, port = self._settings.api_host, self._settings.metrics_port
        metrics = await serve_metrics(self._telemetry, host, port, self.facts)
        waiting = Waiting(self._telemetry, self._clock, stopping)
        sweeper = Sweeper(self._settings, self._clock, self._telemetry)
        undo = Undo(self._settings, self._clock, self._telemetry)
        works = [
            asyncio.create_task(waiting.keep_running("relay", lambda: self._relay_session(stopping))),
            asyncio.create_task(waiting.keep_running("sweeper", lambda: sweeper.run(stopping))),
            asyncio.create_task(waiting.keep_running("undo", lambda: undo.run(stopping))),
        ]
        try:
            await _first_failure_or_stop(works, stopping)
        finally:
            stopping.set()
            await _finish(works)
            await metrics.cleanup()
            log.info("stopped")

    def facts(self) -> Mapping[str, object] | None:
        """What /health tells; None until the schemas are known."""
        return {"relaying": self._relay.active} if self._relay is not None else None

    async def _relay_session(self, stopping: asyncio.Event) -> None:
        if self._relay is None:
            codec = await load_codec(self._settings.schema_registry_url)
            self._relay = Relay(self._settings, codec, self._telemetry)
        await self._relay.run(stopping)


async def _first_failure_or_stop(works: list[asyncio.Task[None]], stopping: asyncio.Event) -> None:
    """Return when told to stop; raise what ended a work, which no outage does: the supervisor restarts us."""
    told = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait({told, *works}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
    for work in done - {told}:
        work.result()


async def _finish(works: list[asyncio.Task[None]]) -> None:
    _, unfinished = await asyncio.wait(works, timeout=STOP_SECONDS)
    for work in unfinished:
        work.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
