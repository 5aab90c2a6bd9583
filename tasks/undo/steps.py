"""What an undo does in one transaction: contacts deleted, put back, taken off a list (D14)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sluice.changes import changed_fields, contact_values, identities_changed
from sluice.clock import Clock
from sluice.contact import Contact, ContactId
from sluice.events import ContactChanged
from sluice.topics import CONTACTS_CHANGED, IDENTITIES_CHANGED
from tasks.postgres import Connection
from tasks.undo.judging import Image, Kept, Reason, exchanged, is_edited, judge
from tasks.undo.reading import (
    SQL,
    Undoing,
    as_uuids,
    holders_of,
    images_of,
    lock_contacts,
    restorations,
    standing,
)

AT_ONCE = 500
"""Contacts of one transaction: about a tenth of a second of locks, and all that a crash can lose."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of one undo."""

    connection: Connection
    job: Undoing
    secret: bytes
    clock: Clock

    async def run(self) -> bool:
        """Do the next `AT_ONCE` contacts, of whatever kind comes next; False once all is done."""
        job = self.job
        if job.total is None:
            await self.connection.execute(SQL["begin"], job.id, job.organization_id, *job.range)
            return True
        for part in (self.delete_created, self.restore_changed, self.leave_lists):
            if await part():
                await self._advance()
                return True
        await self.connection.execute(SQL["forget_all_images"], job.id, job.organization_id)
        await self.connection.execute(SQL["finish"], job.id, job.organization_id)
        return False

    async def _advance(self) -> None:
        """Where the undo stands now, and who was kept."""
        job, results = self.job, self.job.results()
        colliding = results[Reason.COLLIDING]
        await self.connection.execute(
            SQL["advance"],
            job.id,
            job.organization_id,
            job.reversed,
            len(job.kept) - colliding,
            colliding,
            job.left_lists,
            job.below,
            job.batch_no,
        )
        kept = job.kept.values()
        await self.connection.execute(
            SQL["keep"],
            job.organization_id,
            job.id,
            as_uuids(job.kept),
            [each.reason.value for each in kept],
            [uuid.UUID(bytes=each.held_by) if each.held_by else None for each in kept],
        )

    async def delete_created(self) -> bool:
        """Contacts that the job created go, the last ones first; False where there are none."""
        connection, job = self.connection, self.job
        found = await connection.fetch(
            SQL["next_created"], job.organization_id, *job.range, job.below, AT_ONCE
        )
        if not found:
            return False
        ids = [row["id"] for row in found]
        job.below = ids[-1]
        stored = await lock_contacts(connection, job, ids)
        versions = await standing(connection, job, stored)
        changed_again = {
            row["contact_id"].bytes: (row["left_version"], row["edited"])
            for row in await connection.fetch(SQL["own_versions"], job.id, job.organization_id, ids)
        }
        for contact, version in versions.items():
            if is_edited(version, *changed_again.get(contact, (1, False))):
                job.kept[contact] = Kept(Reason.EDITED)
        await self._delete([contact for contact in stored.values() if contact.id not in job.kept])
        await connection.execute(SQL["forget_images"], job.id, job.organization_id, ids)
        return True

    async def _delete(self, contacts: Sequence[Contact]) -> None:
        organization, ids = self.job.organization_id, as_uuids(contact.id for contact in contacts)
        await self.connection.execute(SQL["lists_of_contacts"], organization, ids)
        await self.connection.execute(SQL["leave_lists_of_contacts"], organization, ids)
        await self.connection.execute(SQL["delete_contacts"], organization, ids)
        self.job.reversed = len(contacts)
        await self._announce(contacts, {})

    async def restore_changed(self) -> bool:
        """Contacts that the job changed are as before, the last batches' first; False for none."""
        connection, job = self.connection, self.job
        found = await connection.fetch(
            SQL["next_changed"], job.id, job.organization_id, *job.range, job.batch_no, AT_ONCE
        )
        if not found:
            return False
        job.batch_no = found[-1]["batch_no"]
        images = await images_of(connection, job, [row["contact_id"] for row in found])
        stored = await lock_contacts(connection, job, as_uuids(images))
        versions = await standing(connection, job, stored)
        holders = await holders_of(connection, job, images.values())
        job.kept = judge(images, versions, holders)
        back = {contact: image for contact, image in images.items() if contact not in job.kept}
        released = exchanged(back, holders)
        await connection.execute(SQL["release_identities"], job.organization_id, as_uuids(released))
        await self._restore(back, stored)
        await connection.execute(SQL["forget_images"], job.id, job.organization_id, as_uuids(images))
        return True

    async def _restore(self, back: Mapping[ContactId, Image], stored: Mapping[ContactId, Contact]) -> None:
        connection, job = self.connection, self.job
        await connection.execute(SQL["restore"], job.id, job.organization_id, as_uuids(back))
        older = await restorations(connection, job, back)
        found = [(each.before.id, each.before.version) for each in back.values()]
        after = {
            contact: Contact(contact, image.before.values, stored[contact].version + 1)
            for contact, image in back.items()
        }
        await connection.execute(
            SQL["keep_restorations"],
            job.organization_id,
            as_uuids(back),
            [contact.version for contact in after.values()],
            [older.get(each, each[1]) for each in found],
        )
        job.reversed = len(back)
        await self._announce([stored[contact] for contact in back], after)

    async def leave_lists(self) -> bool:
        """Contacts that the job alone put on a list leave it; False where there are none."""
        connection, job = self.connection, self.job
        found = await connection.fetch(SQL["next_memberships"], job.id, job.organization_id, AT_ONCE)
        if not found:
            return False
        lists = list({row["list_id"] for row in found})
        await connection.execute(SQL["lock_lists"], job.organization_id, lists)
        job.left_lists = await connection.fetchval(
            SQL["leave_lists"], job.id, job.organization_id, [row["id"] for row in found]
        )
        return True

    async def _announce(self, before: Sequence[Contact], after: Mapping[ContactId, Contact]) -> None:
        """Tell that these contacts are as in `after`, and gone where they are not in it."""
        now = int(self.clock.now().timestamp() * 1000)
        changes = [changed(self.job, contact, after.get(contact.id), now) for contact in before]
        await self._tell(CONTACTS_CHANGED.name, [(each.contact_id, each) for each in changes])
        organization = self.job.organization_id
        identities = identities_changed(self.secret, organization, before, after.values())
        if identities is not None:
            await self._tell(IDENTITIES_CHANGED.name, [(str(organization), identities)])

    async def _tell(self, topic: str, events: Sequence[tuple[str, msgspec.Struct]]) -> None:
        await self.connection.execute(
            SQL["announce"],
            self.job.organization_id,
            topic,
            [key for key, _ in events],
            [msgspec.json.encode(event).decode() for _, event in events],
        )


def changed(job: Undoing, before: Contact, after: Contact | None, now_ms: int) -> ContactChanged:
    """The event of one contact. Its id names the job and the contact: no undo reverses a contact twice."""
    key = str(uuid.UUID(bytes=before.id))
    values = after.values if after is not None else {}
    names = sorted(
        name for name in before.values.keys() | values.keys() if before.values.get(name) != values.get(name)
    )
    return ContactChanged(
        event_id=f"{job.id}/undo/{key}",
        organization_id=str(job.organization_id),
        contact_id=key,
        version=before.version + 1,
        action="undone" if after is not None else "deleted",
        changed_fields=changed_fields(names),
        contact=contact_values(values) if after is not None else None,
        changed_at=now_ms,
    )
