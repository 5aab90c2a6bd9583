"""Files that came by a presigned URL: announced, checked when they are there, and sent off to be imported.

What a client says of its file is only good for refusing it early: the object that is there decides (T-06),
and its key has to be the job's own (T-07).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import structlog

from ingress.authentication import Principal
from ingress.commands.acceptance import refuse_another_import, refuse_foreign_list, storable_name, unopened
from ingress.commands.jobs import Job, job_of
from ingress.commands.mappings import remember
from ingress.commands.options import (
    V1_IMPORTS,
    FormOptions,
    Profile,
    asked_of,
    read_options,
    require_columns,
    stored_options,
)
from ingress.database import Pooled, Record, statements
from ingress.formats.opening import Asked
from ingress.services import Services
from ingress.state import analysis_key, mapping_key, progress_key
from ingress.store import Stored
from ingress.uploads import object_key
from sluice.errors import (
    FileRefused,
    FileTooLarge,
    NotFound,
    Refused,
    SourceChanged,
    TransitionRefused,
    Unavailable,
)
from sluice.job import JobState, new_job_id, transition

UPLOAD_SECONDS = 3600
"""How long an upload URL holds (S1-065)."""

FILE_ID = "file_"

_SQL = statements("wizard")

log = structlog.get_logger("sluice.ingress")


class UploadMissing(FileRefused):
    """The file has not arrived in the object store. Send it to its upload URL, then ask again."""

    code = "UPLOAD_MISSING"


class UploadLarger(FileRefused):
    """The file has {size} bytes, more than the {announced} that were announced. Announce it with its size."""

    code = "FILE_TOO_LARGE"
    status = 413


class AnalysisUnderWay(Refused):
    """The file is being analyzed already, opened in another way. Wait for its end, then ask again."""

    code = "CONFLICT"
    status = 409


class Announced(NamedTuple):
    """An upload that may begin: PUT the file to `url`, or POST it with `fields` to `form_url`."""

    job_id: uuid.UUID
    key: str
    url: str
    form_url: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Upload:
    """An announced file: its job, where it is to be, and how many bytes were announced."""

    job: Job
    key: str
    announced_bytes: int


class Uploads:
    """Commands on announced files, whose jobs are `uploading`, `analyzing` or `awaiting_mapping`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def announce(
        self, principal: Principal, door: str, filename: str, content_type: str, size_bytes: int
    ) -> Announced:
        """Make a job that waits for its file.

        Raises PermissionDenied, RateLimited, DatabaseUnavailable.
        """
        principal.require("imports:run")
        services, job_id = self._services, new_job_id(version=4)
        services.limits.upload(principal)
        name = storable_name(filename)
        key = object_key(name, services.clock)
        url = await services.store.presign_put(key, content_type, UPLOAD_SECONDS)
        form_url, fields = await services.store.presign_post(key, content_type, size_bytes, UPLOAD_SECONDS)
        async with self._acting(principal) as connection:
            await connection.execute(
                _SQL["announce_upload"],
                job_id,
                principal.organization_id,
                principal.user_id,
                door,
                name,
                size_bytes,
                key,
                content_type,
                services.clock.now(),
            )
        return Announced(job_id, key, url, form_url, fields)

    async def own(self, principal: Principal, job_id: uuid.UUID) -> Upload:
        """The caller's own upload. Raises NotFound, also for a colleague's."""
        return await self._find(principal, "own_upload", job_id, principal.user_id)

    async def of_organization(self, principal: Principal, job_id: uuid.UUID) -> Upload:
        """An upload of the caller's organization. Raises NotFound."""
        return await self._find(principal, "organizations_upload", job_id)

    def is_under_way(self, job: Job, asked: Asked) -> bool:
        """Whether this very analysis is running. Raises AnalysisUnderWay when it opens the file otherwise."""
        if job.state is not JobState.ANALYZING:
            return False
        if job.options.get("asked") != _opened_as(asked):
            raise AnalysisUnderWay
        return True

    async def arrived(self, upload: Upload) -> Stored:
        """The object that came. Raises UploadMissing, UploadLarger, FileTooLarge, StoreUnavailable."""
        try:
            stored = await self._services.store.head(upload.key)
        except SourceChanged:
            raise UploadMissing from None
        settings = self._services.settings
        if stored.size_bytes > settings.max_file_size_bytes:
            raise FileTooLarge(limit_megabytes=settings.max_file_size_mb)
        if stored.size_bytes > upload.announced_bytes:
            raise UploadLarger(size=stored.size_bytes, announced=upload.announced_bytes)
        return stored

    async def begin_analysis(
        self, principal: Principal, upload: Upload, stored: Stored, asked: Asked, profile: Profile
    ) -> None:
        """Give the file to the readers, to be analyzed by this door's rules, unless they have it already.

        Raises AnalysisUnderWay, and TransitionRefused for a file that is past analysis by now.
        """
        now = self._services.clock.now()
        async with self._acting(principal) as connection:
            row = await connection.fetchrow(
                _SQL["begin_analysis"],
                upload.job.id,
                upload.key,
                stored.etag,
                stored.size_bytes,
                _part(unopened(asked)),
                now,
                stored_options(read_options({}, profile), profile, now),
                _part(_opened_as(asked)),
            )
        if row is None:
            job = (await self.of_organization(principal, upload.job.id)).job
            if not self.is_under_way(job, asked):
                raise TransitionRefused(current=job.state.value, target=JobState.ANALYZING.value)
            return
        await self._remove(row["left_behind"])
        self._services.bell.ring(upload.job.id, upload.job.organization_id)

    async def refuse(self, principal: Principal, upload: Upload, reason: str) -> None:
        """End the job of a file that cannot be had."""
        async with self._acting(principal) as connection:
            await connection.execute(_SQL["fail_upload"], upload.job.id, reason, self._services.clock.now())

    async def begin_import(
        self,
        principal: Principal,
        upload: Upload,
        options: FormOptions,
        profile: Profile,
        *,
        stored: Stored | None = None,
        chosen: Any = None,
    ) -> Job:
        """Send the file off to be imported; with `stored` it is opened anew, as the options say.

        `chosen` is the options' mapping as the caller wrote it: it is remembered for files like this one.
        Raises PermissionDenied, RateLimited, OptionInvalid for a list that is not there, TransitionRefused
        when the file is not waiting for it (any more), and what refuses a mapping of its columns.
        """
        principal.require("imports:run")
        now = self._services.clock.now()
        async with self._acting(principal) as connection:
            await refuse_another_import(connection, principal, now, lock=True)
            await refuse_foreign_list(connection, options, profile)
            if stored is None:
                form = await connection.fetchval(_SQL["part_form"], upload.job.id)
                columns = msgspec.json.decode(form)["columns"] if form else ()
                require_columns(columns, options, profile)
                if chosen is not None:
                    await remember(connection, principal, columns, chosen, now)
            row = await connection.fetchrow(
                _SQL["begin_import"],
                upload.job.id,
                profile.door,
                stored_options(options, profile, now),
                options.list_id,
                options.list_name,
                upload.key if stored else None,
                stored.etag if stored else None,
                stored.size_bytes if stored else None,
                _part(unopened(asked_of(options), profile.needs_columns)),
                now,
            )
        if row is None:
            current = (await self.of_organization(principal, upload.job.id)).job.state
            raise TransitionRefused(current=current.value, target=JobState.PENDING.value)
        job = job_of(row)
        await self._remove(row["left_behind"])
        self._services.bell.ring(job.id, job.organization_id)
        log.info("import accepted", job_id=str(job.id), bytes=job.file_bytes, door=job.door)
        return job

    async def run(self, principal: Principal, file_id: object, fields: Mapping[str, Any]) -> Job:
        """Import an uploaded file of the organization with the options of the canonical door.

        One that was analyzed is imported as it was opened, under the mapping that was chosen for it unless
        the options have one; any other, or one that is to be opened in another way, is opened first.
        Raises NotFound, what refuses the options, and what `arrived` and `begin_import` raise.
        """
        upload = await self.of_organization(principal, job_id_of(file_id))
        job, state = upload.job, self._services.state
        asked = dict(fields)
        is_opened = job.state is JobState.AWAITING_MAPPING and await self._has_form(principal, job)
        if is_opened and asked.get("mapping") is None:
            mapped = await state.get(job.organization_id, mapping_key(job.id))
            asked |= {name: mapped[name] for name in ("mapping", "rules") if mapped and name in mapped}
        options = read_options(asked, V1_IMPORTS)
        stored = None
        if not is_opened or asked_of(options) != Asked():
            transition(job.state, JobState.PENDING)
            stored = await self.arrived(upload)
        begun = await self.begin_import(
            principal, upload, options, V1_IMPORTS, stored=stored, chosen=asked.get("mapping")
        )
        await self.forget(begun)
        return begun

    async def forget(self, job: Job) -> None:
        """Remove what was kept of a file that is being imported; where it cannot be reached it expires."""
        with suppress(Unavailable):
            for key in (analysis_key, mapping_key, progress_key):
                await self._services.state.delete(job.organization_id, key(job.id))

    async def _has_form(self, principal: Principal, job: Job) -> bool:
        """Whether its analysis has opened the file: one that it refused waits to be opened otherwise."""
        async with self._acting(principal) as connection:
            return await connection.fetchval(_SQL["part_form"], job.id) is not None

    async def _remove(self, key: str | None) -> None:
        """Remove opened rows that nobody reads any more; where the store is away, the sweeper does it."""
        if key is not None:
            with suppress(Unavailable):
                await self._services.store.delete(key)

    async def _find(self, principal: Principal, statement: str, *arguments: Any) -> Upload:
        async with self._acting(principal) as connection:
            row = await connection.fetchrow(_SQL[statement], *arguments)
        if row is None:
            raise NotFound(what="upload")
        return _upload(row)

    def _acting(self, principal: Principal) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(principal.organization_id, principal.user_id)


def job_id_of(file_id: object) -> uuid.UUID:
    """The job that a file id names: one is the other behind `file_` (K-36). Raises NotFound."""
    try:
        return uuid.UUID(str(file_id).removeprefix(FILE_ID))
    except ValueError:
        raise NotFound(what="upload") from None


def _upload(row: Record) -> Upload:
    return Upload(job_of(row), row["upload_key"], row["upload_bytes"])


def _opened_as(asked: Asked) -> Mapping[str, object]:
    return {"sheet": asked.sheet, "encoding": asked.encoding, "delimiter": asked.delimiter}


def _part(form: Mapping[str, object]) -> str:
    return msgspec.json.encode(form).decode()
