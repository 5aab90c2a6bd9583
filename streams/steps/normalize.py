"""Normalize: the source's own columns to canonical fields, every value in its one form.

E-mails in lower case, phones with their E.164 form beside them, countries as ISO 3166 two letters, times in
ISO 8601 and UTC, tags joined by ";", full names split. Columns that hold no contact field, and countries that
nobody knows, stay as custom fields. What cannot be read stays as it was given, with a fault for validate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, cast

from sluice.contact import CUSTOM, join_tags, split_tags
from sluice.events import FieldFault, RowFault
from sluice.outcome import Outcome
from sluice.values.country import parse_country
from sluice.values.email import Email, parse_email
from sluice.values.headers import FULL_NAME, map_columns, split_name
from sluice.values.phone import Phone, PhoneCheck, parse_phone
from sluice.values.times import parse_time
from streams.batch import MAX_FAULT_TEXT, Batch
from streams.look_ups import LookUps

DATE_FIELDS = ("last_contact_date",)
MAX_TAG_LENGTH = 255
"""PostgreSQL's index of tags takes no entry above 2.7 kB, and a tag is a word or two."""
_MODIFIED_AT = "modified_at"
_COUNTRY_AS_GIVEN = f"{CUSTOM}country"
_NOT_READ_HERE = frozenset({"provider_id"})
"""Fields of the source only that an import of a file does not use: kept as custom fields."""


class _Plan(NamedTuple):
    """Source column to canonical field, None for a column that was to be left out."""

    fields: tuple[str | None, ...]


@lru_cache(maxsize=256)
def _plan(columns: tuple[str, ...], mapping: tuple[tuple[str, str], ...] | None) -> _Plan:
    """The plan of one header, made once for all batches of a job.

    Raises:
        MappingInvalid: the mapping names a column or a field that does not exist.
    """
    found = map_columns(columns, None if mapping is None else dict(mapping))
    fields: list[str | None] = []
    for index, name in enumerate(found.fields):
        if name is None and index not in found.unmapped:
            fields.append(None)
        elif name is None or name in _NOT_READ_HERE:
            fields.append(_custom(columns[index], index, fields))
        else:
            fields.append(name)
    return _Plan(tuple(fields))


def _custom(header: str, index: int, taken: Sequence[str | None]) -> str:
    """A custom field under the column's own header; a repeated one gets its number."""
    name = f"{CUSTOM}{header.strip() or f'column_{index + 1}'}"
    return name if name not in taken else f"{name}_{index + 1}"


def normalize(batch: Batch, _: LookUps) -> None:
    """Fill the batch's columns, and settle the rows that the caller excluded or the reader could not read."""
    read = batch.read
    _settle(batch)
    mapping = read.options.mapping
    plan = _plan(tuple(read.columns), None if mapping is None else tuple(sorted(mapping.items())))
    source = _columns(read.rows, len(read.columns), batch)
    full_names: list[str] | None = None
    for field, column in zip(plan.fields, source, strict=True):
        values = list(map(str.strip, column))
        if field is None:
            continue
        if field == FULL_NAME:
            full_names = values
        else:
            _READERS.get(field, _keep)(batch, field, values)
    if full_names is not None:
        _split_names(batch, full_names)


def _settle(batch: Batch) -> None:
    for index in batch.read.excluded:
        batch.refuse(index, Outcome.EXCLUDED, [])
    for fault in batch.read.faults:
        batch.refuse(fault.index, Outcome.INVALID, [_row_fault(fault)])


def _row_fault(fault: RowFault) -> FieldFault:
    return FieldFault(field="", code=fault.code, message=fault.message, value="")


def _columns(rows: Sequence[Sequence[str]], width: int, batch: Batch) -> list[Sequence[str]]:
    """The cells by column. A short row is padded; cells beyond the header only a faulty row may have."""
    if not rows:
        return [[] for _ in range(width)]
    if set(map(len, rows)) != {width}:
        for index, row in enumerate(rows):
            if len(row) > width and any(row[width:]):
                message = f"The row has {len(row)} cells, the header has {width}."
                fault = FieldFault(field="", code="too_many_cells", message=message, value="")
                batch.refuse(index, Outcome.INVALID, [fault])
        rows = [[*row[:width], *[""] * (width - len(row))] for row in rows]
    return cast("list[Sequence[str]]", list(zip(*rows, strict=True)))


def _keep(batch: Batch, field: str, values: list[str]) -> None:
    batch.columns[field] = values


def _read_emails(batch: Batch, field: str, values: list[str]) -> None:
    for index, text in enumerate(values):
        if text:
            found = parse_email(text)
            if type(found) is Email:
                values[index] = found.key
            else:
                _fault(batch, index, field, "email_invalid", "Invalid email format", text)
    batch.columns[field] = values


def _read_phones(batch: Batch, field: str, values: list[str]) -> None:
    region = batch.read.options.region
    check = cast(PhoneCheck, batch.read.options.phone_check)
    numbers = [""] * len(values)
    for index, text in enumerate(values):
        if text:
            found = parse_phone(text, region, check)
            if type(found) is Phone:
                numbers[index] = found.e164
            else:
                _fault(batch, index, field, "phone_invalid", "Invalid phone number format", text)
    batch.columns[field] = values
    batch.columns["phone_formatted"] = numbers


def _read_countries(batch: Batch, field: str, values: list[str]) -> None:
    codes = [parse_country(text) if text else "" for text in values]
    batch.columns[field] = [code or "" for code in codes]
    unknown = [text if code is None else "" for text, code in zip(values, codes, strict=True)]
    # Under blanks=clear an empty value says something, so the field must not come and go with the batch.
    if any(unknown) or batch.read.options.blanks == "clear":
        batch.columns[_COUNTRY_AS_GIVEN] = unknown


def _read_dates(batch: Batch, field: str, values: list[str]) -> None:
    for index, text in enumerate(values):
        if text:
            found = parse_time(text)
            if found is not None:
                values[index] = found.isoformat()
            else:
                message = "Invalid date: write it as 2024-05-31"
                _fault(batch, index, field, "date_invalid", message, text)
    batch.columns[field] = values


def _read_modified_at(batch: Batch, field: str, values: list[str]) -> None:
    """A time that cannot be read is no time; it is nothing of the contact's, so the row stays good.

    One that lies behind the job's own is taken as the job's: nothing later would ever win against it.
    """
    times = [parse_time(text) if text else None for text in values]
    if any(times):
        latest = batch.read.options.created_at
        batch.modified_at = [min(int(time.timestamp() * 1000), latest) if time else 0 for time in times]


def _read_tags(batch: Batch, field: str, values: list[str]) -> None:
    tags = [join_tags(split_tags(text.replace(",", ";"))) if text else "" for text in values]
    batch.columns[field] = tags
    if max(map(len, tags), default=0) > MAX_TAG_LENGTH:
        for index, joined in enumerate(tags):
            if any(len(tag) > MAX_TAG_LENGTH for tag in split_tags(joined)):
                message = f"A tag is longer than {MAX_TAG_LENGTH} characters"
                _fault(batch, index, field, "too_long", message, joined)


def _split_names(batch: Batch, full_names: list[str]) -> None:
    """A row's own first and last name win over the parts of its full name."""
    blank = [""] * len(full_names)
    parts = [split_name(text) if text else ("", "") for text in full_names]
    for position, field in enumerate(("first_name", "last_name")):
        given = batch.columns.get(field, blank)
        batch.columns[field] = [own or part[position] for own, part in zip(given, parts, strict=True)]


def _fault(batch: Batch, index: int, field: str, code: str, message: str, value: str) -> None:
    fault = FieldFault(field=field, code=code, message=message, value=value[:MAX_FAULT_TEXT])
    batch.faults.setdefault(index, []).append(fault)


_READERS: dict[str, Callable[[Batch, str, list[str]], None]] = {
    "email": _read_emails,
    "phone": _read_phones,
    "country": _read_countries,
    "tags": _read_tags,
    _MODIFIED_AT: _read_modified_at,
    **dict.fromkeys(DATE_FIELDS, _read_dates),
}
