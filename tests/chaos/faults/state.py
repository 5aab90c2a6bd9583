"""What the streams keep on disk is lost, damaged, swapped, or ahead of its changelog, between kills.

The table is a cache of hints: a worker must come up again by itself, whatever it finds, and nothing that it
finds may change an outcome.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from rocksdict import Options, Rdict

from sluice.broker import partition_of
from sluice.topics import IDENTITIES_CHANGELOG, INFRASTRUCTURE, PARTITIONS
from tests.chaos.faults import Bites, fault
from tests.chaos.signals import Logs, running, unattended

if TYPE_CHECKING:
    from tests.chaos.world import World

EARLIEST, LATEST = 0.05, 0.5
AHEAD = 1_000
OFFSET_KEY = b"\x00offset"
ANSWER_SECONDS, READY_SECONDS = 30.0, 120.0


@dataclass(frozen=True)
class Disks:
    """Of both workers, of all partitions of one, of the round's in both: directories that nobody has open."""

    workers: Sequence[Path]
    mine: Sequence[Path]
    all: Sequence[Path]
    bootstrap: str
    chance: Random


Damage = Callable[[Disks], int]
"""Does it, and returns how many things it has damaged."""


def _nothing(disks: Disks) -> int:
    """The kill alone, so that what was in memory is on disk as tables of its own."""
    return 1


def _deleted(disks: Disks) -> int:
    for path in disks.all:
        shutil.rmtree(path)
    return len(disks.all)


def _truncated(disks: Disks) -> int:
    return _each_file(disks, ("*.sst", "*.log"), lambda data: data[: disks.chance.randrange(len(data))])


def _emptied(disks: Disks) -> int:
    return _each_file(disks, ("*",), lambda data: b"")


def _flipped(*patterns: str) -> Damage:
    def flip(disks: Disks) -> int:
        def one_bit(data: bytes) -> bytes:
            at = disks.chance.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << disks.chance.randrange(8)]) + data[at + 1 :]

        return _each_file(disks, patterns, one_bit)

    return flip


def _each_file(disks: Disks, patterns: Sequence[str], change: Callable[[bytes], bytes]) -> int:
    damaged = 0
    for path in disks.all:
        for file in sorted(file for pattern in patterns for file in path.glob(pattern)):
            if file.is_file() and (data := file.read_bytes()):
                file.write_bytes(change(data))
                damaged += 1
    return damaged


def _replaced_by_files(disks: Disks) -> int:
    for path in disks.all:
        shutil.rmtree(path)
        path.write_bytes(disks.chance.randbytes(100))
    return len(disks.all)


def _swapped_partitions(disks: Disks) -> int:
    """Each partition's directory has the next one's content."""
    paths = list(disks.mine)
    aside = [path.rename(path.with_suffix(".aside")) for path in paths]
    for path, other in zip(paths, aside[1:] + aside[:1], strict=True):
        other.rename(path)
    return len(paths) if len(paths) > 1 else 0


def _swapped_instances(disks: Disks) -> int:
    """The two workers have each other's tables."""
    one, two = disks.workers
    aside = (one / "tables").rename(one / "aside")
    (two / "tables").rename(one / "tables")
    aside.rename(two / "tables")
    return 2


def _ahead(disks: Disks) -> int:
    """The disk claims records that the changelog does not have yet."""
    changed = 0
    for path in disks.all:
        database = Rdict(str(path), options=Options(raw_mode=True))
        held = database.get(OFFSET_KEY)
        if held is not None:
            database.put(OFFSET_KEY, b"%d" % (int(held) + AHEAD))
            changed += 1
        database.close()
    return changed


def _changelog_made_anew(disks: Disks) -> int:
    """The broker has lost the changelog: what is on disk belongs to another one of the same name."""
    admin = AdminClient({"bootstrap.servers": disks.bootstrap, "log_level": 2})
    topic = next(topic for topic in INFRASTRUCTURE if topic.name == IDENTITIES_CHANGELOG)
    admin.delete_topics([topic.name])[topic.name].result(ANSWER_SECONDS)
    new = NewTopic(topic.name, topic.partitions, 1, config=topic.config)
    while True:
        # The broker deletes in its own time.
        with suppress(KafkaException):
            admin.create_topics([new])[topic.name].result(ANSWER_SECONDS)
            return 1


def _kept(disks: Disks) -> int:
    """A copy is put aside, to come back later."""
    for path in disks.all:
        shutil.copytree(path, path.with_suffix(".kept"), dirs_exist_ok=True)
    return len(disks.all)


def _brought_back(disks: Disks) -> int:
    """What was put aside returns: older than its changelog, or another changelog's."""
    returned = 0
    for path in disks.all:
        kept = path.with_suffix(".kept")
        if kept.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            kept.rename(path)
            returned += 1
    return returned


@dataclass(frozen=True)
class Loss:
    """One kind of damage, and a line that workers must log of it; none where it may pass."""

    damage: Damage
    seen: tuple[str, ...] = ()


DISCARDED = ("table_unusable", "table_lost", "table_of_another_topic", "table_ahead_of_its_changelog")
LOSSES = {
    "killed": Loss(_nothing),
    "deleted": Loss(_deleted),
    "truncated": Loss(_truncated),
    "emptied": Loss(_emptied, ("table_unusable",)),
    "bit of rows flipped": Loss(_flipped("*.sst")),
    "bit of the write-ahead log flipped": Loss(_flipped("*.log")),
    "bit of the manifest flipped": Loss(_flipped("MANIFEST-*"), DISCARDED),
    "bit of CURRENT flipped": Loss(_flipped("CURRENT"), DISCARDED),
    "replaced by files": Loss(_replaced_by_files, ("table_unusable",)),
    "partitions swapped": Loss(_swapped_partitions),
    "instances swapped": Loss(_swapped_instances),
    "ahead of its changelog": Loss(_ahead, ("table_ahead_of_its_changelog",)),
    "changelog made anew": Loss(_changelog_made_anew, ("table_of_another_topic",)),
    "kept": Loss(_kept),
    "brought back": Loss(_brought_back),
}
ROUNDS = (
    ("deleted", "killed", "deleted"),
    ("killed", "truncated", "truncated"),
    ("killed", "bit of rows flipped", "bit of rows flipped"),
    ("bit of the write-ahead log flipped", "killed", "bit of the manifest flipped"),
    ("bit of CURRENT flipped", "killed", "partitions swapped"),
    ("killed", "instances swapped", "instances swapped"),
    ("killed", "ahead of its changelog", "killed"),
    ("kept", "killed", "brought back"),
    ("killed", "changelog made anew", "killed"),
    ("kept", "changelog made anew", "brought back"),
    ("emptied", "killed", "replaced by files"),
    ("killed", "bit of rows flipped", "deleted"),
    ("ahead of its changelog", "bit of rows flipped", "truncated"),
    ("partitions swapped", "killed", "bit of rows flipped"),
    ("kept", "instances swapped", "brought back"),
    ("killed", "bit of the manifest flipped", "ahead of its changelog"),
    ("truncated", "killed", "bit of CURRENT flipped"),
    ("changelog made anew", "deleted", "killed"),
    ("bit of the write-ahead log flipped", "bit of the write-ahead log flipped", "bit of rows flipped"),
    ("replaced by files", "instances swapped", "emptied"),
)


@fault(
    "state",
    rounds=len(ROUNDS),
    roles=("ingress", "reader", "streams", "streams", "sink", "tasks"),
    seconds=600,
)
@asynccontextmanager
async def state(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Three losses a round, each between a kill of both workers and their return."""
    names = ROUNDS[(world.round_no - 1) % len(ROUNDS)]
    bites = Counter({f"state {name}": 0 for name in names})
    logs = Logs(world)
    losing = asyncio.create_task(_lose(world, chance, names, bites))
    try:
        yield bites
        # Short imports end before the last loss: a worker must come up from that too.
        await losing
    finally:
        losing.cancel()
        with suppress(asyncio.CancelledError):
            await losing
    for name in names:
        if LOSSES[name].seen:
            bites[f"discarded because {name}"] = logs.count("streams", *LOSSES[name].seen)


async def _lose(world: World, chance: Random, names: Sequence[str], bites: Bites) -> None:
    shares = sorted(chance.uniform(EARLIEST, LATEST) for _ in names)
    for name, share in zip(names, shares, strict=True):
        await world.reaches(share, 300)
        before = running(world, "streams")
        with unattended(world):
            for each in before:
                os.kill(each.pid, signal.SIGKILL)
            # They are dead when nothing of theirs is open any more.
            await asyncio.sleep(0.5)
            bites[f"state {name}"] += await asyncio.to_thread(LOSSES[name].damage, _disks(world, chance))
        for each in before:
            await asyncio.to_thread(world.stack.wait_restarted, each, READY_SECONDS)


def _disks(world: World, chance: Random) -> Disks:
    settings = world.stack.settings()
    partitions = {partition_of(each.encode(), PARTITIONS) for each in world.organizations}
    workers = sorted(settings.sluice_state_dir.glob("streams-*"))
    tables = [worker / "tables" / IDENTITIES_CHANGELOG for worker in workers]
    found = [table / f"{partition}.db" for table in tables for partition in sorted(partitions)]
    existing = [path for path in found if path.is_dir()]
    mine = sorted(existing[0].parent.glob("*.db")) if existing else []
    return Disks(workers, mine, existing, settings.kafka_bootstrap_servers, chance)
