"""Contact fields, identities, fingerprints and ids.

Between steps a contact's content is a mapping of field name to text: absent and empty are the same, tags are
joined by ";", a custom field is named `custom_fields.<name>`, the phone number as given is `phone` and its
E.164 form `phone_formatted`. Ids are 16 bytes here and UUIDs at the borders, because the row path makes
millions of them.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

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


def fingerprinter(columns: Sequence[str]) -> Callable[[Sequence[str]], bytes]:
    """`fingerprint` for many rows under one header: the sorting is done once."""
    order = sorted((name, index) for index, name in enumerate(columns))
    phone = columns.index("phone") if "phone" in columns else -1
    formatted = columns.index("phone_formatted") if "phone_formatted" in columns else -1
    with_number = [(name, index) for name, index in order if index != phone]
    # Most rows have a value in every column; then the names can be laid out beforehand.
    full = with_number if formatted >= 0 else order
    template = [part for name, _ in full for part in (name, "")]

    def of(row: Sequence[str]) -> bytes:
        if "" not in row and template:
            parts = template.copy()
            parts[1::2] = [row[index] for _, index in full]
            return _digest(parts)
        chosen = with_number if formatted >= 0 and row[formatted] else order
        return _digest([part for name, index in chosen if (value := row[index]) for part in (name, value)])

    return of


_encode = msgspec.msgpack.Encoder().encode


def _digest(parts: list[str]) -> bytes:
    # MessagePack writes lengths, so no two contents share an encoding whatever their values hold.
    return hashlib.blake2b(_encode(parts), digest_size=16).digest()


def identity_key(secret: bytes, organization_id: uuid.UUID, target: str, scope: str = "") -> bytes:
    """The key under which one organization's identities of one target are hashed; 32 bytes."""
    return hashlib.blake2b(
        f"{organization_id}/{target}/{scope}".encode(), key=secret[:64], digest_size=32
    ).digest()


def identity_hash(key: bytes, kind: str, value: str) -> bytes:
    """16 bytes for one e-mail or phone, useless without `identity_key`'s secret."""
    return identity_hasher(key, kind)(value)


def identity_hasher(key: bytes, kind: str) -> Callable[[str], bytes]:
    """`identity_hash` for many values: the key is taken in once."""
    keyed = hashlib.blake2b(f"{kind}:".encode(), key=key, digest_size=16)

    def of(value: str) -> bytes:
        one = keyed.copy()
        one.update(value.encode())
        return one.digest()

    return of


def split_tags(text: str) -> list[str]:
    """The tags of a joined text, trimmed, in order, each once."""
    return list(dict.fromkeys(tag for part in text.split(TAG_SEPARATOR) if (tag := part.strip())))


def join_tags(tags: Sequence[str]) -> str:
    """The inverse of `split_tags`."""
    return TAG_SEPARATOR.join(tags)
