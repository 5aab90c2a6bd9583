"""Healing and committing at the door: what starts a run, and everything that is refused with nothing done."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from sluice.outcome import Outcome
from tests.integration.doors.api import Answer, Api, Tenant, apply_batch, form

CREATED, INVALID, CONFLICT = Outcome.CREATED, Outcome.INVALID, Outcome.CONFLICT
V1 = "/v1/imports"
FILE = b"Email,Name\na@example.com,A\nb,B\nc,C\nd@example.com,D\n"
OUTCOMES = (CREATED, INVALID, CONFLICT, CREATED)


async def ended(api: Api, tenant: Tenant, **fields: str) -> uuid.UUID:
    """An import of four rows, the second and the third refused."""
    job_id = await tenant.import_id(FILE, **fields)
    await apply_batch(api, job_id, OUTCOMES)
    return job_id


def corrected(job_id: uuid.UUID, *row_numbers: int, extra: str = "") -> bytes:
    """An errors file with these rows, mended."""
    lines = [f"row{n}@example.com,{n},{n},why,{job_id}:{n}\n" for n in row_numbers]
    return ("Email,Name,_row,_error,_token\n" + "".join(lines) + extra).encode()


async def heal(tenant: Tenant, job_id: uuid.UUID, content: bytes, **fields: str) -> Answer:
    return await tenant.upload(content, f"{V1}/{job_id}/rows", name="errors.csv", **fields)


async def row_of(api: Api, job_id: uuid.UUID) -> dict[str, Any]:
    row = await api.database.fetchrow("SELECT * FROM import_jobs WHERE id = $1", job_id)
    assert row is not None
    return dict(row)


async def test_a_corrected_file_is_the_jobs_next_part(api: Api, tenant: Tenant) -> None:
    """Stored as it came, with how it is read; the job is on its way again, from that part's beginning."""
    job_id = await ended(api, tenant)
    lines = ["Name;_token;Email", f"Jörg;{job_id}:3;c@example.com", f"Ann;{job_id}:2;b@example.com"]
    content = "".join(f"{line}\r\n" for line in lines).encode("cp1252")
    answer = await heal(tenant, job_id, content, encoding="windows-1252")

    assert answer.status == 202, answer.text
    told = answer.json["data"]
    assert (told["state"], told["run"], told["run_kind"]) == ("processing", 2, "heal")
    assert (told["completed_at"], told["progress"], told["rows_read"]) == (None, 0.0, 4)
    part = await api.database.fetchrow("SELECT * FROM import_parts WHERE job_id = $1 AND part_no = 2", job_id)
    assert part is not None
    assert json.loads(part["format"]) == {
        "kind": "csv",
        "columns": ["Email", "Name"],
        "encoding": "cp1252",
        "delimiter": ";",
        "first": {"byte_offset": 19, "line": 2},
        "corrections": {"width": 3, "token": 1, "own": [2, 0], "surplus": []},
    }
    stored = await api.services.store.read(part["object_key"], part["etag"], 0, part["size_bytes"])
    assert stored == content
    row = await row_of(api, job_id)
    assert (row["position_part"], row["position_byte"], row["ended_as"]) == (2, 0, "completed")
    assert (row["run_bytes"], row["lease_until"], row["started_at"]) == (len(content), None, None)
    assert (await heal(tenant, job_id, content)).code == "CONFLICT"


@pytest.mark.parametrize(
    ("rows", "extra", "status", "code", "names"),
    [
        ((2, 1), "", 409, "ROW_NOT_REFUSED", "Row 1 in line 3 is created"),
        ((2, 5), "", 422, "ROW_TOKEN_INVALID", "no row 5, which line 3 names"),
        ((2, 3, 2), "", 422, "ROW_TOKEN_INVALID", "Row 2 is there twice, in lines 2 and 4"),
        ((2,), f"a,b,1,why,{uuid.UUID(int=7)}:3\n", 422, "ROW_TOKEN_INVALID", "line 3 is of another import"),
        ((2,), "a,b,1,why,\n", 422, "ROW_TOKEN_INVALID", "Line 3 has no row token"),
        ((2,), '"a,b,1,why\n', 422, "ROW_TOKEN_INVALID", "Line 3 has no row token"),
        ((), ",,,,\n\n", 422, "FILE_HAS_NO_ROWS", "no rows"),
    ],
    ids=["not refused", "unknown", "twice", "foreign", "without token", "unreadable", "blank rows alone"],
)
async def test_a_row_that_cannot_be_healed_stops_the_whole_file(
    api: Api, tenant: Tenant, rows: tuple[int, ...], extra: str, status: int, code: str, names: str
) -> None:
    """It is named by its number or line, and nothing is done: no run, no part, no object."""
    job_id = await ended(api, tenant)
    objects, before = await api.objects(), await row_of(api, job_id)
    answer = await heal(tenant, job_id, corrected(job_id, *rows, extra=extra))
    assert (answer.status, answer.code) == (status, code), answer.text
    assert names in answer.message
    assert (await api.objects(), await row_of(api, job_id)) == (objects, before)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"Email,_token\nx,y\n", 422, "COLUMNS_DIFFER"),
        (b"Email,Name\nx,y\n", 422, "COLUMNS_DIFFER"),
        (b"Email,Name,Notes,_token\nx,y,z,t\n", 422, "COLUMNS_DIFFER"),
        (b"", 422, "FILE_EMPTY"),
        (b"%PDF-1.7\n", 415, "UNSUPPORTED_FILE_TYPE"),
        (b"Email,Name,_token\n" + b"x,y,t\n" * 200_000, 413, "FILE_TOO_LARGE"),
    ],
    ids=["a column less", "no token", "a column more", "empty", "no CSV", "too large"],
)
async def test_a_file_that_is_no_errors_file_of_the_import_is_refused(
    api: Api, tenant: Tenant, content: bytes, status: int, code: str
) -> None:
    """In the words of any upload; nothing is left of it."""
    job_id = await ended(api, tenant)
    objects, before = await api.objects(), await row_of(api, job_id)
    answer = await heal(tenant, job_id, content)
    assert (answer.status, answer.code) == (status, code), answer.text
    assert (await api.objects(), await row_of(api, job_id)) == (objects, before)


@pytest.mark.parametrize(
    ("fields", "state", "problem"),
    [
        ({}, "processing", "it is processing"),
        ({}, "cancelled", "it is cancelled"),
        ({"mode": "atomic"}, "completed", "whole or nothing"),
        ({"dry_run": "true"}, "completed", "Commit it first"),
    ],
)
async def test_only_an_ended_import_that_has_written_is_healed(
    api: Api, tenant: Tenant, fields: dict[str, str], state: str, problem: str
) -> None:
    """409 with the reason, before the file is read."""
    job_id = await tenant.import_id(FILE, **fields)
    await apply_batch(api, job_id, OUTCOMES, state="processing")
    await api.database.execute("UPDATE import_jobs SET state = $2 WHERE id = $1", job_id, state)
    answer = await heal(tenant, job_id, corrected(job_id, 2))
    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert problem in answer.message


async def test_two_corrections_at_once_are_one_run(api: Api, tenant: Tenant) -> None:
    """One of them wins; the other finds the import on its way, and leaves no object."""
    job_id = await ended(api, tenant)
    answers = await asyncio.gather(*(heal(tenant, job_id, corrected(job_id, 2, 3)) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [202, 409, 409, 409]
    assert (await row_of(api, job_id))["run"] == 2
    parts = await api.database.fetchval("SELECT count(*) FROM import_parts WHERE job_id = $1", job_id)
    assert parts == 2


async def test_who_may_not_import_may_not_heal_or_commit(api: Api) -> None:
    """The role decides, as it does for imports."""
    agent = await api.tenant(role="agent")
    nothing = uuid.uuid4()
    assert (await heal(agent, nothing, b"x")).status == 403
    assert (await agent.post(f"{V1}/{nothing}/commit")).status == 403


async def test_a_healing_needs_a_file(api: Api, tenant: Tenant) -> None:
    """And takes no options but how the file is written."""
    job_id = await ended(api, tenant)
    path = f"{V1}/{job_id}/rows"
    assert (await tenant.post(path, data=form(encoding="utf-8"))).code == "FILE_MISSING"
    answer = await heal(tenant, job_id, corrected(job_id, 2), on_duplicate="overwrite")
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")


# The commit of a dry run ------------------------------------------------------------------------


async def foretold(api: Api, tenant: Tenant, **fields: str) -> uuid.UUID:
    return await ended(api, tenant, dry_run="true", **fields)


async def test_a_commit_reads_the_file_once_more(api: Api, tenant: Tenant) -> None:
    """202 over the wait; asked again it is the same run."""
    job_id = await foretold(api, tenant)
    for _ in range(2):
        answer = await tenant.post(f"{V1}/{job_id}/commit")
        assert answer.status == 202, answer.text
        told = answer.json["data"]
        assert (told["state"], told["run"], told["run_kind"]) == ("processing", 2, "commit")
    row = await row_of(api, job_id)
    assert (row["position_part"], row["position_byte"], row["run_bytes"]) == (1, 0, len(FILE))


@pytest.mark.parametrize(
    ("reason", "committed", "status"),
    [(None, True, 200), ("Nothing was written: 1 row ends otherwise by now: 3.", False, 409)],
)
async def test_a_commit_answers_how_it_ended(
    api: Api, tenant: Tenant, reason: str | None, committed: bool, status: int
) -> None:
    """Written, or not and why, as soon as it has ended; the test plays the pipeline."""
    job_id = await foretold(api, tenant)

    async def pipeline() -> None:
        async with asyncio.timeout(5):
            while (await row_of(api, job_id))["run"] == 1:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        await api.database.execute(
            "UPDATE import_jobs SET state = 'completed', reason = $2, completed_at = now(),"
            " options = CASE WHEN $3 THEN options || '{\"dry_run\": false}' ELSE options END WHERE id = $1",
            job_id,
            reason,
            committed,
        )

    answer, _ = await asyncio.gather(tenant.post(f"{V1}/{job_id}/commit"), pipeline())
    assert answer.status == status, answer.text
    if committed:
        assert answer.json["data"]["options"]["dry_run"] is False
        assert (await tenant.post(f"{V1}/{job_id}/commit")).status == 200
        assert (await row_of(api, job_id))["run"] == 2
    else:
        assert (answer.code, answer.message) == ("CONFLICT", reason)
        assert (await tenant.post(f"{V1}/{job_id}/commit")).json["data"]["run"] == 3


@pytest.mark.parametrize(
    ("fields", "state", "problem"),
    [
        ({}, "completed", "Only a dry run can be committed"),
        ({"dry_run": "true"}, "processing", "it is processing"),
        ({"dry_run": "true"}, "failed", "it is failed"),
        ({"dry_run": "true"}, "cancelled", "it is cancelled"),
        ({"dry_run": "true", "mode": "atomic"}, "completed", "2 of its rows are refused"),
    ],
)
async def test_only_a_completed_dry_run_is_committed(
    api: Api, tenant: Tenant, fields: dict[str, str], state: str, problem: str
) -> None:
    """409 with the reason."""
    job_id = await tenant.import_id(FILE, **fields)
    await apply_batch(api, job_id, OUTCOMES, state="processing")
    await api.database.execute("UPDATE import_jobs SET state = $2 WHERE id = $1", job_id, state)
    answer = await tenant.post(f"{V1}/{job_id}/commit")
    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert problem in answer.message
    assert (await row_of(api, job_id))["run"] == 1


async def test_a_dry_runs_updates_show_what_they_change(api: Api, tenant: Tenant) -> None:
    """`changes` by field, from and to; null for every other row."""
    job_id = await foretold(api, tenant)
    await api.database.execute(
        "UPDATE import_batches SET outcomes = 'cuic', changes = $2 WHERE job_id = $1",
        job_id,
        json.dumps({"1": {"city": ["Ulm", None]}}),
    )
    rows = (await tenant.get(f"{V1}/{job_id}/rows")).json["data"]
    assert [row["changes"] for row in rows] == [None, {"city": {"from": "Ulm", "to": None}}, None, None]
