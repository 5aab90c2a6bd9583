"""The reader role: leases jobs and sends their stored parts as numbered batches of rows (D2, D13).

    imports.requested.v1 (a bell) ┐                         ┌─► imports.rows-read.v1
    PostgreSQL, asked every second┴► a lease ─► its parts ──┘         ⋮
                                         ▲      from S3       imports.batch-applied.v1
                                         └─── window ◄────────────────┘

Nothing here must survive: a reader that is killed leaves a lease that runs out, and the next one goes on
behind the last applied batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import stamina
import structlog
import uvloop

from ingress.reading.analyzing import JobAnalyzing
from ingress.reading.batches import Limits
from ingress.reading.following import follow
from ingress.reading.job import LeasedJob
from ingress.reading.opening import Opening
from ingress.reading.postgres import open_leases
from ingress.reading.producing import Outbound
from ingress.reading.scratch import own_folder
from ingress.reading.sending import JobSending, Surroundings
from ingress.reading.source import Source
from ingress.reading.turns import Turns
from ingress.reading.waiting import patiently
from ingress.state import make_state
from ingress.store import open_store
from sluice.avro import load_codec
from sluice.broker import partition_of
from sluice.clock import SystemClock
from sluice.errors import DatabaseUnavailable, MessageUndecodable
from sluice.events import BatchApplied, ImportRequested
from sluice.job import JobState
from sluice.memory import calm_garbage_collector
from sluice.settings import Settings
from sluice.telemetry import Telemetry, configure_logging, serve_metrics
from sluice.topics import BATCH_APPLIED, IMPORTS_REQUESTED, PARTITIONS

log = structlog.get_logger(__name__)

# D13: the bell may be missed, so readers poll; a lost message is noticed by the same question.
POLL_SECONDS = 1.0

# Jobs at once: of one organization, so that none takes all slots, and in all.
JOBS_PER_ORGANIZATION = 4
JOBS_AT_ONCE = JOBS_PER_ORGANIZATION * PARTITIONS

# Bytes on their way to one partition, beside the cap of batches: all partitions at once stay below 100 MiB.
PARTITION_BYTES = 8 * 1024 * 1024

# A job that met an error of ours is left to others for so long.
SHUN_SECONDS = 30.0

# A broker that owes an answer for longer is away; a healthy one takes milliseconds.
BROKER_SLOW_SECONDS = 2.0

# What a stopping reader may still spend on telling others.
LEAVE_SECONDS = 2.0


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    configure_logging(settings.log_level)
    calm_garbage_collector()
    # An outage is told twice, when it begins and when it ends, not with every attempt.
    stamina.instrumentation.set_on_retry_hooks(())
    uvloop.run(serve(settings))


async def serve(settings: Settings) -> None:
    """The role with its metrics and its signals."""
    telemetry = Telemetry("reader")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    role = Role(settings, telemetry)
    metrics = await serve_metrics(telemetry, settings.api_host, settings.metrics_port, role.ready)
    working = asyncio.create_task(role.work())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await metrics.cleanup()


class Role:
    """Connects what a reader needs and runs one."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._reader: Reader | None = None

    def ready(self) -> Mapping[str, object] | None:
        """Facts for `/health`; None while something is still waited for."""
        return self._reader.facts() if self._reader and self._reader.following.is_set() else None

    async def work(self) -> None:
        """Read until cancelled; then hand the leases back."""
        settings, telemetry = self._settings, self._telemetry
        clock = SystemClock()
        owner = f"{socket.gethostname()}/{settings.instance}"
        async with AsyncExitStack() as exits:
            codec = await patiently(lambda: load_codec(settings.schema_registry_url), telemetry)
            dsn = settings.sink_database_url.get_secret_value()
            leases = await patiently(
                lambda: exits.enter_async_context(open_leases(dsn, owner, settings.lease_seconds)), telemetry
            )
            await patiently(leases.release_left_behind, telemetry)
            store = await exits.enter_async_context(open_store(settings))
            outbound = Outbound(settings, telemetry, clock)
            exits.push_async_callback(outbound.stop)
            await outbound.start()
            source = Source(store, telemetry)
            folder = exits.enter_context(own_folder(settings.instance))
            around = Surroundings(
                source=source,
                opening=Opening(store, source, leases, settings.max_rows_allowed, telemetry, folder),
                state=make_state(settings, leases.acting, store, clock),
                leases=leases,
                outbound=outbound,
                codec=codec,
                limits=Limits(settings.batch_rows, settings.batch_bytes, settings.max_rows_allowed),
                window_batches=settings.window_batches,
                clock=clock,
                telemetry=telemetry,
            )
            self._reader = Reader(settings, around)
            await self._reader.run()


class Reader:
    """The jobs of one process: found, begun, kept, and left."""

    def __init__(self, settings: Settings, around: Surroundings) -> None:
        self.following = asyncio.Event()
        self._settings = settings
        self._around = around
        self._clock = around.clock
        self._telemetry = around.telemetry
        self._jobs: dict[uuid.UUID, JobSending | JobAnalyzing] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = [
            Turns(settings.window_batches, PARTITION_BYTES, around.clock) for _ in range(PARTITIONS)
        ]
        self._shunned: dict[uuid.UUID, float] = {}
        self._rung: dict[uuid.UUID, uuid.UUID] = {}
        self._bell = asyncio.Event()
        self._look = asyncio.Event()

    def facts(self) -> dict[str, object]:
        """How much this reader has to do."""
        return {"jobs": len(self._jobs), "unapplied_batches": self._unapplied()}

    async def run(self) -> None:
        """Send whatever there is to send, until cancelled."""
        topics = (IMPORTS_REQUESTED, BATCH_APPLIED)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(follow(self._settings, topics, self._take, self.following, self._telemetry))
                group.create_task(self._find())
                group.create_task(self._keep())
                group.create_task(self._measure())
        finally:
            await self._leave()

    # What the topics tell -----------------------------------------------------------------------------------

    def _take(self, message: Any) -> None:
        try:
            if message.topic == BATCH_APPLIED.name:
                self._take_applied(message)
            else:
                self._take_requested(message)
        except (MessageUndecodable, ValueError) as error:
            # The database tells the same within a second; the dead letter is the streams' to write.
            log.warning("message passed over", topic=message.topic, problem=str(error))

    def _take_applied(self, message: Any) -> None:
        # By the key first: most batches are other readers', and decoding costs.
        job = self._jobs.get(uuid.UUID((message.key or b"").decode()))
        if job is None:
            return
        applied = self._around.codec.decode(BATCH_APPLIED.name, BatchApplied, message.value)
        if applied.lease_epoch == job.job.lease_epoch:
            job.applied(applied.batch_no)
        elif applied.lease_epoch > job.job.lease_epoch:
            self._look.set()

    def _take_requested(self, message: Any) -> None:
        request = self._around.codec.decode(IMPORTS_REQUESTED.name, ImportRequested, message.value)
        job_id = uuid.UUID(request.job_id)
        if job_id in self._jobs:
            self._look.set()
        else:
            self._rung[job_id] = uuid.UUID(request.organization_id)
            self._bell.set()

    # Finding jobs -------------------------------------------------------------------------------------------

    async def _find(self) -> None:
        """Lease what the bell rang for at once, and what nobody has every second."""
        while True:
            rung, self._rung = self._rung, {}
            self._bell.clear()
            for job_id, organization_id in rung.items():
                if len(self._jobs) < JOBS_AT_ONCE and organization_id not in self._full():
                    await self._lease(organization_id, job_id)
            while len(self._jobs) < JOBS_AT_ONCE and await self._lease():
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._bell.wait()

    async def _lease(self, organization_id: uuid.UUID | None = None, job_id: uuid.UUID | None = None) -> bool:
        leases = self._around.leases

        async def take() -> LeasedJob | None:
            if organization_id is not None and job_id is not None:
                return await leases.take(organization_id, job_id)
            return await leases.take_next(self._full(), self._not_now())

        # From before the question: the database's clock started later.
        asked_at = self._clock.monotonic()
        job = await patiently(take, self._telemetry)
        if job is None:
            return False
        self._begin(job, asked_at + self._settings.lease_seconds)
        return True

    def _begin(self, job: LeasedJob, valid_until: float) -> None:
        sending: JobSending | JobAnalyzing
        if job.state == JobState.ANALYZING:
            sending = JobAnalyzing(job, self._around, valid_until)
        else:
            partition = partition_of(str(job.organization_id).encode(), PARTITIONS)
            sending = JobSending(job, self._turns[partition], self._around, valid_until)
        log.info("job leased", job=str(job.id), lease_epoch=job.lease_epoch, applied=job.applied_batch)
        self._jobs[job.id] = sending
        task = asyncio.create_task(self._send(sending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, sending: JobSending | JobAnalyzing) -> None:
        job = sending.job
        try:
            await sending.run()
        except Exception:
            log.exception("job left", job=str(job.id), lease_epoch=job.lease_epoch)
            self._shunned[job.id] = self._clock.monotonic() + SHUN_SECONDS
        try:
            await patiently(lambda: self._around.leases.release([job]), self._telemetry)
        finally:
            # Only now may it be leased again: by this process too, under the next epoch.
            del self._jobs[job.id]
            self._bell.set()

    def _full(self) -> set[uuid.UUID]:
        held = Counter(sending.job.organization_id for sending in self._jobs.values())
        return {organization for organization, jobs in held.items() if jobs >= JOBS_PER_ORGANIZATION}

    def _not_now(self) -> set[uuid.UUID]:
        now = self._clock.monotonic()
        self._shunned = {job: until for job, until in self._shunned.items() if until > now}
        return {*self._shunned, *self._jobs}

    # Keeping them -------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Hear from the database how the jobs stand, and renew their leases."""
        pause = min(POLL_SECONDS, self._settings.lease_seconds / 3)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
            self._look.clear()
            held = list(self._jobs.values())
            if held:
                await patiently(partial(self._hear, held), self._telemetry)
                await patiently(partial(self._renew, held), self._telemetry)

    async def _hear(self, held: list[JobSending | JobAnalyzing]) -> None:
        standings = {s.id: s for s in await self._around.leases.look([sending.job for sending in held])}
        for sending in held:
            standing = standings.get(sending.job.id)
            if standing is None:
                sending.lost("it is gone")
            else:
                sending.stands(standing)

    async def _renew(self, held: list[JobSending | JobAnalyzing]) -> None:
        seconds = self._settings.lease_seconds
        asked_at = self._clock.monotonic()
        due = [sending for sending in held if sending.valid_until - asked_at <= seconds * 2 / 3]
        if due:
            renewed = await self._around.leases.renew([sending.job for sending in due])
            for sending in due:
                if sending.job.id in renewed:
                    sending.renewed(asked_at + seconds)

    async def _measure(self) -> None:
        was_slow = False
        while True:
            self._telemetry.gauge("sluice_jobs_leased", len(self._jobs))
            self._telemetry.gauge("sluice_window_batches", self._unapplied())
            slow = self._around.outbound.waits_seconds > BROKER_SLOW_SECONDS
            # Only on a change: others tell of the broker too.
            if slow != was_slow:
                self._telemetry.gauge("sluice_waiting", int(slow), dependency="broker")
            was_slow = slow
            await asyncio.sleep(POLL_SECONDS)

    def _unapplied(self) -> int:
        return sum(sending.unapplied for sending in self._jobs.values())

    # Leaving ------------------------------------------------------------------------------------------------

    async def _leave(self) -> None:
        """Stop sending, give the leases back and ring for others. What is on its way is not waited for."""
        left = [sending.job for sending in self._jobs.values()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._around.leases.release(left)
                for job in left:
                    await self._ring(job)

    async def _ring(self, job: LeasedJob) -> None:
        request = ImportRequested(
            job_id=str(job.id),
            organization_id=str(job.organization_id),
            requested_at=int(self._clock.now().timestamp() * 1000),
        )
        value = self._around.codec.encode(IMPORTS_REQUESTED.name, request)
        key = request.job_id.encode()
        await self._around.outbound.send(IMPORTS_REQUESTED, key, value, [], lambda stored: None)
