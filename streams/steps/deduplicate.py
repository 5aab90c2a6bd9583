"""Deduplicate: one hint a row by what the identities table knows, and what the row will change in it (D4).

    hint 1  new                neither identity is known
    hint 2  is X               the row ends at contact X
    hint 3  same as X          and X's content has the row's fingerprint
    hint 4  conflict of X, Y   X is zeros where no contact matches, but Y holds the row's other identity
    hint 0  none               the row is refused, or its job is judged whole at its end

Rows are taken in order, over an overlay of what earlier rows of the batch will do. The sink confirms every
hint, so a wrong one costs a query and nothing else: this step may forget, but should not lie often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from sluice.contact import IDENTITIES, contact_id_prefix, fingerprint, fingerprints, identity_hashes
from sluice.events import DncMark
from sluice.rules import MatchOn, OnDuplicate
from streams.batch import NOBODY, Batch
from streams.claims import (
    CONTACT,
    CONTENT,
    HOLDS_EMAIL,
    HOLDS_PHONE,
    OTHER,
    RELEASES_EMAIL,
    RELEASES_PHONE,
    claim,
    space_of,
)
from streams.look_ups import IdentityLookUp, LookUps


class Hint(IntEnum):
    """What `RowsResolved.hints` holds for a row."""

    NONE = 0
    NEW = 1
    IS = 2
    SAME = 3
    CONFLICT = 4


_NEW, _SAME = int(Hint.NEW), int(Hint.SAME)


def deduplicate(batch: Batch, look_ups: LookUps) -> None:
    """Fill the batch's hints, fingerprints and claims."""
    live = list(batch.live())
    contents = _fingerprints(batch)
    batch.fingerprints = b"".join(contents)
    batch.hints = bytes(batch.row_count)
    if batch.is_staged or not live:
        return
    judge = _Judge(batch, look_ups, contents, live)
    batch.hints, batch.hinted = judge.hints(live)
    batch.claims = judge.claims


def _fingerprints(batch: Batch) -> list[bytes]:
    """Of the values given, a mark included; zeros for a refused row."""
    found = fingerprints(batch.columns, batch.row_count)
    for index, mark in batch.marks.items():
        values = {name: column[index] for name, column in batch.columns.items()}
        found[index] = fingerprint(values | marked(mark))
    for index in batch.refusals:
        found[index] = NOBODY
    return found


def marked(mark: DncMark) -> dict[str, str]:
    """A mark as the contact's own fields."""
    return {"do_not_call": "true", "dnc_list_id": mark.list_id, "dnc_reason": mark.reason}


class _Entries(dict[bytes, bytes | None]):
    """The table's entries with this batch's own effects laid over them; the empty key is nobody's."""

    def __init__(self, known: IdentityLookUp) -> None:
        super().__init__({b"": None})
        self._known = known

    def fetch(self, keys: Iterable[bytes]) -> None:
        """Read ahead, in one look-up."""
        missing = [key for key in keys if key not in self]
        if missing:
            self.update(zip(missing, self._known.get_many(missing), strict=True))

    def __missing__(self, key: bytes) -> bytes | None:
        self.fetch([key])
        return self[key]


class _Judge:
    """Foresees each row's end, and keeps what that changes for the rows behind it."""

    def __init__(
        self, batch: Batch, look_ups: LookUps, fingerprints: Sequence[bytes], live: Sequence[int]
    ) -> None:
        read = batch.read
        self.claims: list[bytes] = []
        self._space = space_of(look_ups.secret, read.organization_id, read.target, read.scope)
        self._contents = fingerprints
        self._times = batch.modified_at
        self._first_row_no = read.first_row_no
        self._prefix = contact_id_prefix(batch.job_id)
        self._first_run = read.run == 1
        self._policy = OnDuplicate(read.options.on_duplicate)
        match_on = MatchOn(read.options.match_on)
        self._either = match_on is MatchOn.EITHER
        self._by_email, self._by_phone = match_on is not MatchOn.PHONE, match_on is not MatchOn.EMAIL
        clears = read.options.blanks == "clear"
        self._clears_email = clears and "email" in batch.columns
        self._clears_phone = clears and "phone" in batch.columns
        self._emails = self._hashes(batch, "email")
        self._phones = self._hashes(batch, "phone")
        self._email_keys = self._space.emails(self._emails)
        self._phone_keys = self._space.phones(self._phones)
        self._entries = _Entries(look_ups.identities)
        self._fetch(live)

    def _hashes(self, batch: Batch, kind: str) -> list[bytes]:
        """The hash of each row's identity; zeros where it has none."""
        values = batch.columns.get(IDENTITIES[kind])
        if values is None:
            return [NOBODY] * batch.row_count
        return identity_hashes(self._space.hash_key, kind, values)

    def _keys(self) -> tuple[list[bytes], list[bytes]]:
        """The keys that decide first, and those of the other identity."""
        keys = self._email_keys, self._phone_keys
        return keys if self._by_email else keys[::-1]

    def _fetch(self, live: Sequence[int]) -> None:
        """Read ahead in two steps: the second identity only of rows that the first does not settle."""
        first, second = self._keys()
        entries = self._entries
        entries.fetch([first[index] for index in live])
        skips = self._policy is OnDuplicate.SKIP and not self._either
        contents = self._contents
        entries.fetch(
            [
                second[index]
                for index in live
                if (entry := entries[first[index]]) is None
                or not (skips or entry[CONTENT] == contents[index])
            ]
        )

    def hints(self, live: Sequence[int]) -> tuple[bytes, bytes]:
        """`RowsResolved.hints` and `.hinted`. The two ends that nearly all rows have are met first."""
        first, second = self._keys()
        entries, own_prefix = self._entries, self._prefix
        settled = self._settled()
        hints, hinted = bytearray(len(first)), list[bytes]()
        for index in live:
            entry = entries[first[index]]
            if entry is None and entries[second[index]] is None:
                hints[index] = _NEW
                self._hold(self._own(index), self._contents[index], self._emails[index], self._phones[index])
            elif entry and entry[CONTENT] == settled[index] and not entry.startswith(own_prefix):
                hints[index] = _SAME
                hinted.append(entry[CONTACT])
            else:
                hints[index], *contacts = self._hint(index)
                hinted.extend(contacts)
        return bytes(hints), b"".join(hinted)

    def _settled(self) -> Sequence[bytes]:
        """The content that settles a row; nothing for one with a time of its own, which may have to stamp."""
        if not self._times:
            return self._contents
        return [b"" if time else each for time, each in zip(self._times, self._contents, strict=True)]

    def _own(self, index: int) -> bytes:
        """The id of the contact that the row would create."""
        return self._prefix + (self._first_row_no + index).to_bytes(4, "big")

    def _hint(self, index: int) -> tuple[int, *tuple[bytes, ...]]:
        """The row's hint and the contacts that it names."""
        own = self._own(index)
        by_email = self._holder(self._email_keys[index], own)
        if by_email and self._by_email and self._is_same(index, by_email):
            return Hint.SAME, by_email[CONTACT]
        by_phone = self._holder(self._phone_keys[index], own)
        if by_email and self._by_email:
            return self._matched(index, by_email, by_phone, by_email=True)
        if by_phone and self._by_phone:
            if self._is_same(index, by_phone):
                return Hint.SAME, by_phone[CONTACT]
            return self._matched(index, by_phone, by_email, by_email=False)
        if holder := by_email or by_phone:
            return Hint.CONFLICT, NOBODY, holder[CONTACT]
        self._hold(own, self._contents[index], self._emails[index], self._phones[index])
        return (Hint.NEW,)

    def _holder(self, key: bytes, own: bytes) -> bytes | None:
        """Who holds an identity. What a repeat finds of this row itself, or of a later one, is nobody.

        In a further run later rows were there before: their contacts hold what they hold.
        """
        entry = self._entries[key]
        if entry is None or not entry.startswith(self._prefix):
            return entry
        found = entry[CONTACT]
        return None if found == own or (found > own and self._first_run) else entry

    def _is_same(self, index: int, entry: bytes) -> bool:
        # A row with a time of its own may have to stamp the contact, so it is not settled by its content.
        times = self._times
        return entry[CONTENT] == self._contents[index] and not (times and times[index])

    def _matched(
        self, index: int, matched: bytes, other: bytes | None, *, by_email: bool
    ) -> tuple[int, *tuple[bytes, ...]]:
        contact = matched[CONTACT]
        overwrites = self._policy is OnDuplicate.OVERWRITE
        if other is not None and other[CONTACT] != contact and (self._either or overwrites):
            return Hint.CONFLICT, contact, other[CONTACT]
        if self._policy is not OnDuplicate.SKIP:
            self._take_over(index, matched, other, by_email=by_email)
        return Hint.IS, contact

    def _take_over(self, index: int, matched: bytes, other: bytes | None, *, by_email: bool) -> None:
        """What the contact holds behind the row, under the policies that write."""
        email, phone = self._emails[index], self._phones[index]
        if self._policy is OnDuplicate.OVERWRITE:
            if by_email:
                phone = self._replaced_phone(matched[OTHER], phone)
            else:
                email = self._replaced_email(matched[OTHER], email)
            self._hold(matched[CONTACT], self._contents[index], email, phone)
        elif matched[OTHER] == NOBODY and other is None and email != NOBODY != phone:
            # It fills the identity that the contact lacks. What else it fills is not known here.
            self._hold(matched[CONTACT], matched[CONTENT], email, phone)

    def _replaced_phone(self, held: bytes, given: bytes) -> bytes:
        """The phone that a contact has behind the row: the given one, else what it held unless cleared."""
        if held in (given, NOBODY) or (given == NOBODY and not self._clears_phone):
            return given if held == NOBODY else held
        self.claims.append(claim(RELEASES_PHONE, NOBODY + NOBODY, NOBODY, held))
        self._entries[self._space.phone(held)] = None
        return given

    def _replaced_email(self, held: bytes, given: bytes) -> bytes:
        """The same of an e-mail."""
        if held in (given, NOBODY) or (given == NOBODY and not self._clears_email):
            return given if held == NOBODY else held
        self.claims.append(claim(RELEASES_EMAIL, NOBODY + NOBODY, held, NOBODY))
        self._entries[self._space.email(held)] = None
        return given

    def _hold(self, contact: bytes, content: bytes, email: bytes, phone: bytes) -> None:
        """The contact has this content and these identities from now on."""
        held, flags = contact + content, 0
        if email != NOBODY:
            flags = HOLDS_EMAIL
            self._entries[self._space.email(email)] = held + phone
        if phone != NOBODY:
            flags |= HOLDS_PHONE
            self._entries[self._space.phone(phone)] = held + email
        if flags:
            self.claims.append(claim(flags, held, email, phone))
