"""What a sink is: three verbs, and the values that pass between it and the worker that drives it.

The worker calls `take_over` once for the partitions it was assigned and before it writes anything from them,
`write` for one group after the other, and `close` at the end. Every verb may raise:

    Unavailable     the destination is away, or whether a write was kept is not known: the worker lets go of
                    everything and begins again with `take_over`, however long it takes
    WriteFenced     a partition has moved on to another worker: likewise

Anything else that goes wrong is the sink's own to solve: a row that cannot be written is `failed`, a batch
that cannot be is a dead letter, and `write` returns.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sinks.batch import Arrival, Batch, Position, Unreadable
from sinks.judging import Image
from sluice.errors import SluiceError
from sluice.events import BatchApplied, IdentitiesChanged


class WriteFenced(SluiceError):
    """Partition {partition} belongs to another writer by now. This one lets go and begins again."""


InDoubt = dict[str, Any]
"""One stored result without its images: a row of the query `in_doubt`."""


@dataclass(slots=True)
class Applied:
    """The stored result of one batch: everything that its publication is made of, now or after a crash.

    `batch` is None where no row needs an event. `answer` is None for a batch that was answered when it was
    staged and now follows with its events.
    """

    organization_id: uuid.UUID
    job_id: uuid.UUID
    run: int
    batch: Batch | None
    letters: str
    contact_ids: bytes
    images: dict[int, Image]
    object_sha256: str
    applied_at: int
    answer: BatchApplied | None


@dataclass(slots=True)
class Published:
    """A position whose Kafka transaction is committed."""

    position: Position


@dataclass(slots=True)
class Written:
    """One group in the destination, and what is now to be published in one Kafka transaction."""

    applied: list[Applied] = field(default_factory=list)
    judged: list[tuple[uuid.UUID, int]] = field(default_factory=list)
    """Job and number of staged batches that the group judged: their events come first, read one by one."""
    identities: list[IdentitiesChanged] = field(default_factory=list)
    dead: list[Unreadable] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    """What is to be marked once the transaction is committed."""


class Sink(Protocol):
    """A destination of resolved rows."""

    async def take_over(self, partitions: Sequence[int]) -> list[InDoubt]:
        """Fence earlier writers of `partitions`; what is written of them and perhaps not published."""
        ...

    async def write(self, arrivals: Sequence[Arrival], published: Sequence[Published]) -> Written:
        """Judge and write one group, whole; mark what was published since. A repeated batch has no effect."""
        ...

    def results(self, written: Written) -> AsyncIterator[Applied]:
        """The results to publish, in order."""
        ...

    async def close(self) -> None:
        """Let go of the destination; what `write` returned is kept."""
        ...
