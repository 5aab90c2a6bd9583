"""Contact fields, identities, fingerprints and ids.

Between steps a contact's content is a mapping of field name to text: absent and empty are the same, tags are
joined by ";", a custom field is named `custom_fields.<name>`, the phone number as given is `phone` and its
E.164 form `phone_formatted`. Ids are 16 bytes here and UUIDs at the borders, because the row path makes
millions of them.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat

import msgspec

ContactId = bytes
"""16 bytes, a valid UUID version 8."""

CUSTOM = "custom_fields."
"""Prefix of a custom field's name."""

TAG_SEPARATOR = ";"

FIELD_LENGTHS: Mapping[str, int | None] = {
    "first_name": 100,
    "last_name": 100,
    "email": 320,
    "phone": 40,
    "company": 255,
    "title": 100,
    "address": None,
    "city": 100,
    "state": 50,
    "zip": 20,
    "country": 2,
    "tags": None,
    "source": 100,
    "notes": None,
    "last_contact_date": None,
}
"""What a row may give, with the longest text that the contacts table holds (S4-011, S4-012)."""

FIELDS = tuple(FIELD_LENGTHS)

DNC_FIELDS = ("do_not_call", "dnc_list_id", "dnc_reason")
"""The Do-Not-Call mark; `do_not_call` is "true" or absent."""

IDENTITIES: Mapping[str, str] = {"email": "email", "phone": "phone_formatted"}
"""Kind of identity to the field that holds it: the lower-cased address, the E.164 number."""


NO_IDENTITY = bytes(16)
"""Stands where a contact has no e-mail or no phone, instead of its hash."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the pipeline writes to: its name, its fields and its identities (D12)."""

    name: str
    fields: tuple[str, ...]
    identities: tuple[str, ...]


CONTACTS = Target("contacts", FIELDS, tuple(IDENTITIES))
TARGETS: Mapping[str, Target] = {CONTACTS.name: CONTACTS}


@dataclass(slots=True)
class Contact:
    """A stored contact as the row rules see it. `version` only rises; `modified_at` is the source's time."""

    id: ContactId
    values: dict[str, str] = field(default_factory=dict)
    version: int = 1
    modified_at: datetime | None = None

    def identity(self, kind: str) -> str:
        """The contact's e-mail or phone identity, empty when it has none."""
        return self.values.get(IDENTITIES[kind], "")


def contact_id_prefix(job_id: uuid.UUID) -> bytes:
    """The 12 bytes that all contacts created by a job begin with.

    48 bits of time, then 42 of the job's random bits, laid out as UUID version 8 (RFC 9562).
    """
    n = job_id.int
    head = n >> 80
    random_a = n >> 64 & 0xFFF
    random_b = (n & (1 << 62) - 1) >> 32
    return (head << 48 | 0x8 << 44 | random_a << 32 | 0b10 << 30 | random_b).to_bytes(12, "big")


def contact_id(job_id: uuid.UUID, row_no: int) -> ContactId:
    """The id of the contact that this row creates: the same for every repetition, sorted by job and row."""
    return contact_id_prefix(job_id) + row_no.to_bytes(4, "big")


def fingerprint(values: Mapping[str, str]) -> bytes:
    """16 bytes that are equal when two contents are equal.

    The phone counts by its E.164 form where it has one, so a number written another way is no change.
    """
    return _digest(
        [
            part
            for name in sorted(values)
            if values[name] and not (name == "phone" and values.get("phone_formatted"))
            for part in (name, values[name])
        ]
    )


def fingerprints(columns: Mapping[str, Sequence[str]], row_count: int) -> list[bytes]:
    """`fingerprint` of every row, from the values by column: what the rows share is done once."""
    given = dict(sorted(columns.items()))
    numbers = given.get("phone_formatted")
    if "phone" in given and numbers is not None:
        given["phone"] = [
            "" if number else text for text, number in zip(given["phone"], numbers, strict=True)
        ]
    given = {name: values for name, values in given.items() if any(values)}
    if not given:
        return [_digest([])] * row_count
    parts: Iterable[Sequence[str]] = zip(
        *(each for name, values in given.items() for each in (repeat(name), values)), strict=False
    )
    if any("" in values for values in given.values()):
        parts = map(_without_blanks, parts)
    return _digests(parts)


def _without_blanks(parts: Sequence[str]) -> Sequence[str]:
    """Names and values in turn, without the names whose value is blank."""
    if "" not in parts:
        return parts
    turns = iter(parts)
    return [part for name, value in zip(turns, turns, strict=True) if value for part in (name, value)]


_encode = msgspec.msgpack.Encoder().encode


def _digest(parts: Sequence[str]) -> bytes:
    return _digests([parts])[0]


def _digests(contents: Iterable[Sequence[str]]) -> list[bytes]:
    # MessagePack writes lengths, so no two contents share an encoding whatever their values hold.
    # A copy of one made before costs less than its arguments each time.
    new = hashlib.blake2b(digest_size=16).copy
    digests = []
    for parts in contents:
        one = new()
        one.update(_encode(parts))
        digests.append(one.digest())
    return digests


def identity_key(secret: bytes, organization_id: uuid.UUID, target: str, scope: str = "") -> bytes:
    """The key under which one organization's identities of one target are hashed; 32 bytes."""
    return hashlib.blake2b(
        f"{organization_id}/{target}/{scope}".encode(), key=secret[:64], digest_size=32
    ).digest()


def identity_hash(key: bytes, kind: str, value: str) -> bytes:
    """16 bytes for one e-mail or phone, useless without `identity_key`'s secret; zeros for none."""
    return identity_hashes(key, kind, [value])[0]


def identity_hashes(key: bytes, kind: str, values: Sequence[str]) -> list[bytes]:
    """`identity_hash` of many values: the key is taken in once."""
    new = hashlib.blake2b(f"{kind}:".encode(), key=key, digest_size=16).copy
    hashes = []
    for value in values:
        if value:
            one = new()
            one.update(value.encode())
            hashes.append(one.digest())
        else:
            hashes.append(NO_IDENTITY)
    return hashes


def split_tags(text: str) -> list[str]:
    """The tags of a joined text, trimmed, in order, each once."""
    return list(dict.fromkeys(tag for part in text.split(TAG_SEPARATOR) if (tag := part.strip())))


def join_tags(tags: Sequence[str]) -> str:
    """The inverse of `split_tags`."""
    return TAG_SEPARATOR.join(tags)
