"""How much of everything: layered limits, of which the tightest that applies answers 429 (K-16).

| what | whose | how much | counted |
|---|---|---|---|
| calls without a valid token | address of the connection | RATE_LIMIT_MAX in RATE_LIMIT_WINDOW | here |
| calls | organization | by tier, a day (S4-087 to S4-089) | here |
| imports | organization | by tier, a day | in import_jobs, exactly |
| uploads, also refused ones | organization of the free tier | 10 an hour (S1-108) | here, optional |

"Here" is the memory of one process: with n ingress processes a caller may get up to n times as much, and a
restart forgets; what is counted in the database is exact for all of them. ENABLE_RATE_LIMITING=false turns
off the optional ones only. S1's five imports an hour are never tighter than the free tier's five a day.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping
from datetime import datetime, timedelta

from ingress.authentication import Principal
from sluice.clock import Clock
from sluice.errors import RateLimited
from sluice.settings import Settings

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400

CALLS_A_DAY: Mapping[str, int] = {"free": 10_000, "pro": 100_000, "enterprise": 1_000_000}
IMPORTS_A_DAY: Mapping[str, int | None] = {"free": 5, "pro": 50, "enterprise": None}
UPLOADS_AN_HOUR: Mapping[str, int | None] = {"free": 10, "pro": None, "enterprise": None}

SLOTS = 60
"""A window is counted in so many parts: what came in a part leaves the window together."""

MAX_KEYS = 100_000
"""Callers remembered at once; beyond it the one that was quiet longest is forgotten."""


class SlidingWindow:
    """Counts calls by key over the last `window_seconds`, in constant memory for each key."""

    def __init__(self, window_seconds: float, clock: Clock) -> None:
        self._slot_seconds = window_seconds / SLOTS
        self._clock = clock
        self._keys: OrderedDict[Hashable, _Counted] = OrderedDict()

    def take(self, key: Hashable, limit: int) -> None:
        """Count one call. Raises RateLimited, and does not count it, when `limit` calls are in the window."""
        now = self._clock.monotonic() / self._slot_seconds
        counted = self._keys.get(key)
        if counted is None:
            counted = self._keys[key] = _Counted()
            if len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        self._keys.move_to_end(key)
        counted.forget(int(now) - SLOTS - 1)
        if counted.total >= limit:
            first = counted.slots[0][0] if counted.slots else int(now)
            raise RateLimited(
                retry_after_seconds=max(1, math.ceil((first + SLOTS + 1 - now) * self._slot_seconds))
            )
        counted.add(int(now))


class _Counted:
    __slots__ = ("slots", "total")

    def __init__(self) -> None:
        self.slots: deque[list[int]] = deque()  # [slot, calls]
        self.total = 0

    def add(self, slot: int) -> None:
        if self.slots and self.slots[-1][0] == slot:
            self.slots[-1][1] += 1
        else:
            self.slots.append([slot, 1])
        self.total += 1

    def forget(self, slot: int) -> None:
        while self.slots and self.slots[0][0] <= slot:
            self.total -= self.slots.popleft()[1]


class Limits:
    """The limits that are counted in this process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._optional = settings.enable_rate_limiting
        self._unauthenticated_max = settings.rate_limit_max
        self._unauthenticated = SlidingWindow(settings.rate_limit_window, clock)
        self._calls = SlidingWindow(DAY_SECONDS, clock)
        self._uploads = SlidingWindow(HOUR_SECONDS, clock)
        self._analyses = SlidingWindow(HOUR_SECONDS, clock)

    def unauthenticated(self, address: str | None) -> None:
        """Count a call without a valid token. Raises RateLimited."""
        self._unauthenticated.take(address, self._unauthenticated_max)

    def call(self, principal: Principal) -> None:
        """Count a call of an organization. Raises RateLimited."""
        self._calls.take(principal.organization_id, CALLS_A_DAY[principal.tier])

    def upload(self, principal: Principal) -> None:
        """Count an upload that begins. Raises RateLimited."""
        self._take_hourly(self._uploads, principal)

    def analysis(self, principal: Principal) -> None:
        """Count an analysis that begins: as many as uploads, since each reads a file. Raises RateLimited."""
        self._take_hourly(self._analyses, principal)

    def _take_hourly(self, window: SlidingWindow, principal: Principal) -> None:
        limit = UPLOADS_AN_HOUR[principal.tier]
        if self._optional and limit is not None:
            window.take(principal.organization_id, limit)


def check_imports(tier: str, made: int, oldest: datetime | None, now: datetime) -> None:
    """Raise RateLimited when an organization that made so many imports in the last day may make no more."""
    limit = IMPORTS_A_DAY[tier]
    if limit is None or made < limit:
        return
    free_at = (oldest or now) + timedelta(seconds=DAY_SECONDS)
    raise RateLimited(retry_after_seconds=max(1, math.ceil((free_at - now).total_seconds())))
