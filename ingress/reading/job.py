"""A job as its lease hands it over: what it asks for, where it is, and the parts it is read from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ingress.formats.parts import PartFormat
from ingress.formats.rows import Position
from sluice.errors import SluiceError
from sluice.events import ColumnRule, FieldSource, ImportOptions, SourcePosition

T = TypeVar("T")


class JobUnreadable(SluiceError):
    """The import cannot be read: {problem} Start it again; if that fails too, tell the operators."""

    code = "JOB_UNREADABLE"


class StoredOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`import_jobs.options` as far as reading needs it; a missing key has the default of `/v1/imports`.

    `exclude_rows` are row numbers, from 1 behind the header.
    """

    on_duplicate: str = "skip"
    match_on: str = "email"
    dnc_policy: str = "flag"
    phone_check: str = "strict"
    mode: str = "partial"
    dry_run: bool = False
    blanks: str = "keep"
    region: str = "US"
    required: list[str] = []
    missing_email: str = "invalid"
    mapping: dict[str, str] | None = None
    sources: list[FieldSource] = []
    unmapped: str = "custom"
    rules: list[ColumnRule] = []
    exclude_rows: list[int] = []


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One stored object of a job, pinned by its entity tag."""

    part_no: int
    object_key: str
    etag: str
    size_bytes: int
    format: PartFormat
    sha256: str = ""

    @property
    def is_new(self) -> bool:
        """Whether it has to be looked at before it can be read."""
        return self.format.kind == "new"


@dataclass(frozen=True, slots=True)
class LeasedJob:
    """A job that this process may send: everything its lease's transaction told.

    `position` lies behind the last applied batch; in a new job it lies before the first part's first byte.
    """

    id: uuid.UUID
    organization_id: uuid.UUID
    run: int
    lease_epoch: int
    applied_batch: int
    position: Position
    cancelled: bool
    stored_options: Any
    stored_parts: Any
    created_at: datetime
    state: str = "processing"
    filename: str = ""

    def options(self) -> StoredOptions:
        """What the job asks for. Raises JobUnreadable."""
        return _converted(self.stored_options, StoredOptions, "options")

    def parts(self) -> list[Part]:
        """The parts in the order in which they are read. Raises JobUnreadable."""
        parts = _converted(self.stored_parts, list[Part], "parts")
        if not parts:
            raise JobUnreadable(problem="no stored file belongs to it.")
        return parts


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says of a job that this process sends."""

    id: uuid.UUID
    lease_epoch: int
    applied_batch: int
    state: str
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: completed, cancelled or failed, and why."""

    state: str
    reason: str = ""


def leased_job(row: Mapping[str, Any]) -> LeasedJob:
    """The job in a row of `lease_next` or `lease_named`."""
    return LeasedJob(
        id=row["id"],
        organization_id=row["organization_id"],
        run=row["run"],
        lease_epoch=row["lease_epoch"],
        applied_batch=row["applied_batch"],
        position=Position(
            row["position_part"], row["position_byte"], row["position_line"], row["position_row"]
        ),
        cancelled=row["cancel_requested_at"] is not None,
        stored_options=row["options"],
        stored_parts=row["parts"],
        created_at=row["created_at"],
        state=row["state"],
        filename=row["filename"] or "",
    )


def event_options(options: StoredOptions, created_at: datetime) -> ImportOptions:
    """The options as every batch carries them."""
    return ImportOptions(
        on_duplicate=options.on_duplicate,
        match_on=options.match_on,
        dnc_policy=options.dnc_policy,
        phone_check=options.phone_check,
        mode=options.mode,
        dry_run=options.dry_run,
        blanks=options.blanks,
        region=options.region,
        required=options.required,
        missing_email=options.missing_email,
        mapping=options.mapping,
        created_at=int(created_at.timestamp() * 1000),
        sources=options.sources,
        unmapped=options.unmapped,
        rules=options.rules,
    )


def event_position(position: Position) -> SourcePosition:
    """The position as events carry it."""
    return SourcePosition(
        part_no=position.part_no,
        byte_offset=position.byte_offset,
        line=position.line,
        row_no=position.row_no,
    )


def start_of(part: Part, behind: Position) -> Position:
    """Where reading of `part` starts when everything up to `behind` is done."""
    if behind.part_no == part.part_no and behind.byte_offset > part.format.first.byte_offset:
        return behind
    return Position(part.part_no, part.format.first.byte_offset, part.format.first.line, behind.row_no)


def _converted(stored: Any, kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(stored, kind)
    except msgspec.ValidationError as error:
        raise JobUnreadable(problem=f"its {what} are stored wrongly ({error}).") from error
