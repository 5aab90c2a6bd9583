"""What the API can do with imports, once; every door is a translation of these."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import msgspec
import structlog

from ingress.authentication import Principal
from ingress.commands.jobs import Job, advanced, job_of
from ingress.commands.options import (
    FormOptions,
    Profile,
    excluded_rows,
    job_options,
    read_options,
    require_columns,
)
from ingress.database import CommitUnknown, Pooled, statements
from ingress.formats.csv import CsvChunker
from ingress.formats.inspect import SourceHead, inspect_head, refuse_other_formats
from ingress.limits import DAY_SECONDS, IMPORTS_A_DAY, check_imports
from ingress.services import Services
from ingress.uploads import StoredFile, Upload, object_key
from sluice.errors import (
    FileHasTooManyRows,
    FileTooLarge,
    NotFound,
    OptionInvalid,
    TransitionRefused,
)
from sluice.job import JobState, new_job_id

MAX_FILENAME = 500

FORM_BYTES = 2 * 1024 * 1024
"""More than the fields, names and boundaries around a file ever take: such a body is refused unread."""

QUICK_BYTES = 8 * 1024
"""A head up to this is looked at on the spot, in about a millisecond."""

LIVING_REMEMBERED = 10_000

MAX_LINES_PER_ROW = 10
"""Of a file with as many rows as may be, on average. Blank lines are no rows, but each costs about 2 µs to
pass: 100 MB of them would hold a reader up for minutes."""

log = structlog.get_logger("sluice.ingress")
_SQL = statements("imports")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that is stored and was looked at, and what the form asks for."""

    filename: str
    stored: StoredFile
    head: SourceHead
    options: FormOptions


class Acceptance:
    """One import being taken in, from its first byte to its job.

    1. `begin` refuses whoever may not import, or not now.
    2. `take_file` streams the file to the object store, looking at its head as soon as it is there.
    3. `accept` reads the options, looks at the head with them, completes the object, counts the rows if there
       may be too many, and makes the job; only now there is something that others see.
    4. `discard`, on any other way out, leaves no object behind.
    """

    def __init__(self, services: Services, principal: Principal, profile: Profile) -> None:
        self._services = services
        self._principal = principal
        self._profile = profile
        self._upload: Upload | None = None
        self._filename = ""
        self._source: SourceHead | None = None
        self.fields: dict[str, str] = {}

    async def begin(self, content_length: int | None) -> None:
        """Raises PermissionDenied, RateLimited, DatabaseUnavailable; FileTooLarge for a body that says so."""
        self._principal.require("imports:run")
        settings = self._services.settings
        limit = settings.max_file_size_bytes
        if content_length is not None and content_length > limit + FORM_BYTES:
            raise FileTooLarge(limit_megabytes=settings.max_file_size_mb)
        self._services.limits.upload(self._principal)
        if IMPORTS_A_DAY[self._principal.tier] is not None:
            async with self._acting() as connection:
                await self._check_imports(connection)

    async def take_file(self, filename: str, pieces: AsyncIterable[bytes]) -> None:
        """Store the file. Raises FileTooLarge, StoreUnavailable, and the refusals of its content."""
        services = self._services
        self._filename = _storable_name(filename)
        self._upload = Upload(
            services.store,
            object_key(self._filename, services.clock),
            limit_bytes=services.settings.max_file_size_bytes,
            check_head=self._check_head,
        )
        async for piece in pieces:
            await self._upload.write(piece)
            services.telemetry.count("sluice_upload_bytes_total", len(piece))

    async def accept(self) -> Job:
        """Make the job. Raises what refuses the options, the file, or the organization's next import."""
        assert self._upload is not None, "take_file() comes first"
        options = read_options(self.fields, self._profile)
        head = with_late_encoding(
            self._source or await self._inspect(self._upload.head, self._upload.head_is_all, options),
            self._upload,
            options,
        )
        stored = await self._upload.finish()
        await self._refuse_too_many_rows(stored, head)
        try:
            job = await self._make_job(Incoming(self._filename, stored, head, options))
        except (CommitUnknown, asyncio.CancelledError):
            # There may be a job that reads the object: if not, the sweeper finds it.
            self._upload = None
            raise
        self._upload = None
        self._services.bell.ring(job.id, job.organization_id)
        log.info("import accepted", job_id=str(job.id), bytes=job.file_bytes, door=job.door)
        return job

    async def discard(self) -> None:
        """Leave nothing behind, unless there is a job."""
        if self._upload is not None:
            await self._upload.discard()

    async def _check_head(self, head: bytes) -> None:
        """Refuse what no option can mend; the rest waits for fields that may come behind the file."""
        refuse_other_formats(head)
        may_come = {"encoding", "delimiter", "mapping", "rules"} & set(self._profile.fields)
        if not may_come - set(self.fields):
            self._source = await self._inspect(head, False, read_options(self.fields, self._profile))

    async def _inspect(self, head: bytes, complete: bool, options: FormOptions) -> SourceHead:
        source = await look_at(head, complete, options)
        require_columns(source, options, self._profile)
        return source

    async def _refuse_too_many_rows(self, stored: StoredFile, head: SourceHead) -> None:
        """Line ends were counted on the way; only a file that may have too many rows is read once more."""
        limit = self._services.settings.max_rows_allowed
        if stored.line_ends + 1 - (head.first.line - 1) <= limit:
            return
        if stored.line_ends > limit * MAX_LINES_PER_ROW:
            raise FileHasTooManyRows(limit=limit)
        chunker = CsvChunker(head.columns, head.dialect, head.first)
        rows = 0
        async for piece in self._services.store.stream(stored.key, stored.etag, head.first.byte_offset):
            # Off the event loop: others' requests go on meanwhile.
            rows += sum(len(chunk.rows) for chunk in await asyncio.to_thread(chunker.feed, piece))
            if rows > limit:
                break
        while (chunk := chunker.finish()) is not None:
            rows += len(chunk.rows)
        if rows > limit:
            raise FileHasTooManyRows(limit=limit)

    async def _make_job(self, incoming: Incoming) -> Job:
        options, stored, now = incoming.options, incoming.stored, self._services.clock.now()
        asked = msgspec.to_builtins(job_options(options, self._profile, now))
        asked |= {"exclude_rows": list(excluded_rows(options))}
        async with self._acting() as connection:
            if IMPORTS_A_DAY[self._principal.tier] is not None:
                await connection.execute(_SQL["lock_imports"], self._principal.organization_id)
                await self._check_imports(connection)
            if options.list_id and not await connection.fetchval(_SQL["own_list"], options.list_id):
                raise OptionInvalid(
                    field="list_id", value=options.list_id, allowed="a list of your organization"
                )
            row = await connection.fetchrow(
                _SQL["make_job"],
                new_job_id(),
                self._principal.organization_id,
                self._principal.user_id,
                self._profile.door,
                incoming.filename,
                stored.size_bytes,
                stored.sha256,
                msgspec.json.encode(asked).decode(),
                now,
                stored.key,
                stored.etag,
                options.list_id,
                options.list_name,
                msgspec.json.encode(_format(incoming.head)).decode(),
            )
        assert row is not None
        return job_of(row)

    async def _check_imports(self, connection: Pooled) -> None:
        now = self._services.clock.now()
        since = now - timedelta(seconds=DAY_SECONDS)
        row = await connection.fetchrow(_SQL["imports_since"], self._principal.organization_id, since)
        assert row is not None
        check_imports(self._principal.tier, row["made"], row["oldest"], now)

    def _acting(self) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(self._principal.organization_id, self._principal.user_id)


async def look_at(head: bytes, complete: bool, options: FormOptions) -> SourceHead:
    """A file's head, as `inspect_head` reads it."""
    inspect = partial(
        inspect_head, head, complete=complete, encoding=options.encoding, delimiter=options.delimiter
    )
    # Guessing a code page from a whole head takes 0.2 s; others' requests go on meanwhile.
    return await asyncio.to_thread(inspect) if len(head) > QUICK_BYTES else inspect()


def with_late_encoding(head: SourceHead, upload: Upload, options: FormOptions) -> SourceHead:
    """The head in the encoding that the whole file turned out to be in, where the head itself is ASCII."""
    late = upload.late_encoding
    if late is None or options.encoding is not None or head.dialect.encoding != "utf-8":
        return head
    # The head is ASCII, so its offsets hold in any encoding that the rest may turn out to be in.
    return replace(head, dialect=replace(head.dialect, encoding=late.encoding))


def _format(head: SourceHead) -> dict[str, object]:
    """`import_parts.format` as the reader expects it."""
    first = head.first
    return {
        "columns": list(head.columns),
        "encoding": head.dialect.encoding,
        "delimiter": head.dialect.delimiter,
        "first": {"byte_offset": first.byte_offset, "line": first.line, "row_no": first.row_no},
    }


def _storable_name(filename: str) -> str:
    """The file's name as a text column takes it, without its directories."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(letter if letter.isprintable() else "_" for letter in name)
    return printable.encode("utf-8", "replace").decode("utf-8")[-MAX_FILENAME:] or "upload.csv"


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
