"""Validate: row rules 3 and 4. A row is refused with every fault it has, not only the first."""

from __future__ import annotations

from sluice.contact import FIELD_LENGTHS
from sluice.events import FieldFault
from sluice.outcome import Outcome
from streams.batch import MAX_FAULT_TEXT, Batch
from streams.look_ups import LookUps

LIMITS = {field: limit for field, limit in FIELD_LENGTHS.items() if limit is not None}


def validate(batch: Batch, _: LookUps) -> None:
    """Refuse the rows that lack what they need or hold what no contact can."""
    faults = batch.faults
    missing = _find_missing(batch, faults)
    _find_long(batch, faults)
    for index in _without_identity(batch):
        batch.refuse(index, Outcome.NO_IDENTITY, [_NO_IDENTITY])
    for index in sorted(missing):
        batch.refuse(index, Outcome.NO_IDENTITY, faults[index])
    for index in sorted(faults):
        batch.refuse(index, Outcome.INVALID, faults[index])


_NO_IDENTITY = FieldFault(
    field="email,phone", code="no_identity", message="Email or phone is required", value=""
)


def _without_identity(batch: Batch) -> list[int]:
    """Rows that give neither e-mail nor phone; what they give need not be readable."""
    emails, phones = batch.columns.get("email"), batch.columns.get("phone")
    if emails is None and phones is None:
        return list(range(batch.row_count))
    if emails is None or phones is None:
        return [index for index, value in enumerate(emails or phones or ()) if not value]
    if all(emails) or all(phones):
        return []
    return [index for index, value in enumerate(emails) if not value and not phones[index]]


def _find_missing(batch: Batch, faults: dict[int, list[FieldFault]]) -> set[int]:
    """Note the required fields that are missing; the rows that end `no_identity` for it."""
    options = batch.read.options
    without_email: set[int] = set()
    for field in options.required:
        values = batch.columns.get(field, [""] * batch.row_count)
        if all(values):
            continue
        blank = [index for index, value in enumerate(values) if not value]
        fault = FieldFault(field=field, code="required", message=f"{label(field)} is required", value="")
        for index in blank:
            faults.setdefault(index, []).insert(0, fault)
        if field == "email" and options.missing_email == Outcome.NO_IDENTITY.value:
            without_email.update(blank)
    return without_email


def _find_long(batch: Batch, faults: dict[int, list[FieldFault]]) -> None:
    for field, limit in LIMITS.items():
        values = batch.columns.get(field)
        if not values or max(map(len, values)) <= limit:
            continue
        message = f"{label(field)} is longer than {limit} characters"
        for index, value in enumerate(values):
            if len(value) > limit:
                fault = FieldFault(
                    field=field, code="too_long", message=message, value=value[:MAX_FAULT_TEXT]
                )
                faults.setdefault(index, []).append(fault)


def label(field: str) -> str:
    """A field's name for people: `first_name` is "First name"."""
    return field.replace("_", " ").capitalize()
