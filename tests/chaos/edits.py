"""A user who edits, in the database as the API does, contacts that imports are writing at the same time.

An edit that an import's rows may depend on (an identity, a deletion) holds the row that the sink locks for
its group, so its place among the batches is known: behind so many of them. Notes are no column of the files,
so an edit of notes may happen beside a group and still comes to one result.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from sluice.broker import partition_of
from sluice.contact import (
    CONTACTS,
    IDENTITIES,
    Contact,
    fingerprint,
    identity_hash,
    identity_key,
)
from sluice.events import ContactChanged, IdentitiesChanged, IdentityChange
from sluice.settings import Settings
from sluice.stored import contact_of
from sluice.topics import CONTACTS_CHANGED, IDENTITIES_CHANGED, PARTITIONS

TABLE = """
CREATE TABLE IF NOT EXISTS chaos_edits (
    id bigint GENERATED ALWAYS AS IDENTITY, organization_id uuid NOT NULL, behind bigint NOT NULL,
    contact_id uuid NOT NULL, edit jsonb NOT NULL)
"""
EFFECTIVE = """
SELECT b.job_id, b.first_row_no, b.row_count, b.outcomes
FROM import_batches b JOIN import_jobs j ON j.id = b.job_id
WHERE b.organization_id = $1 AND NOT b.staged
  AND (b.is_last OR NOT (j.options ->> 'mode' = 'atomic' OR (j.options ->> 'dry_run')::boolean))
ORDER BY b.applied_at, b.topic_offset, b.batch_no
"""
"""Batches in the order of their effect: everything that was staged takes effect with its last batch."""

SOME_CONTACT = """
SELECT * FROM contacts WHERE organization_id = $1 AND id >= $2 AND (email > '' OR phone_formatted > '')
ORDER BY id LIMIT 1 FOR UPDATE
"""
"""One that the oracle can find too: a number that is none makes a contact that nobody can be matched with."""
KINDS = ("notes", "notes", "email", "phone", "delete")
SECONDS_BETWEEN = 0.25


class Editor:
    """Edits contacts of one organization until it is cancelled."""

    def __init__(self, database: Any, settings: Settings, organization_id: str, chance: Random) -> None:
        self._database = database
        self._chance = chance
        self._organization_id = UUID(organization_id)
        self._partition = partition_of(organization_id.encode(), PARTITIONS)
        self._key = identity_key(settings.identity_secret, self._organization_id, CONTACTS.name)
        self._number = 0

    async def run(self) -> None:
        """Edit, and wait; a database that is away, or a lock that is not given, is for the next edit."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN)
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._edit(self._chance.choice(KINDS))

    async def _edit(self, kind: str) -> None:
        async with self._database.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = '20s'")
            behind = -1
            if kind != "notes":
                held = await connection.fetchval(
                    "SELECT epoch FROM sink_partitions WHERE topic_partition = $1 FOR UPDATE", self._partition
                )
                if held is None:
                    return
                behind = await connection.fetchval(
                    f"SELECT count(*) FROM ({EFFECTIVE}) applied", self._organization_id
                )
            await self._change(connection, kind, behind)

    async def _change(self, connection: Any, kind: str, behind: int) -> None:
        start = await connection.fetchval(
            "SELECT id FROM contacts WHERE organization_id = $1 ORDER BY id DESC LIMIT 1",
            self._organization_id,
        )
        if start is None:
            return
        somewhere = UUID(int=start.int - self._chance.randrange(1, 2**30))
        row = await connection.fetchrow(SOME_CONTACT, self._organization_id, somewhere)
        if row is None:
            return
        before = contact_of(row)
        if not any(before.identity(each) for each in IDENTITIES):
            # A phone that is none, kept unchecked: the oracle cannot tell them apart.
            return
        self._number += 1
        after = self._changed(before, kind)
        if after is None:
            await connection.execute("DELETE FROM contacts WHERE id = $1", row["id"])
        else:
            await connection.execute(
                "UPDATE contacts SET email = $2, phone = $3, phone_formatted = $4, notes = $5, "
                "fingerprint = $6, version = version + 1, updated_at = now() WHERE id = $1",
                row["id"],
                *(after.values.get(name) for name in ("email", "phone", "phone_formatted", "notes")),
                fingerprint(after.values),
            )
        edit = {"kind": kind, "before": before.values, "after": after.values if after else None}
        await connection.execute(
            "INSERT INTO chaos_edits (organization_id, behind, contact_id, edit) VALUES ($1, $2, $3, $4)",
            self._organization_id,
            behind,
            row["id"],
            json.dumps(edit),
        )
        await self._tell(connection, before, after)

    def _changed(self, before: Contact, kind: str) -> Contact | None:
        """The contact afterwards; None when it is deleted."""
        values = dict(before.values)
        if kind == "delete":
            return None
        if kind == "email":
            values["email"] = f"edited-{self._organization_id.hex[:8]}-{self._number}@example.com"
        elif kind == "phone":
            number = f"+1646{200 + self._number // 10_000}{self._number % 10_000:04d}"
            values |= {"phone": number, "phone_formatted": number}
        else:
            values["notes"] = f"edited {self._number}"
        return Contact(before.id, values, before.version + 1)

    async def _tell(self, connection: Any, before: Contact, after: Contact | None) -> None:
        """What belongs to a change of a contact: the public event, and the identities that changed hands."""
        organization, contact = str(self._organization_id), str(UUID(bytes=before.id))
        changed = ContactChanged(
            event_id=f"chaos-{contact}-{before.version + 1}",
            organization_id=organization,
            contact_id=contact,
            version=before.version + 1,
            action="updated" if after else "deleted",
            changed_fields=[],
            changed_at=0,
        )
        changes = []
        for kind in IDENTITIES:
            if (old := before.identity(kind)) and (after is None or after.identity(kind) != old):
                changes.append(self._identity(kind, old, None))
            if after is not None and (value := after.identity(kind)):
                changes.append(self._identity(kind, value, after))
        identities = IdentitiesChanged(
            organization_id=organization, target=CONTACTS.name, scope="", changes=changes
        )
        for topic, key, event in (
            (CONTACTS_CHANGED, contact, changed),
            (IDENTITIES_CHANGED, organization, identities),
        ):
            await connection.execute(
                "INSERT INTO outbox (organization_id, topic, key, event) VALUES ($1, $2, $3, $4)",
                self._organization_id,
                topic.name,
                key,
                msgspec.json.encode(event).decode(),
            )

    def _identity(self, kind: str, value: str, holder: Contact | None) -> IdentityChange:
        other = "phone" if kind == "email" else "email"
        held = holder.identity(other) if holder else ""
        return IdentityChange(
            kind=kind,
            hash=identity_hash(self._key, kind, value),
            contact_id=holder.id if holder else None,
            fingerprint=fingerprint(holder.values) if holder else b"",
            other_hash=identity_hash(self._key, other, held) if held else b"",
        )
