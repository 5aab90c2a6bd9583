"""Faust tables that write one changelog record per message instead of one per key (D5).

Faust keeps them: it assigns their partitions together with the topics that feed them, and reads the changelog
into them before a partition's first message. What Faust does not do is write to them: an agent hands over a
whole record, which is durable in the changelog before it is applied to the local disk, so the disk never
knows what the changelog does not.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import faust
from faust.stores.base import Store
from faust.types import TP

from streams.claims import Write
from streams.sending import Sender
from streams.store import PartitionStore

Unpack = Callable[[bytes, bytes], list[Write]]
"""Key and value of a changelog record to what it writes."""


class BatchedTable(faust.Table):  # type: ignore[misc]
    """A table over `PartitionStore`. It is no mapping: it is read and written by partition."""

    def __init__(self, app: faust.App, name: str, store: PartitionStore, unpack: Unpack) -> None:
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, recovery_buffer_size=20)
        self.partition_store = store
        self.unpack = unpack
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def _new_store(self) -> Store:
        return _TableStore(self)

    def get_many(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """The values of `keys`; None for one that is not there."""
        return self.partition_store.get_many(partition, keys)

    async def record(self, sender: Sender, partition: int, key: bytes, value: bytes) -> None:
        """Write one record: durable in the changelog first, then applied here in one go.

        One at a time and partition, so that the offset kept on disk never runs ahead of what is applied.
        """
        async with self._locks[partition]:
            sent = await sender.send(self.changelog_topic_name, key, value, partition=partition)
            # A partition that was given up meanwhile has a new owner, who reads this from the changelog.
            if self.partition_store.holds(partition):
                self.partition_store.write(partition, self.unpack(key, value), sent)


class _TableStore(Store):  # type: ignore[misc]
    """What Faust asks of a table's storage during assignment and recovery."""

    def __init__(self, table: BatchedTable) -> None:
        super().__init__("rocksdict://", table.app, table, key_type=bytes, value_type=bytes)
        self._table = table
        self._disk = table.partition_store

    def __post_init__(self) -> None:
        """Faust calls it where a dataclass would."""

    def persisted_offset(self, tp: TP) -> int | None:
        return self._disk.persisted_offset(tp.partition)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """The offset is written together with its record, never by itself."""

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Replay records in the order of their offsets."""
        for event in batch:
            message = event.message
            # Faust hands an event of a partition that it does not know to whichever table came before it.
            if message.topic == self._table.changelog_topic_name and message.value is not None:
                writes = self._table.unpack(message.key or b"", message.value)
                self._disk.write(message.partition, writes, message.offset)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Close what was given up, open what was taken over."""
        topic = self._table.changelog_topic_name
        for tp in revoked:
            if tp.topic == topic:
                self._disk.release(tp.partition)
        for tp in newly_assigned:
            if tp.topic == topic:
                self._disk.hold(tp.partition)
                # Opening takes some 20 ms each: let heartbeats and answers through between them.
                await asyncio.sleep(0)

    async def on_stop(self) -> None:
        self._disk.close()

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """The changelog is the backup."""

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """The changelog is the backup."""

    def reset_state(self) -> None:
        for partition in self._disk.partitions_on_disk():
            self._disk.discard(partition)
