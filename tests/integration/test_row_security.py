"""What the API's role can do in the database by itself, whatever the code above it does or forgets."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest

from tasks import dnc
from tests.integration.stack import Servers


@dataclass
class World:
    """Two tenants, each with a user, a contact and a list; one connection each for owner and API."""

    owner: asyncpg.Connection[asyncpg.Record]
    api: asyncpg.Connection[asyncpg.Record]
    ours: uuid.UUID
    theirs: uuid.UUID
    me: uuid.UUID
    them: uuid.UUID

    async def act(
        self, organization: uuid.UUID | None, user: uuid.UUID | None, sql: str, *values: object
    ) -> str:
        """Run one statement as the API does for a caller, and roll it back."""
        transaction = self.api.transaction()
        await transaction.start()
        try:
            await self.api.execute(
                "SELECT set_config('sluice.organization_id', $1, true),"
                " set_config('sluice.user_id', $2, true)",
                str(organization or ""),
                str(user or ""),
            )
            return await self.api.execute(sql, *values)
        finally:
            await transaction.rollback()

    async def refuses(
        self, organization: uuid.UUID | None, user: uuid.UUID | None, sql: str, *values: object
    ) -> None:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ForeignKeyViolationError)):
            await self.act(organization, user, sql, *values)


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    owner = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    api = await asyncpg.connect(stack.env["DATABASE_URL"])
    ids = [uuid.uuid4() for _ in range(4)]
    ours, theirs, me, them = ids
    for organization, user in ((ours, me), (theirs, them)):
        await owner.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'x', $2)", organization, str(organization)
        )
        await owner.execute("INSERT INTO users (id) VALUES ($1)", user)
        await owner.execute("INSERT INTO memberships VALUES ($1, $2, 'admin')", organization, user)
        await owner.execute(
            "INSERT INTO contacts (id, organization_id, email, created_by) VALUES ($1, $1, 'a@b.de', $2)",
            organization,
            user,
        )
        await owner.execute(
            "INSERT INTO contact_lists (id, organization_id, name, created_by) VALUES ($1, $1, 'x', $2)",
            organization,
            user,
        )
    yield World(owner, api, ours, theirs, me, them)
    await owner.execute("DELETE FROM organizations WHERE id = ANY ($1)", [ours, theirs])
    await owner.execute("DELETE FROM users WHERE id = ANY ($1)", [me, them])
    await owner.close()
    await api.close()


@pytest.mark.requirement("K-35", "S4-001")
@pytest.mark.parametrize("table", ["contacts", "contact_lists"])
async def test_another_tenants_rows_do_not_exist(world: World, table: str) -> None:
    """Neither seen nor changed nor removed; and without a tenant there is nothing at all."""
    for sql in (f"UPDATE {table} SET status = 'x' WHERE id = $1", f"DELETE FROM {table} WHERE id = $1"):
        assert (await world.act(world.ours, world.me, sql, world.theirs)).endswith(" 0")
        assert (await world.act(None, None, sql, world.ours)).endswith(" 0")
        assert (await world.act(world.ours, world.me, sql, world.ours)).endswith(" 1")


@pytest.mark.requirement("K-03", "K-35")
async def test_nobody_joins_another_organization_by_himself(world: World) -> None:
    """A token without an organization is resolved by membership, so a membership is the key to everything."""
    join = "INSERT INTO memberships VALUES ($1, $2, 'admin')"
    await world.refuses(None, world.me, join, world.theirs, world.me)
    await world.refuses(world.ours, world.me, join, world.ours, world.them)
    move = "UPDATE memberships SET organization_id = $1 WHERE user_id = $2"
    assert await world.act(None, world.me, move, world.theirs, world.me) == "UPDATE 0"
    assert await world.act(world.ours, world.me, "UPDATE users SET name = 'x'") == "UPDATE 0"
    tier = "UPDATE organizations SET subscription_tier = 'enterprise'"
    assert await world.act(world.ours, world.me, tier) == "UPDATE 0"


@pytest.mark.requirement("K-03")
async def test_a_user_makes_his_own_personal_organization(world: World) -> None:
    """And nobody else's."""
    make = "INSERT INTO organizations (id, name, slug, personal_of) VALUES ($1, 'Personal', $2, $3)"
    personal = uuid.uuid4()
    assert await world.act(None, world.me, make, personal, str(personal), world.me) == "INSERT 0 1"
    await world.refuses(None, world.me, make, personal, str(personal), world.them)


@pytest.mark.requirement("K-35")
async def test_what_is_ones_own_is_not_put_to_what_is_not(world: World) -> None:
    """Another's contact on a list, another's list on a job, another's name on an entry."""
    member = (
        "INSERT INTO contact_list_memberships (organization_id, contact_id, list_id, added_by)"
        " VALUES ($1, $2, $1, $3)"
    )
    assert await world.act(world.ours, world.me, member, world.ours, world.ours, world.me) == "INSERT 0 1"
    await world.refuses(world.ours, world.me, member, world.ours, world.theirs, world.me)
    await world.owner.execute(member, world.ours, world.ours, world.me)
    turn = "UPDATE contact_list_memberships SET contact_id = $2 WHERE contact_id = $1"
    assert await world.act(world.ours, world.me, turn, world.ours, world.ours) == "UPDATE 1"
    await world.refuses(world.ours, world.me, turn, world.ours, world.theirs)
    job = "INSERT INTO import_jobs (organization_id, created_by, target_list_id) VALUES ($1, $2, $3)"
    assert await world.act(world.ours, world.me, job, world.ours, world.me, world.ours) == "INSERT 0 1"
    await world.refuses(world.ours, world.me, job, world.ours, world.me, world.theirs)
    audit = "INSERT INTO audit_log (organization_id, action) VALUES ($1, 'x')"
    assert await world.act(None, None, audit, world.ours) == "INSERT 0 1"
    await world.refuses(world.ours, world.me, audit, world.theirs)
    outbox = (
        "INSERT INTO outbox (organization_id, topic, key, event) VALUES ($1, 'dnc.changed.v1', 'x', '{}')"
    )
    assert await world.act(world.ours, world.me, outbox, world.ours) == "INSERT 0 1"
    await world.refuses(world.ours, world.me, outbox, None)
    await world.refuses(world.ours, world.me, outbox, world.theirs)


@pytest.mark.requirement("K-30", "K-35")
async def test_a_tenants_entry_never_stands_in_the_way_of_the_lists_own(world: World) -> None:
    """In a shared list each holder has a number for himself; in another's list nobody has any."""
    shared, number = uuid.uuid4(), "+14155550199"
    lists = "INSERT INTO dnc_lists (id, organization_id, name, slug, type, compliance_level) VALUES "
    await world.owner.execute(f"{lists} ($1, NULL, 'x', $2, 'state', 'required')", shared, str(shared))
    await world.owner.execute(
        f"{lists} ($1, $1, 'x', $2, 'company', 'required')", world.theirs, str(world.theirs)
    )
    entry = "INSERT INTO dnc_entries (list_id, organization_id, phone_number) VALUES ($1, $2, $3)"
    try:
        assert await world.act(world.ours, world.me, entry, shared, world.ours, number) == "INSERT 0 1"
        await world.refuses(world.ours, world.me, entry, shared, None, number)
        await world.refuses(world.ours, world.me, entry, world.theirs, world.ours, number)
        for holder in (world.ours, None, world.theirs):
            await world.owner.execute(entry, shared, holder, number)
        with pytest.raises(asyncpg.UniqueViolationError):
            await world.owner.execute(entry, shared, None, number)
    finally:
        await world.owner.execute("DELETE FROM dnc_lists WHERE id = $1", shared)


@pytest.mark.requirement("K-30")
async def test_a_number_that_a_tenant_holds_is_listed_for_all_once_operators_load_it(world: World) -> None:
    """The load makes an entry of its own, and a load that replaces leaves the tenant's where it is."""
    now, number, other = datetime.now(UTC), "+14155550199", "+14155550198"
    target = dnc.Target(f"Shared {world.ours}", "state", None)
    made = await dnc.load(world.owner, target, [dnc.Entry(other, "")], replace=False, now=now)
    try:
        entry = "INSERT INTO dnc_entries (list_id, organization_id, phone_number) VALUES ($1, $2, $3)"
        await world.owner.execute(entry, made.list_id, world.ours, number)

        async def statuses() -> list[str]:
            asked = [await dnc.check(world.owner, o, number, now=now) for o in (world.ours, world.theirs)]
            return [verdict.status for verdict in asked]

        assert await statuses() == ["listed", "clean"]
        await dnc.load(world.owner, target, [dnc.Entry(number, "")], replace=False, now=now)
        assert await statuses() == ["listed", "listed"]
        replaced = await dnc.load(world.owner, target, [dnc.Entry(other, "")], replace=True, now=now)
        assert await statuses() == ["listed", "clean"]
        # The operators' one and the tenant's one.
        assert replaced.entries == 2
    finally:
        await world.owner.execute("DELETE FROM dnc_lists WHERE id = $1", made.list_id)
        await world.owner.execute("DELETE FROM outbox WHERE key = $1", str(made.list_id))
