"""What the sink tells the identities table: who holds the identities of rows whose hints did not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sinks.batch import Batch, Hint
from sinks.judging import Stored
from sluice.contact import IDENTITIES, Contact, ContactId, fingerprint, identity_hash, identity_key
from sluice.events import IdentitiesChanged, IdentityChange
from sluice.outcome import Outcome
from sluice.rules import Decision, Judged, OnDuplicate

OTHER = {"email": "phone", "phone": "email"}


@dataclass(frozen=True, slots=True)
class Hinted:
    """One decided row beside what the stream believed of it."""

    batch: Batch
    index: int
    hint: int
    contact: ContactId
    judged: Judged


def overruled(
    secret: bytes, rows: Sequence[Hinted], stored: Stored, decision: Decision
) -> IdentitiesChanged | None:
    """The corrections for one segment's decided rows; None when every hint held."""
    holders = _Holders(stored, decision)
    wrong = [row for row in rows if not _held(row, holders)]
    if not wrong:
        return None
    message = wrong[0].batch.message
    key = identity_key(secret, wrong[0].batch.organization_id, message.target, message.scope)
    named = dict.fromkeys(pair for row in wrong for pair in _identities(row))
    return IdentitiesChanged(
        organization_id=str(wrong[0].batch.organization_id),
        target=message.target,
        scope=message.scope,
        changes=[_change(key, kind, value, holders.of(kind, value)) for kind, value in named],
    )


class _Holders:
    """Who holds which identity once the decision is written."""

    def __init__(self, stored: Stored, decision: Decision) -> None:
        self._held: dict[tuple[str, str], Contact] = {}
        self.contacts = stored.contacts | decision.updated | decision.created
        for contact in self.contacts.values():
            for kind in IDENTITIES:
                if value := contact.identity(kind):
                    self._held[kind, value] = contact

    def of(self, kind: str, value: str) -> Contact | None:
        return self._held.get((kind, value))


def _held(row: Hinted, holders: _Holders) -> bool:
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
    return fingerprint(holders.contacts[row.contact].values) == given


def _identities(row: Hinted) -> Iterator[tuple[str, str]]:
    cells = row.batch.message.rows[row.index]
    for kind, name in IDENTITIES.items():
        column = row.batch.columns.get(name)
        if column is not None and (value := cells[column]):
            yield kind, value


def _change(key: bytes, kind: str, value: str, holder: Contact | None) -> IdentityChange:
    digest = identity_hash(key, kind, value)
    if holder is None:
        return IdentityChange(kind=kind, hash=digest, contact_id=None, fingerprint=b"", other_hash=b"")
    other = holder.identity(OTHER[kind])
    return IdentityChange(
        kind=kind,
        hash=digest,
        contact_id=holder.id,
        fingerprint=fingerprint(holder.values),
        other_hash=identity_hash(key, OTHER[kind], other) if other else b"",
    )
