"""What the API can do with imports, once; every door is a translation of these."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import structlog

from ingress.authentication import Principal
from ingress.commands.acceptance import Acceptance
from ingress.commands.jobs import Job, advanced, job_of
from ingress.commands.options import Profile
from ingress.database import Pooled, statements
from ingress.services import Services
from sluice.errors import NotFound, TransitionRefused
from sluice.job import JobState

LIVING_REMEMBERED = 10_000

log = structlog.get_logger("sluice.ingress")
_SQL = statements("imports")


class Imports:
    """Reads and commands on jobs. Another organization's job is NotFound, like one that never was."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._living: OrderedDict[uuid.UUID, Job] = OrderedDict()

    def acceptance(self, principal: Principal, profile: Profile) -> Acceptance:
        """A new import to be taken in."""
        return Acceptance(self._services, principal, profile)

    async def get(self, principal: Principal, job_id: uuid.UUID) -> Job:
        """One job: from memory while it is processing, else from the database (D8)."""
        record = self._services.progress.latest(job_id)
        known = self._living.get(job_id)
        if record is not None and known is not None and known.started_at and known.run == record.run:
            if known.organization_id != principal.organization_id:
                raise NotFound(what="import")
            return advanced(known, record)
        return await self.get_stored(principal, job_id)

    async def get_stored(self, principal: Principal, job_id: uuid.UUID) -> Job:
        """One job as the database has it."""
        async with self._acting(principal) as connection:
            row = await connection.fetchrow(_SQL["one_job"], job_id)
        if row is None:
            raise NotFound(what="import")
        job = job_of(row)
        self._remember(job)
        return job

    async def list(
        self, principal: Principal, *, before: uuid.UUID | None, state: JobState | None, limit: int
    ) -> Sequence[Job]:
        """Up to `limit` jobs of the organization that are older than `before`, newest first."""
        async with self._acting(principal) as connection:
            rows = await connection.fetch(
                _SQL["jobs_before"],
                principal.organization_id,
                before,
                state.value if state else None,
                limit,
            )
        return [job_of(row) for row in rows]

    async def cancel(self, principal: Principal, job_id: uuid.UUID) -> Job:
        """Ask that a job ends; asking again changes nothing. Raises TransitionRefused when it has ended."""
        principal.require("imports:run")
        async with self._acting(principal) as connection:
            row = await connection.fetchrow(_SQL["cancel_job"], job_id, self._services.clock.now())
            if row is None:
                row = await connection.fetchrow(_SQL["one_job"], job_id)
        if row is None:
            raise NotFound(what="import")
        job = job_of(row)
        if job.ended and job.state is not JobState.CANCELLED:
            raise TransitionRefused(current=job.state.value, target=JobState.CANCELLED.value)
        self._services.bell.ring(job.id, job.organization_id)
        log.info("import cancelled", job_id=str(job.id))
        return job

    async def pause(self, principal: Principal, job_id: uuid.UUID) -> Job:
        """Send no more rows of a job; what is on its way is still applied. Raises TransitionRefused."""
        return await self._move(principal, job_id, "pause_job", frozenset({JobState.PAUSED}))

    async def resume(self, principal: Principal, job_id: uuid.UUID) -> Job:
        """Let a paused job go on, with any reader. Raises TransitionRefused when it has ended."""
        return await self._move(
            principal, job_id, "resume_job", frozenset({JobState.PROCESSING, JobState.PENDING})
        )

    async def _move(
        self, principal: Principal, job_id: uuid.UUID, statement: str, wanted: frozenset[JobState]
    ) -> Job:
        """The job once it is in a wanted state; one that is there already stays as it is."""
        principal.require("imports:run")
        async with self._acting(principal) as connection:
            row = await connection.fetchrow(_SQL[statement], job_id)
            if row is None:
                row = await connection.fetchrow(_SQL["one_job"], job_id)
        if row is None:
            raise NotFound(what="import")
        job = job_of(row)
        if job.state not in wanted:
            cancelling = job.cancel_requested and not job.ended
            current = "being cancelled" if cancelling else job.state.value
            target = JobState.PAUSED if JobState.PAUSED in wanted else JobState.PROCESSING
            raise TransitionRefused(current=current, target=target.value)
        self._remember(job)
        self._services.bell.ring(job.id, job.organization_id)
        log.info("import moved", job_id=str(job.id), state=job.state.value)
        return job

    async def wait(self, principal: Principal, job: Job, seconds: float) -> Job:
        """The job when it has ended, or as it is after `seconds`."""
        return await self._services.progress.wait_for_end(
            job.id, lambda: self.get_stored(principal, job.id), lambda now: now.ended, seconds
        )

    def _remember(self, job: Job) -> None:
        """Keep what never changes of a living job, so that its progress can be told without the database."""
        self._services.progress.shown(job.id, job.applied_batch)
        if job.ended or job.state is JobState.PAUSED:
            # What comes in of a paused job was on its way before: it would be shown as processing.
            self._living.pop(job.id, None)
            return
        self._living[job.id] = job
        self._living.move_to_end(job.id)
        if len(self._living) > LIVING_REMEMBERED:
            self._living.popitem(last=False)

    def _acting(self, principal: Principal) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(principal.organization_id, principal.user_id)
