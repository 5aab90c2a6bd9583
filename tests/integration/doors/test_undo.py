"""Undo at the door: who may ask for it and when, what the job shows of it, what it names, its history."""

from __future__ import annotations

import uuid

import pytest

from sluice.clock import FakeClock
from sluice.contact import contact_id
from sluice.outcome import Outcome
from sluice.telemetry import Telemetry
from tasks.undo.work import Undo
from tests.integration.doors.api import Api, Tenant, apply_batch, form

V1 = "/v1/imports"
FILE = b"Email\nann@example.com\nbob@example.com\n"
CREATED = Outcome.CREATED


async def work(api: Api, job_id: uuid.UUID) -> None:
    """What the tasks role does to this job."""
    undo = Undo(api.services.settings, FakeClock(), Telemetry("tasks"))
    state = "SELECT state FROM import_jobs WHERE id = $1"
    while await api.database.fetchval(state, job_id) == "undoing":
        assert await undo.work(api.database)
    await api.database.execute("DELETE FROM outbox")


async def imported(api: Api, tenant: Tenant) -> uuid.UUID:
    """A completed import of two contacts, as the sink leaves it."""
    job_id = await tenant.import_id(FILE)
    ids = [uuid.UUID(bytes=contact_id(job_id, row_no)) for row_no in (1, 2)]
    for made, name in zip(ids, ("ann", "bob"), strict=True):
        await api.database.execute(
            "INSERT INTO contacts (id, organization_id, email, first_name, created_by)"
            " VALUES ($1, $2, $3, $4, $2)",
            made,
            tenant.account.organization_id,
            f"{name}@example.com",
            name.title(),
        )
    await apply_batch(api, job_id, [CREATED, CREATED], contact_ids=ids)
    return job_id


@pytest.mark.requirement("S0-028", "K-13")
async def test_an_undo_is_asked_for_watched_and_listed(api: Api, tenant: Tenant) -> None:
    """202 until it is done; the job counts, the list names and pages, the history tells."""
    job_id = await imported(api, tenant)
    edited = uuid.UUID(bytes=contact_id(job_id, 1))
    await api.database.execute("UPDATE contacts SET version = 2 WHERE id = $1", edited)
    assert (await tenant.get(f"{V1}/{job_id}")).json["data"]["undo"] is None

    asked = await tenant.post(f"{V1}/{job_id}/undo")
    again = await tenant.post(f"{V1}/{job_id}/undo")
    assert (asked.status, again.status) == (202, 202)
    assert asked.json["data"]["state"] == again.json["data"]["state"] == "undoing"
    assert again.json["data"]["undo"]["total"] is None
    assert (await tenant.post(f"{V1}/{job_id}/cancel")).status == 409

    await work(api, job_id)
    job = (await tenant.get(f"{V1}/{job_id}")).json["data"]
    assert job["state"] == "undone"
    assert job["undo"] == {
        "total": 2,
        "done": 2,
        "reversed": 1,
        "kept_edited": 1,
        "kept_colliding": 0,
        "left_lists": 0,
    }
    page = (await tenant.get(f"{V1}/{job_id}/undo", params={"limit": "1"})).json
    assert page["data"] == [
        {
            "contact_id": str(edited),
            "reason": "edited",
            "message": "It was edited since the import, so it stays as it is.",
            "held_by": None,
            "contact": {"first_name": "Ann", "email": "ann@example.com"},
        }
    ]
    cursor = page["pagination"]["next_cursor"]
    last = (await tenant.get(f"{V1}/{job_id}/undo", params={"cursor": cursor})).json
    assert last == {"data": [], "pagination": {"next_cursor": None}}

    refused = await tenant.post(f"{V1}/{job_id}/undo")
    assert (refused.status, refused.code) == (409, "CONFLICT")
    assert "undone already" in refused.message

    history = (await tenant.get(f"{V1}/{job_id}/history")).json["data"]
    user = str(tenant.account.user_id)
    assert [(each["event"], each["user_id"]) for each in history] == [
        ("accepted", user),
        ("started", None),
        ("completed", None),
        ("undo_asked", user),
        ("undone", None),
    ]
    assert history[-1]["details"] == {
        "reversed": 1,
        "kept_edited": 1,
        "kept_colliding": 0,
        "left_lists": 0,
    }


async def test_what_was_undone_is_not_run_again(api: Api, tenant: Tenant) -> None:
    """Neither by healing nor by a commit, not even where its undo has failed half-way."""
    healed, committed = await imported(api, tenant), await tenant.import_id(FILE, dry_run="true")
    await apply_batch(api, committed, [CREATED, CREATED])
    undo = "UPDATE import_jobs SET state = 'undoing', undo_asked_at = now() WHERE id = $1"
    for job_id in (healed, committed):
        await api.database.execute(undo, job_id)
        await api.database.execute("UPDATE import_jobs SET state = 'failed' WHERE id = $1", job_id)
    file = form(("file", b"Email,_token\nann@example.com,1\n", "errors.csv"))
    refused = [
        await tenant.post(f"{V1}/{healed}/rows", data=file),
        await tenant.post(f"{V1}/{committed}/commit"),
    ]
    assert [(each.status, "was undone" in each.message) for each in refused] == [(409, True)] * 2


@pytest.mark.parametrize("state", ["cancelled", "failed", "completed"])
async def test_a_job_that_wrote_nothing_is_undone_at_once(api: Api, tenant: Tenant, state: str) -> None:
    """However it ended, a dry run too: with zeros, and without anybody's work."""
    job_id = await tenant.import_id(FILE, dry_run="true")
    await apply_batch(api, job_id, [Outcome.CREATED, Outcome.CREATED], state=state)
    answer = await tenant.post(f"{V1}/{job_id}/undo")
    assert (answer.status, answer.json["data"]["state"]) == (200, "undone")
    assert set(answer.json["data"]["undo"].values()) == {0}


async def test_what_has_not_ended_is_not_undone(api: Api, tenant: Tenant) -> None:
    """409 with the state, and nothing changes."""
    job_id = await tenant.import_id(FILE)
    for state in ("pending", "paused", "processing"):
        await api.database.execute("UPDATE import_jobs SET state = $2 WHERE id = $1", job_id, state)
        answer = await tenant.post(f"{V1}/{job_id}/undo")
        assert (answer.status, answer.code) == (409, "CONFLICT")
        assert f"The import is {state}" in answer.message
        assert (await tenant.get(f"{V1}/{job_id}")).json["data"]["state"] == state


async def test_nobody_else_undoes_or_looks(api: Api, tenant: Tenant) -> None:
    """Another organization finds no such import; an agent of this one may look, but not undo."""
    job_id = await imported(api, tenant)
    stranger = await api.tenant()
    for method, path in (("POST", "undo"), ("GET", "undo"), ("GET", "history")):
        assert (await api.call(method, f"{V1}/{job_id}/{path}", token=stranger.token)).status == 404
    agent = await api.tenant(role="agent")
    assert (await agent.post(f"{V1}/{job_id}/undo")).status == 403
    assert (await tenant.get(f"{V1}/{job_id}")).json["data"]["state"] == "completed"


async def test_the_history_tells_of_pauses_and_of_a_cancellation(api: Api, tenant: Tenant) -> None:
    """A paused job that is cancelled was not resumed, though it goes on to its end."""
    job_id = await tenant.import_id(FILE)
    for act in ("pause", "resume", "pause", "cancel", "cancel"):
        assert (await tenant.post(f"{V1}/{job_id}/{act}")).status in (200, 202)
    await api.database.execute(
        "UPDATE import_jobs SET state = 'cancelled', reason = 'Cancelled on request.' WHERE id = $1", job_id
    )
    first = (await tenant.get(f"{V1}/{job_id}/history", params={"limit": "4"})).json
    rest = (
        await tenant.get(f"{V1}/{job_id}/history", params={"cursor": first["pagination"]["next_cursor"]})
    ).json
    events = first["data"] + rest["data"]
    assert [each["event"] for each in events] == [
        "accepted",
        "paused",
        "resumed",
        "paused",
        "cancel_asked",
        "cancelled",
    ]
    assert events[-1]["details"] == {"reason": "Cancelled on request."}
