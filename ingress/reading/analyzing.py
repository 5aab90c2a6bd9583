"""One uploaded file looked at for its owner: columns, proposals, rows that would pass (S1-068 to S1-078).

It is done under a lease as sending is, so a reader that dies is followed by another that begins again.
What is found goes to the state store, where the wizard's doors read it:

    analysis:{fileId}:progress    after the first rows, with the proposals; then every 1,000 rows
    analysis:{fileId}             the summary, before the job waits for its mapping

The progress says complete last of all, so that who reads it can map at once. A reader that dies before that
leaves a job that waits for its mapping and has an analysis: that is told as complete, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, ParamSpec, TypeVar

import structlog

from ingress.analysis.analysis import Analysis
from ingress.formats.rows import Position
from ingress.reading.batches import cuts
from ingress.reading.job import Ending, JobUnreadable, LeasedJob, Standing, event_options
from ingress.reading.sending import TRIES, TRY_AGAIN_SECONDS, Surroundings
from ingress.reading.waiting import patiently
from ingress.state import StateTooLarge, analysis_key, progress_key
from sluice.errors import Refused, SluiceError, SourceChanged
from sluice.job import JobState

log = structlog.get_logger(__name__)

PROGRESS_ROWS = 1_000

P = ParamSpec("P")
T = TypeVar("T")


class JobAnalyzing:
    """Analyzes one leased job. `run` returns when it is done or lost; the rest may be called meanwhile."""

    unapplied = 0

    def __init__(self, job: LeasedJob, around: Surroundings, valid_until: float) -> None:
        self.job = job
        self.valid_until = valid_until
        self._around = around
        self._file_id = f"file_{job.id}"
        self._over = asyncio.Event()
        self._log = log.bind(job=str(job.id), lease_epoch=job.lease_epoch)
        self._cancelled = job.cancelled

    async def run(self) -> None:
        """Analyze the file and leave the job waiting for its mapping, or failed, or cancelled."""
        working = asyncio.create_task(self._work())
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({working, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            working.cancel()
            # Who runs the job next must not meet its threads and files.
            await asyncio.gather(working, return_exceptions=True)
        if working.done() and not working.cancelled():
            working.result()
        elif self._cancelled:
            await self._end(Ending(JobState.CANCELLED.value, "Cancelled on request."))

    def applied(self, batch_no: int) -> None:
        """No batch of an analysis is ever on its way."""

    def stands(self, standing: Standing) -> None:
        """What the database says of the job."""
        if standing.lease_epoch != self.job.lease_epoch:
            self.lost("another reader has it")
        elif standing.cancelled:
            self._cancelled = True
            self.lost("it is cancelled")
        elif standing.state not in (JobState.ANALYZING, JobState.AWAITING_MAPPING):
            # The second of the two is this reader's own word, behind which it has little left to do.
            self.lost(f"it is {standing.state}")

    def renewed(self, valid_until: float) -> None:
        """The lease holds until then, on the monotonic clock."""
        self.valid_until = valid_until

    def lost(self, why: str) -> None:
        """The job is not this process's any more: stop at once."""
        self._log.info("analysis left", why=why)
        self._over.set()

    async def _work(self) -> None:
        started = time.monotonic()
        try:
            total = await self._patiently_analyzed()
        except (Refused, SourceChanged, JobUnreadable, StateTooLarge) as error:
            await self._fail(error)
            return
        if await patiently(lambda: self._around.leases.analyzed(self.job), self._around.telemetry):
            await self._tell({"status": "complete", "processed": total, "total": total})
        self._log.info("analyzed", rows=total, seconds=round(time.monotonic() - started, 3))

    def _is_mendable(self, error: SluiceError) -> bool:
        """Whether the file may be opened in another way, and then waits for it: it stands as it was sent."""
        if not isinstance(error, Refused):
            return False
        form = self.job.parts()[0].format
        return error.mendable or bool(form.sheet or form.asked_encoding or form.asked_delimiter)

    async def _patiently_analyzed(self) -> int:
        """Keep the summary, and return how many rows it is of.

        An error of our own is met a few times before the file is given up (D7).
        """
        for attempt in range(1, TRIES + 1):
            try:
                await self._tell({"status": "analyzing", "processed": 0, "total": None})
                summary = await self._analyze()
                await self._keep(analysis_key(self.job.id), summary)
                return int(summary["totalRows"])
            except (Refused, SourceChanged, JobUnreadable, StateTooLarge):
                raise
            except Exception as error:
                self._log.exception("analysis failed", attempt=attempt)
                fault = JobUnreadable(problem=f"analyzing it failed ({type(error).__name__}).")
                if attempt < TRIES:
                    await asyncio.sleep(TRY_AGAIN_SECONDS)
        raise fault

    async def _analyze(self) -> dict[str, Any]:
        around = self._around
        options = self.job.options()
        parts = [await around.opening.look(self.job, part, options) for part in self.job.parts()]
        form = parts[0].format
        remembered = await patiently(
            lambda: around.leases.remembered(self.job, form.columns), around.telemetry
        )
        asked = event_options(options, self.job.created_at)
        with Analysis(form.columns, asked, remembered) as analysis:
            told = 0
            start = Position(1, 0, 1, 1)
            async with aclosing(cuts(parts, start, around.source, around.limits)) as batches:
                async for cut in batches:
                    if cut.ending is not None and cut.ending.state == JobState.FAILED:
                        raise JobUnreadable(problem=cut.ending.reason)
                    if cut.chunk is not None:
                        await _in_thread(analysis.add, cut.chunk)
                    if analysis.rows // PROGRESS_ROWS > told:
                        told = analysis.rows // PROGRESS_ROWS
                        await self._tell(analysis.progress())
            summary = await _in_thread(analysis.summary)
        return {
            **summary,
            "fileId": self._file_id,
            "s3Key": parts[0].object_key,
            "encoding": form.encoding,
            "delimiter": form.delimiter,
            "notes": form.notes,
            "sheets": form.sheets,
        }

    async def _fail(self, error: SluiceError) -> None:
        """Say why, and let go of the job whatever becomes of that: it would be begun again for ever."""
        try:
            await self._tell({"status": "error", "message": error.message})
        except Exception:
            self._log.exception("failure not told")
        if self._is_mendable(error):
            await patiently(lambda: self._around.leases.analyzed(self.job), self._around.telemetry)
        else:
            await self._end(Ending(JobState.FAILED.value, error.message))

    async def _tell(self, progress: Mapping[str, Any]) -> None:
        await self._keep(progress_key(self.job.id), progress)

    async def _keep(self, key: str, value: Mapping[str, Any]) -> None:
        around, organization_id = self._around, self.job.organization_id
        await patiently(lambda: around.state.set(organization_id, key, value), around.telemetry)

    async def _end(self, ending: Ending) -> None:
        await patiently(lambda: self._around.leases.end_analysis(self.job, ending), self._around.telemetry)


async def _in_thread(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Off the event loop: other jobs' leases are renewed meanwhile. Cancelled, it still ends first."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, *given, **named))
    try:
        return await asyncio.shield(thread)
    finally:
        await asyncio.wait({thread})
