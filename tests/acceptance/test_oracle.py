"""The pipeline against the oracle: generated files through the running system, contact for contact."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sluice.outcome import Outcome
from tests.acceptance.client import Tenant, applied_batches, canonical, form_options, stored_contacts
from tests.acceptance.conftest import Running
from tests.acceptance.generated import LISTED, Round, rounds, to_csv
from tests.acceptance.oracle import Job, Organization

ORGANIZATIONS = 6
EXAMPLES = 125
"""Rounds; each is one to four jobs, more than 200 jobs in all."""


class World:
    """Organizations that live through all rounds, in the database and in the oracle."""

    def __init__(self, tenants: list[Tenant]) -> None:
        self.tenants = tenants
        self.oracles = [Organization(listed=dict.fromkeys(LISTED, "listed")) for _ in tenants]
        self.applied = [0] * len(tenants)
        self.jobs: dict[UUID, Job] = {}
        self.outcomes: Counter[str] = Counter()


@pytest.fixture(scope="module")
async def world(running: Running) -> World:
    names = [f"oracle {number}" for number in range(ORGANIZATIONS)]
    tenants = [await running.tenant(name) for name in names]
    for name in names:
        running.list_numbers(name, LISTED)
    return World(tenants)


@pytest.mark.requirement("B-03", "B-04", "K-01", "K-02", "K-09", "K-10", "K-11", "K-12", "K-26", "K-43")
@pytest.mark.requirement("S0-020", "S0-021", "S0-022", "S0-026", "S0-044")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    # The organizations live on between rounds, so a smaller example would be another story.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(round_=rounds(ORGANIZATIONS))
async def test_outcomes_and_contacts_equal_the_oracle(running: Running, world: World, round_: Round) -> None:
    """Every policy, overlapping identities, repeated files, jobs at once: the same rows and contacts."""
    tenant, oracle = world.tenants[round_.organization], world.oracles[round_.organization]
    started = await asyncio.gather(*(tenant.upload(to_csv(job), **form_options(job)) for job in round_.jobs))
    for answer, job in zip(started, round_.jobs, strict=True):
        world.jobs[UUID(answer["id"])] = job
    for answer in await asyncio.gather(*(tenant.wait(answer["id"]) for answer in started)):
        assert answer["state"] == "completed", answer
        assert sum(answer["counts"].values()) == len(world.jobs[UUID(answer["id"])].rows)

    batches = [
        batch
        for batch in await applied_batches(running.database, tenant.organization_id)
        if batch[0] in world.jobs
    ]
    fresh = batches[world.applied[round_.organization] :]
    world.applied[round_.organization] = len(batches)
    for job_id, rows, outcomes in fresh:
        job = world.jobs[job_id]
        expected = oracle.apply(job_id, job, rows)
        world.outcomes.update(outcomes)
        assert list(zip(rows, outcomes, strict=True)) == list(zip(rows, expected, strict=True)), job
    hidden = {"made_by", "stamp"}
    expected_contacts = [
        {name: value for name, value in contact.items() if value and name not in hidden}
        for contact in oracle.contacts.values()
    ]
    stored = await stored_contacts(running.database, tenant.organization_id)
    assert canonical(stored) == canonical(expected_contacts)


async def test_the_generated_jobs_were_worth_it(world: World) -> None:
    """More than 200 jobs ran before this, and every outcome that a file can bring about was among theirs."""
    assert len(world.jobs) >= 200
    possible = {outcome.value for outcome in Outcome} - {"failed", "cancelled"}
    assert possible - set(world.outcomes) == set()
