"""One round: three organizations import, users edit meanwhile, something breaks; then everything is checked.

Everything that is random comes from the round's seed: the files, their options, the edits' kinds, the fault.
What the machine does between them is its own, so a round repeats the attempt and not every interleaving.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import aiohttp
import structlog

from tests.acceptance.client import ENDED, Tenant, form_options
from tests.acceptance.generated import to_csv
from tests.acceptance.oracle import Job, Options
from tests.chaos.checks import (
    Broken,
    Ran,
    check_accounts,
    check_events,
    check_lag,
    check_order,
    check_organization,
    check_resources,
)
from tests.chaos.edits import Editor
from tests.chaos.faults import Fault
from tests.chaos.subscriber import Subscriber
from tests.chaos.world import World

log = structlog.get_logger()

ORGANIZATIONS = 3
ROWS = 100_000
"""Of each organization in one round."""
COLUMNS = ("email", "phone", "first_name", "company", "tags", "modified_at")
POLICIES = ("skip", "overwrite", "fill_blanks", "merge_newest")
MATCHES = ("email", "phone", "either")
SMALL = 1_000
"""Most rows of the jobs beside the large ones: the atomic, the dry, the cancelled, the repeated."""
MET = """
SELECT count(*) FILTER (WHERE b.state = 'paused') AS applied_while_paused,
       count(*) FILTER (WHERE j.state = 'cancelled' AND b.row_count > 0 AND b.outcomes ~ '^-+$')
           AS cancelled_on_their_way,
       count(*) FILTER (WHERE (j.options ->> 'dry_run')::boolean AND EXISTS (
           SELECT FROM import_batches o
           WHERE o.topic_partition = b.topic_partition AND o.job_id <> b.job_id
               AND o.topic_offset BETWEEN b.topic_offset - 3 AND b.topic_offset + 3)) AS staged_among_others
FROM import_batches b JOIN import_jobs j ON j.id = b.job_id WHERE b.organization_id = ANY ($1::uuid[])
"""
LISTED = [f"+1212200{number:04d}" for number in range(0, 200, 10)]


@dataclass(frozen=True)
class Planned:
    """One file of one organization: when it is uploaded, and whether its owner thinks better of it."""

    name: str
    job: Job
    wait_seconds: float = 0.0
    cancel_after_seconds: float | None = None
    pause_after_seconds: float | None = None
    """From its upload. A job that is to be cancelled then waits for that, the others are resumed."""
    paused_seconds: float = 1.0


@dataclass
class Report:
    """What one round was and what it showed."""

    fault: str
    seed: str
    rows: int
    seconds: float = 0.0
    lag_seconds: float = 0.0
    bites: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    edits: int = 0
    met: dict[str, int] = field(default_factory=dict)
    """Batches that met what a round is meant to bring together."""


def many_rows(chance: Random, count: int, people: int) -> list[dict[str, str] | None]:
    """Rows that name the same people again and again, by e-mail, by phone, by both or by neither."""
    rows: list[dict[str, str] | None] = []
    draw, pick = chance.random, chance.choice
    for _ in range(count):
        who = int(draw() * people)
        # One in five goes by the phone of another, so that identities lead to two contacts.
        other = int(draw() * people) if draw() < 0.2 else who
        email = f"p{who}@example.com" if draw() < 0.9 else pick(("", "", "no-at-sign"))
        phone = f"+1212{200 + other // 10_000}{other % 10_000:04d}" if draw() < 0.6 else pick(("", "12345"))
        rows.append(
            {
                "email": email,
                "phone": phone,
                "first_name": pick(("Ana", "Bo", "", "Cy")),
                "company": pick(("", "Acme", "Initech")),
                "tags": pick(("", "", "vip", "new;vip")),
                "modified_at": pick(("", "2020-01-01T00:00:00Z", "2021-06-01T00:00:00Z")),
            }
        )
    return rows


def plan(chance: Random, rows: int) -> list[Planned]:
    """What one organization uploads: two large files that overlap, and small ones of every mode."""
    people = rows * 3 // 5
    small = min(SMALL, max(rows // 50, 20))
    first, second = chance.sample(POLICIES, 2)

    def job(count: int, **options: Any) -> Job:
        chosen = Options(
            **{
                "match_on": chance.choice(MATCHES),
                "dnc_policy": chance.choice(("flag", "exclude")),
                "phone_check": chance.choice(("strict", "strict", "off")),
                **options,
            }
        )
        return Job(many_rows(chance, count, people), chosen, COLUMNS)

    large = job(rows - rows // 4, on_duplicate=first)
    again = replace(large, rows=large.rows[:small])
    clean = [row for row in many_rows(chance, small, 10**7) if row and "@" in row["email"]]
    atomic = Job(
        [{**row, "phone": ""} for row in clean], Options(mode="atomic", on_duplicate="overwrite"), COLUMNS
    )
    return [
        Planned("large.csv", large),
        Planned(
            "second.csv",
            job(rows // 4, on_duplicate=second),
            chance.uniform(0, 1),
            pause_after_seconds=chance.uniform(0, 2),
            paused_seconds=chance.uniform(0.2, 2),
        ),
        Planned("again.csv", again, chance.uniform(0.5, 4)),
        Planned("atomic.csv", atomic, chance.uniform(0.2, 3)),
        Planned("refused.csv", job(small, mode="atomic"), chance.uniform(0.2, 3)),
        Planned("dry.csv", job(small, dry_run=True, on_duplicate="overwrite"), chance.uniform(0.2, 3)),
        Planned("cancelled.csv", job(small * 3), chance.uniform(0.2, 3), chance.uniform(0, 1)),
        Planned(
            "halted.csv",
            job(small * 3),
            chance.uniform(0.2, 3),
            cancel_after_seconds=chance.uniform(0, 0.5),
            pause_after_seconds=chance.uniform(0, 0.5),
        ),
    ]


class Customer:
    """Uploads files and repeats what was not answered, looking first whether it was taken in after all."""

    def __init__(self, tenant: Tenant, deadline: float) -> None:
        self._tenant = tenant
        self._deadline = deadline

    async def run(self, planned: Planned) -> Ran:
        """Upload one file and wait for its end."""
        await asyncio.sleep(planned.wait_seconds)
        content = await asyncio.to_thread(to_csv, planned.job)
        job_id = await self._patiently(lambda: self._upload(planned, content))
        if planned.pause_after_seconds is not None:
            await asyncio.sleep(planned.pause_after_seconds)
            await self._patiently(lambda: self._act(job_id, "pause"))
            await asyncio.sleep(planned.paused_seconds)
        if planned.cancel_after_seconds is not None:
            await asyncio.sleep(planned.cancel_after_seconds)
            await self._patiently(lambda: self._act(job_id, "cancel"))
        elif planned.pause_after_seconds is not None:
            await self._patiently(lambda: self._act(job_id, "resume"))
        answer = await self._patiently(lambda: self._ended(job_id))
        return Ran(planned.job, answer, cancelled=planned.cancel_after_seconds is not None)

    async def _patiently(self, attempt: Callable[[], Any]) -> Any:
        """Repeat while the API is away or has nothing to say (None), until the round's time is over."""
        while time.monotonic() < self._deadline:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                found = await attempt()
                if found is not None:
                    return found
            await asyncio.sleep(0.1)
        raise Broken("hangs", f"not within the round's time; last asked: {attempt.__qualname__}")

    async def _upload(self, planned: Planned, content: bytes) -> str | None:
        headers = self._tenant.headers
        address = f"{self._tenant.api}/v1/imports"
        async with self._tenant.session.get(address, headers=headers, params={"limit": "100"}) as answer:
            if answer.status != 200:
                return None
            for job in (await answer.json())["data"]:
                if job["file"]["name"] == planned.name:
                    return str(job["id"])
        form = aiohttp.FormData()
        for name, value in form_options(planned.job).items():
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
        form.add_field("file", io.BytesIO(content), filename=planned.name, content_type="text/csv")
        async with self._tenant.session.post(address, data=form, headers=headers) as answer:
            body = await answer.json()
            if answer.status >= 500:
                return None
            if answer.status != 202:
                raise Broken("uploads", (answer.status, body))
            return str(body["data"]["id"])

    async def _act(self, job_id: str, act: str) -> bool | None:
        address = f"{self._tenant.api}/v1/imports/{job_id}/{act}"
        async with self._tenant.session.post(address, headers=self._tenant.headers) as answer:
            # 409: it has ended already.
            return True if answer.status in (200, 202, 409) else None

    async def _ended(self, job_id: str) -> dict[str, Any] | None:
        address = f"{self._tenant.api}/v1/imports/{job_id}"
        async with self._tenant.session.get(address, headers=self._tenant.headers) as answer:
            if answer.status != 200:
                return None
            job: dict[str, Any] = (await answer.json())["data"]
            if job["state"] not in ENDED:
                await asyncio.sleep(0.2)
                return None
            return job


async def run_round(
    world: World, fault: Fault, seed: str, rows: int = ROWS, *, every_bite: bool = True
) -> Report:
    """Run one round and check it. A small one may be over before every blow of the fault has landed.

    Raises:
        Broken: a promise was broken, or the fault did not bite.
    """
    chance = Random(seed)
    report = Report(fault.name, seed, rows)
    await world.ready()
    names = [f"{seed} {number} {time.time_ns()}" for number in range(ORGANIZATIONS)]
    tenants = await world.tenants(names, LISTED)
    plans = await asyncio.to_thread(lambda: [plan(chance, rows) for _ in tenants])
    world.rows = sum(len(each.job.rows) for files in plans for each in files)
    subscriber = Subscriber(world.stack.settings(), world.database)
    await subscriber.start()
    following = asyncio.create_task(subscriber.follow())
    editors = [
        Editor(world.database, world.stack.settings(), tenant.organization_id, Random(chance.random()))
        for tenant in tenants
    ]
    editing = [asyncio.create_task(editor.run()) for editor in editors]
    started = time.monotonic()
    try:
        async with fault.strike(world, Random(chance.random())) as bites:
            customers = [Customer(tenant, started + fault.seconds) for tenant in tenants]
            ran = await asyncio.gather(
                *(
                    asyncio.gather(*(customer.run(each) for each in files))
                    for customer, files in zip(customers, plans, strict=True)
                )
            )
            report.seconds = time.monotonic() - started
            ran = [
                [replace(each, overwritten=str(each.id) in world.overwritten) for each in jobs]
                for jobs in ran
            ]
    finally:
        for task in (*editing, following):
            task.cancel()
        await asyncio.gather(*editing, following, return_exceptions=True)
    report.bites = bites
    await world.ready()
    await _check(world, report, subscriber, tenants, ran)
    idle = [name for name, times in bites.items() if times <= 0]
    if idle and (every_bite or not any(bites.values())):
        raise Broken("fault", f"it did not bite: {idle} of {dict(bites)}")
    return report


async def _check(
    world: World, report: Report, subscriber: Subscriber, tenants: list[Tenant], ran: list[list[Ran]]
) -> None:
    report.lag_seconds = await check_lag(world)
    await subscriber.catch_up()
    expected = set()
    for tenant, jobs in zip(tenants, ran, strict=True):
        await check_accounts(jobs)
        expected |= await check_organization(world, tenant.organization_id, jobs, LISTED)
        for each in jobs:
            report.outcomes.update(each.answer["counts"])
    organizations = [tenant.organization_id for tenant in tenants]
    await check_events(subscriber, expected, organizations)
    await check_order(world, subscriber)
    await check_resources(world)
    report.met = dict(await world.database.fetchrow(MET, organizations))
    report.events = len(expected)
    report.edits = await world.database.fetchval(
        "SELECT count(*) FROM chaos_edits WHERE organization_id = ANY ($1::uuid[])", organizations
    )
