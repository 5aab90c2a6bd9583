"""What the sink tells the identities table: who holds the identities of rows whose hints did not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sinks.batch import Batch, Hint
from sinks.holders import Holder, Holders
from sinks.judging import Choice, Stored
from sluice.contact import (
    IDENTITIES,
    Contact,
    ContactId,
    contact_id_prefix,
    fingerprint,
    identity_hashes,
    identity_key,
)
from sluice.events import IdentitiesChanged, IdentityChange
from sluice.outcome import Outcome
from sluice.rules import Decision, Judged, OnDuplicate


@dataclass(slots=True)
class Corrections:
    """What one segment corrects: contacts with all that they hold, and identities that nobody holds."""

    holders: dict[ContactId, Holder] = field(default_factory=dict)
    free: dict[tuple[str, str], None] = field(default_factory=dict)

    def tell(self, batch: Batch, index: int, held: Holders) -> None:
        """Say who holds the identities of this row."""
        for kind, value in _identities(batch, index):
            holder = held.of(kind, value)
            if holder is None:
                self.free[kind, value] = None
            else:
                self.holders[holder.contact] = holder

    def event(self, secret: bytes, batch: Batch) -> IdentitiesChanged | None:
        """The message, under the key of the batch's organization; None where there is nothing to correct."""
        if not self.holders and not self.free:
            return None
        message = batch.message
        key = identity_key(secret, batch.organization_id, message.target, message.scope)
        changes = []
        for kind in IDENTITIES:
            values = [value for each, value in self.free if each == kind]
            digests = identity_hashes(key, kind, values)
            changes += [_change(kind, digest, None, b"", b"") for digest in digests]
        holders = self.holders.values()
        emails = identity_hashes(key, "email", [holder.email for holder in holders])
        phones = identity_hashes(key, "phone", [holder.phone for holder in holders])
        for holder, email, phone in zip(holders, emails, phones, strict=True):
            if holder.email:
                other = phone if holder.phone else b""
                changes.append(_change("email", email, holder.contact, holder.content, other))
            else:
                changes.append(_change("phone", phone, holder.contact, holder.content, b""))
        return IdentitiesChanged(
            organization_id=str(batch.organization_id),
            target=message.target,
            scope=message.scope,
            changes=changes,
        )


def _change(kind: str, digest: bytes, contact: bytes | None, content: bytes, other: bytes) -> IdentityChange:
    return IdentityChange(kind=kind, hash=digest, contact_id=contact, fingerprint=content, other_hash=other)


# Rows of the fast path -------------------------------------------------------------------------


def correct_fast(corrections: Corrections, batch: Batch, anew: Batch, choice: Choice, held: Holders) -> None:
    """The rows that were settled by the sink's own hints where the stream's said something else."""
    told, own = batch.message, anew.message
    if not told.hints or (told.hints == own.hints and told.hinted == own.hinted):
        return
    believed = [(hint, contact) for _, hint, contact in batch.hints()]
    prefix, first = contact_id_prefix(batch.job_id), own.first_row_no
    for index in choice.new:
        if believed[index][0] != Hint.NEW:
            identities = dict(_identities(batch, index))
            created = Holder(
                prefix + (first + index).to_bytes(4, "big"),
                own.fingerprints[16 * index : 16 * index + 16],
                identities.get("email", ""),
                identities.get("phone", ""),
            )
            corrections.holders[created.contact] = created
    kept = {Hint.SAME: (Hint.SAME, Hint.IS), Hint.IS: (Hint.IS,)}
    for kind, settled in ((Hint.SAME, choice.same), (Hint.IS, choice.known)):
        for index, contact in settled:
            hint, named = believed[index]
            if named != contact or hint not in kept[kind]:
                corrections.tell(batch, index, held)


# Rows that the row rules decided ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hinted:
    """One decided row beside what the stream believed of it."""

    batch: Batch
    index: int
    hint: int
    contact: ContactId
    judged: Judged


def correct_decided(
    corrections: Corrections, rows: Sequence[Hinted], stored: Stored, decision: Decision
) -> None:
    """The rows whose hints did not hold, by what the decision leaves behind."""
    contacts = stored.contacts | decision.updated | decision.created
    wrong = [row for row in rows if not _held(row, contacts)]
    if wrong:
        held = Holders()
        held.add(_holder(contact) for contact in contacts.values())
        for row in wrong:
            corrections.tell(row.batch, row.index, held)


def _holder(contact: Contact) -> Holder:
    email, phone = (contact.identity(kind) for kind in IDENTITIES)
    return Holder(contact.id, fingerprint(contact.values), email, phone)


def _held(row: Hinted, contacts: dict[ContactId, Contact]) -> bool:
    """Whether the hint was right, and the table's fingerprint of the contact with it."""
    judged = row.judged
    if row.hint == Hint.NONE:
        return True
    if row.hint == Hint.NEW:
        return judged.outcome is Outcome.CREATED
    if row.hint == Hint.CONFLICT:
        return judged.outcome is Outcome.CONFLICT
    if judged.contact_id != row.contact or judged.outcome in (Outcome.CONFLICT, Outcome.CREATED):
        return False
    if row.hint == Hint.IS and row.batch.policy.on_duplicate is not OnDuplicate.OVERWRITE:
        return True
    # The table holds the row's fingerprint for this contact; a row that gives only a part is no match.
    given = row.batch.message.fingerprints[16 * row.index : 16 * row.index + 16]
    return fingerprint(contacts[row.contact].values) == given


def _identities(batch: Batch, index: int) -> Iterator[tuple[str, str]]:
    cells = batch.message.rows[index]
    for kind, name in IDENTITIES.items():
        column = batch.columns.get(name)
        if column is not None and (value := cells[column]):
            yield kind, value
