"""The local disk of a table: written whole or not, and never worth a crash."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams import store as store_module
from streams.changelogs import discard_ahead
from streams.store import PartitionStore, TableLocked


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PartitionStore]:
    opened = PartitionStore(tmp_path / "tables", "topic-1")
    yield opened
    opened.close()


def reopened(store: PartitionStore, topic_id: str = "topic-1") -> PartitionStore:
    """The same directory as the next process finds it."""
    store.close()
    return PartitionStore(store.directory, topic_id)


def test_rows_and_offset_are_written_together(store: PartitionStore) -> None:
    """What the next process finds is the rows up to the offset that it finds."""
    store.write(3, [(b"a", b"1"), (b"b", b"2")], offset=7)
    store.write(3, [(b"a", None)], offset=8)
    again = reopened(store)
    assert again.get_many(3, [b"a", b"b"]) == [None, b"2"]
    assert (again.persisted_offset(3), again.persisted_offset(4)) == (8, None)
    again.close()


def test_the_offset_never_falls(store: PartitionStore) -> None:
    """A replayed record is applied again without making the disk look older than it is."""
    store.write(0, [(b"a", b"1")], offset=7)
    store.write(0, [(b"a", b"1")], offset=3)
    assert store.persisted_offset(0) == 7


def test_many_keys_are_one_read_in_their_order(store: PartitionStore) -> None:
    """Keys may repeat and may be missing."""
    store.write(0, [(bytes([n]), bytes([n])) for n in range(1, 9)], offset=0)
    assert store.get_many(0, [b"\x05", b"x", b"\x02", b"\x05"]) == [b"\x05", None, b"\x02", b"\x05"]


def test_partitions_do_not_see_each_other(store: PartitionStore) -> None:
    """What is written to one is nowhere else."""
    store.write(0, [(b"a", b"1")], offset=0)
    assert store.get_many(1, [b"a"]) == [None]


@pytest.mark.parametrize("damage", ["truncated", "noise", "a file", "empty"])
def test_a_damaged_directory_starts_anew(store: PartitionStore, damage: str) -> None:
    """It opens without its rows and without an offset, so that the changelog is read from the start."""
    store.write(0, [(b"a", b"1" * 5000)], offset=7)
    store.close()
    path = store.path(0)
    files = [each for each in path.iterdir() if each.is_file()]
    for each in files:
        if damage == "truncated":
            each.write_bytes(each.read_bytes()[: each.stat().st_size // 2])
        elif damage == "noise":
            each.write_bytes(b"\xff" * 64)
        elif damage == "empty":
            each.write_bytes(b"")
    if damage == "a file":
        shutil.rmtree(path)
        path.write_text("no directory")
    again = reopened(store)
    assert again.get_many(0, [b"a"]) == [None]
    assert again.persisted_offset(0) is None
    again.write(0, [(b"a", b"2")], offset=1)
    assert again.get_many(0, [b"a"]) == [b"2"]
    again.close()


@pytest.mark.parametrize("at", [40, -2000, -400])
def test_a_flipped_bit_is_no_crash(store: PartitionStore, at: int) -> None:
    """Whether it meets what the database knows of itself, or rows: it goes on, empty where it must."""
    for offset in range(20):
        rows = [(b"%d-%d" % (offset, number), b"1" * 50) for number in range(50)]
        store.write(0, [*rows, (b"j%d" % offset, b"2")], offset)
    store.close()
    for each in store.path(0).glob("*.sst"):
        data = bytearray(each.read_bytes())
        data[at] ^= 1
        each.write_bytes(data)
    again = reopened(store)
    keys = [b"%d-%d" % (offset, number) for offset in range(20) for number in range(50)]
    assert again.persisted_offset(0) in (None, 19)
    assert set(again.get_many(0, keys)) <= {None, b"1" * 50}
    assert set(again.keys_with_prefix(0, b"j")) <= {(b"j%d" % offset, b"2") for offset in range(20)}
    again.delete(0, [b"j0"])
    again.write(0, [(b"a", b"1")], offset=20)
    assert again.get_many(0, [b"a", b"j0"]) == [b"1", None]
    again.close()


def test_another_partitions_table_is_removed(store: PartitionStore) -> None:
    """Directories that changed places are made anew: their offsets count other records."""
    for partition in (0, 1):
        store.write(partition, [(b"%d" % partition, b"1")], offset=7)
    store.close()
    store.path(0).rename(store.directory / "aside")
    store.path(1).rename(store.path(0))
    (store.directory / "aside").rename(store.path(1))
    again = reopened(store)
    assert [again.persisted_offset(partition) for partition in (0, 1)] == [None, None]
    assert again.get_many(0, [b"0", b"1"]) == again.get_many(1, [b"0", b"1"]) == [None, None]
    again.close()


def test_a_database_that_fails_in_use_is_lost_and_goes_on(store: PartitionStore) -> None:
    """Reading and writing go on, cold, and the offset stays away so that the next start heals it."""
    store.write(0, [(b"a", b"1")], offset=7)
    store._open[0].close()
    assert store.get_many(0, [b"a"]) == [None]
    store._open[0].close()
    store.write(0, [(b"b", b"1")], offset=8)
    store.write(0, [(b"c", b"1")], offset=9)
    assert store.get_many(0, [b"b", b"c"]) == [None, b"1"]
    again = reopened(store)
    assert again.persisted_offset(0) is None
    again.close()


def test_another_topics_table_is_removed(store: PartitionStore) -> None:
    """A broker that was made anew counts its offsets anew."""
    store.write(0, [(b"a", b"1")], offset=7)
    again = reopened(store, "topic-2")
    assert again.get_many(0, [b"a"]) == [None]
    assert again.persisted_offset(0) is None
    again.close()


def test_what_is_ahead_of_its_changelog_is_discarded(store: PartitionStore) -> None:
    """The last record's offset is one below the changelog's end; anything more is not of this changelog."""
    for partition in (0, 1, 2):
        store.write(partition, [(b"a", b"1")], offset=7)
    store.hold(3)
    assert discard_ahead(store, {0: 8, 1: 7}) == [1, 2]
    assert store.get_many(0, [b"a"]) == [b"1"]
    assert store.get_many(1, [b"a"]) == [None]


def test_a_directory_in_use_is_left_alone(store: PartitionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of one name are a mistake of configuration, not damage: nothing is removed."""
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.0)
    store.write(0, [(b"a", b"1")], offset=7)
    with pytest.raises(TableLocked, match="INSTANCE"):
        PartitionStore(store.directory, "topic-1").hold(0)
    assert store.get_many(0, [b"a"]) == [b"1"]


def test_keys_are_found_by_prefix_and_deleted_here(store: PartitionStore) -> None:
    """The offset stays when keys go."""
    store.write(0, [(b"ia", b"1"), (b"ja", b"2"), (b"jb", b"3"), (b"ka", b"4")], offset=7)
    assert list(store.keys_with_prefix(0, b"j")) == [(b"ja", b"2"), (b"jb", b"3")]
    store.delete(0, [b"ja"])
    assert store.get_many(0, [b"ja", b"jb"]) == [None, b"3"]
    assert store.persisted_offset(0) == 7
