"""Input that Faust has let go of: delivered, not acknowledged, and in nobody's hands.

When a table has been recovered, Faust empties the streams' queues while its fetcher is filling them again
(docs/decisions/0008). What was in them is read by nobody, and the partition is never committed past it. The
reader sends lost batches again, so no row waits for this; but corrections of identities would be missed, and
the group would show a lag for ever. A process that is started again reads on from what is committed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sluice.clock import Clock

PATIENCE_SECONDS = 30.0
"""Acknowledged messages are committed every second, and lost rows are sent again within four, so there is no
hurry. A broker that is away for longer, right behind an acknowledgement, ends the process too; its next start
waits for the broker."""


class Partition(NamedTuple):
    """A topic's partition, as the client names it."""

    topic: str
    partition: int


class Stalls:
    """Watches what was delivered against what is committed and what is still being worked on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delivered: dict[Partition, int] = {}
        self._since: dict[Partition, tuple[int | None, float]] = {}

    def delivered(self, place: tuple[str, int], offset: int) -> None:
        """A message was handed to its agent's queue."""
        self._delivered[Partition(*place)] = offset

    def stalled(
        self, committed: Mapping[tuple[str, int], int | None], in_hand: Collection[tuple[str, int]]
    ) -> list[Partition]:
        """Partitions whose last delivered message has been neither committed nor in hand for a while.

        `committed` has every partition that is held, with the offset to read on from, None for none.
        """
        now = self._clock.monotonic()
        for place in self._delivered.keys() - committed.keys():
            del self._delivered[place]
            self._since.pop(place, None)
        for place, offset in self._delivered.items():
            at = committed.get(place)
            if place in in_hand or offset < (at or 0):
                self._since.pop(place, None)
            elif place not in self._since or self._since[place][0] != at:
                # What is committed moves, so it is not lost.
                self._since[place] = (at, now)
        return sorted(place for place, (_, since) in self._since.items() if now - since > PATIENCE_SECONDS)
