"""A decision into PostgreSQL, set-wise: contacts, before-images, lists, what the relay announces (D4, D6).

Updates before inserts: an identity that an update lets go may be claimed by a new contact. Statements raise
asyncpg's errors; `sinks.refusals` says what each kind means.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from asyncpg.pgproto import pgproto

from sinks.batch import Job, to_milliseconds
from sinks.created import moment, organization_held
from sinks.queries import SQL
from sinks.reading import Connection, StoredContacts
from sluice.changes import changed_fields, contact_values
from sluice.contact import (
    CUSTOM,
    DNC_FIELDS,
    IDENTITIES,
    Contact,
    ContactId,
    contact_id_prefix,
    fingerprint,
    split_tags,
)
from sluice.events import ContactChanged
from sluice.rules import Decision
from sluice.topics import CONTACTS_CHANGED


def as_uuid(contact: bytes) -> uuid.UUID:
    """16 bytes as asyncpg writes a uuid fastest; it equals the standard library's."""
    found: uuid.UUID = pgproto.UUID(contact)
    return found


# What the row rules decided ------------------------------------------------------------------

CONTENT = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "phone_formatted",
    "company",
    "title",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "tags",
    "custom_fields",
    "source",
    "notes",
    "last_contact_date",
    "do_not_call",
    "dnc_list_id",
    "dnc_reason",
)
"""The content columns, in the order of `update_contacts`."""


def content(contact: Contact, custom: dict[str, Any], tags: Any) -> list[Any]:
    """A contact's content columns. `custom` is what is stored; only what changed of it is replaced."""
    values = contact.values
    listed = values.get("dnc_list_id")
    special = {
        "tags": tags,
        "custom_fields": msgspec.json.encode(_merged(custom, values)).decode(),
        "last_contact_date": moment(values.get("last_contact_date", "")),
        "do_not_call": bool(values.get("do_not_call")),
        "dnc_list_id": uuid.UUID(listed) if listed else None,
    }
    return [special[name] if name in special else values.get(name) or None for name in CONTENT]


def _merged(stored: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    given = {
        name.removeprefix(CUSTOM): value
        for name, value in values.items()
        if value and name.startswith(CUSTOM)
    }
    for name, value in stored.items():
        # What is no text was shown as its JSON; as long as it is unchanged it stays what it is.
        if not isinstance(value, str) and given.get(name) == msgspec.json.encode(value).decode():
            given[name] = value
    return given


async def write_decision(
    connection: Connection,
    job: Job,
    decision: Decision,
    stored: StoredContacts,
    batch_of: dict[ContactId, int],
) -> None:
    """The net effect of one decision. `batch_of` names the batch that first touched each contact."""
    if decision.updated:
        await _keep_before_images(connection, job, decision, batch_of)
        await _update(connection, job, decision, stored)
    changed_again = [contact for contact in decision.created.values() if contact.version > 1]
    if changed_again:
        await connection.execute(
            SQL["keep_own_versions"],
            job.organization_id,
            job.id,
            [as_uuid(contact.id) for contact in changed_again],
            [contact.version for contact in changed_again],
            [batch_of[contact.id] for contact in changed_again],
        )
    if decision.created:
        await _create(connection, job, decision.created.values())


async def _create(connection: Connection, job: Job, contacts: Iterable[Contact]) -> None:
    records = [
        (
            as_uuid(contact.id),
            job.organization_id,
            job.created_by,
            contact.version,
            fingerprint(contact.values),
            contact.modified_at,
            *content(contact, {}, split_tags(contact.values.get("tags", ""))),
        )
        for contact in contacts
    ]
    columns = ("id", "organization_id", "created_by", "version", "fingerprint", "modified_at", *CONTENT)
    async with organization_held(connection, job):
        await connection.copy_records_to_table("contacts", records=records, columns=columns)


async def _keep_before_images(
    connection: Connection, job: Job, decision: Decision, batch_of: dict[ContactId, int]
) -> None:
    ids = sorted(decision.updated)
    own = contact_id_prefix(job.id)
    await connection.execute(
        SQL["keep_before_images"],
        job.organization_id,
        job.id,
        [as_uuid(contact) for contact in ids],
        [decision.updated[contact].version for contact in ids],
        [batch_of[contact] for contact in ids],
        [contact.startswith(own) for contact in ids],
    )


async def _update(connection: Connection, job: Job, decision: Decision, stored: StoredContacts) -> None:
    updated = [decision.updated[contact] for contact in sorted(decision.updated)]
    if released := exchanged(decision):
        await connection.execute(
            SQL["release_identities"], job.organization_id, [as_uuid(contact) for contact in released]
        )
    rows = [
        content(contact, stored.custom.get(contact.id, {}), contact.values.get("tags") or None)
        for contact in updated
    ]
    await connection.execute(
        SQL["update_contacts"],
        job.organization_id,
        [as_uuid(contact.id) for contact in updated],
        *(list(column) for column in zip(*rows, strict=True)),
        [contact.version for contact in updated],
        [fingerprint(contact.values) for contact in updated],
        [contact.modified_at for contact in updated],
    )


def exchanged(decision: Decision) -> list[ContactId]:
    """Updated contacts that hold, in the database, an identity which another updated contact claims."""
    claims = {
        (kind, value): contact.id
        for contact in decision.updated.values()
        for kind in IDENTITIES
        if (value := contact.identity(kind))
    }
    return sorted(
        {
            contact.id
            for contact in decision.before.values()
            for kind in IDENTITIES
            if claims.get((kind, contact.identity(kind)), contact.id) != contact.id
        }
    )


async def join_list(connection: Connection, job: Job, contacts: Iterable[ContactId]) -> None:
    """Put contacts on the job's list, each once."""
    ids = [as_uuid(contact) for contact in sorted(set(contacts))]
    if ids and job.target_list_id is not None:
        await connection.execute(
            SQL["join_list"], job.organization_id, ids, job.target_list_id, job.created_by, job.id
        )


async def announce_suppressed(connection: Connection, job: Job, decision: Decision, now: datetime) -> None:
    """Contacts that were marked do-not-call and not otherwise written, for contacts.changed.v1."""
    if not decision.suppressed:
        return
    keys, events = [], []
    for contact in decision.suppressed.values():
        key = str(uuid.UUID(bytes=contact.id))
        event = ContactChanged(
            event_id=f"{job.id}/{key}/{contact.version}",
            organization_id=str(job.organization_id),
            contact_id=key,
            version=contact.version,
            action="suppressed",
            changed_fields=changed_fields([name for name in DNC_FIELDS if contact.values.get(name)]),
            contact=contact_values(contact.values),
            changed_at=to_milliseconds(now),
        )
        keys.append(key)
        events.append(msgspec.json.encode(event).decode())
    await connection.execute(SQL["announce"], job.organization_id, CONTACTS_CHANGED.name, keys, events)
