"""The identities table: who holds an e-mail or a phone, and which batches were accepted (D5, D13)."""

from __future__ import annotations

from enum import Enum
from typing import Any

from sluice.events import IdentitiesChanged, RowsRead
from streams import claims
from streams.batch import NOBODY, Batch
from streams.claims import Seen
from streams.sending import Sender
from streams.store import PartitionStore
from streams.tables import BatchedTable

TABLE = "identities"

# How often a partition is looked through for jobs to forget.
FORGET_SECONDS = 86_400

# A job's last batch is remembered as long as its topic could send it again (sluice.topics: 7 days).
SEEN_SECONDS = 7 * 86_400


class Acceptance(Enum):
    """What the acceptance rule of D13 says about a batch."""

    NEXT = "next"
    REPEAT = "repeat"
    AHEAD = "ahead"
    OUTDATED = "outdated"


def accept(read: RowsRead, seen: Seen | None) -> Acceptance:
    """A batch is taken when all before it were seen here or are applied.

    One further on waits for its predecessors at the sender. One of a lease that was taken over is nobody's.
    """
    last = seen.batch_no if seen else 0
    if seen and read.lease_epoch < seen.lease_epoch:
        return Acceptance.OUTDATED
    if read.batch_no > max(last, read.applied_through) + 1:
        return Acceptance.AHEAD
    return Acceptance.REPEAT if read.batch_no <= last else Acceptance.NEXT


class Identities:
    """The table as the agents use it, by partition."""

    def __init__(self, app: Any, store: PartitionStore, sender: Sender) -> None:
        self.table = BatchedTable(app, TABLE, store, lambda _, record: claims.unpack(record))
        self._store = store
        self._sender = sender
        self._forgotten_at: dict[int, int] = {}
        app.tables.add(self.table)

    def of(self, partition: int) -> PartitionIdentities:
        """The look-up of one partition."""
        return PartitionIdentities(self.table, partition)

    def seen(self, partition: int, job_id: bytes) -> Seen | None:
        """The last batch accepted of a job."""
        return claims.seen_from(self.table.get_many(partition, [claims.seen_key(job_id)])[0])

    async def record_batch(self, partition: int, batch: Batch, now_ms: int) -> None:
        """Write what an accepted batch claims, and that it was accepted: one changelog record."""
        read = batch.read
        head = claims.header(
            organization_id=read.organization_id,
            target=read.target,
            scope=read.scope,
            at=now_ms,
            job_id=read.job_id,
            batch_no=read.batch_no,
            lease_epoch=read.lease_epoch,
        )
        await self._record(partition, read.organization_id, claims.pack(head, batch.claims))
        if now_ms - self._forgotten_at.get(partition, 0) > FORGET_SECONDS * 1000:
            self._forgotten_at[partition] = now_ms
            self.forget_old_jobs(partition, now_ms)

    async def record_changes(self, partition: int, changed: IdentitiesChanged, now_ms: int) -> None:
        """Write what changed outside: one changelog record."""
        head = claims.header(
            organization_id=changed.organization_id, target=changed.target, scope=changed.scope, at=now_ms
        )
        await self._record(partition, changed.organization_id, claims.pack(head, claims_of(changed)))

    async def _record(self, partition: int, organization_id: str, record: bytes) -> None:
        await self.table.record(self._sender, partition, organization_id.encode(), record)

    def forget_old_jobs(self, partition: int, now_ms: int) -> int:
        """Remove the last batches of jobs that can send no more; returns how many."""
        if not self._store.holds(partition):
            return 0
        old = [
            key
            for key, value in self._store.keys_with_prefix(partition, claims.seen_key(b""))
            if now_ms - (claims.seen_from(value) or Seen(0, 0, 0)).at > SEEN_SECONDS * 1000
        ]
        self._store.delete(partition, old)
        return len(old)


class PartitionIdentities:
    """The identities of one partition; what deduplicate looks up in."""

    def __init__(self, table: BatchedTable, partition: int) -> None:
        self._table = table
        self._partition = partition

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return self._table.get_many(self._partition, keys)


def claims_of(changed: IdentitiesChanged) -> list[bytes]:
    """The packed form of changes from outside; a hash of the wrong length is nobody's and left out.

    A holder's other identity is held by it too, so one change tells all of a contact.
    """
    packed: list[bytes] = []
    for change in changed.changes:
        if len(change.hash) != len(NOBODY) or change.kind not in claims.KIND_BYTE:
            continue
        by_email = change.kind == "email"
        other = _sixteen(change.other_hash)
        email, phone = (change.hash, other) if by_email else (other, change.hash)
        holder = _sixteen(change.contact_id or b"")
        if holder == NOBODY:
            flags = claims.RELEASES_EMAIL if by_email else claims.RELEASES_PHONE
        else:
            flags = claims.HOLDS_EMAIL if by_email else claims.HOLDS_PHONE
            if other != NOBODY:
                flags = claims.HOLDS_EMAIL | claims.HOLDS_PHONE
        packed.append(claims.claim(flags, holder + _sixteen(change.fingerprint), email, phone))
    return packed


def _sixteen(value: bytes) -> bytes:
    return value if len(value) == len(NOBODY) else NOBODY
