"""What runs, where, and how far behind: asked of the processes themselves at this moment."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypedDict

from confluent_kafka import KafkaException

from cli.local.credentials import read_settings
from cli.local.kafka import every_partition_has_a_leader, lag
from cli.local.layout import Layout
from cli.local.objectstore import answers as s3_answers
from cli.local.postgres import answers as postgres_answers
from cli.local.probes import answers_http
from cli.local.processes import StackState, Started, alive

SERVERS = ("postgres", "kafka", "s3", "registry")


class Status(TypedDict):
    """The answer of `sluice status --json`."""

    servers: list[dict[str, Any]]
    roles: list[dict[str, Any]]
    addresses: dict[str, str]
    lag: dict[str, int]


def status(layout: Layout) -> Status:
    """The state of the stack now; empty lists when nothing runs."""
    return asyncio.run(_status(layout))


def all_ready(found: Status) -> bool:
    """Whether there is a stack and everything in it answers."""
    everything = [*found["servers"], *found["roles"]]
    return bool(everything) and all(each["ready"] for each in everything)


async def _status(layout: Layout) -> Status:
    settings = read_settings(layout.env_file)
    state = StackState.read(layout.state_file)
    if state is None or not settings or not any(alive(each) for each in state.processes):
        return Status(servers=[], roles=[], addresses={}, lag={})
    known = sorted((*state.processes, *state.absent), key=_order)
    ready = await asyncio.gather(*(_ready(each, settings) for each in known))
    kafka_ready = any(answers for each, answers in zip(known, ready, strict=True) if each.name == "kafka")
    return Status(
        servers=[
            {"name": each.name, "pid": _pid(each), "address": each.address, "ready": answers}
            for each, answers in zip(known, ready, strict=True)
            if each.kind == "server"
        ],
        roles=[
            {"name": each.name, "pid": _pid(each), "metrics": each.metrics, "ready": answers}
            for each, answers in zip(known, ready, strict=True)
            if each.kind == "role"
        ],
        addresses=_addresses(settings),
        lag=await _lag(settings["KAFKA_BOOTSTRAP_SERVERS"]) if kafka_ready else {},
    )


def _pid(started: Started) -> int | None:
    """The process's number, while there is one."""
    return started.pid if alive(started) else None


def _order(started: Started) -> int:
    return SERVERS.index(started.name) if started.name in SERVERS else len(SERVERS)


async def _ready(started: Started, settings: dict[str, str]) -> bool:
    """Ask it. A process that is not there does not answer, whoever has its port."""
    if not alive(started):
        return False
    match started.name:
        case "postgres":
            return await postgres_answers(settings["MIGRATE_DATABASE_URL"])
        case "kafka":
            return await asyncio.to_thread(every_partition_has_a_leader, started.address)
        case "s3":
            keys = settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"]
            return await s3_answers(settings["S3_ENDPOINT_URL"], *keys)
        case "registry":
            return await answers_http(f"{settings['SCHEMA_REGISTRY_URL']}/subjects")
        case _:
            return await answers_http(started.health)


async def _lag(bootstrap: str) -> dict[str, int]:
    """By group; nothing when the broker has gone in between."""
    with contextlib.suppress(KafkaException, TimeoutError):
        return await asyncio.to_thread(lag, bootstrap)
    return {}


def _addresses(settings: dict[str, str]) -> dict[str, str]:
    """Where a person or a program connects. The passwords are in `.sluice/env`."""
    host_and_path = settings["DATABASE_URL"].rpartition("@")[2]
    return {
        "api": f"http://{settings['API_HOST']}:{settings['API_PORT']}",
        "postgres": host_and_path.partition("/")[0],
        "kafka": settings["KAFKA_BOOTSTRAP_SERVERS"],
        "registry": settings["SCHEMA_REGISTRY_URL"],
        "s3": settings["S3_ENDPOINT_URL"],
    }
