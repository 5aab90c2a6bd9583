"""A file that comes with its request: stored, looked at, and made a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import msgspec
import structlog

from ingress.authentication import Principal
from ingress.commands.jobs import Job, job_of
from ingress.commands.mappings import remember
from ingress.commands.options import (
    FormOptions,
    Profile,
    asked_of,
    read_options,
    require_columns,
    stored_options,
)
from ingress.database import CommitUnknown, Pooled, statements
from ingress.formats.csv import CsvChunker
from ingress.formats.detect import detect
from ingress.formats.inspect import SourceHead, inspect_head, refuse_other_formats
from ingress.formats.opening import Asked, Kind
from ingress.limits import DAY_SECONDS, IMPORTS_A_DAY, check_imports
from ingress.services import Services
from ingress.uploads import StoredFile, Upload, object_key
from sluice.errors import FileHasTooManyRows, FileTooLarge, OptionInvalid
from sluice.job import new_job_id

MAX_FILENAME = 500

FORM_BYTES = 2 * 1024 * 1024
"""More than the fields, names and boundaries around a file ever take: such a body is refused unread."""

QUICK_BYTES = 8 * 1024
"""A head up to this is looked at on the spot, in about a millisecond."""

MAX_LINES_PER_ROW = 10
"""Of a file with as many rows as may be, on average. Blank lines are no rows, but each costs about 2 µs to
pass: 100 MB of them would hold a reader up for minutes."""

log = structlog.get_logger("sluice.ingress")
_SQL = statements("imports")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that is stored and was looked at, and what the form asks for.

    `format` is `import_parts.format`: what the head of delimited text tells, of others that they wait to be
    opened. `columns` are known of delimited text alone.
    """

    filename: str
    stored: StoredFile
    format: Mapping[str, object]
    options: FormOptions
    columns: Sequence[str] = ()


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
                await refuse_another_import(connection, self._principal, self._services.clock.now())

    async def take_file(self, filename: str, pieces: AsyncIterable[bytes]) -> None:
        """Store the file. Raises FileTooLarge, StoreUnavailable, and the refusals of its content."""
        services = self._services
        self._filename = storable_name(filename)
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
        columns: Sequence[str] = ()
        if self._is_text(self._upload.head):
            head = await self._text_head(self._upload, options)
            stored = await self._upload.finish()
            await self._refuse_too_many_rows(stored, head)
            form, columns = _format(head), head.columns
        else:
            stored = await self._upload.finish()
            form = unopened(asked_of(options), self._profile.needs_columns)
        try:
            job = await self._make_job(Incoming(self._filename, stored, form, options, columns))
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
        if not self._is_text(head):
            return
        may_come = {"encoding", "delimiter", "mapping", "rules"} & set(self._profile.fields)
        if not may_come - set(self.fields):
            self._source = await self._inspect(head, False, read_options(self.fields, self._profile))

    def _is_text(self, head: bytes) -> bool:
        """Whether this is delimited text, which is read as it is. Raises FileNotCsv for what is not taken."""
        if self._profile.any_format:
            return detect(head, self._filename) is Kind.CSV
        refuse_other_formats(head)
        return True

    async def _text_head(self, upload: Upload, options: FormOptions) -> SourceHead:
        head = self._source or await self._inspect(upload.head, upload.head_is_all, options)
        return with_late_encoding(head, upload, options)

    async def _inspect(self, head: bytes, complete: bool, options: FormOptions) -> SourceHead:
        source = await look_at(head, complete, options)
        require_columns(source.columns, options, self._profile)
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
        async with self._acting() as connection:
            await refuse_another_import(connection, self._principal, now, lock=True)
            await refuse_foreign_list(connection, options, self._profile)
            if options.mapping is not None and (columns := incoming.columns):
                await remember(connection, self._principal, columns, self.fields["mapping"], now)
            row = await connection.fetchrow(
                _SQL["make_job"],
                new_job_id(),
                self._principal.organization_id,
                self._principal.user_id,
                self._profile.door,
                incoming.filename,
                stored.size_bytes,
                stored.sha256,
                stored_options(options, self._profile, now),
                now,
                stored.key,
                stored.etag,
                options.list_id,
                options.list_name,
                msgspec.json.encode(incoming.format).decode(),
            )
        assert row is not None
        return job_of(row)

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


async def refuse_another_import(
    connection: Pooled, principal: Principal, now: datetime, *, lock: bool = False
) -> None:
    """Raise RateLimited when the organization has made its imports of the day.

    With `lock`, two that are made at once are counted one after the other, until the transaction ends.
    """
    if IMPORTS_A_DAY[principal.tier] is None:
        return
    if lock:
        await connection.execute(_SQL["lock_imports"], principal.organization_id)
    since = now - timedelta(seconds=DAY_SECONDS)
    row = await connection.fetchrow(_SQL["imports_since"], principal.organization_id, since)
    assert row is not None
    check_imports(principal.tier, row["made"], row["oldest"], now)


async def refuse_foreign_list(connection: Pooled, options: FormOptions, profile: Profile) -> None:
    """Raise OptionInvalid for a list that the organization does not have."""
    if options.list_id and not await connection.fetchval(_SQL["own_list"], options.list_id):
        named = next(name for name, option in profile.fields.items() if option == "list_id")
        raise OptionInvalid(field=named, value=options.list_id, allowed="a list of your organization")


def unopened(asked: Asked, needs: Sequence[str] = ()) -> dict[str, object]:
    """`import_parts.format` of a file that a reader opens first, as the caller asks.

    `needs` are fields of which the file must have a column for one.
    """
    return {
        "kind": "new",
        "sheet": asked.sheet,
        "asked_encoding": asked.encoding,
        "asked_delimiter": asked.delimiter,
        "needs": list(needs),
    }


def _format(head: SourceHead) -> dict[str, object]:
    """`import_parts.format` as the reader expects it."""
    first = head.first
    return {
        "columns": list(head.columns),
        "encoding": head.dialect.encoding,
        "delimiter": head.dialect.delimiter,
        "first": {"byte_offset": first.byte_offset, "line": first.line, "row_no": first.row_no},
    }


def storable_name(filename: str) -> str:
    """The file's name as a text column takes it, without its directories."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(letter if letter.isprintable() else "_" for letter in name)
    return printable.encode("utf-8", "replace").decode("utf-8")[-MAX_FILENAME:] or "upload.csv"
