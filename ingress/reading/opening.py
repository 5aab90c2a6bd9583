"""A new part is looked at once, under its job's lease: what it is, and the rows of what is no delimited text.

    delimited text    stays as it is; its header is read from its head
    anything else     is opened in a child process, and its rows are stored beside it (ingress/formats)

Either way the whole file passes by, so its hash is known and an accent behind an ASCII head is seen. A reader
that dies on the way has stored nothing that anybody reads; the next one begins again.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from ingress.formats.child import TableHead
from ingress.formats.children import open_rows
from ingress.formats.detect import detect
from ingress.formats.encoding import EncodingGuess, LateEvidence
from ingress.formats.inspect import HEAD_BYTES, inspect_head
from ingress.formats.limits import Limits
from ingress.formats.opening import Asked, Kind
from ingress.formats.parts import FirstRow, PartFormat
from ingress.object_writer import ObjectWriter
from ingress.reading.job import LeasedJob, Part, StoredOptions
from ingress.reading.postgres import Leases
from ingress.reading.source import Source
from ingress.reading.waiting import patiently
from ingress.store import Store
from sluice.errors import FileHasNoColumn
from sluice.mapping.column_rules import refuse_unknown_columns
from sluice.mapping.plan import plan_of
from sluice.telemetry import Telemetry
from sluice.values.headers import shown

SOURCES = {
    Kind.CSV: "csv",
    Kind.XLSX: "excel",
    Kind.XLS: "excel",
    Kind.ODS: "excel",
    Kind.JSON: "json",
    Kind.NDJSON: "json",
    Kind.VCARD: "vcard",
    Kind.LDIF: "ldif",
}
"""What `import_jobs.source` says of a file; an archive is told by what is in it."""

AT_ONCE = 2
"""Children of one reader at a time: each may take 2 GiB."""


class Slots:
    """Turns at opening files: `AT_ONCE` of them, and one of an organization, so that none stops others."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(AT_ONCE)
        self._of: WeakValueDictionary[uuid.UUID, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, organization_id: uuid.UUID) -> AsyncIterator[None]:
        """Wait for the organization's other files first: who waits there takes nobody's place."""
        own = self._of.setdefault(organization_id, asyncio.Lock())
        async with own, self._all:
            yield


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens the new parts of leased jobs."""

    store: Store
    source: Source
    leases: Leases
    job_rows: int
    telemetry: Telemetry
    folder: Path
    slots: Slots = field(default_factory=Slots)

    async def look(self, job: LeasedJob, part: Part, options: StoredOptions) -> Part:
        """The part as it can be read; one that was looked at before is as it was.

        Temporary files are made in `folder`.

        Raises:
            FileRefused, MappingInvalid, RulesInvalid: it cannot be, or lacks a column that the job needs.
            SourceChanged: it is not the file that was stored.
        """
        if part.is_new:
            opened, kind = await self._look(job, part)
            source, size_bytes = SOURCES[kind], part.size_bytes
            await patiently(lambda: self.leases.opened(job, opened, size_bytes, source), self.telemetry)
            part = opened
        _require_columns(part, options)
        return part

    async def _look(self, job: LeasedJob, part: Part) -> tuple[Part, Kind]:
        """The part as it can be read, and what the file is, inside an archive too."""
        with tempfile.TemporaryDirectory(prefix="sluice-open-", dir=self.folder) as directory:
            path = Path(directory) / "file"
            facts = await self._fetch(part, path)
            kind = detect(facts.head, job.filename)
            if kind is Kind.CSV:
                opened = await self._inspect(part, facts)
            else:
                # An outage begins it anew: what a store took of an object cannot be trusted to be all.
                opened, kind = await patiently(lambda: self._open(job, part, path, kind), self.telemetry)
        return msgspec.structs.replace(opened, sha256=facts.sha256), kind

    async def _fetch(self, part: Part, path: Path) -> _Facts:
        digest, evidence, head = hashlib.sha256(), LateEvidence(), bytearray()
        with path.open("wb") as file:
            async for piece in self.source.pieces(part, 0):
                head += piece[: HEAD_BYTES - len(head)]
                digest.update(piece)
                if head.isascii():
                    evidence.add(piece)
                await asyncio.to_thread(file.write, piece)
        late = evidence.guess() if head.isascii() else None
        return _Facts(bytes(head), part.size_bytes, digest.hexdigest(), late)

    async def _inspect(self, part: Part, facts: _Facts) -> Part:
        asked = part.format
        complete = len(facts.head) == facts.size_bytes
        found = await asyncio.to_thread(
            lambda: inspect_head(
                facts.head, complete=complete, encoding=asked.asked_encoding, delimiter=asked.asked_delimiter
            )
        )
        encoding, notes = found.dialect.encoding, found.notes
        if asked.asked_encoding is None and facts.late and encoding == "utf-8":
            encoding = facts.late.encoding
            notes = (*notes, facts.late.note) if facts.late.note else notes
        form = PartFormat(
            kind="csv",
            columns=list(found.columns),
            encoding=encoding,
            delimiter=found.dialect.delimiter,
            needs=asked.needs,
            first=FirstRow(byte_offset=found.first.byte_offset, line=found.first.line),
            notes=list(notes),
        )
        return msgspec.structs.replace(part, format=form)

    async def _open(self, job: LeasedJob, part: Part, path: Path, kind: Kind) -> tuple[Part, Kind]:
        """Store the rows under a name of this lease, so that a reader who lost it writes into nobody's."""
        asked = Asked(part.format.sheet, part.format.asked_encoding, part.format.asked_delimiter)
        rows = ObjectWriter(self.store, f"{part.object_key}.{job.lease_epoch}.rows")
        try:
            async with (
                self.slots.taken(job.organization_id),
                open_rows(path, kind, asked, Limits(max_rows=self.job_rows), within=self.folder) as opened,
            ):
                async for piece in opened.pieces():
                    await rows.write(piece)
            etag = await rows.finish()
        except BaseException:
            await rows.discard()
            raise
        return _opened(part, rows, etag, opened.head), opened.head.kind


@dataclass(frozen=True, slots=True)
class _Facts:
    head: bytes
    size_bytes: int
    sha256: str
    late: EncodingGuess | None


def _opened(part: Part, rows: ObjectWriter, etag: str, head: TableHead) -> Part:
    form = PartFormat(
        kind="rows",
        columns=list(head.columns),
        encoding=head.encoding,
        delimiter=head.delimiter,
        sheet=part.format.sheet,
        needs=part.format.needs,
        notes=_storable(head.notes),
        sheets=_storable(head.sheets),
    )
    return msgspec.structs.replace(
        part, object_key=rows.key, etag=etag, size_bytes=rows.size_bytes, format=form
    )


def _storable(texts: Iterable[str]) -> list[str]:
    """Without NUL, which the name of a sheet may have and PostgreSQL's jsonb cannot."""
    return [text.replace("\0", "") for text in texts]


def _require_columns(part: Part, options: StoredOptions) -> None:
    """Refuse a file that has none of the columns it needs, or not those that mapping and rules name."""
    needs, columns = part.format.needs, part.format.columns
    refuse_unknown_columns(options.rules, columns)
    given = plan_of(columns, options).fields
    if needs and not given.intersection(needs):
        raise FileHasNoColumn(
            field=" or ".join(needs), columns=", ".join(shown(each) for each in columns[:20])
        )
