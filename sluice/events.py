"""One frozen record per schema in `schemas/avro/`; a test holds the two together.

Times are milliseconds since 1970, UUIDs are text, as on the wire; what each field means stands in the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec


class ImportRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Rings the readers' bell: a job waits for a lease."""

    job_id: str
    organization_id: str
    requested_at: int


class FieldSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the values of one field come from, and what is done to them."""

    field: str
    columns: list[str] = []
    separator: str | None = None
    value: str = ""
    date_format: str = ""
    case: str = ""
    region: str = ""
    delimiter: str = ""


class ColumnRule(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller demands of one field's or one column's values."""

    field: str = ""
    column: str = ""
    required: bool = False
    pattern: str = ""
    one_of: list[str] = []
    min_length: int = 0
    max_length: int = 0


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks for; the same in every batch of the job."""

    on_duplicate: str
    match_on: str
    dnc_policy: str
    phone_check: str
    mode: str
    dry_run: bool
    blanks: str
    region: str
    required: list[str]
    missing_email: str
    mapping: dict[str, str] | None
    created_at: int
    sources: list[FieldSource] = []
    unmapped: str = "custom"
    rules: list[ColumnRule] = []


class RowFault(msgspec.Struct, frozen=True, kw_only=True):
    """A row that could not be read whole."""

    index: int
    code: str
    message: str


class SourcePosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next row of a source starts."""

    part_no: int
    byte_offset: int
    line: int
    row_no: int


class RowsRead(msgspec.Struct, frozen=True, kw_only=True):
    """Up to 500 rows of one stored part, as read, in order."""

    organization_id: str
    job_id: str
    run: int
    lease_epoch: int
    batch_no: int
    applied_through: int
    target: str
    scope: str
    options: ImportOptions
    first_row_no: int
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]
    faults: list[RowFault]
    excluded: list[int]
    start: SourcePosition
    end: SourcePosition
    is_last: bool
    end_state: str
    end_reason: str
    read_at: int


class FieldFault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with one value."""

    field: str
    code: str
    message: str
    value: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A row decided before the database is asked."""

    index: int
    outcome: str
    faults: list[FieldFault]


class DncMark(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose number is listed, or cannot be cleared."""

    index: int
    list_id: str
    version: int
    listed_on: str
    reason: str


class RowsResolved(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one RowsRead after normalize, validate, scrub and deduplicate."""

    organization_id: str
    job_id: str
    run: int
    lease_epoch: int
    batch_no: int
    applied_through: int
    target: str
    scope: str
    options: ImportOptions
    first_row_no: int
    fields: list[str]
    rows: list[list[str]]
    lines: list[int]
    modified_at: list[int]
    refusals: list[Refusal]
    marks: list[DncMark]
    hints: bytes
    hinted: bytes
    fingerprints: bytes
    start: SourcePosition
    end: SourcePosition
    is_last: bool
    end_state: str
    end_reason: str
    read_at: int


class BatchApplied(msgspec.Struct, frozen=True, kw_only=True):
    """A batch is committed to the database; counters are absolute for the job."""

    organization_id: str
    job_id: str
    run: int
    lease_epoch: int
    batch_no: int
    staged: bool
    first_row_no: int
    row_count: int
    state: str
    reason: str
    counts: dict[str, int]
    end: SourcePosition
    is_last: bool
    applied_at: int
    partition: int
    next_offset: int


class JobProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is; the newest record of a key holds."""

    job_id: str
    organization_id: str
    run: int
    batch_no: int
    state: str
    reason: str
    counts: dict[str, int]
    processed_rows: int
    bytes_read: int
    rate_rows_per_second: float
    updated_at: int


class ContactValues(msgspec.Struct, frozen=True, kw_only=True):
    """A contact's content; null where it has no value."""

    email: str | None = None
    phone: str | None = None
    phone_as_given: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    title: str | None = None
    address: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    source: str | None = None
    notes: str | None = None
    last_contact_date: str | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    custom_fields: dict[str, str] = msgspec.field(default_factory=dict)
    do_not_call: bool = False
    dnc_list_id: str | None = None
    dnc_reason: str | None = None


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the contact came from."""

    job_id: str
    run: int
    row_no: int
    source_line: int
    part_no: int
    object_sha256: str


class ContactImported(msgspec.Struct, frozen=True, kw_only=True):
    """A row of an import created or updated a contact that is readable in the database by now."""

    event_id: str
    organization_id: str
    contact_id: str
    version: int
    action: str
    changed_fields: list[str]
    contact: ContactValues
    lineage: Lineage
    imported_at: int


class ContactChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A contact changed other than by a row of an import that wrote it."""

    event_id: str
    organization_id: str
    contact_id: str
    version: int
    action: str
    changed_fields: list[str]
    contact: ContactValues | None = None
    changed_at: int


class IdentityChange(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds one identity now."""

    kind: str
    hash: bytes
    contact_id: bytes | None = None
    fingerprint: bytes
    other_hash: bytes


class IdentitiesChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Identities that changed hands outside the agent that keeps them: edits, undo, overruled hints."""

    organization_id: str
    target: str
    scope: str
    changes: list[IdentityChange]


class DncChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A Do-Not-Call list has a new version; what changed is read from the database."""

    list_id: str
    organization_id: str | None = None
    version: int
    changed_at: int


EVENTS: Mapping[str, type[msgspec.Struct]] = {
    "imports.requested.v1": ImportRequested,
    "imports.rows-read.v1": RowsRead,
    "imports.rows-resolved.v1": RowsResolved,
    "imports.batch-applied.v1": BatchApplied,
    "imports.progress.v1": JobProgress,
    "contacts.imported.v1": ContactImported,
    "contacts.changed.v1": ContactChanged,
    "identities.changed.v1": IdentitiesChanged,
    "dnc.changed.v1": DncChanged,
}
"""Topic to the record that travels on it; the same name derives file, topic and registry subject."""

E = TypeVar("E", bound=msgspec.Struct)


def to_avro(event: msgspec.Struct) -> dict[str, Any]:
    """The event as fastavro writes it; lists are passed on, not copied."""
    return {
        name: to_avro(value) if isinstance(value, msgspec.Struct) else _items(value)
        for name, value in ((name, getattr(event, name)) for name in event.__struct_fields__)
    }


def _items(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
        return [to_avro(item) for item in value]
    return value


def from_avro(kind: type[E], value: Mapping[str, Any]) -> E:
    """The event from what fastavro read.

    Raises:
        msgspec.ValidationError: a field is missing or of another type.
    """
    return msgspec.convert(value, kind)
