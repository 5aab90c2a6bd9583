"""What is wrong with rows that were read: row rules 3 and 4, and the caller's own rules, every fault of a
row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sluice.contact import FIELD_LENGTHS
from sluice.events import FieldFault, ImportOptions
from sluice.mapping.column_rules import apply_rules
from sluice.mapping.reading import Reading

LIMITS = {field: limit for field, limit in FIELD_LENGTHS.items() if limit is not None}

Label = Callable[[str], str]
"""A field's name for people."""

NO_IDENTITY = FieldFault(
    field="email,phone", code="no_identity", message="Email or phone is required", value=""
)


class Verdict(NamedTuple):
    """Rows that give neither e-mail nor phone, and rows that lack the e-mail that is required."""

    without_identity: list[int]
    without_email: list[int]


def label(field: str) -> str:
    """A field's name for people: `first_name` is "First name"."""
    return field.replace("_", " ").capitalize()


def judge(
    reading: Reading,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    options: ImportOptions,
    label: Label = label,
) -> Verdict:
    """Add to the reading's faults what the rows lack, what no contact can hold, and the rules they break.

    `columns` and `rows` are the source's own, for the caller's rules on columns.
    """
    _find_long(reading, label)
    if options.rules:
        apply_rules(options.rules, reading, columns, rows, label)
    without_email = _find_missing(reading, options.required, label)
    return Verdict(_without_identity(reading), without_email)


def _without_identity(reading: Reading) -> list[int]:
    """Rows that give neither e-mail nor phone; what they give need not be readable."""
    emails, phones = reading.columns.get("email"), reading.columns.get("phone")
    if emails is None and phones is None:
        return list(range(reading.row_count))
    if emails is None or phones is None:
        return [index for index, value in enumerate(emails or phones or ()) if not value]
    if all(emails) or all(phones):
        return []
    return [index for index, value in enumerate(emails) if not value and not phones[index]]


def _find_missing(reading: Reading, required: Sequence[str], label: Label) -> list[int]:
    """Note the required fields that are missing, before all else; the rows without a required e-mail."""
    without_email: list[int] = []
    for field in reversed(required):
        values = reading.columns.get(field, [""] * reading.row_count)
        if all(values):
            continue
        blank = [index for index, value in enumerate(values) if not value]
        fault = FieldFault(field=field, code="required", message=f"{label(field)} is required", value="")
        for index in blank:
            reading.faults.setdefault(index, []).insert(0, fault)
        if field == "email":
            without_email = blank
    return without_email


def _find_long(reading: Reading, label: Label) -> None:
    for field, limit in LIMITS.items():
        values = reading.columns.get(field)
        if not values or max(map(len, values)) <= limit:
            continue
        message = f"{label(field)} is longer than {limit} characters"
        for index, value in enumerate(values):
            if len(value) > limit:
                reading.note(index, field, "too_long", message, value)
