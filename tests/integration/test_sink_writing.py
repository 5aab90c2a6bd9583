"""What the sink writes: bad rows, races, cancelling, lists, marks, images, atomic jobs and dry runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from sinks import postgres, segment
from sinks.batch import Hint
from sinks.contract import WriteFenced
from sluice.contact import contact_id
from sluice.errors import DatabaseUnavailable
from sluice.outcome import Outcome
from sluice.rules import Decision, LookUp, Policy, Row, decide
from tests.integration.sink_world import MARK_LIST, PARTITION, Given, World
from tests.integration.stack import Servers

O = Outcome  # noqa: E741 - a table of outcomes reads better with short names


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


def person(n: int, **values: str) -> Given:
    """A row that shares nothing with another."""
    return Given(
        {"email": f"p{n}@example.com", "phone": f"646{n:07}", "phone_formatted": f"+1646{n:07}", **values}
    )


def new(rows: Sequence[Given]) -> list[tuple[int, bytes]]:
    return [(Hint.NEW, b"")] * len(rows)


async def one(world: World, sql: str, *values: Any) -> Any:
    return await world.connection.fetchval(sql, *values)


# Rows that cannot be stored -----------------------------------------------------------------------


@pytest.mark.requirement("S0-027", "B-04")
@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"first_name": "x" * 101}, "database_22001"),
        ({"notes": "a\x00b"}, "database_22021"),
        ({"custom_fields.size": "a\x00b"}, "database_22P05"),
        ({"last_contact_date": "yesterday"}, "row_rejected"),
        ({"country": "NOR"}, "database_22001"),
    ],
)
async def test_a_row_that_cannot_be_stored_fails_alone(world: World, bad: dict[str, str], code: str) -> None:
    """Its batch and the other batches of its group are written; it is `failed` and says why."""
    job = await world.job(await world.organization())
    blank = dict.fromkeys(bad, "")
    rows = [person(n, **blank) for n in range(40)]
    rows[17] = person(17, **bad)
    first = world.batch(job, rows, hints=new(rows))
    other = [person(n, **blank) for n in range(40, 45)]
    second = world.batch(job, other, hints=new(other), end="completed")
    written = await world.write(first, second)
    outcomes = await world.outcomes(job)
    assert outcomes == [*[O.CREATED] * 17, O.FAILED, *[O.CREATED] * 27]
    assert len(await world.contacts(job.organization_id)) == 44
    faults = msgspec.json.decode(
        await one(world, "SELECT faults FROM import_batches WHERE job_id = $1 AND batch_no = 1", job.id)
    )
    assert [fault["code"] for fault in faults["17"]] == [code]
    assert written.dead == []
    assert (await world.row(job))["state"] == "completed"


async def test_a_row_that_our_own_code_cannot_process_is_set_aside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three tries the batch is taken apart; the row that raises is `failed`, with a dead letter."""
    tries = []

    def broken(rows: Sequence[Row], look_up: LookUp, policy: Policy) -> Decision:
        tries.append(len(rows))
        if any(row.values.get("email") == "p3@example.com" for row in rows):
            raise LookupError("a bug")
        return decide(rows, look_up, policy)

    monkeypatch.setattr(segment, "decide", broken)
    job = await world.job(await world.organization())
    written = await world.write(world.batch(job, [person(n) for n in range(8)]))
    assert await world.outcomes(job) == [*[O.CREATED] * 3, O.FAILED, *[O.CREATED] * 4]
    assert tries.count(8) == 1 + 3
    assert [letter.problem for letter in written.dead] == ["LookupError in row 4."]


async def test_faults_of_a_hostile_file_are_kept(world: World) -> None:
    """A value with a NUL character, which JSON in PostgreSQL cannot hold, is shown with a stand-in."""
    job = await world.job(await world.organization())
    await world.write(world.batch(job, [Given({"email": "x"}, refused=O.INVALID)]))
    kept = await one(world, "SELECT faults #>> '{0,0,value}' FROM import_batches WHERE job_id = $1", job.id)
    assert kept == "x\ufffd"


# Races and outages --------------------------------------------------------------------------------


@pytest.mark.requirement("S0-024", "S0-045")
async def test_a_database_error_rolls_the_whole_group_back(world: World, stack: Servers) -> None:
    """An error that is no row's fault is waited for: nothing is written, and later everything, once."""
    job = await world.job(await world.organization(), on_duplicate="overwrite")
    await world.write(world.batch(job, [person(0)]))
    changed = world.batch(job, [person(0, notes="new"), person(1), person(2)], end="completed")
    migrate_url = stack.settings().migrate_database_url
    assert migrate_url is not None
    owner = await asyncpg.connect(migrate_url.get_secret_value())
    await owner.execute(
        f"""CREATE FUNCTION broken_disk() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN RAISE EXCEPTION ''disk'' USING ERRCODE = ''58030''; END';
            CREATE TRIGGER broken_disk BEFORE INSERT ON import_batches FOR EACH ROW
                WHEN (NEW.job_id = '{job.id}') EXECUTE FUNCTION broken_disk()"""
    )
    before = (await world.contacts(job.organization_id), dict(await world.row(job)))
    with pytest.raises(DatabaseUnavailable):
        await world.write(changed)
    assert (await world.contacts(job.organization_id), dict(await world.row(job))) == before
    await owner.execute("DROP TRIGGER broken_disk ON import_batches; DROP FUNCTION broken_disk()")
    await owner.close()
    await world.write(changed)
    assert await world.outcomes(job) == [O.CREATED, O.UPDATED, O.CREATED, O.CREATED]


@pytest.mark.requirement("K-01")
async def test_a_contact_that_appears_meanwhile_is_met_and_not_doubled(world: World) -> None:
    """The unique index is the last judge: the row is judged anew and is a duplicate."""
    organization_id = await world.organization()
    job = await world.job(organization_id)
    batch = world.batch(job, [person(1), person(2)], hints=new([person(1), person(2)]))
    async with world.connection.transaction():
        await world.connection.execute(
            "INSERT INTO contacts (organization_id, email, created_by) VALUES ($1, 'p1@example.com', $1)",
            organization_id,
        )
        writing = asyncio.create_task(world.write(batch))
        await waits_for_a_lock(world)
    await writing
    assert await world.outcomes(job) == [O.DUPLICATE_EXISTING, O.CREATED]


async def waits_for_a_lock(world: World) -> None:
    """Until the sink's connection waits for somebody."""
    waiting = """SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = 'sluice-sink' AND wait_event_type = 'Lock'"""
    # Not in the transaction that is waited for: it would see the same activity for ever.
    for _ in range(2000):
        if await world.sink.reader.fetchval(waiting):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


async def test_taking_over_waits_for_the_writer_and_fences_it(world: World) -> None:
    """A new owner gets a partition when the old one's transaction ends; then the old one is refused."""
    job = await world.job(await world.organization())
    async with world.connection.transaction():
        await world.connection.execute(
            "SELECT FROM sink_partitions WHERE topic_partition = $1 FOR SHARE", PARTITION
        )
        taking = asyncio.create_task(world.sink.take_over([PARTITION]))
        await waits_for_a_lock(world)
        assert not taking.done()
    await taking
    await world.connection.execute(
        "UPDATE sink_partitions SET epoch = epoch + 1 WHERE topic_partition = $1", PARTITION
    )
    with pytest.raises(WriteFenced):
        await world.write(world.batch(job, [person(1)]))
    assert await world.contacts(job.organization_id) == {}


async def test_a_writer_that_stands_still_in_a_statement_is_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped in the middle of a COPY keeps its partition until the next owner ends it.

    No time limit of the database reaches it there: it is neither idle nor does it wait for a lock.
    """
    monkeypatch.setattr(postgres, "WRITER_SECONDS", 0.2)
    zombie = await asyncpg.connect(world.sink.dsn, server_settings=postgres.SESSION)

    async def nothing_more() -> AsyncIterator[bytes]:
        yield b""
        await asyncio.Event().wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        transaction = zombie.transaction()
        await transaction.start()
        await zombie.execute("SELECT FROM sink_partitions WHERE topic_partition = $1 FOR SHARE", PARTITION)
        copying = group.create_task(zombie.copy_to_table("contacts", source=nothing_more(), columns=["id"]))
        await world.sink.take_over([PARTITION])
        copying.cancel()
    zombie.terminate()
    job = await world.job(await world.organization())
    await world.write(world.batch(job, [person(1)]))
    assert await world.outcomes(job) == [O.CREATED]


# Which batches count ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"batch_no": 3}, {"lease_epoch": 2}, {"lease_epoch": 0}, {"run": 2}],
    ids=["ahead", "later lease", "earlier lease", "another run"],
)
async def test_a_batch_that_is_not_the_next_one_is_dropped(world: World, changes: dict[str, Any]) -> None:
    """Nothing is written and nothing answered; the sender sends it again in its turn."""
    job = await world.job(await world.organization())
    await world.write(world.batch(job, [person(1)]))
    written = await world.write(world.batch(job, [person(2)], **changes))
    assert written.applied == []
    assert await world.outcomes(job) == [O.CREATED]


async def test_a_batch_of_another_tenants_job_is_dropped(world: World) -> None:
    """The organization in the message must be the job's own."""
    job = await world.job(await world.organization())
    intruder = str(await world.organization())
    written = await world.write(world.batch(job, [person(1)], organization_id=intruder))
    assert written.applied == []
    assert await world.contacts(uuid.UUID(intruder)) == {}


async def test_nothing_follows_the_last_batch(world: World) -> None:
    """A job that has ended takes no batch, not even in the same group."""
    job = await world.job(await world.organization())
    last = world.batch(job, [person(1)], end="completed")
    late = world.batch(job, [person(2)])
    await world.write(last, late)
    await world.write(late)
    assert await world.outcomes(job) == [O.CREATED]


async def test_the_end_of_a_job_is_what_its_last_batch_says(world: World) -> None:
    """A failed source fails the job, with its reason; what was applied stays."""
    job = await world.job(await world.organization())
    await world.write(world.batch(job, [person(1)], end="failed", end_reason="The file was overwritten."))
    row = await world.row(job)
    assert (row["state"], row["reason"], row["created"]) == ("failed", "The file was overwritten.", 1)


async def test_a_paused_job_can_still_end(world: World) -> None:
    """Its last batch was on its way when it was paused."""
    job = await world.job(await world.organization())
    await world.connection.execute("UPDATE import_jobs SET state = 'paused' WHERE id = $1", job.id)
    await world.write(world.batch(job, [person(1)]))
    assert (await world.row(job))["state"] == "paused"
    await world.write(world.batch(job, [], end="completed"))
    assert (await world.row(job))["state"] == "completed"


@pytest.mark.requirement("K-42")
@pytest.mark.parametrize("mode", ["partial", "atomic"])
async def test_rows_behind_a_cancellation_are_cancelled(world: World, mode: str) -> None:
    """What was written stays, what was not has the outcome `cancelled`, and the sum is the rows read."""
    job = await world.job(await world.organization(), mode=mode)
    await world.write(world.batch(job, [person(1)]))
    await world.connection.execute("UPDATE import_jobs SET cancel_requested_at = now() WHERE id = $1", job.id)
    await world.write(world.batch(job, [person(2), person(3)]))
    await world.write(world.batch(job, [], end="cancelled", end_reason="Cancelled by its owner."))
    first = O.CREATED if mode == "partial" else O.CANCELLED
    assert await world.outcomes(job) == [first, O.CANCELLED, O.CANCELLED]
    row = await world.row(job)
    assert (row["state"], row["rows_read"], row["reason"]) == ("cancelled", 3, "Cancelled by its owner.")


# What is written beside contacts ------------------------------------------------------------------


@pytest.mark.requirement("S0-023")
async def test_contacts_belong_to_the_user_of_their_job(world: World) -> None:
    """Every created contact names the job's creator and organization."""
    job = await world.job(await world.organization())
    rows = [person(1), person(2), person(1)]
    await world.write(world.batch(job, rows, hints=new(rows)))
    owners = await world.connection.fetch(
        "SELECT DISTINCT created_by, country FROM contacts WHERE organization_id = $1", job.organization_id
    )
    assert [tuple(row) for row in owners] == [((await world.row(job))["created_by"], None)]


async def test_every_row_that_ends_at_a_contact_puts_it_on_the_list(world: World) -> None:
    """Duplicates too, conflicts and refused rows not; the count is right, and nobody is on it twice."""
    organization_id = await world.organization()
    list_id = await world.contact_list(organization_id)
    known = await world.job(organization_id)
    await world.write(world.batch(known, [person(1), person(2), person(3)], hints=new([person(1)] * 3)))
    job = await world.job(organization_id, list_id=list_id, match_on="either")
    crossed = person(2)
    crossed.values |= {"phone": "6460000003", "phone_formatted": "+16460000003"}
    rows = [person(1), person(1), person(4), crossed, Given({"email": "x"}, refused=O.INVALID)]
    await world.write(world.batch(job, rows))
    await world.write(world.batch(job, [person(5), person(1)], hints=new([person(5)] * 2)))
    assert O.CONFLICT in await world.outcomes(job)
    on_it = await world.connection.fetch(
        """SELECT c.email FROM contact_list_memberships m JOIN contacts c ON c.id = m.contact_id
           WHERE list_id = $1""",
        list_id,
    )
    assert sorted(row["email"] for row in on_it) == [f"p{n}@example.com" for n in (1, 4, 5)]
    assert await one(world, "SELECT contact_count FROM contact_lists WHERE id = $1", list_id) == 3


@pytest.mark.requirement("K-43")
async def test_a_listed_number_marks_whatever_contact_its_row_ends_at(world: World) -> None:
    """Created contacts carry the mark; a skipped duplicate is marked and announced, once."""
    organization_id = await world.organization()
    job = await world.job(organization_id)
    plain = [person(1), person(2)]
    await world.write(world.batch(job, plain, hints=new(plain)))
    listed = [person(1), person(1), person(3)]
    for row in listed:
        row.listed = True
    await world.write(world.batch(job, listed))
    assert await world.outcomes(job) == [
        O.CREATED,
        O.CREATED,
        O.DUPLICATE_IN_FILE,
        O.DUPLICATE_IN_FILE,
        O.CREATED,
    ]
    contacts = await world.contacts(organization_id)
    marked = {contact: found for contact, found in contacts.items() if found.values.get("do_not_call")}
    assert {found.values["dnc_list_id"] for found in marked.values()} == {MARK_LIST}
    assert set(marked) == {contact_id(job.id, 1), contact_id(job.id, 5)}
    events = await world.connection.fetch(
        """SELECT key, event ->> 'action' AS action, event ->> 'version' AS version
           FROM outbox WHERE organization_id = $1""",
        organization_id,
    )
    assert [tuple(row) for row in events] == [
        (str(uuid.UUID(bytes=contact_id(job.id, 1))), "suppressed", "2")
    ]


async def test_the_image_before_the_first_change_is_kept(world: World) -> None:
    """Undo finds the contact as it was, and the version that the job left, however often it changed it."""
    organization_id = await world.organization()
    first = await world.job(organization_id)
    await world.write(world.batch(first, [person(1)], hints=new([person(1)])))
    was = await one(world, "SELECT to_jsonb(c) FROM contacts c WHERE organization_id = $1", organization_id)
    job = await world.job(organization_id, on_duplicate="overwrite")
    await world.write(world.batch(job, [person(1, notes="a"), person(1, notes="b")]))
    await world.write(world.batch(job, [person(1, notes="c")]))
    image = await world.connection.fetchrow(
        "SELECT image, left_version, batch_no FROM contact_before_images WHERE job_id = $1", job.id
    )
    assert image is not None
    assert tuple(image) == (was, 4, 1)


async def test_identities_change_hands_within_a_group(world: World) -> None:
    """Two contacts swap their addresses through a third; the unique index never sees both."""
    job = await world.job(await world.organization(), on_duplicate="overwrite", match_on="phone")
    await world.write(world.batch(job, [person(1), person(2)], hints=new([person(1)] * 2)))
    swap = [
        person(1, email="free@example.com"),
        person(2, email="p1@example.com"),
        person(1, email="p2@example.com"),
    ]
    await world.write(world.batch(job, swap))
    assert await world.outcomes(job) == [O.CREATED, O.CREATED, *[O.UPDATED] * 3]
    contacts = await world.contacts(job.organization_id)
    assert [found.values["email"] for found in contacts.values()] == ["p2@example.com", "p1@example.com"]


async def test_a_number_is_not_taken_before_the_row_that_releases_it(world: World) -> None:
    """A row hinted new, whose number only a later row of the group releases, is a conflict as it stands."""
    job = await world.job(await world.organization(), on_duplicate="overwrite")
    await world.write(world.batch(job, [person(1)], hints=new([person(1)])))
    taker = person(9)
    taker.values |= {"phone": "6460000001", "phone_formatted": "+16460000001"}
    releaser = person(1)
    releaser.values |= {"phone": "6460000002", "phone_formatted": "+16460000002"}
    await world.write(
        world.batch(job, [taker, releaser], hints=[(Hint.NEW, b""), (Hint.IS, contact_id(job.id, 1))])
    )
    assert await world.outcomes(job) == [O.CREATED, O.CONFLICT, O.UPDATED]


async def test_what_an_application_stored_as_no_text_stays_what_it_is(world: World) -> None:
    """A custom field that is a number or a list survives an import that changes another one."""
    organization_id = await world.organization()
    job = await world.job(organization_id, on_duplicate="overwrite")
    await world.connection.execute(
        """INSERT INTO contacts (organization_id, email, created_by, custom_fields)
           VALUES ($1, 'p1@example.com', $1, '{"age": 41, "sizes": ["L"], "note": "old"}')""",
        organization_id,
    )
    row = Given({"email": "p1@example.com", "custom_fields.note": "new"})
    await world.write(world.batch(job, [row]))
    kept = await one(world, "SELECT custom_fields FROM contacts WHERE organization_id = $1", organization_id)
    assert msgspec.json.decode(kept) == {"age": 41, "sizes": ["L"], "note": "new"}


# Atomic jobs and dry runs -------------------------------------------------------------------------


@pytest.mark.requirement("K-13", "S0-028")
async def test_an_atomic_job_with_a_refused_row_writes_nothing(world: World) -> None:
    """The job fails, its writable rows are cancelled, the others keep their outcomes."""
    organization_id = await world.organization()
    list_id = await world.contact_list(organization_id)
    known = await world.job(organization_id)
    await world.write(world.batch(known, [person(1)], hints=new([person(1)])))
    before = await world.contacts(organization_id)
    job = await world.job(organization_id, mode="atomic", list_id=list_id)
    await world.write(world.batch(job, [person(1), person(2), person(2)]))
    staged = await world.row(job)
    assert (staged["rows_staged"], staged["rows_read"], await world.outcomes(job)) == (3, 3, [])
    bad = Given({"email": "x", "phone": "", "phone_formatted": ""}, refused=O.INVALID)
    await world.write(world.batch(job, [bad, person(3)], end="completed"))
    assert await world.outcomes(job) == [
        O.DUPLICATE_EXISTING,
        O.CANCELLED,
        O.DUPLICATE_IN_FILE,
        O.INVALID,
        O.CANCELLED,
    ]
    row = await world.row(job)
    assert (row["state"], row["rows_staged"]) == ("failed", 0)
    assert row["reason"] == "1 row was refused, so nothing of this atomic import was written."
    assert await world.contacts(organization_id) == before
    assert await one(world, "SELECT contact_count FROM contact_lists WHERE id = $1", list_id) == 0


@pytest.mark.requirement("K-13")
async def test_an_atomic_job_without_refused_rows_is_written_whole(world: World) -> None:
    """Rows of all its batches are judged in order, in one transaction, at its end."""
    organization_id = await world.organization()
    job = await world.job(organization_id, mode="atomic", on_duplicate="overwrite")
    await world.write(world.batch(job, [person(1), person(2)]), world.batch(job, [person(1, notes="x")]))
    assert await world.contacts(organization_id) == {}
    await world.write(world.batch(job, [person(3)], end="completed"))
    assert await world.outcomes(job) == [O.CREATED, O.CREATED, O.UPDATED, O.CREATED]
    assert [found.version for found in (await world.contacts(organization_id)).values()] == [2, 1, 1]


async def test_a_row_that_the_database_refuses_fails_an_atomic_job(world: World) -> None:
    """`failed` is a refusal like any other: nothing is written."""
    job = await world.job(await world.organization(), mode="atomic")
    await world.write(world.batch(job, [person(1), person(2, first_name="x" * 101)]))
    await world.write(world.batch(job, [], end="completed"))
    assert await world.outcomes(job) == [O.CANCELLED, O.FAILED]
    assert await world.contacts(job.organization_id) == {}


async def test_a_dry_run_tells_every_outcome_and_writes_nothing(world: World) -> None:
    """Outcomes and counters are those of the real run; contacts, images and announcements are as before."""
    organization_id = await world.organization()
    known = await world.job(organization_id)
    await world.write(world.batch(known, [person(1)], hints=new([person(1)])))
    before = await world.contacts(organization_id)
    job = await world.job(organization_id, dry_run=True, on_duplicate="overwrite")
    await world.write(world.batch(job, [person(1, notes="x"), person(2)]))
    written = await world.write(world.batch(job, [person(2), person(3)], end="completed"))
    assert await world.outcomes(job) == [O.UPDATED, O.CREATED, O.UNCHANGED, O.CREATED]
    assert await world.contacts(organization_id) == before
    assert (await world.row(job))["state"] == "completed"
    assert written.judged == []
    assert [applied.batch for applied in written.applied] == [None]
    assert await one(world, "SELECT count(*) FROM contact_before_images WHERE job_id = $1", job.id) == 0
    # Its commit reads the file again: the rows are not kept a second time.
    kept = "SELECT message FROM import_batches WHERE job_id = $1 AND batch_no = 1"
    assert await one(world, kept, job.id) == b""


async def test_a_failed_source_cancels_what_was_staged(world: World) -> None:
    """An atomic job whose file could not be read to its end writes nothing."""
    job = await world.job(await world.organization(), mode="atomic")
    await world.write(world.batch(job, [person(1)]))
    await world.write(world.batch(job, [], end="failed", end_reason="The file was overwritten."))
    assert await world.outcomes(job) == [O.CANCELLED]
    row = await world.row(job)
    assert (row["state"], row["cancelled"], row["rows_staged"]) == ("failed", 1, 0)
