"""An identities table that knows nothing of the contacts that are there: every hint is wrong at first.

Before the imports begin, each organization gets contacts by SQL, which the imports name again, and the
streams lose their tables and the changelog: as after a migration from another system, or a disaster.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import AdminClient

from sluice.broker import ensure_topics
from sluice.contact import fingerprint
from sluice.errors import BrokerUnavailable
from sluice.topics import IDENTITIES_CHANGELOG
from streams.app import state_directory
from tests.chaos.faults import Bites, fault

if TYPE_CHECKING:
    from tests.chaos.world import World

CONTACTS = int(os.environ.get("CONTACTS") or 100_000)
"""Of the first organization; the others have a tenth each."""
STAMP = "2020-06-01T00:00:00Z"
"""When they were changed last: later than some rows say of themselves, earlier than others."""
COLUMNS = (
    "id",
    "organization_id",
    "created_by",
    "version",
    "fingerprint",
    "modified_at",
    "email",
    "phone",
    "phone_formatted",
    "first_name",
    "company",
    # The column has a default, which belongs to the application.
    "country",
)
ANSWER_SECONDS = 30.0
READY_SECONDS = 90.0


@fault("cold", rounds=5, seconds=900)
@asynccontextmanager
async def cold(world: World, chance: Random) -> AsyncIterator[Bites]:
    """The same every round, but for the files and their options."""
    bites: Bites = Counter({"contacts there before": 0})
    await asyncio.to_thread(world.stack.stop_role, "streams")
    shutil.rmtree(state_directory(world.stack.settings()) / "tables", ignore_errors=True)
    await _forget_changelog(world)
    for place, organization_id in enumerate(world.organizations):
        contacts = list(people(CONTACTS if place == 0 else CONTACTS // 10))
        await _store(world, organization_id, contacts)
        world.existing[organization_id] = contacts
        bites["contacts there before"] += len(contacts)
    await asyncio.to_thread(world.stack.start_role, "streams", READY_SECONDS)
    wrong = world.counted("sluice_hints_overruled_total")
    yield bites
    await asyncio.sleep(1)
    bites["batches with wrong hints"] = int(world.counted("sluice_hints_overruled_total") - wrong)


def people(count: int) -> Iterator[dict[str, str]]:
    """Whom the rounds' files name, as somebody stored them before: two of three with their number."""
    for who in range(count):
        phone = f"+1212{200 + who // 10_000}{who % 10_000:04d}" if who % 3 else ""
        yield {
            "email": f"p{who}@example.com",
            "phone": phone,
            "phone_formatted": phone,
            "first_name": ("Ana", "", "Eve")[who % 3],
            "company": ("", "Acme")[who % 2],
            "modified_at": STAMP,
        }


async def _store(world: World, organization_id: str, contacts: list[dict[str, str]]) -> None:
    modified_at = datetime.fromisoformat(STAMP).astimezone(UTC)

    def records() -> Iterator[tuple[Any, ...]]:
        for contact in contacts:
            content = {name: value for name, value in contact.items() if value and name != "modified_at"}
            yield (
                uuid.uuid4(),
                uuid.UUID(organization_id),
                uuid.UUID(organization_id),
                1,
                fingerprint(content),
                modified_at,
                *(content.get(name) for name in COLUMNS[6:]),
            )

    async with world.database.acquire() as connection:
        await connection.copy_records_to_table("contacts", records=records(), columns=COLUMNS, timeout=900)
        await connection.execute("ANALYZE contacts", timeout=300)


async def _forget_changelog(world: World) -> None:
    bootstrap = world.stack.env["KAFKA_BOOTSTRAP_SERVERS"]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    admin.delete_topics([IDENTITIES_CHANGELOG])[IDENTITIES_CHANGELOG].result(ANSWER_SECONDS)
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            try:
                if IDENTITIES_CHANGELOG in await ensure_topics(bootstrap):
                    return
            except BrokerUnavailable:
                # It is still being deleted.
                pass
            await asyncio.sleep(0.2)
