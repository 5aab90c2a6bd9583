"""Which rows the fast path may take, and how the others are decided (D4). Pure: no database here.

A segment is a run of batches of one job, in order: one policy, one organization. Its rows fall in four:

    new      hinted new, and no other row of the segment gives the same identity: the unique indexes judge it
    same     hinted "same as X": confirmed by the contact's id and fingerprint
    known    hinted "is X" under `skip`: confirmed by the contact's id and the identities it is matched by
    open     everything else: decided by the row rules, with the database as the look-up

`new` needs no more: a row is created exactly if nobody holds an identity that it gives, whatever the policy.
`same` needs no more: a contact with the row's content holds the row's identities, so it is the match, and
nothing differs. Rows of the first three kinds depend on no other row as long as none of the contacts that the
open rows touch is theirs, which `entangled` tells once those contacts are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sinks.batch import Batch, Hint
from sluice.contact import Contact, ContactId, contact_id_prefix
from sluice.outcome import LETTERS, Drop, FieldFault, Outcome
from sluice.rules import Judged, MatchOn, OnDuplicate

NOBODY = bytes(16)
CREATED = LETTERS[Outcome.CREATED]
UNCHANGED = LETTERS[Outcome.UNCHANGED]
IN_FILE = LETTERS[Outcome.DUPLICATE_IN_FILE]
EXISTING = LETTERS[Outcome.DUPLICATE_EXISTING]

Image = tuple[int, Sequence[str], dict[str, str]]
"""What an event needs of an updated contact beyond its message: version, changed fields, values after."""


@dataclass(slots=True)
class Choice:
    """How the rows of one batch are judged, by index; rows settled before the sink are in none."""

    new: Sequence[int] = ()
    same: list[tuple[int, ContactId]] = field(default_factory=list)
    known: list[tuple[int, ContactId]] = field(default_factory=list)
    open: Sequence[int] = ()


@dataclass(slots=True)
class Result:
    """What became of one batch's rows: a letter, a contact id and perhaps faults or an image each."""

    letters: list[str]
    contact_ids: bytearray
    faults: dict[int, Sequence[FieldFault]] = field(default_factory=dict)
    images: dict[int, Image] = field(default_factory=dict)
    before: dict[int, Mapping[str, str]] = field(default_factory=dict)
    """Beside an image: the contact's values before the row, which only a dry run keeps."""

    @classmethod
    def of(cls, batch: Batch) -> Result:
        """All rows undecided but those that were settled before."""
        result = cls([""] * batch.row_count, bytearray(16 * batch.row_count))
        for index, drop in batch.drops.items():
            result.refuse(index, drop)
        return result

    def refuse(self, index: int, drop: Drop) -> None:
        """The row ends without a contact."""
        self.letters[index] = LETTERS[drop.outcome]
        self.contact_ids[16 * index : 16 * index + 16] = NOBODY
        self.images.pop(index, None)
        self.before.pop(index, None)
        if drop.faults:
            self.faults[index] = drop.faults

    def record(self, index: int, judged: Judged) -> None:
        """What the row rules said of a row; what an earlier try said is forgotten."""
        self.faults.pop(index, None)
        self.images.pop(index, None)
        self.before.pop(index, None)
        self.letters[index] = LETTERS[judged.outcome]
        self.contact_ids[16 * index : 16 * index + 16] = judged.contact_id or NOBODY
        if judged.faults:
            self.faults[index] = judged.faults
        if judged.after is not None and judged.outcome is not Outcome.CREATED:
            self.images[index] = (judged.after.version, judged.changed, judged.after.values)
        if judged.before is not None:
            self.before[index] = judged.before.values

    def settle(self, index: int, letter: str, contact: ContactId) -> None:
        """What a confirmed hint says of a row."""
        self.letters[index] = letter
        self.contact_ids[16 * index : 16 * index + 16] = contact

    def contact(self, index: int) -> ContactId:
        """Where the row ended; zeros for nowhere."""
        return bytes(self.contact_ids[16 * index : 16 * index + 16])


class Stored:
    """The contacts that the database holds for the identities of some rows: the row rules' look-up."""

    def __init__(self, contacts: Iterable[Contact]) -> None:
        self.contacts = {contact.id: contact for contact in contacts}
        self.emails: dict[str, Contact] = {}
        self.phones: dict[str, Contact] = {}
        for contact in self.contacts.values():
            if email := contact.identity("email"):
                self.emails[email] = contact
            if phone := contact.identity("phone"):
                self.phones[phone] = contact

    def by_email(self, email: str) -> Contact | None:
        return self.emails.get(email)

    def by_phone(self, phone: str) -> Contact | None:
        return self.phones.get(phone)


def identities(batch: Batch, indexes: Iterable[int], name: str) -> list[str]:
    """The e-mails or numbers that these rows give."""
    column = batch.columns.get(name)
    if column is None:
        return []
    rows = batch.message.rows
    return [value for index in indexes if (value := rows[index][column])]


def choose(batches: Sequence[Batch]) -> list[Choice]:
    """How each batch's rows may be judged, judging by their hints."""
    shared = _shared_identities(batches)
    return [_choose(batch, shared) for batch in batches]


def all_open(batches: Sequence[Batch]) -> list[Choice]:
    """Every row goes through the row rules."""
    return [
        Choice(open=[index for index in range(batch.row_count) if index not in batch.drops])
        for batch in batches
    ]


def _shared_identities(batches: Sequence[Batch]) -> frozenset[str]:
    """E-mails and numbers that more than one row of the segment gives; the two never look alike."""
    given: list[str] = []
    for batch in batches:
        for name in ("email", "phone_formatted"):
            column = batch.columns.get(name)
            if column is not None:
                given += [row[column] for row in batch.message.rows]
    distinct = set(given)
    distinct.discard("")
    if len(distinct) == len(given):
        return frozenset()
    return frozenset(value for value, count in Counter(given).items() if count > 1 and value)


def _choose(batch: Batch, shared: frozenset[str]) -> Choice:
    message, drops = batch.message, batch.drops
    if not shared and not drops and message.hints.count(Hint.NEW) == batch.row_count:
        return Choice(new=range(batch.row_count))
    tied = _tied(batch, shared) if shared else set[int]()
    doubtful = tied | _unmatched(batch)
    skips = batch.policy.on_duplicate is OnDuplicate.SKIP
    # The members of an enumeration are slow to name, and this is for every row.
    is_new, is_same, is_known = int(Hint.NEW), int(Hint.SAME), int(Hint.IS)
    choice = Choice()
    new: list[int] = []
    left: list[int] = []
    for index, hint, contact in batch.hints():
        if index in drops:
            continue
        if hint == is_same and index not in doubtful:
            choice.same.append((index, contact))
        elif hint == is_new and index not in tied:
            new.append(index)
        elif hint == is_known and skips and index not in doubtful and index not in batch.marks:
            choice.known.append((index, contact))
        else:
            left.append(index)
    choice.new, choice.open = new, left
    return choice


def _tied(batch: Batch, shared: frozenset[str]) -> set[int]:
    """The rows that give an identity which another row of the segment gives too."""
    columns = [batch.columns[name] for name in ("email", "phone_formatted") if name in batch.columns]
    return {
        index for column in columns for index, row in enumerate(batch.message.rows) if row[column] in shared
    }


def _unmatched(batch: Batch) -> set[int]:
    """The rows that give no identity which they could be matched by."""
    match_on, found = batch.policy.match_on, set(range(batch.row_count))
    for name, other in (("email", MatchOn.PHONE), ("phone_formatted", MatchOn.EMAIL)):
        column = batch.columns.get(name)
        if column is not None and match_on is not other:
            found -= {index for index, row in enumerate(batch.message.rows) if row[column]}
    return found


def entangled(batches: Sequence[Batch], choices: Sequence[Choice], stored: Stored) -> bool:
    """Whether a contact that the open rows may touch is one that a row of the fast path counts on."""
    if not stored.contacts:
        return False
    for batch, choice in zip(batches, choices, strict=True):
        hinted = {contact for _, contact in (*choice.same, *choice.known)}
        if not hinted.isdisjoint(stored.contacts):
            return True
        fast = [*choice.new, *(index for index, _ in (*choice.same, *choice.known))]
        if not stored.emails.keys().isdisjoint(identities(batch, fast, "email")):
            return True
        if not stored.phones.keys().isdisjoint(identities(batch, fast, "phone_formatted")):
            return True
    return False


def settle_fast(batch: Batch, choice: Choice, result: Result) -> None:
    """Record the rows whose hints are confirmed, or will be by the unique indexes."""
    message = batch.message
    prefix = contact_id_prefix(batch.job_id)
    first = message.first_row_no
    if len(choice.new) == batch.row_count:
        result.letters = [CREATED] * batch.row_count
        result.contact_ids = bytearray().join(
            [prefix + row_no.to_bytes(4, "big") for row_no in range(first, first + batch.row_count)]
        )
        return
    for index in choice.new:
        result.settle(index, CREATED, prefix + (first + index).to_bytes(4, "big"))
    found = [*choice.same, *choice.known]
    if batch.policy.on_duplicate is not OnDuplicate.SKIP:
        for index, contact in found:
            result.settle(index, UNCHANGED, contact)
        return
    for index, contact in found:
        result.settle(index, IN_FILE if contact.startswith(prefix) else EXISTING, contact)


def holders_by_match(batch: Batch, choice: Choice) -> Iterator[tuple[ContactId, str | None, str | None]]:
    """Contact, e-mail and number that must belong together for the `known` rows' hints to hold."""
    email, phone = batch.columns.get("email"), batch.columns.get("phone_formatted")
    match_on = batch.policy.match_on
    for index, contact in choice.known:
        cells = batch.message.rows[index]
        yield (
            contact,
            (cells[email] or None) if email is not None and match_on is not MatchOn.PHONE else None,
            (cells[phone] or None) if phone is not None and match_on is not MatchOn.EMAIL else None,
        )
