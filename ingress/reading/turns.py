"""How the jobs that send to one partition share what may be on its way there (D2)."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Hashable

from sluice.clock import Clock

SHARED_BATCHES = 8
"""The cap where jobs meet: what is on its way is a queue in front of whoever comes next, and a batch of 500
rows is some 30 ms of it. Alone, a job has the whole window, which makes larger groups in the sink."""
SHARED_SECONDS = 30.0
"""How long a partition counts as shared after jobs have met there: small imports come in rows."""


class Turns:
    """A cap on batches and bytes that are on their way to one partition, which jobs share in turns.

    A job that has nothing on its way always gets its turn, so a large file cannot hold up a small one; the
    cap may be passed by one batch for each job. Whoever waits longest comes next.
    """

    def __init__(self, limit: int, limit_bytes: int, clock: Clock) -> None:
        self._full = limit
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._shared_until = 0.0
        self._weight: Counter[Hashable] = Counter()
        self._taken: Counter[Hashable] = Counter()
        self._waiting: OrderedDict[asyncio.Future[None], Hashable] = OrderedDict()

    @property
    def taken(self) -> int:
        """Turns taken and not given back."""
        return self._taken.total()

    def held(self, job: Hashable) -> int:
        """Turns that this job has taken and not given back."""
        return self._taken[job]

    async def take(self, job: Hashable) -> None:
        """Wait for a turn of this job and take it."""
        if any(turns > 0 and other is not job for other, turns in self._taken.items()):
            self._shared_until = self._clock.monotonic() + SHARED_SECONDS
        if self._may(job) and not (self._waiting and self._taken[job]):
            self._taken[job] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = job
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(job, 1, 0)
            raise
        finally:
            self._waiting.pop(turn, None)

    def weigh(self, job: Hashable, size_bytes: int) -> None:
        """The batch of a turn that was taken has this size."""
        self._weight[job] += size_bytes

    def give_back(self, job: Hashable, turns: int, size_bytes: int) -> None:
        """These turns of a job are over: their batches are applied or will not be sent."""
        self._taken[job] -= turns
        self._weight[job] -= size_bytes
        self._grant()

    def give_back_all(self, job: Hashable) -> None:
        """The job is over."""
        self._taken.pop(job, None)
        self._weight.pop(job, None)
        self._grant()

    @property
    def _limit(self) -> int:
        shared = self._clock.monotonic() < self._shared_until
        return min(self._full, SHARED_BATCHES) if shared else self._full

    def _may(self, job: Hashable) -> bool:
        return not self._taken[job] or (self.taken < self._limit and self._weight.total() < self._limit_bytes)

    def _grant(self) -> None:
        for turn, job in list(self._waiting.items()):
            if self._may(job):
                del self._waiting[turn]
                self._taken[job] += 1
                turn.set_result(None)
