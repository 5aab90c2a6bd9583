"""What the identities table holds, in bytes: its keys, its entries and the changelog record of one batch.

An identity (an e-mail or a phone of one organization and target) is known by its keyed hash alone. Its entry
says who holds it, the fingerprint of the holder's content, and the hash of the holder's other identity, so
that a number which changes hands can be released. Everything here is a hint to the sink, which judges (D4).

One batch is one changelog record (D5):

    version 1 · target 8 · organization 16 · job 16 · batch_no 8 · lease_epoch 8 · ms 8 · n claims
    claim = flags 1 · contact 16 · fingerprint 16 · e-mail's hash 16 · phone's hash 16
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from sluice.contact import identity_key
from streams.batch import NOBODY

EMAIL, PHONE = b"e", b"p"
KIND_BYTE = {"email": EMAIL, "phone": PHONE}

HOLDS_EMAIL, HOLDS_PHONE, RELEASES_EMAIL, RELEASES_PHONE = 1, 2, 4, 8
"""Flags of a claim: whether its contact holds or releases the identity with that hash."""

VERSION = 1
_HEADER = struct.Struct(">B8s16s16sqqq")
_CLAIM = struct.Struct(">B32s16s16s")
_SEEN = struct.Struct(">qqq")

_FLAGS = [bytes([flags]) for flags in range(16)]

Write = tuple[bytes, bytes | None]
"""A key of the table and its new value, None to delete it."""


CONTACT, CONTENT, OTHER = slice(0, 16), slice(16, 32), slice(32, 48)
"""Parts of an entry: who holds the identity, its content's fingerprint, its other identity's hash."""


class Seen(NamedTuple):
    """The last batch accepted of a job: its number, its lease, when (milliseconds since 1970)."""

    batch_no: int
    lease_epoch: int
    at: int


class Space(NamedTuple):
    """One organization's identities of one target: the prefix of their keys, the key of their hashes."""

    prefix: bytes
    hash_key: bytes

    def email(self, digest: bytes) -> bytes:
        """The key of an e-mail."""
        return self.prefix + EMAIL + digest

    def phone(self, digest: bytes) -> bytes:
        """The key of a phone."""
        return self.prefix + PHONE + digest

    def emails(self, digests: Iterable[bytes]) -> list[bytes]:
        """The keys of e-mails; empty for none."""
        return _keys(self.prefix + EMAIL, digests)

    def phones(self, digests: Iterable[bytes]) -> list[bytes]:
        """The keys of phones; empty for none."""
        return _keys(self.prefix + PHONE, digests)


def _keys(prefix: bytes, digests: Iterable[bytes]) -> list[bytes]:
    return [prefix + digest if digest != NOBODY else b"" for digest in digests]


@lru_cache(maxsize=4096)
def space_of(secret: bytes, organization_id: str, target: str, scope: str) -> Space:
    """The space of a batch. The organization comes first, so that one tenant's keys stand together."""
    organization = uuid.UUID(organization_id)
    prefix = _prefix(organization.bytes, _target_digest(target, scope))
    return Space(prefix, identity_key(secret, organization, target, scope))


def _prefix(organization: bytes, target: bytes) -> bytes:
    return b"i" + organization + target


def _target_digest(target: str, scope: str) -> bytes:
    return hashlib.blake2b(f"{target}/{scope}".encode(), digest_size=8).digest()


def seen_key(job_id: bytes) -> bytes:
    """Where the last batch of a job is kept."""
    return b"j" + job_id


def seen_from(value: bytes | None) -> Seen | None:
    return None if value is None else Seen(*_SEEN.unpack(value))


def claim(flags: int, held: bytes, email: bytes, phone: bytes) -> bytes:
    """One claim: `held` is the contact and its content's fingerprint; absent hashes are zeros."""
    return _FLAGS[flags] + held + email + phone


class RecordHeader(NamedTuple):
    """Whose claims a changelog record holds. A record that no batch caused has no job and batch 0."""

    target: bytes
    organization: bytes
    job: bytes
    batch_no: int
    lease_epoch: int
    at: int


def header(
    *,
    organization_id: str,
    target: str,
    scope: str,
    at: int,
    job_id: str | None = None,
    batch_no: int = 0,
    lease_epoch: int = 0,
) -> RecordHeader:
    """The header of a batch's record, or of a change that came from elsewhere."""
    job = uuid.UUID(job_id).bytes if job_id else NOBODY
    organization = uuid.UUID(organization_id).bytes
    return RecordHeader(_target_digest(target, scope), organization, job, batch_no, lease_epoch, at)


def pack(head: RecordHeader, claims: Iterable[bytes]) -> bytes:
    """One changelog record."""
    return _HEADER.pack(VERSION, *head) + b"".join(claims)


def unpack(record: bytes) -> list[Write]:
    """What a changelog record writes to the table, in order.

    A record of a version that this process does not know, or one that is cut short, writes nothing: its
    identities are then unknown here, which costs the sink a query and nothing else.
    """
    if len(record) < _HEADER.size or record[0] != VERSION:
        return []
    _, *fields = _HEADER.unpack_from(record)
    head = RecordHeader(*fields)
    writes: list[Write] = []
    if head.job != NOBODY:
        writes.append((seen_key(head.job), _SEEN.pack(head.batch_no, head.lease_epoch, head.at)))
    prefix = _prefix(head.organization, head.target)
    claims = memoryview(record)[_HEADER.size :]
    whole = len(claims) - len(claims) % _CLAIM.size
    for flags, held, email, phone in _CLAIM.iter_unpack(claims[:whole]):
        if flags & RELEASES_EMAIL:
            writes.append((prefix + EMAIL + email, None))
        if flags & RELEASES_PHONE:
            writes.append((prefix + PHONE + phone, None))
        if flags & HOLDS_EMAIL:
            writes.append((prefix + EMAIL + email, held + phone))
        if flags & HOLDS_PHONE:
            writes.append((prefix + PHONE + phone, held + email))
    return writes
