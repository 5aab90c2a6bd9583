"""Two workers on a real broker: partitions move, and take their tables and their topics along."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from sluice.topics import (
    BATCH_APPLIED,
    IDENTITIES_CHANGED,
    IDENTITIES_CHANGELOG,
    PARTITIONS,
    PROGRESS_CHANGELOG,
    ROWS_READ,
)
from streams.steps.deduplicate import Hint
from tests.integration.stack import Servers
from tests.integration.streams_world import Worker, eventually, make_job, organization_in, reader_of

CO_PARTITIONED = (
    ROWS_READ.name,
    IDENTITIES_CHANGED.name,
    BATCH_APPLIED.name,
    IDENTITIES_CHANGELOG,
    PROGRESS_CHANGELOG,
)


def held(worker: Worker) -> set[int]:
    """The partitions of a worker that is ready, the same of every topic; empty while it is not."""
    health = worker.health()
    if health is None:
        return set()
    by_topic = [set(health["partitions"].get(topic, ())) for topic in CO_PARTITIONED]
    assert all(each == by_topic[0] for each in by_topic), health
    return by_topic[0]


@pytest.mark.requirement("B-03")
async def test_partitions_move_whole_between_two_workers(stack: Servers, tmp_path: Path) -> None:
    """A second worker joins during a job and is killed during it: everything comes out, nothing is forgotten.

    An agent writes the table of the partition that it reads, so a partition's topics and its changelog must
    be with one worker at any time.
    """
    # The second has a name of its own in every run: a static member of an earlier one may not be gone yet.
    first, second = Worker(stack, tmp_path), Worker(stack, tmp_path, uuid.uuid4().hex[:8])
    organizations = [organization_in(partition) for partition in range(PARTITIONS)]
    jobs = [make_job(organization, 20, rows=20) for organization in organizations]
    try:
        await first.start_ready()
        async with reader_of(stack) as reader:
            running = asyncio.gather(*(reader.run(job) for job in jobs))
            await second.start_ready()
            await eventually(
                lambda: bool(held(second)) and bool(held(first)), 60, "both have partitions", first
            )
            assert held(first) | held(second) == set(range(PARTITIONS))
            assert not held(first) & held(second)
            await running
            again = [make_job(organization, 20, rows=20) for organization in organizations]
            running = asyncio.gather(*(reader.run(job) for job in again))
            second.kill()
            await eventually(lambda: len(held(first)) == PARTITIONS, 60, "the first has them all", first)
            await running
            for job in again:
                hints = {
                    hint for batch in job for hint in reader.resolved(batch.job_id, batch.batch_no)[-1].hints
                }
                assert hints == {Hint.SAME}
    finally:
        second.stop()
        first.stop()
