"""Do-Not-Call lists in memory: who is listed, what is unknown, and when nobody may pass."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from sluice.clock import FakeClock
from sluice.errors import DatabaseUnavailable, ListUnavailable
from sluice.telemetry import Telemetry
from streams.dnc import FRESH_SECONDS, STALE_AFTER, DncFollower, DncLists
from streams.postgres import Changes, EntryRow, ListRow, Snapshot
from tests.unit.streams.batches import ORGANIZATION

OWN, OTHER, LIST = uuid.UUID(ORGANIZATION), uuid.UUID(int=2), uuid.UUID(int=7)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = ["+14155552671", "+14155552672", "", "+14155552673"]


def entry(
    number: str, organization: uuid.UUID | None = OWN, *, active: bool = True, expires: datetime | None = None
) -> EntryRow:
    return EntryRow(number, organization, "asked", NOW, expires, active)


def snapshot(
    entries: Iterable[EntryRow] | None,
    *,
    organization: uuid.UUID | None = OWN,
    version: int = 1,
    updated: datetime | None = NOW,
    active: bool = True,
    is_whole: bool = True,
    total: int | None = None,
) -> Snapshot:
    """One list as the database has it; no entries for a list that did not change."""
    row = ListRow(LIST, organization, version, updated, active)
    if entries is None:
        return Snapshot([row], {})
    rows = list(entries)
    count = sum(each.active for each in rows) if total is None else total
    return Snapshot([row], {LIST: Changes(is_whole, rows, count)})


def lists(*snapshots: Snapshot, clock: FakeClock | None = None) -> DncLists:
    held = DncLists(clock or FakeClock(NOW))
    for each in snapshots:
        held.take(each)
    return held


def listed(held: DncLists) -> list[str]:
    return sorted(held.listings(ORGANIZATION, NUMBERS))


@pytest.mark.requirement("K-43", "B-03")
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (snapshot([entry(NUMBERS[0])]), [NUMBERS[0]]),
        (snapshot([entry(NUMBERS[0])], organization=OTHER), []),
        (snapshot([entry(NUMBERS[0], None)], organization=None), [NUMBERS[0]]),
        (snapshot([entry(NUMBERS[0], OWN)], organization=None), [NUMBERS[0]]),
        (snapshot([entry(NUMBERS[0], OTHER)], organization=None), []),
        (snapshot([entry(NUMBERS[0], active=False)]), []),
        (snapshot([entry(NUMBERS[0], expires=NOW)]), []),
        (snapshot([entry(NUMBERS[0], expires=NOW + timedelta(seconds=1))]), [NUMBERS[0]]),
        (snapshot([entry(NUMBERS[0])], active=False), []),
        (snapshot(None, updated=None), []),
    ],
)
def test_a_number_is_listed_for_those_whom_the_list_concerns(state: Snapshot, expected: list[str]) -> None:
    """Own and shared lists, active ones, entries that have not expired; a list never loaded is not asked."""
    assert listed(lists(state)) == expected


def test_a_listing_names_list_version_date_and_reason() -> None:
    """So that the answer can be checked by whoever doubts it."""
    found = lists(snapshot([entry(NUMBERS[0])], version=4)).listings(ORGANIZATION, NUMBERS)
    assert tuple(found[NUMBERS[0]]) == (str(LIST), 4, "2026-01-01", "asked")


def test_changes_come_on_top_of_what_is_known() -> None:
    """One more, then the first removed."""
    held = lists(
        snapshot([entry(NUMBERS[0])]),
        snapshot([entry(NUMBERS[1])], version=2, is_whole=False, total=2),
        snapshot([entry(NUMBERS[0], active=False)], version=3, is_whole=False, total=1),
    )
    assert listed(held) == [NUMBERS[1]]
    assert (held.versions(), held.adds_up) == ({LIST: 3}, True)


def test_a_sum_that_is_wrong_asks_for_the_whole_list() -> None:
    """Entries deleted without a trace are missed by their number."""
    held = lists(snapshot([entry(NUMBERS[0])]), snapshot([], version=2, is_whole=False, total=0))
    assert (held.versions(), held.adds_up) == ({}, False)


@pytest.mark.requirement("K-43")
def test_a_stale_list_clears_no_number() -> None:
    """Who is listed elsewhere keeps that reason; an empty number is none."""
    stale = lists(snapshot([entry(NUMBERS[0])], updated=NOW - STALE_AFTER - timedelta(seconds=1)))
    found = stale.listings(ORGANIZATION, NUMBERS)
    assert sorted(found) == sorted(filter(None, NUMBERS))
    assert found[NUMBERS[0]].reason == "asked"
    assert found[NUMBERS[1]].reason == f"Unknown: list {LIST} was last updated on 2025-11-30"
    assert listed(lists(snapshot([], updated=NOW - STALE_AFTER))) == []


@pytest.mark.requirement("K-43")
def test_nobody_passes_before_the_first_load_nor_behind_a_silent_database() -> None:
    """Failing closed: an error, never an empty answer."""
    clock = FakeClock(NOW)
    held = DncLists(clock)
    with pytest.raises(ListUnavailable):
        listed(held)
    held.take(snapshot([]))
    clock.advance(FRESH_SECONDS)
    assert listed(held) == []
    clock.advance(0.1)
    with pytest.raises(ListUnavailable):
        listed(held)


class Database:
    """A reader whose answers are laid out beforehand; None is an outage."""

    def __init__(self, *answers: Snapshot | None) -> None:
        self.answers = list(answers)
        self.asked: list[dict[uuid.UUID, int]] = []

    async def read(self, known: Mapping[uuid.UUID, int]) -> Snapshot:
        self.asked.append(dict(known))
        answer = self.answers.pop(0)
        if answer is None:
            raise DatabaseUnavailable
        return answer

    async def close(self) -> None:
        self.answers.clear()


async def test_a_refresh_reads_the_whole_list_when_the_sum_is_wrong() -> None:
    """At once, not at the next look."""
    held = lists(snapshot([entry(NUMBERS[0]), entry(NUMBERS[1])]))
    database = Database(
        snapshot([], version=2, is_whole=False, total=1), snapshot([entry(NUMBERS[1])], version=2)
    )
    await DncFollower(None, held, database, Telemetry("test")).refresh()  # type: ignore[arg-type]
    assert database.asked == [{LIST: 1}, {}]
    assert listed(held) == [NUMBERS[1]]


async def test_an_outage_leaves_what_is_known() -> None:
    """It ages until nobody passes, and is good again with the next answer."""
    held = lists(snapshot([entry(NUMBERS[0])]))
    with pytest.raises(DatabaseUnavailable):
        await DncFollower(None, held, Database(None), Telemetry("test")).refresh()  # type: ignore[arg-type]
    assert listed(held) == [NUMBERS[0]]


@pytest.mark.requirement("B-03", "K-43")
async def test_a_list_loaded_before_an_import_is_in_force_for_its_first_row() -> None:
    """A job's first batch makes the follower look; its other batches do not ask again."""
    held = lists(snapshot([]))
    database = Database(snapshot([entry(NUMBERS[0])], version=2), snapshot([], version=2))
    follower = DncFollower(None, held, database, Telemetry("test"))  # type: ignore[arg-type]
    for _ in range(3):
        await follower.freshen("job 1")
        assert listed(held) == [NUMBERS[0]]
    assert len(database.asked) == 1
    await follower.freshen("job 2")
    assert len(database.asked) == 2


async def test_an_outage_leaves_a_job_waiting_for_its_first_look() -> None:
    """It is asked again until it was answered once."""
    held = lists(snapshot([entry(NUMBERS[0])]))
    database = Database(None, snapshot([entry(NUMBERS[0])]))
    follower = DncFollower(None, held, database, Telemetry("test"))  # type: ignore[arg-type]
    with pytest.raises(DatabaseUnavailable):
        await follower.freshen("job 1")
    await follower.freshen("job 1")
    assert len(database.asked) == 2
