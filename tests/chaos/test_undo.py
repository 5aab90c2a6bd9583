"""The undo of a large import: timed in peace, then with its processes killed again and again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from sluice.avro import load_codec
from sluice.broker import make_follower
from sluice.events import ContactChanged
from sluice.topics import CONTACTS_CHANGED
from tests.acceptance.client import Tenant, canonical, new_tenant, stored_contacts
from tests.acceptance.conftest import ROLES
from tests.benchmarks.processes import megabytes, watched_memory
from tests.integration.stack import LocalStack

COUNT = 50_000
THERE_BEFORE = COUNT // 2
EDITED = 300
SECONDS_BETWEEN_KILLS = 1.5
TASKS = ("tasks", "tasks-1")


def people(count: int, city: str) -> bytes:
    """People with an e-mail and a city each."""
    rows = [f"person{n}@undo.example.com,Person {n},{city}\n" for n in range(count)]
    return ("Email,First Name,City\n" + "".join(rows)).encode()


@asynccontextmanager
async def killing(stack: LocalStack, chance: Random) -> AsyncIterator[list[str]]:
    """Kill one of the tasks processes every now and then; which ones, in order."""
    killed: list[str] = []

    async def strike() -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_KILLS * chance.uniform(0.5, 1.5))
            name = chance.choice(TASKS)
            before = await asyncio.to_thread(stack.kill, name)
            killed.append(name)
            await asyncio.to_thread(stack.wait_restarted, before)

    striking = asyncio.create_task(strike())
    try:
        yield killed
    finally:
        striking.cancel()
        await asyncio.gather(striking, return_exceptions=True)


async def edit(database: Any, tenant: Tenant) -> set[str]:
    """Somebody notes something with contacts old and new; their e-mails."""
    rows = await database.fetch(
        "UPDATE contacts SET version = version + 1, notes = 'called' WHERE id IN ("
        " SELECT id FROM contacts WHERE organization_id = $1 ORDER BY md5(id::text) LIMIT $2)"
        " RETURNING email",
        UUID(tenant.organization_id),
        EDITED,
    )
    return {row["email"] for row in rows}


async def told(stack: LocalStack, tenant: Tenant) -> list[ContactChanged]:
    """Every change of the tenant's contacts in the topic."""
    settings = stack.settings()
    codec = await load_codec(settings.schema_registry_url)
    found: list[ContactChanged] = []
    async with make_follower(settings, [CONTACTS_CHANGED.name], from_start=True) as consumer:
        while batches := await consumer.getmany(timeout_ms=3_000):
            values = [message.value for messages in batches.values() for message in messages]
            events = [codec.decode(CONTACTS_CHANGED.name, ContactChanged, value) for value in values]
            found += [event for event in events if event.organization_id == tenant.organization_id]
    return found


async def in_peace(stack: LocalStack, database: Any, tenant: Tenant) -> dict[str, Any]:
    """Overwrite and create, undo it, and measure that."""
    before = canonical(await stored_contacts(database, tenant.organization_id))
    job = await tenant.upload(people(COUNT, "Rome"), on_duplicate="overwrite")
    assert (await tenant.wait(job["id"]))["counts"]["updated"] == THERE_BEFORE
    began = time.monotonic()
    async with watched_memory(stack) as peaks:
        undone = await tenant.undo(job["id"], 600)
    seconds = time.monotonic() - began
    assert undone["undo"]["reversed"] == COUNT
    assert canonical(await stored_contacts(database, tenant.organization_id)) == before
    return {
        "what": f"undo of {COUNT} contacts, {THERE_BEFORE} of them changed and the rest created",
        "seconds": round(seconds, 1),
        "contacts_per_second": round(COUNT / seconds),
        "peak_megabytes": {name: megabytes(peaks.resident)[name] for name in TASKS},
    }


async def while_killed(stack: LocalStack, database: Any, tenant: Tenant) -> dict[str, Any]:
    """The same with edits before the undo and kills during it; what was killed and repeated."""
    before = await stored_contacts(database, tenant.organization_id)
    job = await tenant.upload(people(COUNT, "Rome"), on_duplicate="overwrite")
    await tenant.wait(job["id"])
    edited = await edit(database, tenant)
    left = await stored_contacts(database, tenant.organization_id)
    async with killing(stack, Random(1)) as killed:
        counts = (await tenant.undo(job["id"], 600))["undo"]
    expected = [each for each in before if each["email"] not in edited]
    expected += [each for each in left if each["email"] in edited]
    assert canonical(await stored_contacts(database, tenant.organization_id)) == canonical(expected)
    assert (counts["reversed"], counts["kept_edited"]) == (COUNT - EDITED, EDITED)
    assert len(killed) > 2
    async with asyncio.timeout(120):
        while await database.fetchval("SELECT count(*) FROM outbox"):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.2)
    events = [each for each in await told(stack, tenant) if each.event_id.startswith(job["id"])]
    ids = {event.event_id for event in events}
    assert len(ids) == len({event.contact_id for event in events}) == COUNT - EDITED
    return {"killed": len(killed), "repeated_events": len(events) - len(ids)}


@pytest.mark.chaos
@pytest.mark.requirement("S0-028", "K-13")
async def test_a_large_import_is_undone_whatever_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    """50,000 contacts, half of them there before: all are as before but those that were edited since."""
    roles, environment = (*ROLES, "tasks"), {"ENABLE_RATE_LIMITING": "false"}
    with LocalStack.start(roles=roles, environment=environment, timeout_seconds=300) as stack:
        database = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
        async with aiohttp.ClientSession() as session:
            tenant = await asyncio.to_thread(new_tenant, stack, session, "large undo")
            await tenant.wait((await tenant.upload(people(THERE_BEFORE, "Oslo")))["id"])
            report = await in_peace(stack, database, tenant)
            report |= await while_killed(stack, database, tenant)
        await database.close()
    with capsys.disabled():
        print(json.dumps(report))
