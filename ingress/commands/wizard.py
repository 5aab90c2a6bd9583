"""What S1's six routes do, in S1's own words; the rest of the API has the same files under other commands.

 1. `upload`: a job that waits for its file, and where the browser may put it.
 2. `analyze`: the file that came is checked and given to the readers, who write what they find to the state.
 3. `status`: that state.
 4. `map_columns`: the original sample rows judged again under the mapping that was chosen.
 5. `preview`: those rows, a page at a time.
 6. `run`: the job gets its mapping and its options and is imported as any other.

State lives for an hour under S1's keys and is gone once the import has begun: from then on the job tells.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ingress.authentication import Principal
from ingress.commands.imports import Imports
from ingress.commands.jobs import Job
from ingress.commands.options import WIZARD, job_options, read_options
from ingress.commands.sample import mapped_sample
from ingress.commands.uploaded import FILE_ID, Announced, Upload, UploadMissing, Uploads, job_id_of
from ingress.formats.opening import Asked
from ingress.services import Services
from ingress.state import analysis_key, mapping_key, progress_key
from sluice.errors import FileRefused, NotFound, Refused, TransitionRefused
from sluice.job import JobState, transition
from sluice.mapping.column_rules import refuse_unknown_columns

PREVIEW_PAGE_SIZE = 100
"""S1-029."""

CSV_AND_EXCEL = frozenset(
    {
        "text/csv",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    }
)
"""S1-032."""

MIME_TYPES = CSV_AND_EXCEL | {
    "text/tab-separated-values",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/json",
    "application/x-ndjson",
    "text/vcard",
    "text/x-ldif",
    "text/ldif",
    "application/zip",
    "application/x-zip-compressed",  # what Windows calls it
    "application/gzip",
}
"""Of the files that can be opened. What the file is, its content decides."""

EXTENSIONS = frozenset(
    "csv xlsx xls tsv tab ods json ndjson jsonl vcf vcard ldif zip gz".split()  # noqa: SIM905 - a table
)
"""S1-049, and those of the other files that can be opened."""

_UNANALYZED = frozenset({JobState.UPLOADING, JobState.FAILED, JobState.CANCELLED})

JUDGED_AT_ONCE = 2
"""Samples: one of very wide rows under very many fields takes 500 MB while it is judged."""

RUNNING = frozenset({JobState.PENDING, JobState.PROCESSING, JobState.PAUSED})


class FieldsMissing(Refused):
    """Missing required fields: filename, fileType"""

    code = "MISSING_FIELDS"


class SizeMissing(Refused):
    """fileSize has to be the file's size, a whole number of bytes."""

    code = "INVALID_FILE_SIZE"


class TypeNotAllowed(Refused):
    """Invalid file type. Only CSV and Excel files are allowed."""

    code = "INVALID_FILE_TYPE"


class ExtensionUnknown(Refused):
    """Unsupported file type: {extension}"""

    code = "UNSUPPORTED_FILE_TYPE"


class SizeExceeded(Refused):
    """File size exceeds maximum of {limit}MB"""

    code = "FILE_TOO_LARGE"


class UploadUnknown(Refused):
    """Upload not found"""

    code = "NOT_FOUND"
    status = 404


class AnalysisUnknown(Refused):
    """Analysis not found"""

    code = "NOT_FOUND"
    status = 404


class ResultsGone(Refused):
    """Analysis results not found"""

    code = "NOT_FOUND"
    status = 404


class NotAnalyzed(Refused):
    """Analysis not found. Please analyze file first."""

    code = "NOT_FOUND"
    status = 404


class PreviewUnknown(Refused):
    """Preview data not found"""

    code = "NOT_FOUND"
    status = 404


class NotMapped(Refused):
    """Column mapping not found. Please map columns first."""

    code = "NOT_FOUND"
    status = 404


class Wizard:
    """S1's commands. Nobody sees another's files: they are not found, like those that never were."""

    def __init__(self, services: Services, imports: Imports) -> None:
        self._services = services
        self._imports = imports
        self._uploads = Uploads(services)
        self._judging = asyncio.Semaphore(JUDGED_AT_ONCE)

    async def upload(
        self, principal: Principal, filename: object, file_type: object, file_size: object
    ) -> Announced:
        """Announce a file. Raises what refuses its name, type or size; PermissionDenied, RateLimited."""
        if not (filename and file_type and isinstance(filename, str) and isinstance(file_type, str)):
            raise FieldsMissing
        if file_type not in MIME_TYPES:
            raise TypeNotAllowed
        extension = extension_of(filename)
        if extension not in EXTENSIONS:
            raise ExtensionUnknown(extension=extension[:20])
        if type(file_size) is not int or file_size < 0:
            raise SizeMissing
        settings = self._services.settings
        if file_size > settings.max_file_size_bytes:
            raise SizeExceeded(limit=settings.max_file_size_mb)
        return await self._uploads.announce(principal, WIZARD.door, filename, file_type, file_size)

    async def analyze(self, principal: Principal, file_id: object, key: object, asked: Asked) -> None:
        """Check that the file came, and have it analyzed; what is wrong with it, the status tells.

        Analyzing again, as another sheet or in another encoding perhaps, starts anew. A file that has not
        arrived is waited for. Raises UploadUnknown, also for another's file and for a key that is not this
        file's (T-07); AnalysisUnderWay when it is being analyzed otherwise; TransitionRefused for a file that
        is past analysis; PermissionDenied, RateLimited.
        """
        principal.require("imports:run")
        upload = await self._own(principal, file_id, UploadUnknown())
        if key != upload.key:
            raise UploadUnknown
        transition(upload.job.state, JobState.ANALYZING)
        if self._uploads.is_under_way(upload.job, asked):
            return
        try:
            stored = await self._uploads.arrived(upload)
        except FileRefused as refusal:
            await self._forget(upload.job, analysis_key, mapping_key)
            await self._tell(upload.job, {"status": "error", "processed": 0, "message": refusal.message})
            if not isinstance(refusal, UploadMissing):
                await self._uploads.refuse(principal, upload, refusal.message)
            return
        self._services.limits.analysis(principal)
        await self._forget(upload.job, analysis_key, mapping_key)
        # Before the readers see the job: what they write has to be the last word.
        await self._tell(upload.job, {"status": "analyzing", "processed": 0, "total": None})
        try:
            await self._uploads.begin_analysis(principal, upload, stored, asked, WIZARD)
        except TransitionRefused:
            await self._forget(upload.job, progress_key)
            raise

    async def status(self, principal: Principal, file_id: object) -> Mapping[str, Any]:
        """The progress of an analysis, `status` first, with the `summary` once it is complete.

        The job's state decides; what was told of it may be left over. Raises AnalysisUnknown, ResultsGone.
        """
        upload = await self._own(principal, file_id, AnalysisUnknown())
        job = upload.job
        progress = await self._services.state.get(job.organization_id, progress_key(job.id)) or {}
        status = progress.get("status")
        if job.state is JobState.ANALYZING:
            # The reader has not let go of it yet: what it told last holds when it has.
            said = progress if status in ("analyzing", "complete") else {}
            progress = {"processed": 0, **said, "total": None, "status": "analyzing"}
            return {"status": "analyzing", "progress": progress}
        if status not in (None, "analyzing", "complete"):
            return {"status": status, "progress": progress}
        if job.state in (JobState.FAILED, JobState.CANCELLED) and status is not None:
            return {"status": "error", "progress": {"message": job.reason}}
        summary = await self._services.state.get(job.organization_id, analysis_key(job.id))
        if summary is not None and job.state not in _UNANALYZED:
            return {"status": "complete", "summary": {**_shown(summary), "s3Key": upload.key}}
        if status == "complete":
            raise ResultsGone
        raise AnalysisUnknown

    async def map_columns(self, principal: Principal, file_id: object, asked: Mapping[str, object]) -> None:
        """Judge the original sample rows under a `mapping`, and under `rules`, and keep both (T-04).

        Raises NotAnalyzed, MappingInvalid, RulesInvalid, OptionInvalid, PermissionDenied.
        """
        principal.require("imports:run")
        upload = await self._own(principal, file_id, NotAnalyzed())
        job = upload.job
        analysis = await self._services.state.get(job.organization_id, analysis_key(job.id))
        if analysis is None or job.state is not JobState.AWAITING_MAPPING:
            raise NotAnalyzed
        options = read_options(asked, WIZARD)
        refuse_unknown_columns(options.rules, analysis["columns"])
        judged_by = job_options(options, WIZARD, self._services.clock.now())
        # Off the event loop: others' requests go on meanwhile.
        async with self._judging:
            rows = await asyncio.to_thread(mapped_sample, analysis, judged_by)
        chosen = {**asked, "s3Key": upload.key, "fileId": f"{FILE_ID}{job.id}"}
        state, organization_id = self._services.state, job.organization_id
        await state.set(organization_id, analysis_key(job.id), {**analysis, "sampleRows": rows})
        # Last: a mapping that is there has been seen in the preview.
        await state.set(organization_id, mapping_key(job.id), chosen)

    async def preview(
        self, principal: Principal, file_id: object, page: int
    ) -> tuple[Sequence[Mapping[str, Any]], int]:
        """A page, from 1, of the sample rows, and how many there are. Raises PreviewUnknown."""
        job = (await self._own(principal, file_id, PreviewUnknown())).job
        analysis = await self._services.state.get(job.organization_id, analysis_key(job.id))
        if analysis is None:
            raise PreviewUnknown
        rows = analysis["sampleRows"]
        first = (page - 1) * PREVIEW_PAGE_SIZE
        return rows[first : first + PREVIEW_PAGE_SIZE], len(rows)

    async def run(self, principal: Principal, file_id: object, excluded: object) -> Job:
        """Import the file under its mapping; the job when it has ended, or as far as it is after the wait.

        While it runs, asking again waits for the same import. Raises NotMapped, OptionInvalid, RateLimited,
        PermissionDenied.
        """
        principal.require("imports:run")
        read_options({"excludedRows": excluded}, WIZARD)
        upload = await self._own(principal, file_id, NotMapped())
        job = upload.job
        if job.state not in RUNNING:
            chosen = await self._services.state.get(job.organization_id, mapping_key(job.id))
            if chosen is None or job.state is not JobState.AWAITING_MAPPING:
                raise NotMapped
            options = read_options({**_asked(chosen), "excludedRows": excluded}, WIZARD)
            try:
                job = await self._uploads.begin_import(
                    principal, upload, options, WIZARD, chosen=chosen["mapping"]
                )
            except TransitionRefused:
                # Another request was quicker: there is one import to wait for.
                job = (await self._own(principal, file_id, NotMapped())).job
                if job.state not in RUNNING:
                    raise NotMapped from None
            await self._uploads.forget(job)
        return await self._imports.wait(principal, job, self._services.settings.import_wait_seconds)

    async def _own(self, principal: Principal, file_id: object, unknown: Refused) -> Upload:
        try:
            return await self._uploads.own(principal, job_id_of(file_id))
        except NotFound:
            raise unknown from None

    async def _forget(self, job: Job, *keys: Callable[[uuid.UUID], str]) -> None:
        for key in keys:
            await self._services.state.delete(job.organization_id, key(job.id))

    async def _tell(self, job: Job, progress: Mapping[str, Any]) -> None:
        await self._services.state.set(job.organization_id, progress_key(job.id), progress)


def extension_of(filename: str) -> str:
    """What is behind the last dot, in lower case; all of a name that has none."""
    name = PurePath(filename.strip().replace("\\", "/")).name
    return name.rpartition(".")[2].lower()


def _asked(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the caller said of the columns, out of S1's ColumnMapping."""
    return {name: chosen.get(name) for name in ("mapping", "rules")}


_INTERNAL = frozenset({"sourceRows", "rowLines", "rowFaults"})


def _shown(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary without the rows as they came, which are kept for mapping alone."""
    return {name: value for name, value in summary.items() if name not in _INTERNAL}
