"""Do-Not-Call lists in memory, followed from PostgreSQL (D11).

Every process that scrubs holds the lists whole. `dnc.changed.v1` rings, PostgreSQL tells: an event makes the
follower read what changed, and so does a look every few seconds, so that a missed event lets nobody pass for
long. Nothing is scrubbed before the first complete load, nor when PostgreSQL has not answered for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import structlog
from aiokafka.errors import KafkaError

from sluice.broker import make_follower
from sluice.clock import Clock
from sluice.errors import DatabaseUnavailable, ListUnavailable
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from sluice.topics import DNC_CHANGED
from streams.look_ups import Listing
from streams.postgres import Changes, EntryRow, ListRow, Snapshot

log = structlog.get_logger(__name__)

STALE_AFTER = timedelta(days=31)
"""16 CFR 310.4(b)(3)(iv): a seller's copy of the registry may be at most 31 days old."""

POLL_SECONDS = 3.0
JOBS_REMEMBERED = 10_000
"""A job that was forgotten costs one more read."""

FRESH_SECONDS = 15.0
"""Without an answer of PostgreSQL for this long, what is known may miss a number: nobody passes."""


class _Entry(NamedTuple):
    date: str
    reason: str
    expires: datetime | None


class _List:
    """One list: its entries for all, and in a shared list those of single tenants."""

    def __init__(self, row: ListRow) -> None:
        self.row = row
        self.is_whole = False
        self.entries: dict[uuid.UUID | None, dict[str, _Entry]] = {}

    def take(self, changes: Changes) -> None:
        """Take in changed entries. Where the sum is wrong, some were deleted unseen: it is not whole then."""
        for entry in changes.entries:
            self._put(entry)
        self.is_whole = sum(map(len, self.entries.values())) == changes.total

    def _put(self, entry: EntryRow) -> None:
        """One that is no longer active is kept as its number's absence."""
        own = self.entries.setdefault(entry.organization_id, {})
        if not entry.active:
            own.pop(entry.phone_number, None)
            return
        reason = entry.reason or "On a Do-Not-Call list"
        own[entry.phone_number] = _Entry(entry.date_added.date().isoformat(), reason, entry.expiry_date)


class DncLists:
    """The lists as they stand here; what scrub looks up in."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lists: dict[uuid.UUID, _List] = {}
        self._answered_at: float | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether PostgreSQL answered lately."""
        answered = self._answered_at
        return answered is not None and self._clock.monotonic() - answered <= FRESH_SECONDS

    def versions(self) -> dict[uuid.UUID, int]:
        """The version of each list that is known whole, for the next read."""
        return {key: held.row.version for key, held in self._lists.items() if held.is_whole}

    @property
    def adds_up(self) -> bool:
        """Whether each list has here as many entries as it had in the database."""
        return all(held.is_whole for held in self._lists.values() if held.row.last_updated is not None)

    def take(self, snapshot: Snapshot) -> None:
        """Take in what a read found; a list that is gone is forgotten."""
        lists: dict[uuid.UUID, _List] = {}
        for row in snapshot.lists:
            held = self._lists.get(row.id)
            changes = snapshot.changes.get(row.id)
            if held is None or (changes is not None and changes.is_whole):
                held = _List(row)
            held.row = row
            if changes is not None:
                held.take(changes)
            lists[row.id] = held
        self._lists = lists
        self._answered_at = self._clock.monotonic()

    def oldest_age_seconds(self) -> float:
        """Age of the oldest list in use; 0 without one."""
        now = self._clock.now()
        ages = [
            (now - held.row.last_updated).total_seconds()
            for held in self._lists.values()
            if held.row.active and held.row.last_updated is not None
        ]
        return max(ages, default=0.0)

    def listings(self, organization_id: str, numbers: Sequence[str]) -> Mapping[str, Listing]:
        """The numbers that are listed, or that a stale list cannot clear.

        Raises:
            ListUnavailable: before the first load, or when PostgreSQL has been silent for too long.
        """
        if not self.is_fresh:
            raise ListUnavailable
        now = self._clock.now()
        organization = uuid.UUID(organization_id)
        found: dict[str, Listing] = {}
        uncleared: Listing | None = None
        for held in self._lists.values():
            updated = held.row.last_updated
            if updated is None or not held.row.active or held.row.organization_id not in (None, organization):
                continue
            for owner in {held.row.organization_id, organization}:
                _find(held, held.entries.get(owner), numbers, now, found)
            if now - updated > STALE_AFTER:
                uncleared = uncleared or _uncleared(held.row, updated)
        if uncleared is not None:
            found |= dict.fromkeys(
                (number for number in numbers if number and number not in found), uncleared
            )
        return found


def _find(
    held: _List,
    entries: dict[str, _Entry] | None,
    numbers: Sequence[str],
    now: datetime,
    found: dict[str, Listing],
) -> None:
    if not entries:
        return
    for number in numbers:
        entry = entries.get(number)
        if entry is not None and (entry.expires is None or entry.expires > now):
            listing = Listing(str(held.row.id), held.row.version, entry.date, entry.reason)
            found.setdefault(number, listing)


def _uncleared(row: ListRow, updated: datetime) -> Listing:
    date = updated.date().isoformat()
    return Listing(str(row.id), row.version, date, f"Unknown: list {row.id} was last updated on {date}")


class Reader(Protocol):
    """Where the lists are read from."""

    async def read(self, known: Mapping[uuid.UUID, int]) -> Snapshot: ...

    async def close(self) -> None: ...


class DncFollower:
    """Keeps `lists` up with PostgreSQL."""

    def __init__(self, settings: Settings, lists: DncLists, reader: Reader, telemetry: Telemetry) -> None:
        self._settings = settings
        self._lists = lists
        self._reader = reader
        self._telemetry = telemetry
        self._rung = asyncio.Event()
        self._reading = asyncio.Lock()
        self._fresh_for: OrderedDict[str, None] = OrderedDict()
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        """Stop following and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.close()

    async def refresh(self) -> None:
        """Read what changed, now.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        async with self._reading:
            self._lists.take(await self._reader.read(self._lists.versions()))
            if not self._lists.adds_up:
                self._lists.take(await self._reader.read(self._lists.versions()))
        self._telemetry.gauge("sluice_dnc_list_age_seconds", self._lists.oldest_age_seconds())

    async def freshen(self, job_id: str) -> None:
        """Read what changed, once for each job: a list that was loaded before an import began is in force.

        Nobody's clock is asked: what was committed before the job was made was so before its first batch.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if job_id in self._fresh_for:
            return
        await self.refresh()
        self._fresh_for[job_id] = None
        if len(self._fresh_for) > JOBS_REMEMBERED:
            self._fresh_for.popitem(last=False)

    async def _poll(self) -> None:
        while True:
            self._rung.clear()
            try:
                await self.refresh()
                self._telemetry.gauge("sluice_waiting", 0, dependency="database")
            except DatabaseUnavailable as error:
                log.warning("dnc_lists_unreadable", error=type(error.__cause__).__name__)
                self._telemetry.gauge("sluice_waiting", 1, dependency="database")
            except Exception:
                # Without this task the lists grow old, and nobody passes for ever: look again in any case.
                log.exception("dnc_lists_not_read")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), POLL_SECONDS)

    async def _listen(self) -> None:
        """Ring at every event. What it says is not needed: PostgreSQL knows better."""
        while True:
            consumer = make_follower(self._settings, [DNC_CHANGED.name], from_start=False)
            try:
                await consumer.start()
                async for _ in consumer:
                    self._rung.set()
            except KafkaError as error:
                log.warning("dnc_events_unreadable", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)
            finally:
                await consumer.stop()
