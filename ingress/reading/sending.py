"""One job from its lease to its end: read, sent within the window, sent again when lost (D13).

1. Read a batch, wait for room in the window and for a turn at the partition, number it and send it.
2. What is told to be applied (by its topic or by the database) is forgotten, which makes room.
3. When the oldest batch is overdue, ask the database first: what is applied there is forgotten as in 2.
   If it is still the oldest, send that one again; when that moves the window, send the rest again.
4. When the caller cancels, reading stops and an empty last batch follows what is on its way.
5. The job is over when its last batch is applied, or when somebody else has its lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import structlog

from ingress.reading.batches import Cut, Limits, cuts, ended
from ingress.reading.encoding import Headers, Messages, Tails
from ingress.reading.job import Ending, JobUnreadable, LeasedJob, Part, Standing, StoredOptions
from ingress.reading.opening import Opening
from ingress.reading.postgres import Leases
from ingress.reading.producing import Outbound
from ingress.reading.source import Source
from ingress.reading.turns import Turns
from ingress.reading.waiting import patiently
from ingress.reading.window import Window
from ingress.state import StateStore
from sluice.avro import Codec
from sluice.clock import Clock
from sluice.errors import Refused, SourceChanged
from sluice.job import JobState
from sluice.telemetry import Telemetry
from sluice.topics import MAX_MESSAGE_BYTES, ROWS_READ

log = structlog.get_logger(__name__)

# An error of our own is met this often before the job is given up (D7).
TRIES = 3
TRY_AGAIN_SECONDS = 1.0

# Room for the head of a message, its headers and the broker's own bytes around it.
MAX_TAIL_BYTES = MAX_MESSAGE_BYTES - 64 * 1024


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all jobs of a reader share."""

    source: Source
    opening: Opening
    state: StateStore
    leases: Leases
    outbound: Outbound
    codec: Codec
    limits: Limits
    window_batches: int
    clock: Clock
    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A batch as it waits in the window: all of it but what changes when it is sent again."""

    tail: bytes
    headers: Headers
    is_last: bool


class JobSending:
    """Sends one leased job. `run` returns when nothing is left to do; the rest may be called meanwhile."""

    def __init__(self, job: LeasedJob, turns: Turns, around: Surroundings, valid_until: float) -> None:
        self.job = job
        self._turns = turns
        self._around = around
        self._clock = around.clock
        self._window: Window[Outgoing] = Window(job.applied_batch, around.window_batches, around.clock)
        self._messages = Messages(job, around.codec)
        self._position = job.position
        self._looked: dict[int, Part] = {}
        self._last_sent = False
        self._valid_until = valid_until
        self._renewed = asyncio.Event()
        self._moved = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._over = asyncio.Event()
        # Batches go out in order, also those that are sent again.
        self._order = asyncio.Lock()
        self._log = log.bind(job=str(job.id), run=job.run, lease_epoch=job.lease_epoch)
        if job.cancelled:
            self.cancel()

    @property
    def unapplied(self) -> int:
        """Batches sent and not known to be applied."""
        return len(self._window)

    @property
    def valid_until(self) -> float:
        """When the lease runs out, on the monotonic clock, as far as this process knows."""
        return self._valid_until

    async def run(self) -> None:
        """Send until the last batch is applied or the lease is lost.

        Raises whatever error of our own stands in the way of sending, so that the job is tried elsewhere.
        """
        tasks = [asyncio.create_task(work) for work in (self._feed(), self._heal())]
        for task in tasks:
            task.add_done_callback(self._stop_on_error)
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._turns.give_back_all(self)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _stop_on_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._over.set()

    def applied(self, batch_no: int) -> None:
        """This batch, and so every one before it, is applied."""
        if self._over.is_set():
            return
        if batch_no >= self._window.next_no:
            self._log.error("a batch is applied that was never sent", batch=batch_no)
            self.lost("its books are another's")
            return
        forgotten = self._window.apply(batch_no)
        if not forgotten:
            return
        self._turns.give_back(self, len(forgotten), sum(len(batch.tail) for batch in forgotten))
        self._moved.set()
        if forgotten[-1].is_last:
            self._log.info("job sent", batches=batch_no)
            self._over.set()

    def stands(self, standing: Standing) -> None:
        """What the database says of the job."""
        if standing.lease_epoch != self.job.lease_epoch:
            self.lost("another reader has it")
            return
        self.applied(standing.applied_batch)
        if standing.state != JobState.PROCESSING:
            self.lost(f"it is {standing.state}")
        elif standing.cancelled:
            self.cancel()

    def renewed(self, valid_until: float) -> None:
        """The lease holds until then, on the monotonic clock."""
        self._valid_until = valid_until
        self._renewed.set()

    def cancel(self) -> None:
        """Stop reading and end the job as cancelled."""
        self._cancelled.set()

    def lost(self, why: str) -> None:
        """The job is not this process's to send any more: stop at once."""
        if not self._over.is_set():
            self._log.info("job left", why=why)
            self._over.set()

    async def _feed(self) -> None:
        """Send new batches up to the last one."""
        reading = asyncio.create_task(self._read())
        cancelled = asyncio.create_task(self._cancelled.wait())
        try:
            await asyncio.wait({reading, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
            ending = Ending("cancelled", "Cancelled on request.") if reading.cancelled() else reading.result()
        finally:
            reading.cancel()
            cancelled.cancel()
        if not self._last_sent:
            assert ending is not None, "reading ended without a last batch and without saying why"
            await self._send_new(self._tails(), ended(self._position, ending))

    async def _read(self) -> Ending | None:
        """Read and send the job's batches; None when the last one is sent, or why that failed for good."""
        for attempt in range(1, TRIES + 1):
            try:
                await self._read_once()
            except (SourceChanged, JobUnreadable, Refused) as error:
                return Ending("failed", error.message)
            except Exception as error:
                self._log.exception("reading failed", attempt=attempt)
                fault = JobUnreadable(problem=f"reading it failed ({type(error).__name__}).")
                if attempt < TRIES:
                    await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                return None
        return Ending("failed", fault.message)

    async def _read_once(self) -> None:
        options = self.job.options()
        around = self._around
        for part in self.job.parts():
            if part.part_no not in self._looked:
                # Once for a lease: what was opened lies where this lease put it, and is read from there.
                self._looked[part.part_no] = await around.opening.look(self.job, part, options)
        tails = Tails(options, self.job.created_at)
        batches = cuts(list(self._looked.values()), self._position, around.source, around.limits)
        async with aclosing(batches):
            async for cut in batches:
                await self._send_new(tails, cut)

    def _tails(self) -> Tails:
        """Those of a last batch, which an unreadable job gets too."""
        try:
            options = self.job.options()
        except JobUnreadable:
            options = StoredOptions()
        return Tails(options, self.job.created_at)

    async def _send_new(self, tails: Tails, cut: Cut) -> None:
        """Number a batch and send it, as soon as the window and the partition have room."""
        while not self._window.has_room:
            self._moved.clear()
            await self._moved.wait()
        await self._turns.take(self)
        added = False
        try:
            tail = tails.tail(cut, int(self._clock.now().timestamp() * 1000))
            if len(tail) > MAX_TAIL_BYTES:
                raise JobUnreadable(problem=f"the rows from {cut.start.row_no} on are too large to be sent.")
            async with self._order:
                await self._lease_held()
                batch_no = self._window.next_no
                batch = Outgoing(tail, self._messages.headers(cut, batch_no), cut.ending is not None)
                self._window.add(batch)
                added = True
                self._position = cut.end
                self._last_sent = batch.is_last
                self._turns.weigh(self, len(tail))
                self._count_new(cut)
                await self._hand_over(batch_no, batch)
        finally:
            if not added:
                self._turns.give_back(self, 1, 0)

    async def _heal(self) -> None:
        """Send again what got lost."""
        while True:
            for batch_no in self._window.take_again():
                await self._send_again(batch_no)
            wait = self._window.wait_seconds()
            if wait == 0:
                await self._probe()
                continue
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._moved.wait()

    async def _probe(self) -> None:
        """The oldest batch is overdue: send it again, unless the database knows better."""
        # Whatever was told to be applied was so before it was told, and before this question.
        told = self._window.applied
        standings = await patiently(lambda: self._around.leases.look([self.job]), self._around.telemetry)
        if not standings:
            self.lost("it is gone")
        elif standings[0].applied_batch < told:
            # What is forgotten cannot be sent again; whoever leases the job next reads it again.
            self.lost("more was told to be applied than is")
        else:
            self.stands(standings[0])
        async with self._order:
            await self._lease_held()
            if self._over.is_set() or (overdue := self._window.probe()) is None:
                return
            batch_no, batch = overdue
            self._log.warning("sent again", batch=batch_no, unapplied=len(self._window))
            self._around.telemetry.count("sluice_batches_resent_total")
            await self._hand_over(batch_no, batch)

    async def _send_again(self, batch_no: int) -> None:
        async with self._order:
            await self._lease_held()
            batch = self._window.repeat(batch_no)
            if batch is not None:
                self._around.telemetry.count("sluice_batches_resent_total")
                await self._hand_over(batch_no, batch)

    async def _hand_over(self, batch_no: int, batch: Outgoing) -> None:
        """Nothing may come between the window's taking note of the batch and this."""
        value = self._messages.value(batch.tail, batch_no, self._window.applied)
        answered = partial(self._answered, batch_no)
        await self._around.outbound.send(ROWS_READ, self._messages.key, value, batch.headers, answered)

    def _answered(self, batch_no: int, stored: bool) -> None:
        self._window.answered(batch_no, stored=stored)
        if batch_no == self._window.applied + 1:
            # Only now can the oldest batch become overdue.
            self._moved.set()

    async def _lease_held(self) -> None:
        """A reader that cannot renew its lease sends nothing: another may have it."""
        while self._clock.monotonic() >= self._valid_until:
            self._renewed.clear()
            await self._renewed.wait()

    def _count_new(self, cut: Cut) -> None:
        self._around.telemetry.count("sluice_batches_sent_total")
        self._around.telemetry.count("sluice_rows_read_total", cut.row_count)
