"""Undo of ended imports, in the background (D14, docs/decisions/0016-undo.md).

A job that is `undoing` is worked off in steps; each is one transaction of at most 500 contacts:

 1. Lock a job that no other process works on (SKIP LOCKED), until commit.
 2. Created contacts, the last ones first: those still at the version that the job left are deleted.
 3. Changed contacts, the last batches' first: those still at that version get their before-image back.
    Contacts that took an identity from one of them within the job are put back with it, in the same step.
 4. Contacts that the job alone put on a list leave it.
 5. When nothing is left the job is `undone`.

With every step go its events (contacts.changed.v1, identities.changed.v1), the names of those that are kept,
the counts, and the place where the undo stands. So a crash loses the step that was not committed and repeats
none; any number of processes may work at once, each on another job.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

import structlog

from sluice.clock import Clock
from sluice.errors import SluiceError
from sluice.postgres import is_away
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from tasks.outage import all_well, pause
from tasks.postgres import Connection, connected
from tasks.undo.reading import SQL, Undoing, lock_job
from tasks.undo.steps import Step

MOST_WAITING = 5_000
"""Records before the relay at which undo waits: whoever else announces something waits half a second."""

POLL_SECONDS = 0.5
TRIES = 5
"""Times in a row that a step may go wrong, and no outage be the reason, before the undo is given up."""

log = structlog.get_logger("sluice.undo")


class UndoStopped(SluiceError):
    """The undo stopped at something that it cannot do ({cause}). What was reversed stays reversed;
    ask for the undo again, and it goes on where it stopped."""


class StepFailed(Exception):
    """A step of this job went wrong, and no outage is the reason."""

    def __init__(self, job_id: uuid.UUID) -> None:
        super().__init__(str(job_id))
        self.job_id = job_id


class Undo:
    """Works off the jobs that are `undoing`, one step after the other."""

    def __init__(self, settings: Settings, clock: Clock, telemetry: Telemetry) -> None:
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._tries: Counter[uuid.UUID] = Counter()

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop. Raises DatabaseUnavailable: call again, nothing was lost."""
        async with connected(self._settings) as connection:
            all_well(self._telemetry, "database")
            while not stopping.is_set():
                if not await self.work(connection):
                    await pause(stopping, POLL_SECONDS)

    async def work(self, connection: Connection) -> bool:
        """One step, whatever becomes of it; False where there is nothing to do, or the relay is behind."""
        if await connection.fetchval(SQL["relay_is_behind"], MOST_WAITING):
            return False
        try:
            return await self._step(connection)
        except StepFailed as failed:
            await self._failed(connection, failed)
            return True

    async def _step(self, connection: Connection) -> bool:
        async with connection.transaction():
            job = await lock_job(connection)
            if job is None:
                return False
            try:
                goes_on = await Step(connection, job, self._settings.identity_secret, self._clock).run()
            except Exception as error:
                if is_away(error):
                    raise
                raise StepFailed(job.id) from error
        self._done(job, goes_on)
        return True

    def _done(self, job: Undoing, goes_on: bool) -> None:
        self._tries.pop(job.id, None)
        for result, count in job.results().items():
            self._telemetry.count("sluice_undone_contacts_total", count, result=result)
        if not goes_on:
            log.info("import undone", job_id=str(job.id))

    async def _failed(self, connection: Connection, failed: StepFailed) -> None:
        job_id, cause = failed.job_id, type(failed.__cause__).__name__
        self._tries[job_id] += 1
        if self._tries[job_id] < TRIES:
            # Most often somebody took an identity a moment ago: the next try finds it and names the contact.
            log.warning("undo step repeated", job_id=str(job_id), cause=cause)
            return
        del self._tries[job_id]
        log.error("undo given up", job_id=str(job_id), cause=cause)
        await connection.execute(SQL["give_up"], job_id, str(UndoStopped(cause=cause)))
