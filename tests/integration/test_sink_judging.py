"""Whatever the stream believes, the database ends as the row rules say: the sink against a dictionary.

Generated jobs of one organization run against each other, in groups of any size, with hints that are right,
outdated or made up, while somebody edits contacts between the groups. Every outcome, contact, version, image
and counter must equal those of a dictionary to which the rows were applied one by one.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.batch import Batch, Hint
from sinks.judging import NOBODY
from sluice.contact import contact_id_prefix, fingerprint
from sluice.outcome import Outcome
from sluice.rules import Judged
from tests.acceptance.oracle import Job as OracleJob
from tests.acceptance.oracle import Options, Organization
from tests.integration.sink_world import Dictionary, Given, ImportJob, World
from tests.integration.stack import Servers

EMAILS = [f"person{n}@example.com" for n in range(6)]
NUMBERS = [f"+1212647{1000 + n}" for n in range(6)]
LISTED = frozenset(NUMBERS[:2])
TIMES = [0, 1_577_836_800_000, 1_609_459_200_000, 1_893_456_000_000]
AFTER_THE_JOB = TIMES[-1]
"""Later than the jobs' own time, which the oracle takes for the latest of all."""
COLUMNS = ("first_name", "tags", "notes", "country", "last_contact_date", "custom_fields.size")

CELLS = {
    "email": st.sampled_from(["", *EMAILS, *EMAILS]),
    "phone_formatted": st.sampled_from(["", *NUMBERS, *NUMBERS]),
    "first_name": st.sampled_from(["", "Ana", "Bo", "Dé"]),
    "tags": st.sampled_from(["", "vip", "new;vip", "a;b"]),
    "notes": st.sampled_from(["", "zero", "line\nbreak"]),
    "country": st.sampled_from(["", "US", "NO"]),
    "last_contact_date": st.sampled_from(
        ["", "2024-05-06T00:00:00+00:00", "1999-12-31T23:59:59.123456+00:00"]
    ),
    "custom_fields.size": st.sampled_from(["", "L", "XL"]),
}


@dataclass
class Plan:
    """One batch to come: which job, its rows, and how far its hints are to be trusted."""

    job: int
    rows: list[Given]
    hints: str
    seed: int


@dataclass
class Edit:
    """Somebody changes or deletes a contact between two groups."""

    contact: int
    name: str
    value: str


@st.composite
def rows(draw: st.DrawFn) -> list[Given]:
    columns = ("email", "phone_formatted", *draw(st.sets(st.sampled_from(COLUMNS), max_size=3)))
    return [draw(row(tuple(sorted(columns)))) for _ in range(draw(st.integers(0, 9)))]


@st.composite
def row(draw: st.DrawFn, columns: tuple[str, ...]) -> Given:
    values = {name: draw(CELLS[name]) for name in columns}
    number = values["phone_formatted"]
    values["phone"] = number.removeprefix("+1") if draw(st.booleans()) else number
    refused = None
    if not values["email"] and not number:
        refused = Outcome.NO_IDENTITY
    elif draw(st.integers(0, 19)) == 0:
        refused = draw(st.sampled_from([Outcome.INVALID, Outcome.EXCLUDED, Outcome.SUPPRESSED_DNC]))
    return Given(
        values=values,
        modified_at=draw(st.sampled_from(TIMES)),
        listed=number in LISTED and draw(st.booleans()),
        refused=refused,
    )


plans = st.builds(
    Plan,
    job=st.integers(0, 2),
    rows=rows(),
    hints=st.sampled_from(["right", "right", "outdated", "made up", "none"]),
    seed=st.integers(0, 1 << 30),
)
edits = st.builds(
    Edit,
    contact=st.integers(0, 40),
    name=st.sampled_from(["email", "phone_formatted", "first_name", "delete"]),
    value=st.integers(0, 5).map(str),
)
policies = st.fixed_dictionaries(
    {
        "on_duplicate": st.sampled_from(["skip", "overwrite", "fill_blanks", "merge_newest"]),
        "match_on": st.sampled_from(["email", "phone", "either"]),
        "blanks": st.sampled_from(["keep", "keep", "clear"]),
    }
)
stories = st.lists(
    st.tuples(st.lists(plans, min_size=1, max_size=5), st.lists(edits, max_size=2)), min_size=1, max_size=4
)


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


def _options(chosen: dict[str, str]) -> dict[str, Any]:
    return dict(chosen)


def hints_of(plan: Plan, batch: Batch, now: Dictionary, before: Dictionary) -> list[tuple[int, bytes]]:
    """One hint a row: from the truth, from an older truth, or from nowhere."""
    count = batch.row_count
    if plan.hints == "none":
        return [(Hint.NONE, b"")] * count
    if plan.hints == "made up":
        return [_made_up(plan.seed + index, now) for index in range(count)]
    known = now if plan.hints == "right" else before
    decision = known.foresee([batch.row(index) for index in range(count)], batch)
    return [_hint(judged, batch, index, known) for index, judged in enumerate(decision.rows)]


def _made_up(seed: int, now: Dictionary) -> tuple[int, bytes]:
    contacts = [*sorted(now.contacts), bytes(range(16))]
    first, second = contacts[seed % len(contacts)], contacts[seed // 7 % len(contacts)]
    return [
        (Hint.NONE, b""),
        (Hint.NEW, b""),
        (Hint.IS, first),
        (Hint.SAME, first),
        (Hint.CONFLICT, first + second),
    ][seed % 5]


def _hint(judged: Judged, batch: Batch, index: int, known: Dictionary) -> tuple[int, bytes]:
    if judged.outcome is Outcome.CREATED:
        return Hint.NEW, b""
    if judged.contact_id is None:
        return Hint.NONE, b""
    if judged.outcome is Outcome.CONFLICT:
        return Hint.CONFLICT, judged.contact_id + NOBODY
    contact = known.contacts.get(judged.contact_id)
    given = batch.message.fingerprints[16 * index : 16 * index + 16]
    same = contact is not None and fingerprint(contact.values) == given
    return (Hint.SAME if same else Hint.IS), judged.contact_id


async def edit(world: World, organization_id: uuid.UUID, change: Edit, held: Dictionary) -> None:
    """What an application's user does to a contact, in the database and in the dictionary."""
    ids = sorted(held.contacts)
    if not ids:
        return
    chosen = ids[change.contact % len(ids)]
    if change.name == "delete":
        del held.contacts[chosen]
        await world.connection.execute("DELETE FROM contacts WHERE id = $1", uuid.UUID(bytes=chosen))
        return
    value = {
        "email": EMAILS[int(change.value)],
        "phone_formatted": NUMBERS[int(change.value)],
        "first_name": f"edited {change.value}",
    }[change.name]
    if any(contact.values.get(change.name) == value for contact in held.contacts.values()):
        return
    contact = held.contacts[chosen]
    values = contact.values | {change.name: value}
    if change.name == "phone_formatted":
        values["phone"] = value
    held.contacts[chosen] = replace(contact, values=values, version=contact.version + 1)
    await world.connection.execute(
        """UPDATE contacts SET email = $3, phone = $4, phone_formatted = $5, first_name = $6,
                  fingerprint = $7, version = version + 1 WHERE id = $1 AND organization_id = $2""",
        uuid.UUID(bytes=chosen),
        organization_id,
        *(values.get(name) for name in ("email", "phone", "phone_formatted", "first_name")),
        fingerprint(values),
    )


@pytest.mark.requirement(
    "B-04", "S0-020", "S0-021", "S0-022", "S0-025", "S0-026", "S0-027", "K-01", "K-09", "K-43"
)
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories, policy=st.lists(policies, min_size=3, max_size=3))
async def test_whatever_is_hinted_the_result_is_that_of_the_rules(
    world: World,
    story: Sequence[tuple[list[Plan], list[Edit]]],
    policy: list[dict[str, str]],
) -> None:
    """Outcomes, contacts, versions and counters equal those of rows applied one by one to a dictionary."""
    organization_id = await world.organization()
    jobs = [await world.job(organization_id, **_options(chosen)) for chosen in policy]
    held, before = Dictionary(), Dictionary()
    expected: dict[uuid.UUID, list[Outcome]] = {job.id: [] for job in jobs}
    left: dict[tuple[uuid.UUID, bytes], int] = {}
    for group, changes in story:
        batches = []
        older = deepcopy(held)
        for plan in group:
            job = jobs[plan.job]
            plain = world.batch(job, plan.rows)
            hinted = hints_of(plan, plain, held, before)
            job.batch_no, job.row_no = job.batch_no - 1, job.row_no - len(plan.rows)
            batch = world.batch(job, plan.rows, hints=hinted)
            known = {contact: found.version for contact, found in held.contacts.items()}
            expected[job.id] += held.apply([batch.row(index) for index in range(batch.row_count)], batch)
            left |= _left(job, known, held)
            batches.append(batch)
        before = older
        await world.write(*batches)
        for change in changes:
            await edit(world, organization_id, change, held)
    await _same(world, organization_id, jobs, held, expected)
    await _images(world, organization_id, left)


def _left(job: ImportJob, known: dict[bytes, int], held: Dictionary) -> dict[tuple[uuid.UUID, bytes], int]:
    """The versions that a batch left of contacts that it changed; created at version 1 needs no record."""
    own = contact_id_prefix(job.id)
    return {
        (job.id, contact): found.version
        for contact, found in held.contacts.items()
        if known.get(contact) != found.version and not (contact.startswith(own) and found.version == 1)
    }


async def _same(
    world: World,
    organization_id: uuid.UUID,
    jobs: Sequence[ImportJob],
    held: Dictionary,
    expected: dict[uuid.UUID, list[Outcome]],
) -> None:
    for job in jobs:
        assert await world.outcomes(job) == expected[job.id]
        counted = Counter(expected[job.id])
        stored = await world.row(job)
        assert {outcome: stored[outcome.value] for outcome in Outcome} == {
            outcome: counted[outcome] for outcome in Outcome
        }
        assert stored["rows_read"] == len(expected[job.id])
    assert await world.contacts(organization_id) == {
        contact: replace(found, values={name: value for name, value in found.values.items() if value})
        for contact, found in held.contacts.items()
    }
    prints = await world.connection.fetch(
        "SELECT id, fingerprint FROM contacts WHERE organization_id = $1", organization_id
    )
    assert {row["id"].bytes: row["fingerprint"] for row in prints} == {
        contact: fingerprint(found.values) for contact, found in held.contacts.items()
    }


async def _images(world: World, organization_id: uuid.UUID, left: dict[tuple[uuid.UUID, bytes], int]) -> None:
    rows = await world.connection.fetch(
        "SELECT job_id, contact_id, left_version FROM contact_before_images WHERE organization_id = $1",
        organization_id,
    )
    assert {(row["job_id"], row["contact_id"].bytes): row["left_version"] for row in rows} == left


@pytest.mark.requirement("S0-020", "S0-021", "K-01")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(group=st.lists(plans, min_size=1, max_size=5), policy=policies)
async def test_outcomes_equal_an_independent_reading_of_the_rules(
    world: World, group: list[Plan], policy: dict[str, str]
) -> None:
    """The oracle, which shares no code with the pipeline, gives every row the same outcome."""
    organization_id = await world.organization()
    job = await world.job(organization_id, **_options(policy))
    oracle = Organization()
    options = Options(
        on_duplicate=policy["on_duplicate"], match_on=policy["match_on"], blanks=policy["blanks"]
    )
    expected: list[str] = []
    batches = []
    for plan in group:
        plan.rows = [replace(row, modified_at=row.modified_at % AFTER_THE_JOB) for row in plan.rows]
        batches.append(world.batch(job, plan.rows))
        known = OracleJob(rows=(), options=options, columns=())
        expected += [_oracle_says(oracle, job, known, row) for row in plan.rows]
    await world.write(*batches)
    assert [outcome.value for outcome in await world.outcomes(job)] == expected


def _oracle_says(oracle: Organization, job: ImportJob, known: OracleJob, row: Given) -> str:
    if row.refused is not None:
        return row.refused.value
    values = {name: value for name, value in row.values.items() if value or known.options.blanks == "clear"}
    if not values.get("phone") and known.options.blanks != "clear":
        values.pop("phone", None)
        values.pop("phone_formatted", None)
    if row.modified_at:
        # One width, so that texts compare as times.
        values["modified_at"] = f"{row.modified_at:020d}"
    return oracle._judge(job.id, known, values, row.listed)
