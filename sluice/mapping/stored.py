"""What a caller chose for the columns of a file, checked and in the form that travels with the job.

Two forms of JSON are taken. The plain one names a field for each column, and nothing for one to leave out:

    {"E-Mail": "email", "Internal": ""}

The rich one gives each field its source, and says what becomes of the other columns:

    {"fields": {
        "email": "E-Mail",
        "full_name": {"column": "Name", "case": "title"},
        "address": {"join": ["Street", "House number"], "separator": " "},
        "source": {"value": "fair 2026"},
        "last_contact_date": {"column": "Seen", "date_format": "DD/MM/YYYY"},
        "phone": {"columns": ["Mobile", "Office"], "region": "DE"},
        "tags": {"column": "Groups", "delimiter": "|"}},
     "unmapped": "drop", "ignored": ["Internal"]}

A source is one `column`; several `columns`, of which the first that has a usable value gives it; several to
`join`; or a fixed `value`. With no fields at all the usual columns are found as without a mapping.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import phonenumbers

from sluice.contact import CUSTOM
from sluice.errors import MappingInvalid
from sluice.events import FieldSource
from sluice.mapping.reading import CASES, DATE_FIELDS, MODIFIED_AT
from sluice.values.headers import FULL_NAME, named_field, shown
from sluice.values.times import time_reader

MAX_STORED_BYTES = 64 * 1024
"""A mapping as JSON: it travels with every batch, beside 512 KiB of rows and their header."""

MAX_FIELDS = 500
MAX_COLUMNS_PER_FIELD = 50
MAX_VALUE = 1_000
MAX_SEPARATOR = 10

_TEXT_FIELDS = frozenset(
    {FULL_NAME, "first_name", "last_name", "company", "title", "address", "city", "state", "zip", "tags"}
    | {"notes", "source"}
)
"""Fields in which upper and lower case are the caller's to choose; custom fields are others."""

TAKES = "a JSON object of column names to field names, or of fields, unmapped and ignored"


class Mapped(msgspec.Struct, frozen=True):
    """A checked mapping: `mapping`, `sources` and `unmapped` of the job's options."""

    mapping: dict[str, str] | None = None
    sources: list[FieldSource] = []
    unmapped: Literal["custom", "drop"] = "custom"


class _Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source as callers write it."""

    column: str | None = None
    columns: list[str] | None = None
    join: list[str] | None = None
    value: str | None = None
    separator: str | None = None
    date_format: str = ""
    case: str = ""
    region: str = ""
    delimiter: str = ""


def parse_json(text: str) -> Any:
    """JSON in which no object has a name twice. Raises MappingInvalid for that, ValueError for no JSON."""
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MappingInvalid(problem=f'"{shown(twice)}" is named twice.')
    return found


def read_mapping(value: Any) -> Mapped:
    """The mapping of a JSON value, in either form.

    Raises:
        MappingInvalid: it is too large or misshapen, or a field or format in it does not exist; named.
    """
    if not isinstance(value, Mapping):
        raise MappingInvalid(problem=f"The mapping has to be {TAKES}.")
    if storable_bytes(value) > MAX_STORED_BYTES:
        raise MappingInvalid(
            problem=f"The mapping takes more than {MAX_STORED_BYTES // 1024} KB or is no text."
        )
    if isinstance(value.get("fields"), Mapping):
        return _read_rich(value)
    for column, field in value.items():
        if field is not None and not isinstance(field, str):
            raise MappingInvalid(
                problem=f'The column "{shown(column)}" is mapped to something that is no text.'
            )
        if field and field.strip():
            named_field(field)
    return Mapped({column: field or "" for column, field in value.items()})


def storable_bytes(value: Any) -> int:
    """The size of a JSON value; beyond every limit where it holds what the database cannot keep."""
    try:
        text = json.dumps(value)
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return 2**62
    return 2**62 if "\\u0000" in text else len(text)


def _read_rich(value: Mapping[str, Any]) -> Mapped:
    fields, unmapped, ignored = value["fields"], value.get("unmapped", "custom"), value.get("ignored", [])
    if unknown := value.keys() - {"fields", "unmapped", "ignored"}:
        raise MappingInvalid(problem=f'A mapping has no "{shown(min(unknown))}"; it is {TAKES}.')
    if unmapped not in ("custom", "drop"):
        raise MappingInvalid(
            problem=f'"unmapped" cannot be {shown(json.dumps(unmapped))}; use custom or drop.'
        )
    if not isinstance(ignored, list) or not all(isinstance(column, str) for column in ignored):
        raise MappingInvalid(problem='"ignored" has to be a list of columns.')
    if len(fields) > MAX_FIELDS:
        raise MappingInvalid(problem=f"The mapping names more than {MAX_FIELDS} fields.")
    sources: dict[str, FieldSource] = {}
    for name, given in fields.items():
        field = named_field(name)
        if field in sources:
            raise MappingInvalid(problem=f'The field "{shown(field)}" is mapped twice.')
        sources[field] = _source(field, given)
        for column in sources[field].columns:
            if column in ignored:
                raise MappingInvalid(problem=f'"{shown(column)}" is ignored and mapped to "{shown(field)}".')
    if ignored and not sources:
        raise MappingInvalid(problem="Columns are ignored, but no field is mapped. Map the fields too.")
    return Mapped(dict.fromkeys(ignored, "") or None, list(sources.values()), unmapped)


def _source(field: str, value: Any) -> FieldSource:
    """One source, checked by itself and against its field."""
    try:
        given = msgspec.convert({"column": value} if isinstance(value, str) else value, _Source)
    except msgspec.ValidationError as error:
        raise MappingInvalid(problem=f'The source of "{field}" cannot be read: {str(error)[:200]}.') from None
    ways = [way for way in (given.column, given.columns, given.join, given.value) if way is not None]
    if len(ways) != 1:
        raise MappingInvalid(problem=f'"{field}" needs one of column, columns, join and value.')
    columns = [given.column] if given.column is not None else given.columns or given.join or []
    if (given.value is None and not columns) or len(columns) > MAX_COLUMNS_PER_FIELD:
        raise MappingInvalid(problem=f'"{field}" needs from 1 to {MAX_COLUMNS_PER_FIELD} columns.')
    if len(set(columns)) < len(columns):
        raise MappingInvalid(problem=f'"{field}" names a column twice.')
    if len(given.value or "") > MAX_VALUE:
        raise MappingInvalid(problem=f'The value of "{field}" is longer than {MAX_VALUE} characters.')
    if given.separator is not None and given.join is None:
        raise MappingInvalid(problem=f'"{field}" has a separator, but joins no columns.')
    if len(given.separator or "") > MAX_SEPARATOR or len(given.delimiter) > MAX_SEPARATOR:
        raise MappingInvalid(
            problem=f'What joins or parts "{field}" is longer than {MAX_SEPARATOR} characters.'
        )
    _refuse_misplaced(field, given)
    separator = (" " if given.separator is None else given.separator) if given.join is not None else None
    return FieldSource(
        field=field,
        columns=columns,
        separator=separator,
        value=(given.value or "").strip(),
        date_format=given.date_format,
        case=given.case,
        region=given.region.strip().upper(),
        delimiter=given.delimiter,
    )


def _refuse_misplaced(field: str, given: _Source) -> None:
    """Raise MappingInvalid for a transform that the field does not have, or that does not exist."""
    dates = (*DATE_FIELDS, MODIFIED_AT)
    if given.date_format:
        if field not in dates:
            raise MappingInvalid(
                problem=f'"{field}" has a date_format, but only {" and ".join(dates)} are dates.'
            )
        try:
            time_reader(given.date_format)
        except ValueError as error:
            raise MappingInvalid(problem=f'The date_format "{shown(given.date_format)}" {error}.') from None
    if given.case:
        if given.case not in CASES:
            raise MappingInvalid(
                problem=f'The case "{shown(given.case)}" of "{field}" does not exist; use {", ".join(CASES)}.'
            )
        if field not in _TEXT_FIELDS and not field.startswith(CUSTOM):
            raise MappingInvalid(problem=f'"{field}" has one form only; leave its case out.')
    if given.region:
        if field != "phone":
            raise MappingInvalid(problem=f'"{field}" has a region, but only phone has one.')
        if given.region.strip().upper() not in phonenumbers.SUPPORTED_REGIONS:
            raise MappingInvalid(problem=f'The region "{shown(given.region)}" is no country of two letters.')
    if given.delimiter and field != "tags":
        raise MappingInvalid(problem=f'"{field}" has a delimiter, but only tags are parted.')
