"""The row rules (docs/row-rules.md): one pure function that judges rows in order.

The result is as if the rows were applied one by one, each judged by the contacts as they stand at that
moment. `decide` reads through an overlay of what earlier rows of the call have done, so the caller has only
to answer for what is stored, and gets back the net writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from sluice.contact import IDENTITIES, Contact, ContactId, contact_id_prefix, join_tags, split_tags
from sluice.outcome import Drop, FieldFault, Outcome


class OnDuplicate(StrEnum):
    SKIP = "skip"
    OVERWRITE = "overwrite"
    FILL_BLANKS = "fill_blanks"
    MERGE_NEWEST = "merge_newest"


class MatchOn(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a job asks for. `written_at` is the job's creation: replays must not depend on the clock."""

    job_id: uuid.UUID
    written_at: datetime
    on_duplicate: OnDuplicate = OnDuplicate.SKIP
    match_on: MatchOn = MatchOn.EMAIL


@dataclass(slots=True)
class Row:
    """One row after normalize, validate and scrub.

    `values` holds what the row gives; an empty text clears (only rows of a job with `blanks=clear` have any).
    `mark` holds the Do-Not-Call fields to set on whatever contact the row ends at. A row with a `drop` has
    been decided before.
    """

    row_no: int
    values: dict[str, str] = field(default_factory=dict)
    mark: dict[str, str] | None = None
    modified_at: datetime | None = None
    drop: Drop | None = None


class LookUp(Protocol):
    """The stored contacts of one organization and target."""

    def by_email(self, email: str) -> Contact | None: ...

    def by_phone(self, phone: str) -> Contact | None: ...


@dataclass(slots=True)
class Judged:
    """One row's result. `after` is the contact as this row left it, when it wrote: version and all; `before`,
    when it changed one, as it found it."""

    outcome: Outcome
    contact_id: ContactId | None = None
    faults: tuple[FieldFault, ...] = ()
    after: Contact | None = None
    changed: tuple[str, ...] = ()
    before: Contact | None = None


@dataclass(slots=True)
class Decision:
    """All rows' results and their net effect on the store.

    `created` and `updated` hold each contact once, as the last row left it; `before` is what was stored.
    `suppressed` are contacts that a row marked do-not-call without writing anything else.
    """

    rows: list[Judged] = field(default_factory=list)
    created: dict[ContactId, Contact] = field(default_factory=dict)
    updated: dict[ContactId, Contact] = field(default_factory=dict)
    before: dict[ContactId, Contact] = field(default_factory=dict)
    suppressed: dict[ContactId, Contact] = field(default_factory=dict)


def decide(rows: Sequence[Row], look_up: LookUp, policy: Policy) -> Decision:
    """Judge `rows` in order against the stored contacts; rules 3 to 9 of the row rules.

    Pure but for what `look_up` reads; the contacts it returns are never changed in place.
    """
    overlay = _Overlay(look_up, Decision())
    prefix = contact_id_prefix(policy.job_id)
    for row in rows:
        overlay.decision.rows.append(_judge(row, overlay, policy, prefix))
    return overlay.decision


def _judge(row: Row, overlay: _Overlay, policy: Policy, prefix: bytes) -> Judged:
    if row.drop is not None:
        return Judged(row.drop.outcome, faults=row.drop.faults)
    owners = {
        kind: overlay.owner(kind, value)
        for kind, name in IDENTITIES.items()
        if (value := row.values.get(name))
    }
    matched = [
        owner
        for kind in IDENTITIES
        if policy.match_on in (kind, MatchOn.EITHER) and (owner := owners.get(kind)) is not None
    ]
    if len(matched) == 2 and matched[0].id != matched[1].id:
        return _conflict(matched[0], matched[1])
    if not matched:
        return _create(row, owners, overlay, policy, prefix)
    contact = matched[0]
    if policy.on_duplicate is OnDuplicate.SKIP:
        return _skip(row, contact, overlay, prefix)
    return _update(row, contact, owners, overlay, policy)


def _create(
    row: Row, owners: dict[str, Contact | None], overlay: _Overlay, policy: Policy, prefix: bytes
) -> Judged:
    for owner in owners.values():
        if owner is not None:
            return _conflict(owner)
    values = {name: value for name, value in row.values.items() if value} | (row.mark or {})
    contact = Contact(
        id=prefix + row.row_no.to_bytes(4, "big"),
        values=values,
        modified_at=row.modified_at or policy.written_at,
    )
    overlay.create(contact)
    return Judged(Outcome.CREATED, contact.id, after=contact, changed=tuple(values))


def _skip(row: Row, contact: Contact, overlay: _Overlay, prefix: bytes) -> Judged:
    mark = new_mark(contact, row.mark)
    if mark:
        marked = replace(contact, values=contact.values | mark, version=contact.version + 1)
        overlay.update(contact, marked)
        overlay.decision.suppressed[contact.id] = marked
    in_file = contact.id.startswith(prefix)
    return Judged(Outcome.DUPLICATE_IN_FILE if in_file else Outcome.DUPLICATE_EXISTING, contact.id)


def _update(
    row: Row, contact: Contact, owners: dict[str, Contact | None], overlay: _Overlay, policy: Policy
) -> Judged:
    wins = policy.on_duplicate is OnDuplicate.OVERWRITE or (
        policy.on_duplicate is OnDuplicate.MERGE_NEWEST and is_newer(row.modified_at, contact.modified_at)
    )
    joins_tags = policy.on_duplicate is OnDuplicate.MERGE_NEWEST
    changes = changed_values(contact.values, row.values, wins=wins, joins_tags=joins_tags)
    changes |= new_mark(contact, row.mark)
    if not changes:
        return Judged(Outcome.UNCHANGED, contact.id)
    for owner in owners.values():
        if owner is not None and owner.id != contact.id:
            return _conflict(contact, owner)
    values = {name: value for name, value in (contact.values | changes).items() if value}
    modified_at = (row.modified_at or policy.written_at) if wins else contact.modified_at
    after = replace(contact, values=values, version=contact.version + 1, modified_at=modified_at)
    overlay.update(contact, after)
    merged = policy.on_duplicate is OnDuplicate.MERGE_NEWEST
    outcome = Outcome.MERGED if merged else Outcome.UPDATED
    return Judged(outcome, contact.id, after=after, changed=tuple(sorted(changes)), before=contact)


def is_newer(row: datetime | None, contact: datetime | None) -> bool:
    """Whether a row's own modification time is later than the contact's."""
    return row is not None and (contact is None or row > contact)


def changed_values(
    stored: dict[str, str], given: dict[str, str], *, wins: bool, joins_tags: bool
) -> dict[str, str]:
    """What a row changes: field to new value, empty for cleared.

    `wins`: given values replace stored ones; otherwise they only fill what is empty.
    """
    changes: dict[str, str] = {}
    for name, value in given.items():
        held = stored.get(name, "")
        if name == "phone":
            changes |= _changed_phone(stored, value, given.get("phone_formatted", ""), wins=wins)
        elif name == "phone_formatted":
            continue
        elif name == "tags" and joins_tags:
            joined = join_tags(split_tags(f"{held};{value}"))
            if joined != held:
                changes[name] = joined
        elif value != held and (wins or not held):
            changes[name] = value
    return changes


def _changed_phone(stored: dict[str, str], text: str, number: str, *, wins: bool) -> dict[str, str]:
    """The number as given and its E.164 form change together; another spelling of one number is no change."""
    held, held_number = stored.get("phone", ""), stored.get("phone_formatted", "")
    same = number == held_number if number or held_number else text == held
    if same or (held and not wins):
        return {}
    return {"phone": text, "phone_formatted": number}


def new_mark(contact: Contact, mark: dict[str, str] | None) -> dict[str, str]:
    """The Do-Not-Call fields to set: a contact that is marked keeps its first list and reason."""
    return mark if mark and not contact.values.get("do_not_call") else {}


def _conflict(first: Contact, second: Contact | None = None) -> Judged:
    named = [str(uuid.UUID(bytes=contact.id)) for contact in (first, second) if contact is not None]
    if second is None:
        message = f"Another of the row's identities belongs to contact {named[0]}"
    else:
        message = f"The row's e-mail and phone belong to two contacts: {named[0]} and {named[1]}"
    fault = FieldFault("email,phone", "identity_conflict", message, ",".join(named))
    return Judged(Outcome.CONFLICT, first.id, (fault,))


class _Overlay:
    """The stored contacts with the effect of earlier rows laid over them."""

    def __init__(self, look_up: LookUp, decision: Decision) -> None:
        self.decision = decision
        self._read = {"email": look_up.by_email, "phone": look_up.by_phone}
        self._contacts: dict[ContactId, Contact] = {}
        self._owners: dict[tuple[str, str], ContactId | None] = {}

    def owner(self, kind: str, value: str) -> Contact | None:
        """Who holds this identity now."""
        key = (kind, value)
        if key not in self._owners:
            stored = self._read[kind](value)
            self._owners[key] = stored.id if stored is not None else None
            if stored is not None:
                self._contacts.setdefault(stored.id, stored)
        holder = self._owners[key]
        return self._contacts[holder] if holder is not None else None

    def create(self, contact: Contact) -> None:
        self.decision.created[contact.id] = contact
        self._hold(contact)

    def update(self, before: Contact, after: Contact) -> None:
        for kind in IDENTITIES:
            if (value := before.identity(kind)) and value != after.identity(kind):
                self._owners[kind, value] = None
        if after.id in self.decision.created:
            self.decision.created[after.id] = after
        else:
            self.decision.before.setdefault(after.id, before)
            self.decision.updated[after.id] = after
        self._hold(after)

    def _hold(self, contact: Contact) -> None:
        self._contacts[contact.id] = contact
        for kind in IDENTITIES:
            if value := contact.identity(kind):
                self._owners[kind, value] = contact.id
