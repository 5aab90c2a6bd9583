"""Further runs between real topics and a real database: each event once, through crashes of the sink."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from sluice.outcome import Outcome
from sluice.settings import Settings
from tests.integration.sink_topics import Topics, applied, running
from tests.integration.sink_world import Given, ImportJob, World
from tests.integration.stack import Servers
from tests.integration.test_sink_worker import new, people, write_only


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


@pytest.fixture
async def settings(stack: Servers) -> Settings:
    return stack.settings()


@pytest.fixture
async def topics(settings: Settings) -> Topics:
    return await Topics.open(settings)


def with_a_refused_row() -> list[Given]:
    rows = people(3)
    rows[1] = Given({"email": "p1", "phone": "", "phone_formatted": ""}, refused=Outcome.INVALID)
    return rows


async def ids(topics: Topics, job: ImportJob) -> list[str]:
    """The events of a job, without the job's own id, in order of rows."""
    return [event.event_id.removeprefix(f"{job.id}/") for event in await topics.imported(job.id)]


@pytest.mark.requirement("B-07")
async def test_a_healing_is_published_once_even_before_the_import_was(
    world: World, topics: Topics, settings: Settings
) -> None:
    """Two dead workers left both runs written and unpublished; the third publishes each row's one event."""
    job = await world.job(await world.organization())
    rows = with_a_refused_row()
    first = world.batch(job, rows, end="completed").message
    async with running(settings):
        pass
    await write_only(settings, topics, first)
    await world.heal(job)
    job.row_no = 2
    healed = world.batch(job, people(1, 1), hints=new(people(1)), end="completed").message
    await write_only(settings, topics, healed)
    assert await topics.imported(job.id) == []

    async with running(settings):
        await applied(world, job.id, 2)
        for message in (healed, first, healed):
            topics.send(message)
    async with running(settings):
        pass

    assert await ids(topics, job) == ["1/1", "2/2", "1/3"]
    answers = await topics.answers(job.id)
    assert [(answer.run, answer.batch_no, answer.counts) for answer in answers] == [
        (1, 1, {"created": 2, "invalid": 1}),
        (2, 2, {"created": 3}),
    ]
    assert await world.newest(job) == [Outcome.CREATED] * 3


@pytest.mark.requirement("B-07")
async def test_a_commit_is_published_once_after_a_crash(
    world: World, topics: Topics, settings: Settings
) -> None:
    """The dry run publishes nothing; what its commit wrote the next worker publishes, under its run."""
    job = await world.job(await world.organization(), dry_run=True)
    rows = with_a_refused_row()
    async with running(settings):
        topics.send(world.batch(job, rows).message)
        topics.send(world.batch(job, people(1, 3), end="completed").message)
        await applied(world, job.id, 2)
    assert await topics.imported(job.id) == []

    await world.commit(job)
    staged = world.batch(job, rows).message
    last = world.batch(job, people(1, 3), end="completed").message
    await write_only(settings, topics, staged)
    async with running(settings):
        await applied(world, job.id, 3)
    await write_only(settings, topics, last)
    async with running(settings):
        await applied(world, job.id, 4)
        for message in (last, staged, last):
            topics.send(message)
    async with running(settings):
        pass

    assert await ids(topics, job) == ["2/1", "2/3", "2/4"]
    answers = [(answer.batch_no, answer.run, answer.state) for answer in await topics.answers(job.id)]
    assert answers == [(1, 1, "processing"), (2, 1, "completed"), (3, 2, "processing"), (4, 2, "completed")]
    left = await world.connection.fetchval(
        "SELECT sum(length(message)) FROM import_batches WHERE job_id = $1", job.id
    )
    assert left == 0


async def test_a_healed_batch_that_nobody_can_decode_leaves_its_rows_refused(
    world: World, topics: Topics, settings: Settings
) -> None:
    """The third copy is answered: the rows are `failed`, to be healed again, and the run ends."""
    job = await world.job(await world.organization())
    async with running(settings):
        topics.send(world.batch(job, with_a_refused_row(), end="completed").message)
        await applied(world, job.id, 1)
        await world.heal(job)
        job.row_no = 2
        message = world.batch(job, people(1, 1), end="completed").message
        for _ in range(3):
            topics.send(message, data=b"\x00\x00\x00\x00\x01garbage")
        await applied(world, job.id, 2)
    assert await world.newest(job) == [Outcome.CREATED, Outcome.FAILED, Outcome.CREATED]
    row = await world.row(job)
    assert (row["state"], row["rows_read"], row["failed"], row["invalid"]) == ("completed", 3, 1, 0)


async def test_a_batch_of_an_earlier_run_or_lease_is_dropped(world: World) -> None:
    """However late it comes, it is of nobody: only the next batch of this run and lease counts."""
    job = await world.job(await world.organization())
    await world.write(world.batch(job, with_a_refused_row(), end="completed"))
    await world.heal(job)
    job.row_no = 2
    good = world.batch(job, people(1, 1), end="completed").message
    for changes in ({"run": 1}, {"lease_epoch": 1}, {"batch_no": 3}):
        written = await world.write(world.arrival(msgspec.structs.replace(good, **changes)))
        assert written.applied == []
    assert [each.letters for each in (await world.write(world.arrival(good))).applied] == ["c"]
