"""Where the time of an import goes, from the marks that it leaves: its rows in PostgreSQL, its messages.

All clocks are this machine's. Kafka's and the events' are in whole milliseconds, so a stage shorter than that
may come out as nothing or less; only the median over many imports means anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition

from sluice.avro import load_codec
from sluice.broker import make_follower
from sluice.events import RowsRead
from sluice.settings import Settings
from sluice.topics import BATCH_APPLIED, ROWS_READ, ROWS_RESOLVED, Topic
from tests.benchmarks.running import Running

TOPICS = (ROWS_READ, ROWS_RESOLVED, BATCH_APPLIED)

MARKS: Mapping[str, str] = {
    "job row": "upload stored",
    "leased": "job row, bell, lease",
    "read": "file read and cut",
    "rows-read": "sent",
    "rows-resolved": "resolved",
    "applied": "taken by the sink",
    "batch-applied": "written",
    "answered": "published and answered",
}
"""Every mark of a journey in order, and what ends with it."""

Offsets = Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Journey:
    """One import: seconds from request to answer, and of each stage."""

    seconds: float
    stages: Mapping[str, float]


async def newest(settings: Settings) -> Offsets:
    """Where the topics end now."""
    consumer = make_follower(settings, (), from_start=True)
    await consumer.start()
    try:
        return dict(await consumer.end_offsets(_partitions()))
    finally:
        await consumer.stop()


def _partitions() -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]


async def journeys(
    running: Running, since: Offsets, spans: Sequence[tuple[UUID, float, float]]
) -> list[Journey]:
    """Follow imports by job, request and answer, through what was written behind `since`."""
    times: defaultdict[UUID, dict[str, float]] = defaultdict(dict)
    for started_job, began, ended in spans:
        times[started_job] |= {"request": began, "answered": ended}
    for row in await running.database.fetch(
        "SELECT j.id, j.created_at, j.started_at, max(b.applied_at) AS applied_at FROM import_jobs j "
        "JOIN import_batches b ON b.job_id = j.id WHERE j.id = ANY ($1) GROUP BY j.id",
        list(times),
    ):
        times[UUID(bytes=row["id"].bytes)] |= {
            "job row": row["created_at"].timestamp(),
            "leased": row["started_at"].timestamp(),
            "applied": row["applied_at"].timestamp(),
        }
    codec = await load_codec(running.settings.schema_registry_url)
    async for topic, message in _messages(running.settings, since):
        job_id = _job_of(topic, message)
        mark = topic.name.split(".")[1]
        # What is sent a second time because nothing moved is no news.
        if job_id is None or job_id not in times or mark in times[job_id]:
            continue
        times[job_id][mark] = message.timestamp / 1000
        if topic is ROWS_READ:
            times[job_id]["read"] = codec.decode(topic.name, RowsRead, message.value).read_at / 1000
    return [journey_of(times[started_job]) for started_job, _, _ in spans]


def journey_of(times: Mapping[str, float]) -> Journey:
    """The stages between the marks; `times` by mark, and of the request."""
    stages, last = {}, times["request"]
    for mark, stage in MARKS.items():
        stages[stage] = times[mark] - last
        last = times[mark]
    return Journey(times["answered"] - times["request"], stages)


async def _messages(settings: Settings, since: Offsets) -> AsyncIterator[tuple[Topic, Any]]:
    """What is in the topics from `since` to their ends now."""
    consumer = make_follower(settings, (), from_start=True)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(since))
        left = [where for where, end in ends.items() if since[where] < end]
        consumer.assign(left)
        for where in left:
            consumer.seek(where, since[where])
        by_name = {topic.name: topic for topic in TOPICS}
        while any([await consumer.position(where) < ends[where] for where in left]):
            for where, messages in (await consumer.getmany(timeout_ms=500)).items():
                for message in messages:
                    yield by_name[where.topic], message
    finally:
        await consumer.stop()


def _job_of(topic: Topic, message: Any) -> UUID | None:
    if topic.key == "job_id":
        return UUID(message.key.decode())
    named = dict(message.headers).get("job_id")
    return UUID(named.decode()) if named else None
