"""Do-Not-Call lists on a real database: versions are whole, announced with their transaction, and counted."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks import dnc
from tasks.dnc import BadLine, Entry, ListHasOtherType, OrganizationUnknown, Target, check, load

NOW = datetime.now(UTC)
ONE, TWO, THREE = "+14155550101", "+14155550102", "+14155550103"


@pytest.fixture
async def organization(database: Any) -> AsyncIterator[uuid.UUID]:
    """A tenant of the test's own."""
    made = uuid.uuid4()
    await database.execute(
        "INSERT INTO organizations (id, name, slug) VALUES ($1, $2, $2)", made, f"Org {made}"
    )
    yield made
    await database.execute("DELETE FROM organizations WHERE id = $1", made)


def entries(*numbers: str, reason: str = "") -> list[Entry | BadLine]:
    return [Entry(number, reason) for number in numbers]


async def loaded(
    database: Any, organization: uuid.UUID | None, given: Iterable[Entry | BadLine], **options: Any
) -> dnc.Loaded:
    target = Target(options.pop("name", "Own list"), options.pop("type", "company"), organization)
    return await load(database, target, given, replace=options.pop("replace", False), now=NOW)


async def active(database: Any, list_id: uuid.UUID) -> set[str]:
    rows = await database.fetch(
        "SELECT phone_number FROM dnc_entries WHERE list_id = $1 AND status = 'active'", list_id
    )
    return {row["phone_number"] for row in rows}


@pytest.mark.requirement("S4-021", "K-43")
async def test_a_load_is_a_new_version_with_its_count_and_its_announcement(
    database: Any, organization: uuid.UUID
) -> None:
    """Entries, version, count and the outbox record are one transaction."""
    first = await loaded(database, organization, entries(ONE, TWO, ONE))
    second = await loaded(database, organization, [*entries(THREE), BadLine(2, "x")])
    row = await database.fetchrow("SELECT * FROM dnc_lists WHERE id = $1", first.list_id)
    announced = [
        (record["key"], json.loads(record["event"])["version"])
        for record in await database.fetch("SELECT * FROM outbox ORDER BY id")
    ]
    assert (first.version, first.entries, first.read) == (1, 2, 3)
    assert (second.version, second.entries, second.bad_lines) == (2, 3, [BadLine(2, "x")])
    assert (row["version"], row["contact_count"], row["slug"]) == (2, 3, "own-list")
    assert abs(row["last_updated"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert announced == [(str(first.list_id), 1), (str(first.list_id), 2)]


async def test_replace_retires_what_the_file_does_not_name(database: Any, organization: uuid.UUID) -> None:
    """Without it entries stay; with it they stop matching, and followers see that by their version."""
    await loaded(database, organization, entries(ONE, TWO))
    kept = await loaded(database, organization, entries(TWO))
    assert await active(database, kept.list_id) == {ONE, TWO}
    replaced = await loaded(database, organization, entries(TWO, THREE), replace=True)
    assert await active(database, kept.list_id) == {TWO, THREE}
    retired = await database.fetchrow(
        "SELECT status, version FROM dnc_entries WHERE list_id = $1 AND phone_number = $2", kept.list_id, ONE
    )
    assert tuple(retired) == ("removed", replaced.version)
    again = await loaded(database, organization, entries(ONE))
    assert ONE in await active(database, again.list_id)


async def test_a_load_that_breaks_off_leaves_the_last_version(database: Any, organization: uuid.UUID) -> None:
    """No entry, no version, no announcement: half a list would let numbers pass."""
    before = await loaded(database, organization, entries(ONE))

    def breaking() -> Iterator[Entry | BadLine]:
        yield Entry(TWO, "")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await loaded(database, organization, breaking(), replace=True)
    assert await active(database, before.list_id) == {ONE}
    assert await database.fetchval("SELECT version FROM dnc_lists WHERE id = $1", before.list_id) == 1
    assert await database.fetchval("SELECT count(*) FROM outbox") == 1


async def test_more_numbers_than_one_statement_takes(
    database: Any, organization: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are one version all the same, with a number that occurs in two of them."""
    monkeypatch.setattr(dnc, "CHUNK_ENTRIES", 3)
    numbers = [f"+1415555{n:04d}" for n in range(100, 120)]
    done = await loaded(database, organization, entries(*numbers, *numbers[:2]), replace=True)
    assert (done.read, done.entries, done.version) == (22, 20, 1)
    assert await active(database, done.list_id) == set(numbers)


@pytest.mark.requirement("K-30")
async def test_a_seeded_shared_list_is_found_by_its_name(database: Any, organization: uuid.UUID) -> None:
    """A list without organization holds for all tenants."""
    name = "California State DNC"
    done = await loaded(database, None, entries(ONE), name=name, type="state")
    try:
        assert await database.fetchval("SELECT count(*) FROM dnc_lists WHERE name = $1", name) == 1
        assert (await check(database, organization, ONE, now=NOW)).list_name == name
        assert (await check(database, None, ONE, now=NOW)).status == "listed"
    finally:
        await database.execute("DELETE FROM dnc_entries WHERE list_id = $1", done.list_id)
        await database.execute("UPDATE dnc_lists SET last_updated = NULL WHERE id = $1", done.list_id)


async def test_a_list_keeps_its_type(database: Any, organization: uuid.UUID) -> None:
    """A company's list does not become a state's by a slip, and nothing is written."""
    done = await loaded(database, organization, entries(ONE))
    with pytest.raises(ListHasOtherType, match="is a company list, not a state list"):
        await loaded(database, organization, entries(TWO), type="state")
    assert await active(database, done.list_id) == {ONE}


@pytest.mark.requirement("S4-064", "K-43")
async def test_a_check_fails_closed(database: Any, organization: uuid.UUID) -> None:
    """Listed, clean, expired, removed, another tenant's, and a list that is too old to clear anybody."""
    done = await loaded(database, organization, entries(ONE, TWO, THREE, reason="asked"))
    where = "WHERE list_id = $1 AND phone_number = $2"
    await database.execute(f"UPDATE dnc_entries SET expiry_date = now() {where}", done.list_id, TWO)
    await database.execute(f"UPDATE dnc_entries SET status = 'removed' {where}", done.list_id, THREE)
    now = datetime.now(UTC)
    listed = await check(database, organization, ONE, now=now)
    assert (listed.status, listed.list_name, listed.version, listed.reason) == (
        "listed",
        "Own list",
        1,
        "asked",
    )
    assert [(await check(database, organization, each, now=now)).status for each in (TWO, THREE)] == [
        "clean"
    ] * 2
    assert (await check(database, uuid.uuid4(), ONE, now=now)).status == "clean"
    later = now + timedelta(days=32)
    assert (await check(database, organization, ONE, now=later)).status == "listed"
    assert (await check(database, organization, TWO, now=later)).status == "unknown"


async def test_an_expired_entry_that_is_loaded_again_matches_again(
    database: Any, organization: uuid.UUID
) -> None:
    """The file says that the number is listed now."""
    done = await loaded(database, organization, entries(ONE))
    await database.execute(
        "UPDATE dnc_entries SET expiry_date = now() - interval '1 day' WHERE list_id = $1", done.list_id
    )
    assert (await check(database, organization, ONE, now=datetime.now(UTC))).status == "clean"
    again = await loaded(database, organization, entries(ONE))
    assert again.entries == 1
    assert (await check(database, organization, ONE, now=datetime.now(UTC))).status == "listed"


async def test_an_organization_is_found_by_the_name_that_people_use(
    database: Any, organization: uuid.UUID
) -> None:
    """Whatever its case; one that is not there is named in the answer."""
    assert await dnc.organization_named(database, f"ORG {str(organization).upper()}") == organization
    with pytest.raises(OrganizationUnknown, match='called "Nobody"'):
        await dnc.organization_named(database, "Nobody")
