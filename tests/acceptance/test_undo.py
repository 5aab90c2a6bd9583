"""Undo as a customer and as a subscriber see it: over the API, from the command line, in the topics."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from sluice.avro import load_codec
from sluice.broker import make_follower
from sluice.events import ContactChanged
from sluice.topics import CONTACTS_CHANGED
from tests.acceptance.client import Tenant, canonical, stored_contacts
from tests.acceptance.conftest import Running

COUNT = 1_200


def people(count: int, city: str) -> bytes:
    """People with an e-mail and a city each."""
    rows = [f"person{n}@undo.example.com,Person {n},{city}\n" for n in range(count)]
    return ("Email,First Name,City\n" + "".join(rows)).encode()


@asynccontextmanager
async def subscribed(running: Running) -> AsyncIterator[AIOKafkaConsumer]:
    """A subscriber of changed contacts, from now on."""
    consumer = make_follower(running.stack.settings(), [CONTACTS_CHANGED.name], from_start=False)
    await consumer.start()
    try:
        # Where the subscriber starts must be known before there is anything to see.
        await asyncio.gather(*(consumer.position(each) for each in consumer.assignment()))
        yield consumer
    finally:
        await consumer.stop()


async def changes(running: Running, consumer: AIOKafkaConsumer, tenant: Tenant) -> list[ContactChanged]:
    """Changes of as many of the tenant's contacts as there are, and whatever comes with them."""
    codec = await load_codec(running.stack.settings().schema_registry_url)
    found: list[ContactChanged] = []
    async with asyncio.timeout(60):
        while len(found) < COUNT:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                values = [message.value for message in messages]
                events = [codec.decode(CONTACTS_CHANGED.name, ContactChanged, value) for value in values]
                found += [each for each in events if each.organization_id == tenant.organization_id]
    return found


@pytest.mark.requirement("S0-028", "K-13")
async def test_an_undone_import_leaves_nothing_and_can_be_made_again(running: Running) -> None:
    """Half of the contacts were there before. Each is told of once; the next import is right at once."""
    tenant = await running.tenant("undo")
    await tenant.wait((await tenant.upload(people(COUNT // 2, "Oslo")))["id"])
    before = canonical(await stored_contacts(running.database, tenant.organization_id))
    async with subscribed(running) as consumer:
        for _ in range(2):
            job = await tenant.upload(people(COUNT, "Rome"), on_duplicate="overwrite")
            counts = (await tenant.wait(job["id"]))["counts"]
            assert (counts["created"], counts["updated"]) == (COUNT // 2, COUNT // 2)
            undone = await tenant.undo(job["id"])
            assert undone["state"] == "undone"
            assert undone["undo"] == {
                "total": COUNT,
                "done": COUNT,
                "reversed": COUNT,
                "kept_edited": 0,
                "kept_colliding": 0,
                "left_lists": 0,
            }
            assert canonical(await stored_contacts(running.database, tenant.organization_id)) == before
            events = await changes(running, consumer, tenant)
            assert len({event.contact_id for event in events}) == len(events) == COUNT
            assert sorted({event.action for event in events}) == ["deleted", "undone"]
            assert {event.contact.city for event in events if event.contact} == {"Oslo"}
    again = await tenant.wait((await tenant.upload(people(COUNT, "Oslo"), on_duplicate="overwrite"))["id"])
    assert (again["counts"]["created"], again["counts"]["unchanged"]) == (COUNT // 2, COUNT // 2)


@pytest.mark.requirement("S0-028")
async def test_an_import_is_undone_from_the_command_line(running: Running, tmp_path: Path) -> None:
    """What is kept is shown by name; an undo of an undone import is refused with a sentence."""
    name = f"undo {uuid.uuid4()}"
    path = tmp_path / "two.csv"
    path.write_bytes(people(2, "Oslo"))
    job = json.loads(running.sluice("import", str(path), "--org", name, "--json"))
    await running.database.execute(
        "UPDATE contacts SET version = 2 WHERE organization_id = (SELECT organization_id FROM import_jobs"
        " WHERE id = $1) AND email = 'person1@undo.example.com'",
        uuid.UUID(job["id"]),
    )
    shown = running.sluice("undo", job["id"], "--org", name)
    assert "person1@undo.example.com: It was edited since" in " ".join(shown.split())
    assert "person0" not in shown
    refused = running.sluice("undo", job["id"], "--org", name, codes=(1,))
    assert "Traceback" not in refused
    dry = json.loads(running.sluice("import", str(path), "--org", name, "--dry-run", "--json"))
    undone = json.loads(running.sluice("undo", dry["id"], "--org", name, "--json"))
    assert (undone["state"], undone["undo"]["reversed"]) == ("undone", 0)
