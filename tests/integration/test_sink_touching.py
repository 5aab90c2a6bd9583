"""Rows of one group that touch each other: identities freed, taken, swapped, taken twice.

Three jobs of one organization and one of another write to six identities, in one group and across groups,
under every policy, straight at the sink on a real PostgreSQL. What the stream believes of each row is right,
outdated, absent or a lie. Outcomes and contacts must be those of the independent oracle.
"""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.batch import Batch, Hint
from sluice.contact import contact_id, fingerprint
from sluice.outcome import Outcome
from tests.acceptance.oracle import Job, Options, Organization
from tests.integration.sink_world import Given, ImportJob, World, mark_of
from tests.integration.stack import Servers

EXAMPLES = int(os.environ.get("EXAMPLES") or 120)
EMAILS = ("ann@example.com", "bob@example.com", "cyd@example.com")
NUMBERS = ("+12126471001", "+12126471002", "+12126471003")
LISTED = NUMBERS[2]
HINTS = ("right", "outdated", "another tenant's", "absent", "a lie", "anything")
JOBS = 3
"""Of the one organization; the job after them is the other organization's."""
ANYBODY = bytes(range(16))
SETTLED = ((0, 0), (1, 1), (2, 2), (0, 0), (1, -1), (-1, 2))
"""Contacts that are there before the rest, in both organizations."""
CONTENT = ("email", "phone", "phone_formatted", "first_name", "tags")

Pair = tuple[int, int]
"""An e-mail and a number by place, -1 for a blank cell."""


@dataclass
class Plan:
    """One batch to come: whose it is, its rows, and what the stream believes of them."""

    job: int
    rows: list[Given]
    hints: str
    seed: int


def scene(kind: str, a: int, b: int, one: int, two: int) -> list[Pair]:
    """Rows that meet in one way, each an e-mail with a number; contacts there before have like with like."""
    scenes = {
        "freed and taken": [(a, one), (a, two), (b, one)],
        "cleared and taken": [(a, one), (a, -1), (b, one)],
        "taken before it is freed": [(a, one), (b, one), (a, two), (b, one)],
        "taken and then freed": [(b, a), (a, two)],
        "swapped": [(a, one), (b, two), (a, -1), (b, one), (a, two)],
        "swapped at once": [(a, one), (b, two), (a, two), (b, one)],
        "taken twice": [(a, one), (b, one)],
        "taken twice from its holder": [(a, one), (a, -1), (b, one), (a, one)],
        "joined": [(a, -1), (-1, one), (a, one)],
        "e-mail freed by its number": [(a, one), (-1, one), (a, two)],
        "repeated": [(a, one), (a, one)],
    }
    return scenes[kind]


KINDS = (
    "freed and taken",
    "cleared and taken",
    "taken before it is freed",
    "taken and then freed",
    "swapped",
    "swapped at once",
    "taken twice",
    "taken twice from its holder",
    "joined",
    "e-mail freed by its number",
    "repeated",
)
places = st.integers(0, 2)
scenes = st.builds(scene, st.sampled_from(KINDS), places, places, places, places)
anything = st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), max_size=4)


@st.composite
def row(draw: st.DrawFn, pair: Pair) -> Given:
    email, number = (EMAILS[pair[0]] if pair[0] >= 0 else ""), (NUMBERS[pair[1]] if pair[1] >= 0 else "")
    return Given(
        values={
            "email": email,
            "phone": number,
            "phone_formatted": number,
            "first_name": draw(st.sampled_from(["", "Ana", "Bo"])),
            "tags": draw(st.sampled_from(["", "", "vip", "new;vip"])),
        },
        modified_at=draw(st.sampled_from([0, 0, 1_577_836_800_000, 1_609_459_200_000])),
        listed=number == LISTED and draw(st.booleans()),
        refused=None if email or number else Outcome.NO_IDENTITY,
    )


@st.composite
def groups(draw: st.DrawFn) -> list[list[Plan]]:
    """Contacts of both organizations, then rows that meet, cut into batches and groups anywhere."""
    first = [draw(row(pair)) for pair in draw(st.lists(st.sampled_from(SETTLED), max_size=3))]
    story = [[Plan(draw(st.integers(0, JOBS - 1)), first, "absent", 0), Plan(JOBS, first, "absent", 0)]]
    pairs = [pair for found in draw(st.lists(scenes | anything, min_size=1, max_size=5)) for pair in found]
    rows = [draw(row(pair)) for pair in pairs]
    story.append([])
    while rows:
        count, job = draw(st.integers(1, 6)), draw(st.integers(0, JOBS))
        story[-1].append(Plan(job, rows[:count], draw(st.sampled_from(HINTS)), draw(st.integers(0, 1 << 20))))
        rows = rows[count:]
        if draw(st.integers(0, 3)) == 0:
            story.append([])
    return [group for group in story if group]


policies = st.fixed_dictionaries(
    {
        "on_duplicate": st.sampled_from(["overwrite", "overwrite", "skip", "fill_blanks", "merge_newest"]),
        "match_on": st.sampled_from(["email", "phone", "either"]),
        "blanks": st.sampled_from(["keep", "clear"]),
    }
)


@dataclass
class Tenant:
    """One organization as the oracle knows it, and which of its contacts is which in the database."""

    oracle: Organization = field(default_factory=Organization)
    ids: dict[int, bytes] = field(default_factory=dict)

    def apply(self, job: ImportJob, row_no: int, given: Given) -> str:
        """Apply one row; its outcome."""
        if given.refused is not None:
            return given.refused.value
        options = Options(
            on_duplicate=job.options.on_duplicate, match_on=job.options.match_on, blanks=job.options.blanks
        )
        clears = options.blanks == "clear"
        values: dict[str, Any] = {name: value for name, value in given.values.items() if value or clears}
        if given.modified_at:
            # One width, so that texts compare as times.
            values["modified_at"] = f"{given.modified_at:020d}"
        outcome = self.oracle._judge(job.id, Job((), options, ()), values, given.listed)
        if outcome == "created":
            self.ids[self.oracle.next_id - 1] = contact_id(job.id, row_no)
        return outcome

    def holders(self, given: Given) -> list[int]:
        """Whom the row's identities lead to, e-mail first, each once."""
        found = [self.oracle.holder(name, given.values[name]) for name in ("email", "phone_formatted")]
        return list(dict.fromkeys(number for number in found if number is not None))

    def believe(self, job: ImportJob, row_no: int, given: Given) -> tuple[int, bytes]:
        """The hint that a table with this knowledge gives; the row is applied on the way."""
        holders = self.holders(given)
        named = [self.ids[number] for number in holders]
        same = [_print(self.oracle.contacts[number]) for number in holders]
        outcome = self.apply(job, row_no, given)
        if given.refused is not None:
            return Hint.NONE, b""
        if outcome == "created":
            return Hint.NEW, b""
        if outcome == "conflict":
            return Hint.CONFLICT, named[0] + named[-1]
        is_same = fingerprint({**given.values, **mark_of(given)}) == same[0]
        return (Hint.SAME if is_same else Hint.IS), named[0]


def _print(contact: dict[str, Any]) -> bytes:
    return fingerprint({name: contact[name] for name in CONTENT if contact.get(name)})


def believed(
    plan: Plan, job: ImportJob, now: Tenant, before: Tenant, theirs: Tenant
) -> list[tuple[int, bytes]]:
    """One hint a row, of the plan's kind."""
    chance = random.Random(plan.seed)
    kinds = [plan.hints if plan.hints != "anything" else chance.choice(HINTS[:5]) for _ in plan.rows]
    truths = {"right": deepcopy(now), "outdated": deepcopy(before), "another tenant's": deepcopy(theirs)}
    hints: list[tuple[int, bytes]] = []
    for index, (kind, given_row) in enumerate(zip(kinds, plan.rows, strict=True)):
        said = {name: known.believe(job, job.row_no + index, given_row) for name, known in truths.items()}
        if kind == "absent":
            hints.append((Hint.NONE, b""))
        elif kind == "a lie":
            hints.append(_lie(chance, [*now.ids.values(), *theirs.ids.values(), ANYBODY]))
        else:
            hints.append(said[kind])
    return hints


def _lie(chance: random.Random, contacts: Sequence[bytes]) -> tuple[int, bytes]:
    first, second = chance.choice(contacts), chance.choice(contacts)
    return chance.choice(
        [
            (Hint.NEW, b""),
            (Hint.NEW, b""),
            (Hint.IS, first),
            (Hint.SAME, first),
            (Hint.CONFLICT, first + second),
        ]
    )


@pytest.fixture
async def world(stack: Servers) -> AsyncIterator[World]:
    world = await World.open(stack.settings().sink_database_url.get_secret_value())
    yield world
    await world.close()


@pytest.mark.requirement("S0-020", "S0-021", "S0-026", "K-01")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=groups(), chosen=st.lists(policies, min_size=JOBS + 1, max_size=JOBS + 1))
async def test_rows_that_touch_each_other_end_as_one_by_one(
    world: World, story: list[list[Plan]], chosen: list[dict[str, str]]
) -> None:
    """However rows meet, and whatever the stream says of them, the result is that of one row at a time."""
    organizations = [await world.organization() for _ in range(2)]
    jobs = [await world.job(organizations[n // JOBS], **_options(policy)) for n, policy in enumerate(chosen)]
    tenants = [Tenant(), Tenant()]
    before = deepcopy(tenants)
    expected: dict[uuid.UUID, list[str]] = {job.id: [] for job in jobs}
    for group in story:
        older = deepcopy(tenants)
        batches = [_batch(world, plan, jobs, tenants, before, expected) for plan in group]
        before = older
        await world.write(*batches)
    for job in jobs:
        assert [outcome.value for outcome in await world.outcomes(job)] == expected[job.id]
        stored, counted = await world.row(job), Counter(expected[job.id])
        assert {name: stored[name] for name in map(str, Outcome)} == {
            name: counted[name] for name in map(str, Outcome)
        }
    for organization_id, tenant in zip(organizations, tenants, strict=True):
        assert dict(await _stored(world, organization_id)) == dict(_held(tenant))


def _options(policy: dict[str, str]) -> dict[str, Any]:
    return dict(policy)


def _batch(
    world: World,
    plan: Plan,
    jobs: Sequence[ImportJob],
    tenants: Sequence[Tenant],
    before: Sequence[Tenant],
    expected: dict[uuid.UUID, list[str]],
) -> Batch:
    job, whose = jobs[plan.job], plan.job // JOBS
    tenant, theirs = tenants[whose], tenants[1 - whose]
    hints = believed(plan, job, tenant, before[whose], theirs)
    for index, given_row in enumerate(plan.rows):
        expected[job.id].append(tenant.apply(job, job.row_no + index, given_row))
    return world.batch(job, plan.rows, hints=hints)


async def _stored(world: World, organization_id: uuid.UUID) -> list[tuple[bytes, dict[str, Any]]]:
    return [
        (
            contact.id,
            {name: contact.values[name] for name in CONTENT if contact.values.get(name)}
            | {"listed": bool(contact.values.get("do_not_call"))},
        )
        for contact in (await world.contacts(organization_id)).values()
    ]


def _held(tenant: Tenant) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, contact in tenant.oracle.contacts.items():
        content = {name: contact[name] for name in CONTENT if contact.get(name)}
        yield tenant.ids[number], content | {"listed": bool(contact["do_not_call"])}
