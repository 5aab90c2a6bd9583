"""Asking for the undo of an import, what it kept, and a job's history. The tasks role does the undoing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog

from ingress.authentication import Principal
from ingress.commands.jobs import Job, job_of
from ingress.database import Pooled, Record, statements
from ingress.services import Services
from sluice.contact import contact_id_prefix
from sluice.errors import AlreadyUndone, NotEnded, NotFound
from sluice.job import JobState

log = structlog.get_logger("sluice.ingress")
_SQL = statements("imports")


@dataclass(frozen=True, slots=True)
class KeptContact:
    """A contact that an undo left as it is, and why; its values as they are now, absent where it is gone."""

    contact_id: uuid.UUID
    reason: str
    held_by: uuid.UUID | None
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """Something that happened to a job. `user_id` is null where a worker did it."""

    id: int
    event: str
    run: int
    user_id: uuid.UUID | None
    details: Mapping[str, Any]
    at: datetime


class Undoes:
    """Commands and reads; another organization's job is NotFound, like one that never was."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, principal: Principal, job_id: uuid.UUID) -> Job:
        """Have an ended import undone; asking again while that goes on changes nothing.

        A job that wrote nothing is undone at once.

        Raises:
            NotEnded: its rows are still on their way.
            AlreadyUndone: there is nothing more to undo.
        """
        principal.require("imports:run")
        async with self._acting(principal) as connection:
            row = await connection.fetchrow(_SQL["undo_job"], job_id, self._services.clock.now())
            if row is not None:
                row = await connection.fetchrow(_SQL["undo_nothing"], job_id, *_created_by(job_id)) or row
                log.info("undo asked for", job_id=str(job_id), state=row["state"])
                return job_of(row)
            row = await connection.fetchrow(_SQL["one_job"], job_id)
        if row is None:
            raise NotFound(what="import")
        job = job_of(row)
        if job.state is JobState.UNDONE:
            raise AlreadyUndone(job_id=job.id)
        if job.state is not JobState.UNDOING:
            raise NotEnded(state=job.state.value)
        return job

    async def kept(
        self, principal: Principal, job_id: uuid.UUID, behind: uuid.UUID | None, limit: int
    ) -> Sequence[KeptContact]:
        """Up to `limit` contacts that the undo kept, behind one of them, in order of id."""
        rows = await self._rows(principal, job_id, "kept_by_undo", behind, limit)
        return [_kept(row) for row in rows]

    async def history(
        self, principal: Principal, job_id: uuid.UUID, behind: int, limit: int
    ) -> Sequence[HistoryEvent]:
        """Up to `limit` events of the job behind one of them, in the order in which they happened."""
        rows = await self._rows(principal, job_id, "history", behind, limit)
        return [_event(row) for row in rows]

    async def _rows(
        self, principal: Principal, job_id: uuid.UUID, statement: str, behind: Any, limit: int
    ) -> list[Record]:
        async with self._acting(principal) as connection:
            if await connection.fetchrow(_SQL["one_job"], job_id) is None:
                raise NotFound(what="import")
            return await connection.fetch(_SQL[statement], job_id, behind, limit)

    def _acting(self, principal: Principal) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(principal.organization_id, principal.user_id)


def _created_by(job_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
    """The ids of the contacts that a job can have made: from, to."""
    prefix = contact_id_prefix(job_id)
    return uuid.UUID(bytes=prefix + bytes(4)), uuid.UUID(bytes=prefix + b"\xff" * 4)


def _kept(row: Record) -> KeptContact:
    columns = {"first_name": "first_name", "last_name": "last_name", "email": "email"}
    columns |= {"phone": "phone_formatted"}
    values = {name: row[column] for name, column in columns.items() if row[column]}
    return KeptContact(row["contact_id"], row["reason"], row["held_by"], values)


def _event(row: Record) -> HistoryEvent:
    details = msgspec.json.decode(row["details"])
    return HistoryEvent(row["id"], row["event"], row["run"], row["user_id"], details, row["at"])
