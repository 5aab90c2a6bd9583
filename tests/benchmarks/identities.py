"""The identities table when it knows nothing, and when it knows ten million."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from sluice.broker import ensure_topics
from sluice.topics import IDENTITIES_CHANGELOG, PARTITIONS
from streams import claims
from streams.app import state_directory
from tests.benchmarks.contacts import contacts_file
from tests.benchmarks.running import Facts, Running, cpu_facts, profile_facts

COLD, START = "cold-identities", "table-start"

BATCH_ROWS = 500
START_SECONDS = 900
TOPIC_SECONDS = 30


async def cold(running: Running) -> Facts:
    """The same contacts again over a table that knows them, and over one that knows nothing, in turns."""
    rows = running.options.rows
    content = contacts_file(rows)
    await running.warm_up()
    tenant = await running.tenant()
    assert (await running.import_file(tenant, content))["created"] == rows
    warm, without = [], []
    for _ in range(running.options.rounds):
        warm.append(await running.timed_import(tenant, content, {"unchanged": rows}))
        await forget(running)
        await running.warm_up()
        without.append(await running.timed_import(tenant, content, {"unchanged": rows}))
    ratios = [knowing.seconds / cold.seconds for knowing, cold in zip(warm, without, strict=True)]
    return {
        "what": "an import of known contacts over a cold identities table, against a warm one",
        "rows": rows,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 3) for each in ratios],
        "rows_per_second": [round(leg.rows_per_second) for leg in without],
        "base_rows_per_second": [round(leg.rows_per_second) for leg in warm],
        **cpu_facts(without),
        **profile_facts(without, running.options.profile),
    }


async def forget(running: Running) -> None:
    """The table loses its disk and its changelog; the streams role is started again with nothing."""
    await asyncio.to_thread(running.stack.stop_role, "streams")
    await asyncio.to_thread(_make_changelog_anew, running.settings.kafka_bootstrap_servers)
    shutil.rmtree(_tables(running), ignore_errors=True)
    await ensure_topics(running.settings.kafka_bootstrap_servers)
    await asyncio.to_thread(running.stack.start_role, "streams")


def _tables(running: Running) -> Path:
    return state_directory(running.settings) / "tables" / IDENTITIES_CHANGELOG


def _make_changelog_anew(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_topics([IDENTITIES_CHANGELOG]).values():
        future.result(timeout=TOPIC_SECONDS)
    deadline = time.monotonic() + TOPIC_SECONDS
    while IDENTITIES_CHANGELOG in admin.list_topics(timeout=TOPIC_SECONDS).topics:
        assert time.monotonic() < deadline, "the broker keeps the changelog"
        time.sleep(0.1)


async def start(running: Running, identities: int) -> Facts:
    """How long a worker takes to be ready when its table holds so many, without and with its disk."""
    await asyncio.to_thread(running.stack.stop_role, "streams")
    written = await asyncio.to_thread(_write_claims, running.settings.kafka_bootstrap_servers, identities)
    shutil.rmtree(_tables(running), ignore_errors=True)
    from_changelog = await _start_seconds(running)
    held, used = _memory(running), _cpu_seconds(running)
    first_import = await _first_import(running)
    await asyncio.to_thread(running.stack.stop_role, "streams")
    with_disk = await _start_seconds(running)
    return {
        "what": f"start of a streams worker whose table holds {identities:,} identities",
        "identities": identities,
        "seconds_from_changelog": round(from_changelog, 1),
        "seconds_with_disk": round(with_disk, 1),
        "cpu_seconds_from_changelog": round(used, 1),
        "cpu_seconds_with_disk": round(_cpu_seconds(running), 1),
        "seconds_of_the_first_ten_rows": round(first_import, 2),
        "changelog_bytes_per_identity": round(written / identities, 1),
        "disk_bytes_per_identity": round(_disk_bytes(_tables(running)) / identities, 1),
        "megabytes_from_changelog": held,
        "megabytes_with_disk": _memory(running),
    }


async def _start_seconds(running: Running) -> float:
    started = time.perf_counter()
    await asyncio.to_thread(running.stack.start_role, "streams", START_SECONDS)
    return time.perf_counter() - started


async def _first_import(running: Running) -> float:
    tenant = await running.tenant()
    started = time.perf_counter()
    await running.import_file(tenant, contacts_file(10))
    return time.perf_counter() - started


def _worker(running: Running) -> psutil.Process:
    worker = running.stack.started("streams")
    assert worker is not None
    return psutil.Process(worker.pid)


def _cpu_seconds(running: Running) -> float:
    times = _worker(running).cpu_times()
    return float(times.user + times.system)


def _memory(running: Running) -> dict[str, float]:
    memory = _worker(running).memory_full_info()
    return {"resident": round(memory.rss / 1e6, 1), "proportional": round(memory.pss / 1e6, 1)}


def _disk_bytes(directory: Path) -> int:
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())


def _write_claims(bootstrap: str, identities: int) -> int:
    """Claims of new contacts as the streams role writes them, an e-mail and a phone each; their bytes."""
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.kbytes": 65536, "acks": "all"})
    organizations = [uuid4() for _ in range(PARTITIONS)]
    written = 0
    for number in range(identities // (2 * BATCH_ROWS)):
        partition = number % PARTITIONS
        key, record = _record(organizations[partition], number // PARTITIONS + 1)
        written += len(record)
        while True:
            try:
                producer.produce(IDENTITIES_CHANGELOG, record, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(TOPIC_SECONDS) == 0, "the broker did not take all records"
    return written


def _record(organization: UUID, batch_no: int) -> tuple[bytes, bytes]:
    head = claims.header(
        organization_id=str(organization), target="contacts", scope="", at=int(time.time() * 1000),
        job_id=str(organization), batch_no=batch_no, lease_epoch=1,
    )  # fmt: skip
    flags = claims.HOLDS_EMAIL | claims.HOLDS_PHONE
    held = (os.urandom(64) for _ in range(BATCH_ROWS))
    packed = (claims.claim(flags, each[:32], each[32:48], each[48:]) for each in held)
    return str(organization).encode(), claims.pack(head, packed)
