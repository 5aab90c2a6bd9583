"""Step 5: the mapped file becomes an import, which its door waits for."""

from __future__ import annotations

import asyncio

import pytest

from ingress.state import analysis_key, mapping_key, progress_key
from sluice.outcome import Outcome
from tests.integration.doors.api import Api, Tenant, apply_batch, running_api
from tests.integration.doors.wizard import (
    MAPPING,
    ROWS,
    Sent,
    analyzed,
    announce,
    mapped,
    post,
    previewed,
    state_of,
)
from tests.integration.stack import Servers

ALL = list(Outcome)


@pytest.mark.requirement(
    "S1-006", "S1-098", "S1-099", "S1-102", "S1-103", "S1-105", "S1-106", "S1-022", "K-14"
)
async def test_an_import_that_ends_in_time_is_answered_in_full(tenant: Tenant) -> None:
    """Imported and skipped are sums of outcomes; the state of the file is gone."""
    file = await mapped(tenant)
    asking = asyncio.create_task(
        post(tenant, "/api/import", {"fileId": file.file_id, "excludedRows": [3, 1, 3]})
    )
    await until_pending(tenant, file)
    invalid = [{"field": "email", "code": "email_invalid", "message": "Invalid email format", "value": "x"}]
    required = {"field": "first_name", "code": "required", "message": "First name is required", "value": ""}
    invalid.append(required)
    await apply_batch(tenant.api, file.job_id, ALL, faults={ALL.index(Outcome.INVALID): invalid})
    answer = await asking
    assert answer.status == 200
    told = answer.json
    assert (told["success"], told["imported"], told["skipped"]) == (True, 3, 9)
    number = ALL.index(Outcome.INVALID) + 1
    assert {"row": number, "message": "Invalid email format"} in told["errors"]
    assert {"row": number, "message": "First Name is required"} in told["errors"]
    assert len(told["errors"]) == 5
    state, organization_id = tenant.api.services.state, tenant.account.organization_id
    for key in (analysis_key, progress_key, mapping_key):
        assert not await state.exists(organization_id, key(file.job_id))
    again = await post(tenant, "/api/import", {"fileId": file.file_id})
    assert again.status == 404


async def until_pending(tenant: Tenant, file: Sent) -> None:
    """Return when the job waits for a reader."""
    async with asyncio.timeout(10):
        while await state_of(tenant, file) != "pending":  # noqa: ASYNC110 - a database sends no event
            await asyncio.sleep(0.01)


@pytest.mark.requirement("K-14", "K-44", "T-01")
@pytest.mark.requirement("T-10")
async def test_an_import_that_takes_longer_is_answered_with_what_there_is(tenant: Tenant) -> None:
    """202 with the counts so far and the id; asking again while it runs waits for the same import."""
    file = await mapped(tenant)
    answer = await post(tenant, "/api/import", {"fileId": file.file_id})
    nothing_yet = {"success": True, "imported": 0, "skipped": 0, "fileId": file.file_id}
    assert (answer.status, answer.json) == (202, nothing_yet)
    await apply_batch(
        tenant.api, file.job_id, [Outcome.CREATED, Outcome.INVALID], state="processing", end_byte=40
    )
    again = await post(tenant, "/api/import", {"fileId": file.file_id, "excludedRows": [1]})
    assert (again.status, again.json) == (202, {**nothing_yet, "imported": 1, "skipped": 1})
    assert await tenant.jobs() == 1
    last = asyncio.create_task(post(tenant, "/api/import", {"fileId": file.file_id}))
    await asyncio.sleep(0.1)  # it is waiting
    await apply_batch(tenant.api, file.job_id, [Outcome.CREATED])
    assert (await last).json["imported"] == 2
    assert (await post(tenant, "/api/import", {"fileId": file.file_id})).status == 404


@pytest.mark.requirement("S1-021", "S1-102", "K-26")
async def test_the_job_gets_the_wizards_options(tenant: Tenant) -> None:
    """Skip, by e-mail, lenient phones, e-mail and first name required; the mapping and the excluded rows."""
    file = await mapped(tenant)
    await post(tenant, "/api/import", {"fileId": file.file_id, "excludedRows": [3, 1, 3]})
    job = (await tenant.get(f"/v1/imports/{file.file_id}")).json["data"]
    options = job["options"]
    assert (options["on_duplicate"], options["match_on"], options["phone_check"]) == (
        "skip",
        "email",
        "lenient",
    )
    assert (options["required"], options["missing_email"]) == (["email", "first_name"], "invalid")
    assert (options["mapping"], options["exclude_rows"]) == (MAPPING, [1, 3])


async def test_two_that_import_at_once_make_one_import(tenant: Tenant) -> None:
    """One of them begins it, and all are answered with it."""
    file = await mapped(tenant)
    answers = await asyncio.gather(*(post(tenant, "/api/import", {"fileId": file.file_id}) for _ in range(4)))
    assert [answer.status for answer in answers] == [202] * 4
    assert await state_of(tenant, file) == "pending"


@pytest.mark.requirement("S1-107")
async def test_an_import_that_fails_says_so(tenant: Tenant) -> None:
    """The document's 500, and the reason of the job beside it."""
    file = await mapped(tenant)
    asking = asyncio.create_task(post(tenant, "/api/import", {"fileId": file.file_id}))
    await until_pending(tenant, file)
    await tenant.api.database.execute(
        "UPDATE import_jobs SET state = 'failed', reason = 'The file changed.', completed_at = now()"
        " WHERE id = $1",
        file.job_id,
    )
    answer = await asking
    assert answer.status == 500
    assert answer.json == {
        "error": "Failed to import contacts",
        "code": "IMPORT_FAILED",
        "reason": "The file changed.",
    }


@pytest.mark.requirement("S1-109", "K-16", "K-17")
async def test_the_free_tiers_imports_are_counted(api: Api) -> None:
    """The sixth import of a day is refused in the document's words, and the file can be imported later."""
    tenant = await api.tenant(tier="free")
    for _ in range(5):
        assert (await tenant.upload(b"Email\nann@example.com\n")).status == 202
    await api.database.execute(
        "UPDATE organizations SET subscription_tier = 'pro' WHERE id = $1", tenant.account.organization_id
    )
    file = await mapped(tenant)
    await api.database.execute(
        "UPDATE organizations SET subscription_tier = 'free' WHERE id = $1", tenant.account.organization_id
    )
    api.services.directory._tiers._held.clear()
    answer = await post(tenant, "/api/import", {"fileId": file.file_id})
    assert answer.status == 429
    assert answer.json == {"error": "Rate limit exceeded. Please try again later.", "code": "RATE_LIMITED"}
    assert await state_of(tenant, file) == "awaiting_mapping"


async def test_a_file_that_was_cancelled_before_its_import_has_ended(tenant: Tenant) -> None:
    """Nobody reads it, so nothing is waited for."""
    for file in (await announce(tenant), await analyzed(tenant)):
        answer = await tenant.post(f"/v1/imports/{file.file_id}/cancel")
        job = answer.json["data"]
        assert (answer.status, job["state"], job["reason"]) == (200, "cancelled", "Cancelled on request.")
        history = (await tenant.get(f"/v1/imports/{file.file_id}/history")).json["data"]
        assert [each["event"] for each in history][-1] == "cancelled"
        assert (await post(tenant, "/api/import", {"fileId": file.file_id})).status == 404


@pytest.mark.requirement("S1-003", "S1-039", "K-41")
async def test_the_steps_are_the_same_with_the_state_in_the_bucket(stack: Servers) -> None:
    """STATE_BACKEND=objects: the same answers, and JSON objects in the store."""
    async with running_api(stack, STATE_BACKEND="objects", IMPORT_WAIT_SECONDS="0.2") as api:
        tenant = await api.tenant()
        file = await mapped(tenant)
        stored = {key for key in await api.objects() if key.startswith("state/")}
        own = f"state/{tenant.account.organization_id}/"
        assert {key.removeprefix(own) for key in stored if key.startswith(own)} == {
            f"analysis:{file.file_id}.json",
            f"analysis:{file.file_id}:progress.json",
            f"mapping:{file.file_id}.json",
        }
        assert len((await previewed(tenant, file)).json["rows"]) == len(ROWS)
        assert (await post(tenant, "/api/import", {"fileId": file.file_id})).status == 202
        assert not {key for key in await api.objects() if key.startswith(own)}
