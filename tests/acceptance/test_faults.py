"""First faults: processes killed in the middle of an import; the result is the oracle's."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from aiokafka import TopicPartition

from sluice.avro import load_codec
from sluice.broker import make_follower
from sluice.events import ContactImported
from sluice.topics import CONTACTS_IMPORTED
from tests.acceptance.client import Tenant, applied_batches, canonical, form_options, stored_contacts
from tests.acceptance.conftest import Running
from tests.acceptance.generated import to_csv
from tests.acceptance.oracle import Job, Options, Organization

ROWS = 20_000


def many_rows(seed: int, count: int = ROWS) -> list[dict[str, str] | None]:
    """Rows whose identities overlap: two rows in five name a contact that an earlier row may have made."""
    chance = random.Random(seed)
    people = count * 3 // 5

    def phone() -> str:
        number = chance.randrange(people)
        return f"+1212{200 + number // 10_000}{number % 10_000:04d}"

    return [
        {
            "email": f"p{chance.randrange(people)}@example.com" if chance.random() < 0.95 else "",
            "phone": phone() if chance.random() < 0.5 else "",
            "first_name": chance.choice(["Ana", "Bo", "Cy"]),
            "company": chance.choice(["", "Acme", "Initech"]),
        }
        for _ in range(count)
    ]


async def events_of(running: Running, organization_id: str) -> Counter[tuple[str, int]]:
    """How often a subscriber that reads committed messages has seen each (job, row) of an organization."""
    settings = running.stack.settings()
    codec = await load_codec(settings.schema_registry_url)
    seen: Counter[tuple[str, int]] = Counter()
    consumer = make_follower(settings, [], from_start=True)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(CONTACTS_IMPORTED.name, number) for number in range(CONTACTS_IMPORTED.partitions)
        ]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        # A position may stay below the end by the transaction's marker, which is no message.
        while [each for each in partitions if await consumer.position(each) < ends[each]]:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    event = codec.decode(CONTACTS_IMPORTED.name, ContactImported, message.value)
                    if event.organization_id == organization_id:
                        seen[event.lineage.job_id, event.lineage.row_no] += 1
    finally:
        await consumer.stop()
    return seen


async def assert_exact(running: Running, tenant: Tenant, jobs: dict[UUID, Job]) -> None:
    """Outcomes, contacts and events of an organization equal the oracle's."""
    oracle = Organization()
    writing = Counter[tuple[str, int]]()
    for job_id, rows, outcomes in await applied_batches(running.database, tenant.organization_id):
        expected = oracle.apply(job_id, jobs[job_id], rows)
        assert outcomes == expected
        writing.update(
            (str(job_id), row)
            for row, outcome in zip(rows, outcomes, strict=True)
            if outcome in ("created", "updated", "merged")
        )
    hidden = {"made_by", "stamp"}
    contacts: list[dict[str, Any]] = [
        {name: value for name, value in contact.items() if value and name not in hidden}
        for contact in oracle.contacts.values()
    ]
    assert canonical(await stored_contacts(running.database, tenant.organization_id)) == canonical(contacts)
    assert await events_of(running, tenant.organization_id) == writing


async def _kill_when(running: Running, job_id: str, rows: int, role: str) -> None:
    while True:
        job = await running.database.fetchrow("SELECT rows_read FROM import_jobs WHERE id = $1", UUID(job_id))
        if job is not None and job["rows_read"] >= rows:
            await asyncio.to_thread(running.stack.kill, role, signal.SIGKILL)
            return
        await asyncio.sleep(0.005)


@pytest.mark.requirement("B-02", "B-03", "B-04", "B-07", "K-09")
@pytest.mark.parametrize("on_duplicate", ["skip", "overwrite"])
async def test_killed_processes_change_nothing(running: Running, on_duplicate: str) -> None:
    """kill -9 of reader, streams and sink, once each, in one import: rows, contacts and events as without."""
    tenant = await running.tenant(f"killed {on_duplicate}")
    job = Job(many_rows(1), Options(on_duplicate=on_duplicate), ("email", "phone", "first_name", "company"))
    answer = await tenant.upload(to_csv(job), **form_options(job))
    for share, role in ((1, "reader"), (2, "streams"), (3, "sink")):
        await _kill_when(running, answer["id"], ROWS * share // 5, role)
    ended = await tenant.wait(answer["id"], 180)
    assert ended["state"] == "completed"
    assert sum(ended["counts"].values()) == ROWS
    await assert_exact(running, tenant, {UUID(answer["id"]): job})
