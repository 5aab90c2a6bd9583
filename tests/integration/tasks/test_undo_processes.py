"""Undo by real processes: several at once, and some of them killed in the middle."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest

from sluice.avro import Codec
from sluice.events import ContactChanged
from sluice.settings import Settings
from sluice.topics import CONTACTS_CHANGED
from tests.integration.sink_world import Given, ImportJob, World
from tests.integration.stack import Servers
from tests.integration.tasks.conftest import Topic, eventually
from tests.integration.tasks.test_worker import free_port, worker

BATCHES = 12
ROWS = 500
CONTACTS = BATCHES * ROWS


@pytest.fixture
async def sink(settings: Settings, database: Any) -> AsyncIterator[World]:
    """The sink that imports; the outbox is empty before and after."""
    world = await World.open(settings.sink_database_url.get_secret_value())
    yield world
    await world.close()


async def imported(world: World, organization_id: uuid.UUID, city: str, every: int) -> ImportJob:
    """A completed job of every so many of the people."""
    job = await world.job(organization_id, on_duplicate="overwrite")
    for number in range(BATCHES):
        people = range(number * ROWS, (number + 1) * ROWS, every)
        rows = [Given({"email": f"p{n}@example.com", "city": city}) for n in people]
        await world.write(world.batch(job, rows, end="completed" if number == BATCHES - 1 else ""))
    return job


@pytest.mark.requirement("S0-028", "K-13")
async def test_processes_that_are_killed_and_processes_beside_each_other_undo_once(
    stack: Servers, sink: World, codec: Codec, settings: Settings
) -> None:
    """Two work at once on one job; both are killed in the middle, two others go on.

    Each contact is told of by one event's id, the counts are right, and the contacts are as before.
    """
    organization_id = await sink.organization()
    await imported(sink, organization_id, "Oslo", every=2)
    job = await imported(sink, organization_id, "Rome", every=1)
    async with Topic(settings, CONTACTS_CHANGED.name) as topic:
        await sink.connection.execute(
            "UPDATE import_jobs SET state = 'undoing', undo_asked_at = now() WHERE id = $1", job.id
        )
        with workers(stack, 2):
            await eventually(lambda: reversed_over(sink, job, ROWS), 60)
        killed_at = await sink.row(job)
        assert killed_at["state"] == "undoing"
        assert 0 < killed_at["undo_reversed"] < killed_at["undo_total"] == CONTACTS
        with workers(stack, 2):
            await eventually(lambda: is_undone(sink, job), 60)
            events = await told(topic, codec, organization_id)
    row = await sink.row(job)
    assert (row["undo_reversed"], row["undo_kept_edited"], row["undo_kept_colliding"]) == (CONTACTS, 0, 0)
    cities = "SELECT city, count(*) FROM contacts WHERE organization_id = $1 GROUP BY city"
    rows = await sink.connection.fetch(cities, organization_id)
    assert [tuple(each) for each in rows] == [("Oslo", CONTACTS // 2)]
    # The relay repeats what it had sent when it was killed, under the same id.
    by_id = {event.event_id: event for event in events}
    assert len(by_id) == len({event.contact_id for event in by_id.values()}) == CONTACTS


def workers(stack: Servers, count: int) -> ExitStack:
    """So many `sluice run tasks` for the length of a block, killed with SIGKILL at its end."""
    running = ExitStack()
    for _ in range(count):
        running.enter_context(worker(stack, free_port()))
    return running


async def reversed_over(sink: World, job: ImportJob, count: int) -> bool:
    return int((await sink.row(job))["undo_reversed"]) > count


async def is_undone(sink: World, job: ImportJob) -> bool:
    return bool((await sink.row(job))["state"] == "undone")


async def told(topic: Topic, codec: Codec, organization_id: uuid.UUID) -> list[ContactChanged]:
    """Every change of the organization's contacts, until nothing more comes."""
    found: list[ContactChanged] = []
    async with asyncio.timeout(60):
        while len({event.event_id for event in found}) < CONTACTS:
            messages = await topic.drain()
            events = [codec.decode(topic.name, ContactChanged, message.value) for message in messages]
            found += [event for event in events if event.organization_id == str(organization_id)]
    messages = await topic.drain()
    return found + [codec.decode(topic.name, ContactChanged, message.value) for message in messages]
