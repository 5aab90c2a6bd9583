"""Imports, edits and undoes on a real PostgreSQL, beside a model that knows only what it saw of the contacts.

The model shares no code with the undo. It sees a contact as its content and a mark of who wrote it last; a
write gives a new mark, an undo gives the old one back. So "still as the job left it" is a mark that is the
same, whatever the versions say.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from sluice.clock import FakeClock
from sluice.contact import fingerprint
from sluice.settings import Settings
from sluice.stored import contact_of
from sluice.telemetry import Telemetry
from tasks.undo.work import Undo
from tests.integration.sink_world import Given, ImportJob, World

CONTENT = (
    "first_name, last_name, email, phone, phone_formatted, company, title, address, city, state, zip,"
    " country, tags, custom_fields, status, source, notes, last_contact_date, do_not_call, dnc_list_id,"
    " dnc_reason, fingerprint, modified_at"
)

State = dict[uuid.UUID, tuple[dict[str, Any], int]]
"""Every contact's content and version."""


@dataclass
class Seen:
    """One job as the model saw it: contacts before its first touch, None for its own, and its last marks."""

    before: dict[uuid.UUID, tuple[dict[str, Any], object] | None] = field(default_factory=dict)
    left: dict[uuid.UUID, object] = field(default_factory=dict)
    interrupted: set[uuid.UUID] = field(default_factory=set)


@dataclass
class Expected:
    """What the model says an undo must do."""

    deleted: set[uuid.UUID]
    restored: set[uuid.UUID]
    kept: dict[uuid.UUID, str]
    contested: bool
    """Two contacts want one identity back: who gets it is not the model's to say."""
    met: Counter[str]
    """What this undo has to tell apart, by how many contacts."""

    @property
    def counts(self) -> dict[str, int]:
        reasons = Counter(self.kept.values())
        return {
            "undo_reversed": len(self.deleted) + len(self.restored),
            "undo_kept_edited": reasons["edited"] + reasons["deleted"],
            "undo_kept_colliding": reasons["colliding"],
        }


class UndoWorld:
    """One organization, its jobs, and the model of it."""

    def __init__(self, world: World, undo: Undo, organization_id: uuid.UUID) -> None:
        self.world = world
        self.undo = undo
        self.organization_id = organization_id
        self.connection = world.connection
        self.marks: dict[uuid.UUID, object] = {}
        self.seen: dict[uuid.UUID, Seen] = {}
        self._numbers = itertools.count(1)

    @classmethod
    async def open(cls, world: World, settings: Settings) -> UndoWorld:
        undo = Undo(settings, FakeClock(), Telemetry("tasks"))
        return cls(world, undo, await world.organization())

    async def state(self) -> State:
        """Every contact of the organization."""
        rows = await self.connection.fetch(
            f"SELECT id, version, {CONTENT} FROM contacts WHERE organization_id = $1", self.organization_id
        )
        contacts = [dict(row) for row in rows]
        return {each.pop("id"): (each, each.pop("version")) for each in contacts}

    async def write(self, job: ImportJob, rows: Sequence[Given], end: str = "") -> None:
        """One batch of a job, seen by the model."""
        before = await self.state()
        await self.world.write(self.world.batch(job, rows, end=end))
        after = await self.state()
        seen = self.seen.setdefault(job.id, Seen())
        for contact, (_, version) in after.items():
            found = before.get(contact)
            if found is not None and found[1] == version:
                continue
            if contact not in seen.left:
                seen.before[contact] = None if found is None else (found[0], self.marks[contact])
            elif self.marks[contact] is not seen.left[contact]:
                seen.interrupted.add(contact)
            self.marks[contact] = seen.left[contact] = object()

    async def edit(self, contact: uuid.UUID, **values: str | None) -> None:
        """A user changes a contact as the API does; an identity that another one holds is refused."""
        with suppress(asyncpg.UniqueViolationError, asyncpg.CheckViolationError):
            async with self.connection.transaction():
                row = await self.connection.fetchrow(
                    "SELECT * FROM contacts WHERE id = $1 FOR UPDATE", contact
                )
                if row is None:
                    return
                stored = contact_of(row)
                stored.values = {
                    name: value for name, value in (stored.values | values).items() if value is not None
                }
                columns = ", ".join(f"{name} = ${n}" for n, name in enumerate(values, start=3))
                await self.connection.execute(
                    f"UPDATE contacts SET version = version + 1, fingerprint = $2, {columns} WHERE id = $1",
                    contact,
                    fingerprint(stored.values),
                    *values.values(),
                )
            self.marks[contact] = object()

    async def delete(self, contact: uuid.UUID) -> None:
        """A user deletes a contact."""
        await self.connection.execute("DELETE FROM contacts WHERE id = $1", contact)
        self.marks.pop(contact, None)

    async def add(self, email: str | None, phone: str | None) -> None:
        """A user makes a contact; one whose identity is held is refused."""
        values = {"email": email, "phone": phone, "phone_formatted": phone}
        given = {name: value for name, value in values.items() if value}
        with suppress(asyncpg.UniqueViolationError):
            made = await self.connection.fetchval(
                "INSERT INTO contacts"
                " (organization_id, created_by, email, phone, phone_formatted, fingerprint)"
                " VALUES ($1, $1, $2, $3, $3, $4) RETURNING id",
                self.organization_id,
                email,
                phone,
                fingerprint(given),
            )
            self.marks[made] = object()

    async def ask(self, job: ImportJob) -> None:
        """What the API does to the job."""
        await self.connection.execute(
            "UPDATE import_jobs SET state = 'undoing', undo_asked_at = now() WHERE id = $1", job.id
        )

    async def finish(self, job: ImportJob) -> asyncpg.Record:
        """Step after step until the job is undone; its row."""
        for _ in range(10_000):
            row = await self.world.row(job)
            if row["state"] != "undoing":
                return row
            assert await self.undo.work(self.connection), "there is nothing to do, but the job is not undone"
        raise AssertionError("the undo has no end")

    def expect(self, job: ImportJob, now: State) -> Expected:
        """What an undo has to do with the contacts as they are now, by the model."""
        seen = self.seen.get(job.id, Seen())
        ours = {
            contact
            for contact, mark in seen.left.items()
            if self.marks.get(contact) is mark and contact not in seen.interrupted
        }
        deleted = {contact for contact in ours if seen.before[contact] is None}
        restored = ours - deleted
        while True:
            stays = now.keys() - deleted - restored
            taken = {identity for contact in stays for identity in identities(now[contact][0])}
            colliding = {contact for contact in restored if identities(self._before(seen, contact)) & taken}
            if not colliding:
                break
            restored -= colliding
        wanted = Counter(
            identity for contact in restored for identity in identities(self._before(seen, contact))
        )
        kept = {
            contact: "deleted" if contact not in now else "colliding" if contact in ours else "edited"
            for contact in seen.left.keys() - deleted - restored
            # What the job made and somebody deleted is gone already.
            if contact in now or seen.before[contact] is not None
        }
        contested = any(count > 1 for count in wanted.values())
        met = Counter(f"kept {reason}" for reason in kept.values())
        met.update(
            deleted=len(deleted),
            restored=len(restored),
            interrupted=len(seen.interrupted),
            contested=contested,
        )
        met["exchanged"] = sum(
            bool(identities(self._before(seen, contact)) & identities(now[other][0]))
            for contact in restored
            for other in restored - {contact}
        )
        return Expected(deleted, restored, kept, contested, met)

    def _before(self, seen: Seen, contact: uuid.UUID) -> dict[str, Any]:
        found = seen.before[contact]
        assert found is not None
        return found[0]

    def undone(self, job: ImportJob, expected: Expected, now: State) -> State:
        """The contacts as they must be afterwards; the model follows."""
        seen = self.seen.get(job.id, Seen())
        after = {contact: held for contact, held in now.items() if contact not in expected.deleted}
        for contact in expected.deleted:
            del self.marks[contact]
        for contact in expected.restored:
            found = seen.before[contact]
            assert found is not None
            after[contact] = (found[0], now[contact][1] + 1)
            self.marks[contact] = found[1]
        return after


def identities(content: dict[str, Any]) -> set[tuple[str, str]]:
    """The unique identities of a content."""
    return {(name, content[name]) for name in ("email", "phone_formatted") if content[name]}
