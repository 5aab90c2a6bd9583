"""The local disk of a table: one RocksDB per partition, which may be lost at any time.

The changelog topic is the table, this is its cache. So whatever is wrong with a directory (truncated,
corrupt, another topic's, ahead of its changelog) has one cure: it is removed, and the partition starts from
its changelog, or, when the damage shows while it is in use, cold until the next start. Nothing here is worth
a crash: a table that has forgotten costs the sink a query (D4).
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import structlog
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

from sluice.errors import Unavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")

_OFFSET = b"\x00offset"
_TOPIC = b"\x00topic"
# Keys of a table never start with a zero byte.

_KEY = itemgetter(0)

# One cache for all partitions of the process: 12 databases of faust's default of 2 GiB each is no limit.
CACHE_BYTES = 32 * 1024 * 1024
WRITE_BUFFER_BYTES = 8 * 1024 * 1024
BLOOM_BITS = 10
MAX_OPEN_FILES = 256

MEMTABLE_BLOOM = 0.1
"""Of the write buffer. Most keys of an import are new, and finding that out walked the memtable.

Two look-ups and two writes for each of 200,000 new rows, µs of CPU a row: 11.2 without it, 7.6 with it,
5.8 when each batch is also written in the order of its keys.
"""


class TableLocked(Unavailable):
    """The table's directory {directory} is in use by another process. Give each instance its own INSTANCE."""


_LOCKED = ("While lock file", "lock hold by current process")
# What RocksDB says of a lock; a damaged "block" is none.

# A predecessor that was killed lets go of its locks at once; one that is stopping needs about a second.
LOCK_SECONDS = 30.0


class PartitionStore:
    """The databases of one table under `directory`, one per partition, opened when first used.

    `topic_id` names the changelog topic as the broker knows it: a directory written for another one, of a
    broker that was made anew, is removed.
    """

    def __init__(self, directory: Path, topic_id: str) -> None:
        self.directory = directory
        self._topic_id = topic_id.encode()
        self._open: dict[int, Rdict] = {}
        # Partitions that lost their database in use: without an offset until they are read again.
        self._cold: set[int] = set()
        self._cache = Cache(CACHE_BYTES)

    def path(self, partition: int) -> Path:
        """The directory of a partition."""
        return self.directory / f"{partition}.db"

    def partitions_on_disk(self) -> list[int]:
        """Partitions that were held here once."""
        return sorted(
            int(path.stem) for path in self.directory.glob("*.db") if path.stem.isdecimal() and path.is_dir()
        )

    def holds(self, partition: int) -> bool:
        """Whether the partition is open."""
        return partition in self._open

    def hold(self, partition: int) -> None:
        """Open the partition's database; one that cannot be used is made anew."""
        self._database(partition)

    def release(self, partition: int) -> None:
        """Close the partition's database, if it is open."""
        database = self._open.pop(partition, None)
        self._cold.discard(partition)
        if database is not None:
            # A database that is broken may refuse even this; the lock goes with the last reference.
            with contextlib.suppress(Exception):
                database.close()

    def close(self) -> None:
        """Close all databases."""
        for partition in list(self._open):
            self.release(partition)

    def get_many(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        """The values of `keys` in one read; None for one that is not there."""
        nothing: list[bytes | None] = [None] * len(keys)
        return self._using(partition, lambda database: database.get(keys), nothing)

    def write(self, partition: int, writes: Iterable[tuple[bytes, bytes | None]], offset: int) -> None:
        """Apply the writes of the changelog record at `offset`, and remember the offset, all at once."""
        held_offset = None if partition in self._cold else offset
        self._using(partition, lambda database: self._write(database, writes, held_offset), None)

    def _write(
        self, database: Rdict, writes: Iterable[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        together = WriteBatch(raw_mode=True)
        # In order of keys, of one key in the order given: neighbours in the memtable are near in memory.
        for key, value in sorted(writes, key=_KEY):
            if value is None:
                together.delete(key)
            else:
                together.put(key, value)
        held = _offset_of(database)
        if offset is not None and (held is None or held < offset):
            together.put(_OFFSET, b"%d" % offset)
        database.write(together)

    def persisted_offset(self, partition: int) -> int | None:
        """The changelog offset up to which the records are applied; None for a new database."""
        return self._using(partition, _offset_of, None)

    def discard(self, partition: int) -> None:
        """Forget a partition: its next use starts from the changelog."""
        self.release(partition)
        shutil.rmtree(self.path(partition), ignore_errors=True)

    def keys_with_prefix(self, partition: int, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Keys and values that start with `prefix`, in order of keys."""
        return self._using(partition, lambda database: list(_with_prefix(database, prefix)), [])

    def delete(self, partition: int, keys: Iterable[bytes]) -> None:
        """Remove keys here alone; the changelog keeps them."""
        together = WriteBatch(raw_mode=True)
        for key in keys:
            together.delete(key)
        self._using(partition, lambda database: database.write(together), None)

    def _using(self, partition: int, use: Callable[[Rdict], T], otherwise: T) -> T:
        """What `use` finds; `otherwise`, with an empty database in its place, when RocksDB fails."""
        self.hold(partition)
        try:
            return use(self._open[partition])
        # rocksdict raises plain Exception for whatever RocksDB says.
        except Exception as error:
            problem = str(error)
        # Not before the error is gone: it refers to the database, whose lock goes with the last reference.
        self._start_cold(partition, problem)
        return otherwise

    def _database(self, partition: int) -> Rdict:
        database = self._open.get(partition)
        if database is None:
            database = self._open[partition] = self._usable(partition)
        return database

    def _usable(self, partition: int) -> Rdict:
        path = self.path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        database = None
        try:
            database = self._unlocked(path)
            if self._is_ours(database, partition):
                return database
            log.warning("table_of_another_topic", directory=path.name, partition=partition)
        except TableLocked:
            raise
        except Exception as error:
            log.warning("table_unusable", directory=path.name, partition=partition, error=str(error))
        if database is not None:
            # It holds its lock as long as it is open, and a broken one may refuse even this.
            with contextlib.suppress(Exception):
                database.close()
            del database
        return self._new(path, partition)

    def _is_ours(self, database: Rdict, partition: int) -> bool:
        """Whether it was written for this partition of this topic, or for nobody yet."""
        held, owner = database.get(_TOPIC), self._owner(partition)
        if held is None and database.get(_OFFSET) is None:
            database.put(_TOPIC, owner)
            return True
        return bool(held == owner)

    def _owner(self, partition: int) -> bytes:
        return b"%s/%d" % (self._topic_id, partition)

    def _new(self, path: Path, partition: int) -> Rdict:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        database = Rdict(str(path), options=self._options())
        database.put(_TOPIC, self._owner(partition))
        return database

    def _unlocked(self, path: Path) -> Rdict:
        """The database, once no other process holds it any more."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return Rdict(str(path), options=self._options())
            except Exception as error:
                if not any(words in str(error) for words in _LOCKED):
                    raise
                if time.monotonic() > deadline:
                    raise TableLocked(directory=path) from error
                time.sleep(0.2)

    def _start_cold(self, partition: int, problem: str) -> None:
        """It failed in use: an empty one goes on, whose missing offset makes the next start heal it."""
        log.error("table_lost", directory=str(self.directory.name), partition=partition, error=problem)
        self.discard(partition)
        self.hold(partition)
        self._cold.add(partition)

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_open_files(MAX_OPEN_FILES)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_keep_log_file_num(2)
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM)
        options.set_memtable_whole_key_filtering(True)
        options.set_compression_type(DBCompressionType.none())
        tables = BlockBasedOptions()
        tables.set_bloom_filter(BLOOM_BITS, False)
        tables.set_block_cache(self._cache)
        tables.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(tables)
        return options


def _offset_of(database: Rdict) -> int | None:
    held = database.get(_OFFSET)
    return None if held is None else int(held)


def _with_prefix(database: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    for key, value in database.items(from_key=prefix):
        if not key.startswith(prefix):
            return
        yield key, value
