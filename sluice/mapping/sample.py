"""The fields that the import wizard offers, and the verdict on sample rows that its preview shows (S1).

The verdict is the pipeline's own: the same plan, the same reading, the same rules, in S1's names and words.
So a row that the preview calls valid is not refused for its values later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sluice.events import FieldFault, ImportOptions
from sluice.mapping.judging import NO_IDENTITY, judge, label
from sluice.mapping.plan import plan_of
from sluice.mapping.reading import read_rows


class SystemField(NamedTuple):
    """A field that a user can map a column to (S1-024). `name` is what it is called everywhere else."""

    key: str
    label: str
    required: bool
    type: Literal["email", "phone", "text", "date", "number"]
    name: str


SYSTEM_FIELDS: tuple[SystemField, ...] = (
    SystemField("email", "Email", True, "email", "email"),
    SystemField("firstName", "First Name", True, "text", "first_name"),
    SystemField("lastName", "Last Name", False, "text", "last_name"),
    SystemField("phone", "Phone", False, "phone", "phone"),
    SystemField("company", "Company", False, "text", "company"),
    SystemField("title", "Job Title", False, "text", "title"),
    SystemField("address", "Address", False, "text", "address"),
    SystemField("city", "City", False, "text", "city"),
    SystemField("state", "State/Province", False, "text", "state"),
    SystemField("country", "Country", False, "text", "country"),
    SystemField("zipCode", "Zip/Postal Code", False, "text", "zip"),
    SystemField("notes", "Notes", False, "text", "notes"),
)
"""In the order in which they are offered (S1-025, S1-026)."""

REQUIRED = tuple(field.name for field in SYSTEM_FIELDS if field.required)
"""What the wizard requires of a row."""

_BY_NAME = {field.name: field for field in SYSTEM_FIELDS}


class FieldError(NamedTuple):
    """One thing wrong with a row (S1-023): the field's key, a sentence, and the value as it was given."""

    field: str
    message: str
    value: str


class RowVerdict(NamedTuple):
    """Whether a row would be taken, and all that is wrong with it (S1-056)."""

    is_valid: bool
    errors: tuple[FieldError, ...]


def judge_sample(
    columns: Sequence[str], rows: Sequence[Sequence[str]], options: ImportOptions
) -> list[RowVerdict]:
    """What the pipeline would say of rows with these columns, under the options of the job, one by one.

    Raises:
        MappingInvalid: the mapping does not fit the columns.
    """
    reading = read_rows(rows, len(columns), plan_of(columns, options), options)
    verdict = judge(reading, columns, rows, options, _label)
    faults = {index: list(found) for index, found in reading.faults.items()}
    for index in verdict.without_identity:
        if not any(fault.code == "required" and fault.field == "email" for fault in faults.get(index, ())):
            faults.setdefault(index, []).insert(0, NO_IDENTITY)
    for index, wide in reading.too_wide.items():
        faults[index] = [wide]
    return [_verdict(faults.get(index, ())) for index in range(len(rows))]


def _verdict(faults: Sequence[FieldFault]) -> RowVerdict:
    return RowVerdict(
        not faults, tuple(FieldError(_key(each.field), each.message, each.value) for each in faults)
    )


def _key(name: str) -> str:
    return _BY_NAME[name].key if name in _BY_NAME else name


def _label(name: str) -> str:
    return _BY_NAME[name].label if name in _BY_NAME else label(name)
