"""Undo of imports on a real PostgreSQL: what comes back, what is kept, what is told."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sluice.changes import identities_of
from sluice.contact import CONTACTS, IDENTITIES, identity_hash, identity_key
from sluice.events import ContactChanged, IdentitiesChanged
from sluice.settings import Settings
from sluice.stored import contact_of
from tasks.undo import steps, work
from tests.integration.sink_world import Given, ImportJob, World
from tests.integration.tasks.conftest import eventually
from tests.integration.undo_world import State, UndoWorld

EXAMPLES = int(os.environ.get("EXAMPLES") or 100)
EMAILS = [f"{name}@example.com" for name in ("ann", "bob", "cyd", "dan")]
NUMBERS = [f"+1212647100{n}" for n in range(4)]


@pytest.fixture
async def sink(settings: Settings, database: Any) -> AsyncIterator[World]:
    """The sink that imports; the outbox is empty before and after."""
    world = await World.open(settings.sink_database_url.get_secret_value())
    yield world
    await world.close()


@pytest.fixture
async def world(sink: World, settings: Settings) -> UndoWorld:
    """An organization of the test's own."""
    return await UndoWorld.open(sink, settings)


def row(email: str = "", phone: str = "", **values: Any) -> Given:
    """A row of a file."""
    listed = values.pop("listed", False)
    plain = {"email": email, "phone": phone, "phone_formatted": phone, **values}
    return Given({name: value for name, value in plain.items() if value}, listed=listed)


async def imported(world: UndoWorld, *batches: Sequence[Given], **options: Any) -> ImportJob:
    """A completed job of these batches."""
    job = await world.world.job(world.organization_id, **{"on_duplicate": "overwrite", **options})
    for number, rows in enumerate(batches, start=1):
        await world.write(job, rows, end="completed" if number == len(batches) else "")
    return job


async def undone(world: UndoWorld, job: ImportJob) -> asyncpg.Record:
    """The job's row once it is undone."""
    await world.ask(job)
    return await world.finish(job)


def counts(job: asyncpg.Record) -> tuple[int, ...]:
    """Total, reversed, kept as edited, kept as colliding."""
    return tuple(job[f"undo_{name}"] for name in ("total", "reversed", "kept_edited", "kept_colliding"))


async def kept(world: UndoWorld, job: ImportJob) -> dict[uuid.UUID, str]:
    """The contacts that the undo names."""
    rows = await world.connection.fetch("SELECT * FROM import_undo_kept WHERE job_id = $1", job.id)
    return {row["contact_id"]: row["reason"] for row in rows}


async def by_email(world: UndoWorld) -> dict[str, uuid.UUID]:
    """Contact ids by e-mail."""
    return {content["email"]: contact for contact, (content, _) in (await world.state()).items()}


async def told(world: UndoWorld) -> tuple[list[ContactChanged], list[IdentitiesChanged]]:
    """What waits for the relay."""
    rows = await world.connection.fetch(
        "SELECT topic, event FROM outbox WHERE organization_id = $1 ORDER BY id", world.organization_id
    )
    changed = [msgspec.json.decode(r["event"], type=ContactChanged) for r in rows if "contacts" in r["topic"]]
    identities = [
        msgspec.json.decode(r["event"], type=IdentitiesChanged) for r in rows if "identities" in r["topic"]
    ]
    return changed, identities


async def forget_told(world: UndoWorld) -> None:
    """As if the relay had sent what waits."""
    await world.connection.execute("DELETE FROM outbox WHERE organization_id = $1", world.organization_id)


@pytest.mark.requirement("S0-028", "K-13")
async def test_what_an_import_created_goes_and_what_it_changed_is_as_before(world: UndoWorld) -> None:
    """Content, tags, custom fields, mark, fingerprint and stamp come back; the version only rises."""
    await imported(
        world, [row(EMAILS[0], NUMBERS[0], first_name="Ann", tags="a;b", **{"custom_fields.Size": "L"})]
    )
    before = await world.state()
    job = await imported(
        world,
        [row(EMAILS[0], NUMBERS[1], first_name="Anna", tags="c", **{"custom_fields.Size": "M"}, listed=True)],
        [row(EMAILS[1], first_name="Bob"), row(EMAILS[1], first_name="Bobby"), row(EMAILS[2])],
    )
    left = await world.state()
    assert len(left) == 3
    job_row = await undone(world, job)
    ((contact, (content, version)),) = (await world.state()).items()
    assert content == before[contact][0]
    assert version == left[contact][1] + 1
    assert counts(job_row) == (3, 3, 0, 0)
    assert (job_row["state"], await kept(world, job)) == ("undone", {})


@pytest.mark.requirement("K-13")
async def test_what_was_edited_since_is_kept_and_named(world: UndoWorld) -> None:
    """A created contact, a changed one, and one that is gone; the rest is reversed."""
    await imported(world, [row(EMAILS[0], city="Oslo"), row(EMAILS[1], city="Oslo")])
    job = await imported(world, [row(EMAILS[0], city="Rome"), row(EMAILS[1], city="Rome"), row(EMAILS[2])])
    ids = await by_email(world)
    await world.edit(ids[EMAILS[0]], notes="called")
    await world.edit(ids[EMAILS[2]], notes="called")
    await world.delete(ids[EMAILS[1]])
    before = await world.state()
    job_row = await undone(world, job)
    assert await world.state() == before
    assert counts(job_row) == (3, 0, 3, 0)
    assert await kept(world, job) == {
        ids[EMAILS[0]]: "edited",
        ids[EMAILS[1]]: "deleted",
        ids[EMAILS[2]]: "edited",
    }


async def test_a_contact_whose_identity_has_a_new_holder_is_kept_and_named(world: UndoWorld) -> None:
    """With that holder; its other changes are not undone by halves."""
    await imported(world, [row(EMAILS[0], NUMBERS[0])])
    job = await imported(world, [row(EMAILS[1], NUMBERS[0], city="Rome")], match_on="phone")
    await world.add(EMAILS[0], None)
    before = await world.state()
    ids = await by_email(world)
    job_row = await undone(world, job)
    assert await world.state() == before
    assert counts(job_row) == (1, 0, 0, 1)
    named = await world.connection.fetchrow("SELECT * FROM import_undo_kept WHERE job_id = $1", job.id)
    assert named is not None
    assert (named["contact_id"], named["reason"], named["held_by"]) == (
        ids[EMAILS[1]],
        "colliding",
        ids[EMAILS[0]],
    )


@pytest.mark.parametrize("at_once", [1, 500])
async def test_identities_that_changed_hands_within_the_job_change_back(
    world: UndoWorld, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swapped over several batches, taken by a new contact, however few contacts one transaction takes."""
    monkeypatch.setattr(steps, "AT_ONCE", at_once)
    await imported(
        world, [row(EMAILS[0], NUMBERS[0]), row(EMAILS[1], NUMBERS[1]), row(EMAILS[2], NUMBERS[2])]
    )
    before = {contact: content for contact, (content, _) in (await world.state()).items()}
    job = await imported(
        world,
        [row("between@example.com", NUMBERS[0])],
        [row(EMAILS[0], NUMBERS[1])],
        [row(EMAILS[1], NUMBERS[2])],
        [row(EMAILS[2], NUMBERS[0])],
        [row("other@example.com", NUMBERS[2]), row(EMAILS[1], NUMBERS[3])],
        match_on="phone",
    )
    assert len(await world.state()) == 4
    assert counts(await undone(world, job)) == (4, 4, 0, 0)
    assert {contact: content for contact, (content, _) in (await world.state()).items()} == before


async def test_a_mark_that_a_skipped_row_set_is_taken_back(world: UndoWorld) -> None:
    """A contact that the job only marked was changed by it."""
    await imported(world, [row(EMAILS[0], NUMBERS[0])])
    before = {contact: content for contact, (content, _) in (await world.state()).items()}
    job = await imported(world, [row(EMAILS[0], NUMBERS[0], listed=True)], on_duplicate="skip")
    assert [content["do_not_call"] for content, _ in (await world.state()).values()] == [True]
    assert counts(await undone(world, job)) == (1, 1, 0, 0)
    assert {contact: content for contact, (content, _) in (await world.state()).items()} == before


@pytest.mark.requirement("K-13")
async def test_two_imports_are_undone_one_after_the_other(world: UndoWorld) -> None:
    """The later one first: the earlier finds its contacts as it left them, though their versions rose."""
    await imported(world, [row(EMAILS[0], city="Oslo")])
    start = {contact: content for contact, (content, _) in (await world.state()).items()}
    first = await imported(world, [row(EMAILS[0], city="Rome"), row(EMAILS[1], city="Rome")])
    second = await imported(world, [row(EMAILS[0], city="Bonn"), row(EMAILS[1], city="Bonn")])
    third = await imported(world, [row(EMAILS[0], city="Lima"), row(EMAILS[1], city="Lima")])
    assert counts(await undone(world, third)) == (2, 2, 0, 0)
    again = await imported(world, [row(EMAILS[0], city="Kyiv")])
    for job, count in ((again, 1), (second, 2), (first, 2)):
        assert counts(await undone(world, job)) == (count, count, 0, 0)
    assert {contact: content for contact, (content, _) in (await world.state()).items()} == start


async def test_the_earlier_of_two_imports_finds_its_contacts_edited(world: UndoWorld) -> None:
    """As long as the later one stands; nothing of that one is touched."""
    first = await imported(world, [row(EMAILS[0], city="Rome"), row(EMAILS[1], city="Rome")])
    await imported(world, [row(EMAILS[0], city="Bonn")])
    before = await world.state()
    ids = await by_email(world)
    assert counts(await undone(world, first)) == (2, 1, 1, 0)
    assert await world.state() == {ids[EMAILS[0]]: before[ids[EMAILS[0]]]}


async def test_a_change_between_two_touches_of_one_job_is_never_lost(world: UndoWorld) -> None:
    """The before-image is older than that change, so the contact is kept, created or not."""
    await imported(world, [row(EMAILS[0], city="Oslo")])
    job = await world.world.job(world.organization_id, on_duplicate="overwrite")
    await world.write(job, [row(EMAILS[0], city="Rome"), row(EMAILS[1], city="Rome")])
    ids = await by_email(world)
    for email in EMAILS[:2]:
        await world.edit(ids[email], notes="called")
    await world.write(job, [row(EMAILS[0], city="Bonn"), row(EMAILS[1], city="Bonn")], end="completed")
    before = await world.state()
    assert counts(await undone(world, job)) == (2, 0, 2, 0)
    assert await world.state() == before


async def test_contacts_leave_the_list_that_the_job_alone_put_them_on(world: UndoWorld) -> None:
    """Who was there before, or was put there by another import too, stays; the list counts right."""
    connection, organization = world.connection, world.organization_id
    list_id = await world.world.contact_list(organization)
    await imported(world, [row(EMAILS[0]), row(EMAILS[1]), row(EMAILS[2])])
    ids = await by_email(world)
    member = "INSERT INTO contact_list_memberships (organization_id, contact_id, list_id, added_by) VALUES"
    await connection.execute(f"{member} ($1, $2, $3, $1)", organization, ids[EMAILS[0]], list_id)
    await connection.execute("UPDATE contact_lists SET contact_count = 1 WHERE id = $1", list_id)
    job = await imported(world, [row(email) for email in EMAILS], list_id=list_id)
    await imported(world, [row(EMAILS[1])], list_id=list_id)
    job_row = await undone(world, job)
    members = "SELECT contact_id FROM contact_list_memberships WHERE list_id = $1"
    assert {each["contact_id"] for each in await connection.fetch(members, list_id)} == {
        ids[EMAILS[0]],
        ids[EMAILS[1]],
    }
    count = "SELECT contact_count FROM contact_lists WHERE id = $1"
    assert await connection.fetchval(count, list_id) == 2
    assert (counts(job_row), job_row["undo_left_lists"]) == ((1, 1, 0, 0), 1)


async def test_every_reversed_contact_is_told_once(world: UndoWorld) -> None:
    """What it is again or that it is gone, under the risen version; what was kept is not spoken of."""
    await imported(world, [row(EMAILS[0], NUMBERS[0], city="Oslo"), row(EMAILS[3])])
    job = await imported(
        world, [row(EMAILS[0], NUMBERS[1], city="Rome"), row(EMAILS[1]), row(EMAILS[3], city="Rome")]
    )
    ids = await by_email(world)
    await world.edit(ids[EMAILS[3]], notes="called")
    await forget_told(world)
    await undone(world, job)
    changed, _ = await told(world)
    found = {uuid.UUID(event.contact_id): event for event in changed}
    assert len(changed) == len(found) == 2
    back, gone = found[ids[EMAILS[0]]], found[ids[EMAILS[1]]]
    assert (back.action, back.version, back.changed_fields) == (
        "undone",
        3,
        ["city", "phone_as_given", "phone"],
    )
    assert back.contact is not None
    assert (back.contact.city, back.contact.phone) == ("Oslo", NUMBERS[0])
    assert (gone.action, gone.version, gone.contact) == ("deleted", 2, None)


async def test_an_undo_that_cannot_go_on_ends_as_failed_and_may_be_asked_for_again(
    world: UndoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, keeps what it did, holds up nobody else, and goes on where it stopped."""
    monkeypatch.setattr(steps, "AT_ONCE", 1)
    await imported(world, [row(EMAILS[0], city="Oslo")])
    job = await imported(world, [row(EMAILS[0], city="Rome"), row(EMAILS[1])])
    ids = await by_email(world)
    image = await world.connection.fetchval(
        "SELECT image FROM contact_before_images WHERE job_id = $1", job.id
    )
    spoil = "UPDATE contact_before_images SET image = $2 WHERE job_id = $1"
    await world.connection.execute(spoil, job.id, '{"version": "x"}')
    job_row = await undone(world, job)
    assert job_row["state"] == "failed"
    assert "ask for the undo again" in job_row["reason"]
    assert set(await world.state()) == {ids[EMAILS[0]]}
    await world.connection.execute(spoil, job.id, image)
    assert counts(await undone(world, job)) == (2, 2, 0, 0)


async def test_undo_waits_while_the_relay_is_behind(
    world: UndoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Announcements of others must not wait behind half a million of its own."""
    job = await imported(world, [row(EMAILS[0])])
    await world.ask(job)
    record = "INSERT INTO outbox (topic, key, event) VALUES ('dnc.changed.v1', 'x', '{}')"
    with monkeypatch.context() as patch:
        patch.setattr(work, "MOST_WAITING", 2)
        for _ in range(2):
            await world.connection.execute(record)
        assert not await world.undo.work(world.connection)
    assert (await world.finish(job))["state"] == "undone"


async def test_an_identity_that_is_taken_at_the_same_moment_is_found(
    world: UndoWorld, settings: Settings
) -> None:
    """The step that meets it is made again, and names the new holder."""
    await imported(world, [row(EMAILS[0], NUMBERS[0])])
    job = await imported(world, [row(EMAILS[1], NUMBERS[0])], match_on="phone")
    before = await world.state()
    other = await asyncpg.connect(settings.sink_database_url.get_secret_value())
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1"
    try:
        await world.ask(job)
        async with other.transaction():
            taken = await other.fetchval(
                "INSERT INTO contacts (organization_id, email, created_by) VALUES ($1, $2, $1) RETURNING id",
                world.organization_id,
                EMAILS[0],
            )
            pid = world.connection.get_server_pid()
            undoing = asyncio.create_task(world.finish(job))

            async def is_waiting() -> bool:
                return bool(await other.fetchval(waits, pid))

            await eventually(is_waiting)
        job_row = await undoing
    finally:
        await other.close()
    assert counts(job_row) == (1, 0, 0, 1)
    held_by = "SELECT held_by FROM import_undo_kept WHERE job_id = $1"
    assert await world.connection.fetchval(held_by, job.id) == taken
    assert {contact: held for contact, held in (await world.state()).items() if contact != taken} == before


async def test_a_job_under_undo_is_no_others_meanwhile(world: UndoWorld, settings: Settings) -> None:
    """A second process passes over a job that one works on, and takes another."""
    jobs = [await imported(world, [row(email)]) for email in EMAILS[:2]]
    for job in jobs:
        await world.ask(job)
    other = await asyncpg.connect(settings.sink_database_url.get_secret_value())
    try:
        async with other.transaction():
            await other.execute("SELECT FROM import_jobs WHERE id = $1 FOR UPDATE", jobs[0].id)
            await world.finish(jobs[1])
            assert not await world.undo.work(world.connection)
        await world.finish(jobs[0])
    finally:
        await other.close()
    assert await world.state() == {}


# Whatever happens ------------------------------------------------------------------------------------

SETTLED = [row(email, number) for email, number in zip(EMAILS[:3], NUMBERS, strict=False)]
"""Contacts that are there before the rest; nobody has the last e-mail and the last number."""

met: Counter[str] = Counter()
"""How often the stories below came to what they are about."""

POLICIES = ("overwrite", "overwrite", "overwrite", "skip", "fill_blanks", "merge_newest")
EDITS = ("notes", "notes", "email", "phone", "delete", "add")


def some_rows(chance: Random) -> list[Given]:
    """Rows whose identities meet: exchanged, handed on, taken, or anything."""
    one, two = chance.sample(range(3), 2)
    pairs = chance.choice(
        [
            [(3, one), (one, two), (two, one)],
            [(3, one), (one, two)],
            [(3, one), (one, 3)],
            [(one, one), (two, two)],
            [(chance.randrange(4), chance.randrange(-1, 4)) for _ in range(3)],
        ]
    )
    return [
        row(
            EMAILS[email],
            NUMBERS[number] if number >= 0 else "",
            first_name=chance.choice(["", "Ana", "Bo"]),
            tags=chance.choice(["", "vip", "new;vip"]),
            listed=chance.random() < 0.2,
        )
        for email, number in pairs
    ]


@pytest.mark.requirement("S0-028", "K-13")
@examples(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
async def test_contacts_are_as_before_the_job_but_for_those_that_are_named(
    sink: World, settings: Settings, seed: int
) -> None:
    """Three jobs at once with edits between their batches and their undoes, undone in any order."""
    chance = Random(seed)
    world = await UndoWorld.open(sink, settings)
    await imported(world, SETTLED)
    jobs = [
        await sink.job(
            world.organization_id,
            on_duplicate=chance.choice(POLICIES),
            match_on=chance.choice(["phone", "phone", "email", "either"]),
            blanks=chance.choice(["keep", "clear"]),
        )
        for _ in range(3)
    ]
    for _ in range(chance.randrange(2, 8)):
        await world.write(chance.choice((jobs[0], *jobs)), some_rows(chance))
        if chance.random() < 0.3:
            await change(world, chance)
    for job in jobs:
        await world.write(job, [], end="completed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "AT_ONCE", chance.choice([1, 2, 500]))
        for job in chance.sample(jobs, 3):
            if chance.random() < 0.4:
                await change(world, chance)
            if not await check_undo(world, job):
                break


@pytest.mark.skipif(EXAMPLES < 60, reason="too few stories to meet everything")
def test_the_stories_were_worth_it() -> None:
    """They came to everything that an undo has to tell apart."""
    wanted = (
        "deleted",
        "restored",
        "exchanged",
        "interrupted",
        "kept edited",
        "kept deleted",
        "kept colliding",
    )
    assert all(met[each] > 2 for each in wanted), met


async def change(world: UndoWorld, chance: Random) -> None:
    """One edit by a user."""
    kind, email, number = chance.choice(EDITS), chance.choice(EMAILS), chance.choice(NUMBERS)
    contacts = sorted(await world.state())
    if kind == "add" or not contacts:
        await world.add(email, number if chance.random() < 0.5 else None)
        return
    contact = chance.choice(contacts)
    if kind == "delete":
        await world.delete(contact)
    elif kind == "phone":
        await world.edit(contact, phone=number, phone_formatted=number)
    else:
        await world.edit(contact, **{kind: email})


async def check_undo(world: UndoWorld, job: ImportJob) -> bool:
    """Undo one job: contacts, names, counts and events are the model's.

    False where two contacts want one identity back: then it is only the counts that the model knows.
    """
    before = await world.state()
    expected = world.expect(job, before)
    met.update(expected.met)
    await forget_told(world)
    job_row = await undone(world, job)
    assert sum(counts(job_row)[1:]) == job_row["undo_total"] == sum(expected.counts.values())
    if expected.contested:
        assert job_row["undo_reversed"] < expected.counts["undo_reversed"]
        return False
    after = world.undone(job, expected, before)
    assert await world.state() == after
    assert await kept(world, job) == expected.kept
    assert {name: job_row[name] for name in expected.counts} == expected.counts
    changed, identities = await told(world)
    reversed_ids = sorted(expected.deleted | expected.restored)
    assert sorted(uuid.UUID(event.contact_id) for event in changed) == reversed_ids
    for event in changed:
        assert event.version == before[uuid.UUID(event.contact_id)][1] + 1
    await check_identities(world, before, after, identities)
    return True


async def check_identities(
    world: UndoWorld, before: State, after: State, told: Sequence[IdentitiesChanged]
) -> None:
    """A table that held what was true before holds what is true afterwards."""
    key = identity_key(world.undo._settings.identity_secret, world.organization_id, CONTACTS.name)

    def table(state: State) -> dict[tuple[str, bytes], bytes]:
        return {
            (kind, identity_hash(key, kind, content[name])): contact.bytes
            for contact, (content, _) in state.items()
            for kind, name in IDENTITIES.items()
            if content[name]
        }

    held = table(before)
    for change in (change for event in told for change in event.changes):
        other = "phone" if change.kind == "email" else "email"
        if change.contact_id is None:
            held.pop((change.kind, change.hash), None)
            continue
        held[change.kind, change.hash] = change.contact_id
        if change.other_hash:
            held[other, change.other_hash] = change.contact_id
    assert held == table(after)
    rows = await world.connection.fetch(
        "SELECT * FROM contacts WHERE organization_id = $1", world.organization_id
    )
    prints = {row["id"].bytes: row["fingerprint"] for row in rows if list(identities_of(contact_of(row)))}
    for change in (change for event in told for change in event.changes if change.contact_id):
        assert change.contact_id is not None
        assert prints[change.contact_id] == change.fingerprint
