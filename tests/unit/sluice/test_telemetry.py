"""One closed vocabulary of metrics, and logs as one JSON object a line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator

import aiohttp
import pytest
import structlog

from sluice.telemetry import METRICS, Metric, Telemetry, configure_logging, serve_metrics

NAMES = [metric.name for metric in METRICS]


@pytest.mark.requirement("S0-040")
def test_every_metric_has_one_name_one_unit_and_a_sentence() -> None:
    """Prometheus' conventions: a prefix, `_total` for counters, `_seconds` for times."""
    assert len(set(NAMES)) == len(NAMES)
    for metric in METRICS:
        assert re.fullmatch(r"sluice_[a-z_]+", metric.name)
        assert metric.help.endswith(".")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.kind != "histogram" or metric.name.endswith("_seconds")


def use_of(telemetry: Telemetry, metric: Metric) -> Callable[..., None]:
    if metric.kind == "counter":
        return telemetry.count
    return telemetry.gauge if metric.kind == "gauge" else telemetry.observe


def test_each_metric_can_be_used_and_read() -> None:
    """Every one of the list shows up under its name with its labels."""
    telemetry = Telemetry("test")
    for metric in METRICS:
        use_of(telemetry, metric)(metric.name, 2, **dict.fromkeys(metric.labels, "x"))
    text = telemetry.text().decode()
    for metric in METRICS:
        labels_text = ",".join(f'{name}="x"' for name in sorted(metric.labels))
        suffix = "_sum" if metric.kind == "histogram" else ""
        shown = f"{metric.name}{suffix}" + (f"{{{labels_text}}}" if labels_text else "")
        assert f"{shown} 2.0" in text


def test_a_metric_outside_the_list_is_an_error() -> None:
    """Nobody invents a metric on the way."""
    with pytest.raises(KeyError):
        Telemetry("test").count("sluice_invented_total")


@pytest.mark.parametrize("use", ["count", "gauge", "observe"])
def test_a_metric_is_used_as_what_it_is(use: str) -> None:
    """A gauge is not counted up and a counter not set."""
    wrong = {
        "count": "sluice_jobs_leased",
        "gauge": "sluice_rows_read_total",
        "observe": "sluice_jobs_leased",
    }
    with pytest.raises(AssertionError):
        getattr(Telemetry("test"), use)(wrong[use], 1)


def test_two_processes_in_one_do_not_share_counters() -> None:
    """Each role has a registry of its own."""
    first, second = Telemetry("one"), Telemetry("two")
    first.count("sluice_rows_read_total", 5)
    assert b"sluice_rows_read_total 0.0" in second.text()


async def test_a_worker_tells_whether_it_is_ready() -> None:
    """503 until the role says so, then 200 with its facts; metrics at any time."""
    facts: list[dict[str, object]] = []
    telemetry = Telemetry("sink")
    runner = await serve_metrics(telemetry, "127.0.0.1", 0, lambda: facts[0] if facts else None)
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            async with session.get("/health") as answer:
                assert (answer.status, await answer.json()) == (503, {"role": "sink", "status": "starting"})
            facts.append({"partitions": 12})
            async with session.get("/health") as answer:
                assert answer.status == 200
                assert await answer.json() == {"role": "sink", "status": "ready", "partitions": 12}
            async with session.get("/metrics") as answer:
                assert b"sluice_groups_total" in await answer.read()
    finally:
        await runner.cleanup()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Logging as it was, whatever the test configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.requirement("S0-039")
@pytest.mark.usefixtures("root_logger")
def test_log_lines_are_json_with_the_job_they_belong_to(capsys: pytest.CaptureFixture[str]) -> None:
    """Our lines and the libraries' look alike: level, time, event, and what is bound to the context."""
    configure_logging("INFO")
    structlog.contextvars.bind_contextvars(job_id="j1", batch_no=3)
    structlog.get_logger("sluice.test").info("batch_applied", rows=500)
    structlog.get_logger("sluice.test").debug("unseen")
    logging.getLogger("library").warning("something %s", "happened")
    ours, theirs = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (ours["event"], ours["rows"], ours["job_id"], ours["batch_no"]) == ("batch_applied", 500, "j1", 3)
    assert (theirs["event"], theirs["level"]) == ("something happened", "warning")
    assert "timestamp" in ours
    assert "timestamp" in theirs
