"""The whole way of a file, as a customer and as a subscriber see it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import aiohttp
import pytest

from sluice.avro import load_codec
from sluice.broker import make_follower
from sluice.events import ContactImported
from sluice.topics import CONTACTS_IMPORTED
from tests.acceptance.conftest import Running
from tests.benchmarks.contacts import contacts_file

LARGE = 50_000


@pytest.mark.requirement("S0-046", "S0-025", "S0-038", "K-15", "B-01", "S1-104")
async def test_a_large_file_is_written_in_batches_and_accounted_for(running: Running) -> None:
    """50,000 rows in batches of 500, every one of them with an outcome and a contact."""
    tenant = await running.tenant("large")
    job = await tenant.upload(contacts_file(LARGE))
    ended = await tenant.wait(job["id"])
    assert (ended["state"], ended["counts"]["created"]) == ("completed", LARGE)
    batches = await running.database.fetch(
        "SELECT batch_no, row_count FROM import_batches WHERE job_id = $1 ORDER BY batch_no", UUID(job["id"])
    )
    assert [batch["batch_no"] for batch in batches] == list(range(1, len(batches) + 1))
    assert sum(batch["row_count"] for batch in batches) == LARGE
    assert {batch["row_count"] for batch in batches[:-1]} == {500}
    stored = await running.database.fetchval(
        "SELECT count(*) FROM contacts WHERE organization_id = $1", UUID(tenant.organization_id)
    )
    assert stored == LARGE


@pytest.mark.requirement("B-01", "K-07", "K-14", "S0-001", "S0-021", "S0-030", "S0-032", "S0-044")
async def test_two_doors_lead_to_one_import(running: Running) -> None:
    """What one door created the other finds: the same commands, the same contacts, each in its own words."""
    tenant = await running.tenant("two doors")
    job = await tenant.wait((await tenant.upload(contacts_file(10)))["id"])
    assert job["counts"]["created"] == 10
    for preference, counter, outcome in (
        ("skip", "skipped", "duplicate_existing"),
        ("overwrite", "updated", "unchanged"),
    ):
        form = aiohttp.FormData({"duplicate_handling": preference})
        form.add_field("file", contacts_file(10), filename="contacts.csv")
        address = f"{tenant.api}/api/contacts/import"
        async with tenant.session.post(address, data=form, headers=tenant.headers) as answer:
            body = await answer.json()
        assert (answer.status, body["success"], body[counter], body["total"]) == (200, True, 10, 10)
        assert body["outcomes"][outcome] == 10
        assert body["processingTimeMs"] > 0


@pytest.mark.requirement("B-07")
async def test_an_event_is_never_seen_before_its_row(running: Running) -> None:
    """A subscriber that looks a contact up as soon as it hears of it finds it, at that version or later."""
    tenant = await running.tenant("subscriber")
    settings = running.stack.settings()
    codec = await load_codec(settings.schema_registry_url)
    consumer = make_follower(settings, [CONTACTS_IMPORTED.name], from_start=False)
    await consumer.start()
    try:
        # Where the subscriber starts must be known before there is anything to see.
        await asyncio.gather(*(consumer.position(each) for each in consumer.assignment()))
        job = await tenant.upload(contacts_file(5_000))
        seen = 0
        async with asyncio.timeout(60):
            while seen < 5_000:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    events = [
                        codec.decode(CONTACTS_IMPORTED.name, ContactImported, message.value)
                        for message in messages
                    ]
                    ours = [event for event in events if event.organization_id == tenant.organization_id]
                    found = await running.database.fetchval(
                        "SELECT count(*) FROM contacts c JOIN unnest($1::uuid[], $2::bigint[]) e (id, v)"
                        " ON c.id = e.id AND c.version >= e.v",
                        [UUID(event.contact_id) for event in ours],
                        [event.version for event in ours],
                    )
                    assert found == len(ours)
                    seen += len(ours)
    finally:
        await consumer.stop()
    assert (await tenant.wait(job["id"]))["counts"]["created"] == 5_000
