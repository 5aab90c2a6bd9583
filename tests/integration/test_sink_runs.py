"""Further runs in the sink: healed rows replace refused ones, and a dry run is written as foretold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sinks.batch import Batch
from sinks.contract import Published
from sluice.contact import contact_id
from sluice.outcome import Outcome
from tests.integration.sink_world import Given, ImportJob, World
from tests.integration.stack import Servers

O = Outcome  # noqa: E741 - a table of outcomes reads better with short names


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


def person(n: int, **values: str) -> Given:
    """A row that shares nothing with another."""
    return Given({"email": f"p{n}@example.com", "first_name": "", **values})


def bad(n: int) -> Given:
    return Given({"email": f"p{n}", "first_name": ""}, refused=O.INVALID)


async def ended(world: World, job: ImportJob, *rows: Given) -> None:
    """A job that has read these rows, two a batch."""
    for start in range(0, len(rows), 2):
        await world.write(world.batch(job, rows[start : start + 2]))
    await world.write(world.batch(job, [], end="completed"))


def healing(world: World, job: ImportJob, first: int, rows: Sequence[Given], **changes: Any) -> Batch:
    job.row_no = first
    return world.batch(job, rows, **changes)


async def figures(world: World, job: ImportJob) -> dict[str, int]:
    """The job's rows by outcome, checked against every row's own."""
    row = await world.row(job)
    told = {outcome.value: row[outcome.value] for outcome in O if row[outcome.value]}
    newest = await world.newest(job)
    assert told == {outcome.value: newest.count(outcome) for outcome in O if outcome in newest}
    assert row["rows_read"] == len(newest)
    return told


async def test_healed_rows_take_the_place_of_refused_ones(world: World) -> None:
    """Outcomes, counts and faults are the new ones; contacts and events are of the run that wrote them."""
    job = await world.job(await world.organization())
    await ended(world, job, person(1), bad(2), bad(3), bad(4), person(5))
    assert await figures(world, job) == {"created": 2, "invalid": 3}

    await world.heal(job)
    written = await world.write(
        healing(world, job, 2, [person(2), bad(3)]), healing(world, job, 4, [person(1)], end="completed")
    )

    assert await figures(world, job) == {"created": 3, "invalid": 1, "duplicate_in_file": 1}
    assert await world.newest(job) == [O.CREATED, O.CREATED, O.INVALID, O.DUPLICATE_IN_FILE, O.CREATED]
    assert contact_id(job.id, 2) in await world.contacts(job.organization_id)
    row = await world.row(job)
    assert (row["state"], row["run"], row["run_kind"], row["reason"]) == ("completed", 2, "heal", None)
    assert [(a.run, a.letters, a.object_sha256) for a in written.applied] == [
        (2, "ci", "abc123"),
        (2, "f", "abc123"),
    ]
    faults = await world.connection.fetch(
        "SELECT run, faults FROM import_batches WHERE job_id = $1 AND faults <> '{}'", job.id
    )
    assert [(each["run"], list(json.loads(each["faults"]))) for each in faults] == [(2, ["1"])]


async def test_rows_can_be_healed_again_and_again(world: World) -> None:
    """Each run replaces what the last one left, wherever it lies."""
    job = await world.job(await world.organization())
    await ended(world, job, bad(1), bad(2), bad(3))
    await world.heal(job)
    await world.write(healing(world, job, 1, [bad(1), person(2), bad(3)], end="completed"))
    await world.heal(job)
    await world.write(healing(world, job, 3, [person(3)]), healing(world, job, 1, [bad(1)], end="completed"))
    assert await figures(world, job) == {"created": 2, "invalid": 1}
    await world.heal(job)
    await world.write(healing(world, job, 1, [person(1)], end="completed"))
    assert await figures(world, job) == {"created": 3}
    assert len(await world.contacts(job.organization_id)) == 3


async def test_a_repeated_healing_has_no_second_effect(world: World) -> None:
    """Applied again, and once more under an older lease, it writes and publishes nothing."""
    job = await world.job(await world.organization())
    await ended(world, job, bad(1), bad(2))
    await world.heal(job)
    batch = healing(world, job, 1, [person(1)])
    await world.write(batch)
    before = await figures(world, job), await world.contacts(job.organization_id)
    again = await world.write(batch, world.arrival(batch.message))
    assert (again.applied, again.judged) == ([], [])
    assert (await figures(world, job), await world.contacts(job.organization_id)) == before
    assert await figures(world, job) == {"created": 1, "invalid": 1}


async def test_what_was_written_is_never_judged_again(world: World) -> None:
    """A batch that names a row which is not refused leaves that row as it is, and heals the others."""
    job = await world.job(await world.organization())
    await ended(world, job, person(1), bad(2), person(3))
    await world.heal(job)
    rows = [person(11), person(12), person(13), person(14)]
    written = await world.write(healing(world, job, 1, rows, end="completed"))
    assert [applied.letters for applied in written.applied] == [">c>>"]
    assert await world.newest(job) == [O.CREATED] * 3
    contacts = await world.contacts(job.organization_id)
    assert {c.values["email"] for c in contacts.values()} == {
        "p1@example.com",
        "p12@example.com",
        "p3@example.com",
    }


async def test_a_cancelled_healing_leaves_the_rest_as_it_was(world: World) -> None:
    """What was healed stays healed; the import has ended as it had before, and can be healed again."""
    job = await world.job(await world.organization())
    await ended(world, job, bad(1), bad(2), person(3))
    await world.heal(job)
    await world.write(healing(world, job, 1, [person(1)]))
    await world.connection.execute("UPDATE import_jobs SET cancel_requested_at = now() WHERE id = $1", job.id)
    await world.write(healing(world, job, 2, [person(2)]), world.batch(job, [], end="cancelled"))
    assert await figures(world, job) == {"created": 2, "invalid": 1}
    row = await world.row(job)
    assert row["state"] == "completed"
    assert "cancelled" in row["reason"]
    await world.heal(job)
    await world.write(healing(world, job, 2, [person(2)], end="completed"))
    assert await figures(world, job) == {"created": 3}
    assert (await world.row(job))["reason"] is None


async def test_a_healing_that_cannot_be_read_ends_failed_and_the_next_one_as_the_import_did(
    world: World,
) -> None:
    """Its reason is told; it is no statement about the import."""
    job = await world.job(await world.organization())
    await ended(world, job, bad(1))
    await world.heal(job)
    await world.write(world.batch(job, [], end="failed", end_reason="The file was overwritten."))
    row = await world.row(job)
    assert (row["state"], row["reason"]) == ("failed", "The file was overwritten.")
    assert await figures(world, job) == {"invalid": 1}
    await world.heal(job)
    await world.write(healing(world, job, 1, [person(1)], end="completed"))
    row = await world.row(job)
    assert (row["state"], row["reason"]) == ("completed", None)


async def test_a_failed_import_is_still_failed_when_its_rows_are_healed(world: World) -> None:
    """Healing reads no row that the import did not read."""
    job = await world.job(await world.organization())
    await world.write(world.batch(job, [bad(1)]))
    await world.write(world.batch(job, [], end="failed", end_reason="The file was overwritten."))
    await world.heal(job)
    await world.write(healing(world, job, 1, [person(1)], end="completed"))
    row = await world.row(job)
    assert (row["state"], row["reason"]) == ("failed", "The file was overwritten.")
    assert await figures(world, job) == {"created": 1}


async def test_a_healed_row_that_cannot_be_stored_fails_alone(world: World) -> None:
    """Its neighbours are healed; it is `failed` and may be healed again."""
    job = await world.job(await world.organization())
    await ended(world, job, bad(1), bad(2), bad(3))
    await world.heal(job)
    rows = [person(1), person(2, first_name="x" * 101), person(3)]
    await world.write(healing(world, job, 1, rows, end="completed"))
    assert await world.newest(job) == [O.CREATED, O.FAILED, O.CREATED]
    await figures(world, job)


# The commit of a dry run ------------------------------------------------------------------------


async def foretold(world: World, job: ImportJob, *rows: Given) -> None:
    await ended(world, job, *rows)
    assert (await world.row(job))["state"] == "completed"


async def commit(world: World, job: ImportJob, *rows: Given) -> Any:
    """The file once more, cut otherwise than the first time; what the last batch wrote."""
    await world.commit(job)
    for start in range(0, len(rows), 3):
        await world.write(world.batch(job, rows[start : start + 3]))
        row = await world.row(job)
        assert (row["rows_staged"], row["rows_read"]) == (0, len(rows))
    return await world.write(world.batch(job, [], end="completed"))


async def known(world: World, organization_id: Any, *rows: Given) -> ImportJob:
    job = await world.job(organization_id)
    await ended(world, job, *rows)
    return job


FILE = (
    person(1, first_name="Ann"),
    bad(2),
    person(3, first_name="Cleo"),
    person(1, first_name="Anna"),
    person(5),
)


async def test_a_commit_writes_exactly_what_was_foretold(world: World) -> None:
    """Same outcomes and contacts, events of the second run; it is no dry run any more and can be healed."""
    organization_id = await world.organization()
    await known(world, organization_id, person(3, first_name="Cleopatra"))
    job = await world.job(organization_id, dry_run=True, on_duplicate="overwrite")
    await foretold(world, job, *FILE)
    outcomes = [O.CREATED, O.INVALID, O.UPDATED, O.UPDATED, O.CREATED]
    assert await world.newest(job) == outcomes
    assert len(await world.contacts(organization_id)) == 1
    kept = await world.connection.fetchval(
        "SELECT sum(length(message)) FROM import_batches WHERE job_id = $1 AND published", job.id
    )
    assert not kept

    written = await commit(world, job, *FILE)

    assert await world.newest(job) == outcomes
    assert await figures(world, job) == {"created": 2, "invalid": 1, "updated": 2}
    names = {
        c.values["email"]: c.values.get("first_name")
        for c in (await world.contacts(organization_id)).values()
    }
    assert names == {"p1@example.com": "Anna", "p3@example.com": "Cleo", "p5@example.com": None}
    row = await world.row(job)
    assert (row["state"], row["reason"], json.loads(row["options"])["dry_run"]) == ("completed", None, False)
    results = [result async for result in world.sink.results(written)]
    assert [(each.run, each.letters) for each in results] == [(2, "ciu"), (2, "uc"), (2, "")]
    assert all(each.batch is not None for each in results[:2])

    await world.heal(job)
    await world.write(healing(world, job, 2, [person(2)], end="completed"), published=written.published)
    assert await figures(world, job) == {"created": 3, "updated": 2}


async def test_a_dry_run_tells_what_updates_would_change(world: World) -> None:
    """Field by field, before and after, long values cut; of updates alone."""
    organization_id = await world.organization()
    await known(world, organization_id, person(3, first_name="Cleopatra", notes="n" * 5000))
    job = await world.job(organization_id, dry_run=True, on_duplicate="overwrite")
    await foretold(world, job, person(1), person(3, first_name="Cleo", notes="short", company="Nile"))
    changes = await world.connection.fetchval(
        "SELECT changes FROM import_batches WHERE job_id = $1 AND first_row_no = 1 AND row_count > 0", job.id
    )
    assert json.loads(changes) == {
        "1": {
            "company": [None, "Nile"],
            "first_name": ["Cleopatra", "Cleo"],
            "notes": ["n" * 199 + "…", "short"],
        }
    }


@pytest.mark.parametrize(
    ("meanwhile", "row_no"),
    [
        ("INSERT INTO contacts (organization_id, created_by, email) VALUES ($1, $1, 'p1@example.com')", 1),
        ("UPDATE contacts SET first_name = 'Kleopatra' WHERE organization_id = $1", 3),
        ("UPDATE contacts SET first_name = 'Cleo' WHERE organization_id = $1", 3),
        ("DELETE FROM contacts WHERE organization_id = $1", 3),
        (
            """WITH gone AS (DELETE FROM contacts WHERE organization_id = $1 RETURNING *)
               INSERT INTO contacts (organization_id, created_by, email, first_name, version)
               SELECT $1, $1, email, first_name, version FROM gone""",
            3,
        ),
    ],
    ids=["created elsewhere", "edited", "edited alike", "deleted", "another contact"],
)
async def test_a_commit_that_would_end_otherwise_writes_nothing_and_names_the_rows(
    world: World, meanwhile: str, row_no: int
) -> None:
    """An outcome, a contact or a change that is another by now: the dry run stays what it was."""
    organization_id = await world.organization()
    await known(world, organization_id, person(3, first_name="Cleopatra"))
    job = await world.job(organization_id, dry_run=True, on_duplicate="overwrite")
    rows = [person(1, first_name="Ann"), bad(2), person(3, first_name="Cleo"), person(5)]
    await foretold(world, job, *rows)
    before = await world.newest(job)
    await world.connection.execute(meanwhile, organization_id)
    contacts = await world.contacts(organization_id)

    written = await commit(world, job, *rows)

    assert await world.contacts(organization_id) == contacts
    row = await world.row(job)
    assert row["state"] == "completed"
    assert f"1 row ends otherwise by now than the dry run foretold: {row_no}." in row["reason"]
    assert json.loads(row["options"])["dry_run"] is True
    assert await world.newest(job) == before
    await figures(world, job)
    assert (written.judged, [each.batch for each in written.applied]) == ([], [None])


async def test_a_cancelled_commit_leaves_the_dry_run_as_it_was(world: World) -> None:
    """Nothing is written and nothing is lost; it can be committed again."""
    organization_id = await world.organization()
    job = await world.job(organization_id, dry_run=True)
    await foretold(world, job, *FILE)
    await world.commit(job)
    await world.write(world.batch(job, FILE[:2]))
    await world.connection.execute("UPDATE import_jobs SET cancel_requested_at = now() WHERE id = $1", job.id)
    await world.write(world.batch(job, FILE[2:]), world.batch(job, [], end="cancelled"))
    assert (await world.row(job))["state"] == "completed"
    await figures(world, job)
    assert await world.contacts(organization_id) == {}
    await commit(world, job, *FILE)
    assert len(await world.contacts(organization_id)) == 3


async def test_a_commit_that_reads_fewer_rows_writes_nothing(world: World) -> None:
    """Rows that were foretold and not judged would keep an outcome that is not true."""
    organization_id = await world.organization()
    job = await world.job(organization_id, dry_run=True)
    await foretold(world, job, person(1), person(2))
    await world.commit(job)
    await world.write(world.batch(job, [person(1)], end="completed"))
    assert await world.contacts(organization_id) == {}
    assert "1 rows were read where the dry run had 2" in (await world.row(job))["reason"]


async def test_a_repeated_commit_has_no_second_effect(world: World) -> None:
    """The last batch again: nothing more is written or published."""
    organization_id = await world.organization()
    job = await world.job(organization_id, dry_run=True)
    await foretold(world, job, person(1))
    await world.commit(job)
    last = world.batch(job, [person(1)], end="completed")
    first = await world.write(last)
    assert [each.letters for each in first.applied] == ["c"]
    again = await world.write(last, published=[Published(last.position)])
    assert (again.applied, again.judged) == ([], [])
    assert len(await world.contacts(organization_id)) == 1
