"""Logs and metrics: one closed vocabulary, one way to serve it. docs/metrics.md is made from `METRICS`.

Log lines carry job and batch ids, never a name, an address, a number or a cell of a file.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, what it counts, and by which labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    # ingress: who asks for what, and how it ends. `route` is the pattern, never the path with its ids.
    Metric("sluice_http_requests_total", "counter", "Requests answered.", ("route", "method", "status")),
    Metric("sluice_http_request_seconds", "histogram", "Time to the answer.", ("route",)),
    Metric("sluice_upload_bytes_total", "counter", "Bytes of files taken in."),
    Metric("sluice_authentications_total", "counter", "Attempts to authenticate.", ("result",)),
    # reader: what is on its way, and what had to be sent twice.
    Metric("sluice_jobs_leased", "gauge", "Jobs that this reader sends."),
    Metric("sluice_rows_read_total", "counter", "Rows sent for the first time."),
    Metric("sluice_batches_sent_total", "counter", "Batches sent for the first time."),
    Metric("sluice_batches_resent_total", "counter", "Batches sent again because nothing moved."),
    Metric("sluice_window_batches", "gauge", "Batches sent and not yet applied."),
    # streams: what the pipeline decided. `stage` is the step's name.
    Metric("sluice_rows_resolved_total", "counter", "Rows that left the pipeline."),
    Metric("sluice_stage_seconds_total", "counter", "Time spent in a stage.", ("stage",)),
    Metric("sluice_batches_dropped_total", "counter", "Batches not accepted: ahead or outdated.", ("role",)),
    Metric(
        "sluice_batches_repeated_total", "counter", "Batches seen before, without a second effect.", ("role",)
    ),
    Metric("sluice_dead_letters_total", "counter", "Messages given up.", ("topic",)),
    Metric("sluice_dnc_list_age_seconds", "gauge", "Age of the oldest Do-Not-Call list in use."),
    # sink: what was written, and what it cost.
    Metric("sluice_rows_applied_total", "counter", "Rows by outcome, once each.", ("outcome",)),
    Metric("sluice_groups_total", "counter", "Groups of batches written.", ("path",)),
    Metric("sluice_hints_overruled_total", "counter", "Batches whose hints did not hold."),
    Metric("sluice_write_seconds", "histogram", "One database transaction."),
    Metric("sluice_publish_seconds", "histogram", "One Kafka transaction."),
    Metric("sluice_events_published_total", "counter", "Contact events committed."),
    Metric("sluice_writes_fenced_total", "counter", "Writes refused because the partition had moved on."),
    # tasks: what an undo did. `result` is reversed, edited, deleted or colliding.
    Metric("sluice_undone_contacts_total", "counter", "Contacts that an undo came to.", ("result",)),
    # everywhere: a dependency that is waited for.
    Metric("sluice_waiting", "gauge", "1 while a dependency is waited for.", ("dependency",)),
    Metric("sluice_outbox_events_total", "counter", "Outbox records relayed.", ("topic",)),
)


class Telemetry:
    """The metrics of one process. Asking for a name that is not in `METRICS` is a KeyError."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        for metric in METRICS:
            options = {"buckets": SECONDS} if metric.kind == "histogram" else {}
            self._metrics[metric.name] = kinds[metric.kind](
                metric.name, metric.help, metric.labels, registry=self.registry, **options
            )

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        metric = self._metrics[name]
        assert isinstance(metric, Counter)
        (metric.labels(**labels) if labels else metric).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        metric = self._metrics[name]
        assert isinstance(metric, Gauge)
        (metric.labels(**labels) if labels else metric).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation, in seconds."""
        metric = self._metrics[name]
        assert isinstance(metric, Histogram)
        (metric.labels(**labels) if labels else metric).observe(value)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def configure_logging(level: str = "INFO") -> None:
    """One JSON object a line on standard error, our own lines and the libraries' alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "faust", "mode", "botocore", "aiobotocore", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


async def serve_metrics(
    telemetry: Telemetry, host: str, port: int, ready: Callable[[], Mapping[str, object] | None]
) -> web.AppRunner:
    """Serve `/metrics` and `/health` of a worker; close the returned runner with `cleanup()`.

    `ready` answers facts about a role that works, or None while it is not ready (503).
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=telemetry.text(), content_type="text/plain", charset="utf-8")

    async def health(_: web.Request) -> web.Response:
        facts = ready()
        body = {
            "role": telemetry.role,
            "status": "ready" if facts is not None else "starting",
            **(facts or {}),
        }
        return web.json_response(body, status=200 if facts is not None else 503)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
