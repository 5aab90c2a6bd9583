"""Further runs of an ended import (D14): refused rows healed by a corrected file, a dry run committed.

Either is begun in one transaction under the lock of the job's row; from then on the job is processing, and
whatever reader leases it sends the run's rows under the numbers that they have.
"""

from __future__ import annotations

import asyncio
import uuid
from array import array
from collections.abc import AsyncIterable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

import msgspec
import structlog

from ingress.authentication import Principal
from ingress.commands.acceptance import FORM_BYTES, MAX_LINES_PER_ROW, look_at, with_late_encoding
from ingress.commands.jobs import Job, job_of
from ingress.commands.options import Profile, read_options
from ingress.database import CommitUnknown, Pooled, Record, statements
from ingress.formats.corrected import (
    ADDED,
    CorrectedChunker,
    CorrectedRow,
    Corrections,
    TokenUnreadable,
    corrections_of,
    token_row,
)
from ingress.formats.inspect import SourceHead, refuse_other_formats
from ingress.services import Services
from ingress.uploads import StoredFile, Upload, object_key
from sluice.errors import FileHasNoRows, FileHasTooManyRows, FileRefused, FileTooLarge, NotFound, Refused
from sluice.job import JobState, RunKind
from sluice.outcome import BY_LETTER, ELSEWHERE, LETTERS, REFUSED

REFUSED_LETTERS = frozenset(LETTERS[outcome] for outcome in REFUSED)

PROFILE = Profile(door="heal", fields={"encoding": "encoding", "delimiter": "delimiter"}, needs_columns=())

log = structlog.get_logger("sluice.ingress")
_SQL = statements("runs")


class RunRefused(Refused):
    """{problem}"""

    code = "CONFLICT"
    status = 409


class TokenForeign(FileRefused):
    """The token in line {line} is of another import: {token}. Nothing was done: send each its own rows."""

    code = "ROW_TOKEN_INVALID"


class RowTwice(FileRefused):
    """Row {row_no} is there twice, in lines {first} and {line}. Nothing was done: keep one of them."""

    code = "ROW_TOKEN_INVALID"


class RowUnknown(FileRefused):
    """The import has no row {row_no}, which line {line} names. Nothing was done: leave the line out."""

    code = "ROW_TOKEN_INVALID"


class RowNotRefused(FileRefused):
    """Row {row_no} in line {line} is {outcome} and needs no correction. Nothing was done: leave the line out,
    or fetch the errors file again."""

    code = "ROW_NOT_REFUSED"
    status = 409


class _Named:
    """The rows that a corrected file names: the line of each, by its number."""

    def __init__(self, job: Job, limit: int) -> None:
        self._job = job
        self._limit = limit
        self._lines = array("q", bytes(8 * (job.rows_read + 1)))
        self.count = 0

    def take(self, rows: Iterable[CorrectedRow]) -> None:
        """Note these rows. Raises what is wrong with one of them."""
        for row in rows:
            row_no = self._row_no(row)
            if first := self._lines[row_no]:
                raise RowTwice(row_no=row_no, first=first, line=row.line)
            self._lines[row_no] = row.line
            self.count += 1
            if self.count > self._limit:
                raise FileHasTooManyRows(limit=self._limit)

    def _row_no(self, row: CorrectedRow) -> int:
        named = token_row(row.token)
        if named is None:
            raise TokenUnreadable(line=row.line, column=ADDED[-1])
        job_id, row_no = named
        if job_id != self._job.id:
            raise TokenForeign(line=row.line, token=row.token)
        if row_no > self._job.rows_read:
            raise RowUnknown(row_no=row_no, line=row.line)
        return row_no

    def require_refused(self, held: Sequence[Record]) -> None:
        """Check the rows against what they are by now. Raises RowUnknown, RowNotRefused."""
        letters = bytearray(len(self._lines))
        for record in held:
            for row_no, letter in enumerate(record["outcomes"], record["first_row_no"]):
                if letter != ELSEWHERE:
                    letters[row_no] = ord(letter)
        for row_no, line in enumerate(self._lines):
            if not line:
                continue
            letter = chr(letters[row_no])
            if letter not in BY_LETTER:
                raise RowUnknown(row_no=row_no, line=line)
            if letter not in REFUSED_LETTERS:
                raise RowNotRefused(row_no=row_no, line=line, outcome=BY_LETTER[letter].value)


class Healing:
    """A corrected errors file being taken in, from its first byte to the run that it starts.

    1. `begin` refuses what the job's state rules out, before a byte is read.
    2. `take_file` streams the file to the object store.
    3. `accept` looks at its columns, completes the object, reads every token, and starts the run under the
       job's lock, where it sees that each row is still refused.
    4. `discard`, on any other way out, leaves no object behind.
    """

    def __init__(self, services: Services, principal: Principal, job_id: uuid.UUID) -> None:
        self._services = services
        self._principal = principal
        self._job_id = job_id
        self._upload: Upload | None = None
        self._own: Sequence[str] = ()
        self._named: _Named | None = None
        self.fields: dict[str, str] = {}

    async def begin(self, content_length: int | None) -> None:
        """Raises PermissionDenied, NotFound, RunRefused, FileTooLarge, RateLimited, DatabaseUnavailable."""
        self._principal.require("imports:run")
        settings = self._services.settings
        if content_length is not None and content_length > settings.max_file_size_bytes + FORM_BYTES:
            raise FileTooLarge(limit_megabytes=settings.max_file_size_mb)
        self._services.limits.upload(self._principal)
        async with self._acting() as connection:
            job = job_of(await _row(connection, "one_job", self._job_id))
            form = await connection.fetchval(_SQL["file_form"], self._job_id)
        _refuse_unless_healable(job)
        self._named = _Named(job, settings.max_rows_allowed)
        if form is None:
            raise RunRefused(problem="The import has no stored file, so it has no rows to correct.")
        self._own = msgspec.json.decode(form)["columns"]

    async def take_file(self, filename: str, pieces: AsyncIterable[bytes]) -> None:
        """Store the file. Raises FileTooLarge, StoreUnavailable, and the refusals of its content."""
        services = self._services
        self._upload = Upload(
            services.store,
            object_key(filename, services.clock),
            limit_bytes=services.settings.max_file_size_bytes,
            check_head=_check_head,
        )
        async for piece in pieces:
            await self._upload.write(piece)
            services.telemetry.count("sluice_upload_bytes_total", len(piece))

    async def accept(self) -> Job:
        """Start the run. Raises what refuses the file, one of its rows, or the job's state."""
        assert self._upload is not None, "take_file() comes first"
        assert self._named is not None, "begin() comes first"
        options = read_options(self.fields, PROFILE)
        upload = self._upload
        head = with_late_encoding(await look_at(upload.head, upload.head_is_all, options), upload, options)
        corrections = corrections_of(self._own, head.columns)
        stored = await self._upload.finish()
        limit = self._services.settings.max_rows_allowed
        if stored.line_ends > limit * MAX_LINES_PER_ROW:
            raise FileHasTooManyRows(limit=limit)
        await self._read(stored, head, corrections, self._named)
        try:
            job = await self._begin_run(stored, head, corrections, self._named)
        except CommitUnknown:
            # The run may have begun: if not, the sweeper finds the object.
            self._upload = None
            raise
        self._upload = None
        self._services.bell.ring(job.id, job.organization_id)
        log.info("healing accepted", job_id=str(job.id), run=job.run, rows=self._named.count)
        return job

    async def discard(self) -> None:
        """Leave nothing behind, unless there is a run."""
        if self._upload is not None:
            await self._upload.discard()

    async def _read(
        self, stored: StoredFile, head: SourceHead, corrections: Corrections, named: _Named
    ) -> None:
        """Every row's token. Raises what is wrong with one of them; FileHasNoRows."""
        chunker = CorrectedChunker(head.dialect, corrections, head.first)
        pieces = self._services.store.stream(stored.key, stored.etag, head.first.byte_offset)
        async with aclosing(pieces):
            async for piece in pieces:
                # Off the event loop: others' requests go on meanwhile.
                await asyncio.to_thread(lambda data: named.take(chunker.rows(data)), piece)
        named.take(chunker.last_rows())
        if not named.count:
            raise FileHasNoRows

    async def _begin_run(
        self, stored: StoredFile, head: SourceHead, corrections: Corrections, named: _Named
    ) -> Job:
        part = {
            "kind": "csv",
            "columns": list(self._own),
            "encoding": head.dialect.encoding,
            "delimiter": head.dialect.delimiter,
            "first": {"byte_offset": head.first.byte_offset, "line": head.first.line},
            "corrections": msgspec.to_builtins(corrections),
        }
        async with self._acting() as connection:
            _refuse_unless_healable(job_of(await _row(connection, "lock_job", self._job_id)))
            named.require_refused(await connection.fetch(_SQL["results_of"], self._job_id))
            row = await connection.fetchrow(
                _SQL["begin_healing"],
                self._job_id,
                stored.key,
                stored.etag,
                stored.size_bytes,
                stored.sha256,
                msgspec.json.encode(part).decode(),
                self._services.clock.now(),
            )
        assert row is not None
        return job_of(row)

    def _acting(self) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(self._principal.organization_id, self._principal.user_id)


async def _check_head(head: bytes) -> None:
    refuse_other_formats(head)


async def _row(connection: Pooled, statement: str, job_id: uuid.UUID) -> Record:
    row = await connection.fetchrow(_SQL[statement], job_id)
    if row is None:
        raise NotFound(what="import")
    return row


def _refuse_after_undo(job: Job) -> None:
    """A further run would build on contacts that are gone; the database refuses it, too."""
    if job.undo is not None:
        raise RunRefused(problem="The import was undone, in part at least. Import its file again.")


def _refuse_unless_healable(job: Job) -> None:
    _refuse_after_undo(job)
    if job.state not in (JobState.COMPLETED, JobState.FAILED):
        raise RunRefused(problem=f"Rows can be corrected when the import has ended; it is {job.state.value}.")
    if job.options.get("mode") == "atomic":
        raise RunRefused(
            problem="An atomic import is whole or nothing: correct its file and import it again."
        )
    if job.is_dry_run:
        raise RunRefused(
            problem="A dry run has written nothing. Commit it first, or import the corrected file."
        )


# The commit of a dry run -----------------------------------------------------------------------


async def commit(services: Services, principal: Principal, job_id: uuid.UUID) -> Job:
    """Write what a dry run foretold, if every row still ends so; the job, which is on its way.

    Asked again it is the same run: one that is on its way goes on, one that has written is done. Raises
    PermissionDenied, NotFound, RunRefused.
    """
    principal.require("imports:run")
    async with services.database.acting_for(principal.organization_id, principal.user_id) as connection:
        if job := _under_way(await _row(connection, "one_job", job_id)):
            return job
        if job := _under_way(await _row(connection, "lock_job", job_id)):
            return job
        begun = await connection.fetchrow(_SQL["begin_commit"], job_id, services.clock.now())
    assert begun is not None
    job = job_of(begun)
    services.bell.ring(job.id, job.organization_id)
    log.info("commit accepted", job_id=str(job.id), run=job.run)
    return job


def _under_way(row: Record) -> Job | None:
    """The job, if its commit is on its way or has written. Raises RunRefused where it may not begin."""
    job = job_of(row)
    if job.run_kind is RunKind.COMMIT and (not job.ended or not job.is_dry_run):
        return job
    _refuse_unless_committable(job, row["ended_as"])
    return None


def _refuse_unless_committable(job: Job, ended_as: str | None) -> None:
    _refuse_after_undo(job)
    if not job.is_dry_run:
        raise RunRefused(problem="Only a dry run can be committed; this import has written its contacts.")
    if not job.ended or (ended_as or job.state.value) != JobState.COMPLETED.value:
        raise RunRefused(
            problem=f"Only a dry run that was completed can be committed; it is {job.state.value}."
        )
    refused = sum(job.counts[outcome] for outcome in REFUSED)
    if refused and job.options.get("mode") == "atomic":
        raise RunRefused(
            problem=f"{refused} of its rows are refused, and an atomic import is whole or nothing."
        )


def outcome_of_commit(job: Job) -> Job:
    """The job of a commit that has ended, if it has written. Raises RunRefused, which names the rows."""
    if job.is_dry_run:
        raise RunRefused(problem=job.reason or "Nothing was written: the commit was cancelled.")
    return job
