"""Further runs while sink and reader are killed, at named points and at any time: each row is decided once.

A file with refused rows is imported, its errors file is corrected and sent back twice; a dry run of another
file is committed. After each run the account, every row, every contact and every event are compared with what
one undisturbed pass would give.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID

import pytest

from tests.acceptance.client import Tenant, new_tenant
from tests.acceptance.test_runs import errors_of, events_of, send
from tests.chaos.faults import faults
from tests.chaos.striking import kill, restart
from tests.chaos.world import World, open_world

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_200)]

ROWS = 1_500
"""A third of them refused: healed one by one, that is five hundred batches."""
RUN_SECONDS = 300
HEADER = "Email;Name\n"

Strikes = Mapping[str, Mapping[str, int]]
"""Role to points, and at which passing of each in one process it is struck. Five deaths of a role in a minute
make its supervisor wait fifteen seconds, so each run has a few."""
FIRST_HEALING: Strikes = {
    "sink": {"before-database-commit": 2, "after-database-commit": 3},
    "reader": {"after-lease": 1, "after-send": 30},
}
SECOND_HEALING: Strikes = {
    "sink": {"before-kafka-commit": 2, "after-kafka-commit": 3},
    "reader": {"after-window-advance": 5, "after-stored": 20},
}
COMMIT: Strikes = {
    # The second passing of a process that staged is the judgement; its successor comes to it first.
    "sink": {"before-database-commit": 2, "after-database-commit": 1},
    "reader": {"after-send": 2},
}


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world(faults()["none"]) as opened:
        yield opened


@asynccontextmanager
async def struck(world: World, strikes: Strikes, chance: Random) -> AsyncIterator[None]:
    """Each point once, and each of the roles once at random; every point must have been struck."""
    world.plan.set(
        {
            role: [{"patch": "kill", "at": name, "nth": nth} for name, nth in points.items()]
            for role, points in strikes.items()
        }
    )
    await restart(world, *strikes)

    async def strike() -> None:
        for role in strikes:
            await asyncio.sleep(chance.uniform(1, 6))
            kill(world, role)

    striking = asyncio.create_task(strike())
    try:
        yield
    finally:
        striking.cancel()
        bites = world.plan.bites()
        world.plan.clear()
        await world.ready(180)
    assert bites == Counter(name for points in strikes.values() for name in points)


def good(n: int) -> str:
    return f"p{n}@example.com;Person {n}\n"


def bad(n: int) -> str:
    return f"p{n} at example.com;Person {n}\n"


def written(table: Iterable[list[str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=";").writerows(table)
    return out.getvalue().encode()


async def check(world: World, tenant: Tenant, job_id: str, expected: Mapping[int, tuple[str, int]]) -> None:
    """The account, and each row by its outcome and run; `cells` of each are its own."""
    job = (await tenant.get(f"/v1/imports/{job_id}"))["data"]
    counts = {name: count for name, count in job["counts"].items() if count}
    assert counts == Counter(outcome for outcome, _ in expected.values())
    assert job["rows_read"] == len(expected)
    cursor, found = "0", dict[int, tuple[str, int]]()
    while cursor:
        page = await tenant.get(f"/v1/imports/{job_id}/rows?limit=500&cursor={cursor}")
        for row in page["data"]:
            assert row["row_no"] not in found
            found[row["row_no"]] = (row["outcome"], row["run"])
            assert row["values"]["Name"] == f"Person {row['row_no']}"
        cursor = page["pagination"]["next_cursor"]
    assert found == dict(expected)
    stored = await world.database.fetch(
        "SELECT email, version FROM contacts WHERE organization_id = $1", UUID(tenant.organization_id)
    )
    created = {f"p{n}@example.com" for n, (outcome, _) in expected.items() if outcome == "created"}
    assert {row["email"] for row in stored} == created
    assert {row["version"] for row in stored} == {1}


async def all_events(world: World, job_id: str, count: int) -> Counter[str]:
    """The job's events once so many are there, and a second later."""
    async with asyncio.timeout(60):
        while sum((await events_of(world, job_id)).values()) < count:  # noqa: ASYNC110 - it reads the topic
            await asyncio.sleep(0.5)
    await asyncio.sleep(1)
    return await events_of(world, job_id)


async def test_killed_healings_heal_each_row_once(world: World) -> None:
    """Two healings under fire: outcomes, counts, contacts and events are those of a quiet day."""
    chance = Random("healing")
    tenant = await asyncio.to_thread(new_tenant, world.stack, world.session, "healing")
    lines = [bad(n) if n % 3 == 0 else good(n) for n in range(1, ROWS + 1)]
    job = await tenant.wait((await tenant.upload((HEADER + "".join(lines)).encode()))["id"])
    expected = {n: ("invalid" if n % 3 == 0 else "created", 1) for n in range(1, ROWS + 1)}
    await check(world, tenant, job["id"], expected)
    for run, strikes in ((2, FIRST_HEALING), (3, SECOND_HEALING)):
        header, *rows = await errors_of(tenant, job["id"])
        for row in rows:
            row_no = int(row[2])
            if run == 3 or row_no % 2:
                row[0] = row[0].replace(" at ", "@")
                expected[row_no] = ("created", run)
            else:
                expected[row_no] = ("invalid", run)
        if run == 3:
            chance.shuffle(rows)
        async with struck(world, strikes, chance):
            status, answer = await send(tenant, job["id"], written([header, *rows]))
            assert status == 202, answer
            job = await tenant.wait(job["id"], RUN_SECONDS)
            assert (job["state"], job["run"]) == ("completed", run)
        await check(world, tenant, job["id"], expected)
    events = await all_events(world, job["id"], ROWS)
    assert events == Counter({f"{job['id']}/{run}/{n}": 1 for n, (_, run) in expected.items()})


async def test_a_killed_commit_writes_each_row_once(world: World) -> None:
    """A dry run committed under fire: nothing before it is decided, and then all of it."""
    chance = Random("committing")
    tenant = await asyncio.to_thread(new_tenant, world.stack, world.session, "committing")
    lines = [bad(n) if n % 3 == 0 else good(n) for n in range(1, ROWS + 1)]
    dry: Any = await tenant.upload((HEADER + "".join(lines)).encode(), dry_run=True)
    job = await tenant.wait(dry["id"])
    outcomes = ["invalid" if n % 3 == 0 else "created" for n in range(1, ROWS + 1)]
    assert job["counts"]["created"] == outcomes.count("created")
    async with struck(world, COMMIT, chance):
        address = f"{tenant.api}/v1/imports/{job['id']}/commit"
        async with tenant.session.post(address, headers=tenant.headers) as answer:
            assert answer.status in (200, 202), await answer.text()
        job = await tenant.wait(job["id"], RUN_SECONDS)
        assert (job["state"], job["run"], job["options"]["dry_run"]) == ("completed", 2, False)
    await check(world, tenant, job["id"], {n: (each, 2) for n, each in enumerate(outcomes, 1)})
    events = await all_events(world, job["id"], outcomes.count("created"))
    assert events == Counter(
        {f"{job['id']}/2/{n}": 1 for n, each in enumerate(outcomes, 1) if each == "created"}
    )
