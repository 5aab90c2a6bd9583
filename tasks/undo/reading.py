"""What an undo reads: the job that it works on, contacts, their images, who holds what."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sluice.changes import identities_of
from sluice.contact import Contact, ContactId, contact_id_prefix
from sluice.stored import contact_of
from tasks.postgres import Connection, statements
from tasks.undo.judging import Identity, Image, Kept

MOST_HANDED_ON = 5_000
"""Contacts of one transaction where identities went from hand to hand within the job. A longer ring of
contacts than this cannot be turned back at once: it counts as colliding."""

SQL = statements("undo")


@dataclass(slots=True)
class Undoing:
    """A job under undo, and what one step does to it.

    `below` and `batch_no` are where the undo stands: contacts that the job created from that id on, and
    changes of later batches, are done.
    """

    id: uuid.UUID
    organization_id: uuid.UUID
    total: int | None
    below: uuid.UUID | None
    batch_no: int | None
    reversed: int = 0
    left_lists: int = 0
    kept: dict[ContactId, Kept] = field(default_factory=dict)

    @property
    def range(self) -> tuple[uuid.UUID, uuid.UUID]:
        """The ids of the contacts that the job created: from, to."""
        prefix = contact_id_prefix(self.id)
        return uuid.UUID(bytes=prefix + bytes(4)), uuid.UUID(bytes=prefix + b"\xff" * 4)

    def results(self) -> Counter[str]:
        """How many contacts of this step ended how."""
        return Counter(each.reason.value for each in self.kept.values()) + Counter(reversed=self.reversed)


def as_uuids(contacts: Iterable[ContactId]) -> list[uuid.UUID]:
    """Contact ids as PostgreSQL has them."""
    return [uuid.UUID(bytes=contact) for contact in contacts]


async def lock_job(connection: Connection) -> Undoing | None:
    """A job whose undo nobody else works on, locked until commit."""
    row = await connection.fetchrow(SQL["lock_job"])
    return Undoing(*row) if row is not None else None


async def lock_contacts(
    connection: Connection, job: Undoing, ids: Collection[uuid.UUID]
) -> dict[ContactId, Contact]:
    """The contacts that are still there, locked until commit."""
    rows = await connection.fetch(SQL["lock_contacts"], job.organization_id, ids)
    return {contact.id: contact for contact in map(contact_of, rows)}


async def standing(
    connection: Connection, job: Undoing, stored: Mapping[ContactId, Contact]
) -> dict[ContactId, int]:
    """The version that each contact stands for: its own, or the one that an undo gave back to it."""
    older = await restorations(connection, job, stored)
    return {
        contact.id: older.get((contact.id, contact.version), contact.version) for contact in stored.values()
    }


async def restorations(
    connection: Connection, job: Undoing, contacts: Iterable[ContactId]
) -> dict[tuple[ContactId, int], int]:
    """Contact and version to the version whose content it has again."""
    rows = await connection.fetch(SQL["restorations"], job.organization_id, as_uuids(contacts))
    return {(row["contact_id"].bytes, row["version"]): row["stands_for"] for row in rows}


async def images_of(
    connection: Connection, job: Undoing, ids: Collection[uuid.UUID]
) -> dict[ContactId, Image]:
    """The images of these contacts, and of all to which they handed identities on within the job."""
    images: dict[ContactId, Image] = {}
    while ids:
        rows = await connection.fetch(SQL["images"], job.id, job.organization_id, ids)
        more = [Image(contact_of(row), row["left_version"], row["edited"], row["batch_no"]) for row in rows]
        images |= {image.before.id: image for image in more}
        if len(images) >= MOST_HANDED_ON:
            break
        holders = await holders_of(connection, job, more)
        others = set(holders.values()) - images.keys()
        found = await connection.fetch(
            SQL["changed_too"], job.id, job.organization_id, as_uuids(others), *job.range
        )
        ids = [row["contact_id"] for row in found]
    return images


async def holders_of(
    connection: Connection, job: Undoing, images: Iterable[Image]
) -> dict[Identity, ContactId]:
    """Who holds the identities that these images name."""
    wanted = {identity for image in images for identity in identities_of(image.before)}
    emails = [value for kind, value in wanted if kind == "email"]
    phones = [value for kind, value in wanted if kind == "phone"]
    rows = await connection.fetch(SQL["holders"], job.organization_id, emails, phones)
    held = [(("email", row["email"]), row["id"].bytes) for row in rows]
    held += [(("phone", row["phone_formatted"]), row["id"].bytes) for row in rows]
    return {identity: holder for identity, holder in held if identity in wanted}
