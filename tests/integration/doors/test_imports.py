"""Imports from the file to the job, and what can be read of them; the tests play the pipeline."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import re
import uuid
from collections.abc import Callable

import pytest

from ingress.formats.formulas import original
from ingress.object_writer import PART_BYTES
from ingress.uploads import MEGABYTE
from sluice.events import JobProgress
from sluice.outcome import Outcome
from tests.integration.doors.api import Api, Tenant, apply_batch, form, running_api
from tests.integration.stack import Servers

CREATED, INVALID, FAILED = Outcome.CREATED, Outcome.INVALID, Outcome.FAILED
S0, V1 = "/api/contacts/import", "/v1/imports"
FILE = (
    b"Email,Phone,Notes\r\n"
    b"ann@example.com,+12125550101,=1+1\r\n"
    b'not an address,,"two\r\nlines"\r\n'
    b",,-\r\n"
    b"bob@example.com,+12125550102,x,surplus\r\n"
)
FAULTS = {
    1: [{"field": "email", "code": "invalid_email", "message": "No @ in it.", "value": "not an address"}],
    3: [{"field": "", "code": "too_many_cells", "message": "The row has 4 cells.", "value": ""}],
}
OUTCOMES = (CREATED, INVALID, Outcome.NO_IDENTITY, INVALID)


@pytest.mark.requirement("S0-001", "S0-010", "K-21", "K-23", "K-36")
async def test_a_file_becomes_an_object_a_part_and_a_job(api: Api, tenant: Tenant) -> None:
    """Stored byte for byte, counted and hashed here, and pinned by its ETag for the reader."""
    answer = await tenant.upload(FILE, name="Ännas Kontakte 1.csv", list_name="Friends", exclude_rows="3,1")

    assert answer.status == 202, answer.text
    job = answer.json["data"]
    assert answer.headers["Location"] == f"/v1/imports/{job['id']}"
    assert job["state"] == "pending"
    sha256 = hashlib.sha256(FILE).hexdigest()
    assert job["file"] == {"name": "Ännas Kontakte 1.csv", "bytes": len(FILE), "sha256": sha256}
    assert job["options"]["exclude_rows"] == [1, 3]
    part = await api.database.fetchrow("SELECT * FROM import_parts WHERE job_id = $1", uuid.UUID(job["id"]))
    assert part is not None
    assert re.fullmatch(r"uploads/\d{13}-[0-9a-z]+-_nnas_Kontakte_1\.csv", part["object_key"])
    assert (part["size_bytes"], part["sha256"]) == (len(FILE), sha256)
    assert json.loads(part["format"]) == {
        "columns": ["Email", "Phone", "Notes"],
        "encoding": "utf-8",
        "delimiter": ",",
        "first": {"byte_offset": 19, "line": 2, "row_no": 1},
    }
    stored = await api.services.store.read(part["object_key"], part["etag"], 0, len(FILE))
    assert stored == FILE
    name = await api.database.fetchval(
        "SELECT name FROM contact_lists WHERE id = $1", uuid.UUID(job["list_id"])
    )
    assert name == "Friends"
    row = await api.database.fetchrow("SELECT * FROM import_jobs WHERE id = $1", uuid.UUID(job["id"]))
    assert row is not None
    assert (row["created_by"], row["door"]) == (tenant.account.user_id, "v1")

    again = await tenant.upload(FILE, list_name="Friends")
    assert again.json["data"]["list_id"] == job["list_id"]
    same = await tenant.get(f"{V1}/file_{job['id']}")
    assert same.json["data"]["id"] == job["id"]


@pytest.mark.requirement("S0-010", "K-21")
async def test_a_large_file_goes_through_in_parts(stack: Servers) -> None:
    """Twelve megabytes are stored as three parts and are one object; the pinned ETag is the object's."""
    content = b"Email\n" + b"someone@example.com\n" * 600_000
    assert 2 * PART_BYTES < len(content) <= 12 * MEGABYTE
    async with running_api(stack, MAX_FILE_SIZE_MB="12", MAX_ROWS_ALLOWED="700000") as api:
        tenant = await api.tenant()
        answer = await tenant.upload(content)
        assert answer.status == 202, answer.text
        part = await api.database.fetchrow(
            "SELECT * FROM import_parts WHERE job_id = $1", uuid.UUID(answer.json["data"]["id"])
        )
        assert part is not None
        stored = await api.services.store.read(part["object_key"], part["etag"], 0, len(content))
        assert hashlib.sha256(stored).hexdigest() == part["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.requirement("S0-037", "S0-043")
async def test_hanging_up_in_the_middle_of_a_large_file_leaves_no_parts(stack: Servers) -> None:
    """What was stored in parts is forgotten by the store."""
    async with running_api(stack, MAX_FILE_SIZE_MB="20") as api:
        tenant = await api.tenant()
        before = await api.objects()
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = (
            f"POST {V1} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.token}\r\n"
            "Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: 9000000\r\n\r\n"
            '--XX\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nEmail\n'
        )
        writer.write(head.encode() + b"a@example.com\n" * 500_000)
        await writer.drain()
        async with asyncio.timeout(20):
            await _until_objects(api, lambda now: now != before)

            writer.close()

            await _until_objects(api, lambda now: now == before)
        assert await tenant.jobs() == 0


@pytest.mark.requirement("S0-029", "S0-030", "S0-031", "S0-032", "S0-033", "S0-036", "K-09", "K-13", "K-14")
async def test_the_contacts_door_answers_in_full_when_the_import_ends_in_time(
    api: Api, tenant: Tenant
) -> None:
    """Counts, errors by row and line, and the time; the counters are sums of outcomes."""

    async def pipeline() -> None:
        job_id = None
        while job_id is None:
            await asyncio.sleep(0.01)
            job_id = await api.database.fetchval(
                "SELECT id FROM import_jobs WHERE organization_id = $1", tenant.account.organization_id
            )
        await apply_batch(api, job_id, OUTCOMES, faults=FAULTS)

    answer, _ = await asyncio.gather(tenant.upload(FILE, S0, duplicate_handling="overwrite"), pipeline())

    assert answer.status == 200, answer.text
    body = answer.json
    assert body["success"] is True
    assert body["status"] == "completed"
    counters = {name: body[name] for name in ("created", "updated", "skipped", "failed", "total")}
    assert counters == {"created": 1, "updated": 0, "skipped": 0, "failed": 3, "total": 4}
    assert sum(body["outcomes"].values()) == 4
    assert body["processingTimeMs"] > 0
    assert body["errors"] == [
        {"row": 2, "line": 3, "field": "email", "code": "invalid_email", "message": "No @ in it."},
        {
            "row": 3,
            "line": 5,
            "field": "",
            "code": "no_identity",
            "message": "The row has neither an e-mail address nor a phone number.",
        },
        {"row": 4, "line": 6, "field": "", "code": "too_many_cells", "message": "The row has 4 cells."},
    ]
    assert body["errorsUrl"] == f"/v1/imports/{body['jobId']}/errors.csv"
    options = (await tenant.get(f"{V1}/{body['jobId']}")).json["data"]["options"]
    assert options["on_duplicate"] == "overwrite"
    assert (options["match_on"], options["phone_check"], options["required"]) == (
        "email",
        "strict",
        ["email"],
    )


@pytest.mark.requirement("S0-003", "S0-038", "K-14")
async def test_the_contacts_door_answers_with_the_job_when_it_takes_longer(tenant: Tenant) -> None:
    """202 and the same shape with the counts so far; a missing preference is skip."""
    answer = await tenant.upload(FILE, S0)
    assert answer.status == 202
    body = answer.json
    assert (body["success"], body["status"], body["total"], body["errors"]) == (True, "pending", 0, [])
    job = (await tenant.get(f"{V1}/{body['jobId']}")).json["data"]
    assert job["options"]["on_duplicate"] == "skip"


async def test_rows_are_told_with_their_values_and_lines(api: Api, tenant: Tenant) -> None:
    """Values come from the stored file, outcomes from the batch; a page goes on where the last one ended."""
    job_id = await tenant.import_id(FILE)
    contact = uuid.uuid4()
    await apply_batch(api, job_id, OUTCOMES, faults=FAULTS, contact_ids=[contact, None, None, None])

    rows = (await tenant.get(f"{V1}/{job_id}/rows")).json
    assert [row["outcome"] for row in rows["data"]] == ["created", "invalid", "no_identity", "invalid"]
    assert [row["source_line"] for row in rows["data"]] == [2, 3, 5, 6]
    assert rows["data"][0]["contact_id"] == str(contact)
    assert rows["data"][1]["contact_id"] is None
    assert rows["data"][1]["values"] == {"Email": "not an address", "Phone": "", "Notes": "two\r\nlines"}
    assert rows["data"][1]["errors"] == FAULTS[1]
    assert rows["data"][3]["surplus"] == ["surplus"]
    assert rows["pagination"]["next_cursor"] is None

    first = (await tenant.get(f"{V1}/{job_id}/rows?outcome=invalid&limit=1")).json
    assert [row["row_no"] for row in first["data"]] == [2]
    cursor = first["pagination"]["next_cursor"]
    second = (await tenant.get(f"{V1}/{job_id}/rows?outcome=invalid&limit=1&cursor={cursor}")).json
    assert [row["row_no"] for row in second["data"]] == [4]

    one = (await tenant.get(f"{V1}/{job_id}/rows/3")).json["data"]
    assert (one["row_no"], one["outcome"], one["source_line"]) == (3, "no_identity", 5)
    for number in ("5", "0", "-1", "x", "9" * 30):
        missing = await tenant.get(f"{V1}/{job_id}/rows/{number}")
        assert (missing.status, missing.code) == (404, "NOT_FOUND")


async def test_rows_of_many_batches_are_each_read_from_their_place(api: Api, tenant: Tenant) -> None:
    """Twenty batches of three rows: every row has its own values and line, page by page."""
    lines = [f"p{n}@example.com,\n".encode() for n in range(60)]
    content = b"Email,Phone\n" + b"".join(lines)
    job_id = await tenant.import_id(content)
    offset = 12
    for batch in range(20):
        end = offset + sum(map(len, lines[batch * 3 : batch * 3 + 3]))
        await apply_batch(
            api,
            job_id,
            [CREATED, FAILED, CREATED],
            start=(offset, 2 + batch * 3),
            end_byte=end,
            state="completed" if batch == 19 else "processing",
        )
        offset = end

    found, cursor = [], "0"
    while cursor:
        page = (await tenant.get(f"{V1}/{job_id}/rows?limit=7&cursor={cursor}")).json
        found += page["data"]
        cursor = page["pagination"]["next_cursor"]
    assert [row["row_no"] for row in found] == list(range(1, 61))
    assert [row["values"]["Email"] for row in found] == [f"p{n}@example.com" for n in range(60)]
    assert [row["source_line"] for row in found] == list(range(2, 62))

    text = (await tenant.get(f"{V1}/{job_id}/errors.csv")).text
    assert len(list(csv.reader(io.StringIO(text)))) == 21


@pytest.mark.requirement("S0-031", "S0-034")
async def test_the_errors_file_holds_the_refused_rows_as_they_were(api: Api, tenant: Tenant) -> None:
    """Own columns, reason, token; no cell is a live formula, and nothing is lost by that."""
    job_id = await tenant.import_id(FILE)
    await apply_batch(api, job_id, OUTCOMES, faults=FAULTS)

    answer = await tenant.get(f"{V1}/{job_id}/errors.csv")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert rows[0] == ["Email", "Phone", "Notes", "_row", "_error", "_token"]
    assert [row[5] for row in rows[1:]] == [f"{job_id}:{n}" for n in (2, 3, 4)]
    assert rows[1][:5] == ["not an address", "", "two\r\nlines", "2", "email: No @ in it."]
    assert rows[2][2] == "'-"
    assert rows[3][1] == "'+12125550102"
    assert original(rows[3][1]) == "+12125550102"
    assert rows[3][6:] == ["surplus"]
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)


@pytest.mark.requirement("S1-036")
async def test_rows_outlive_their_source(api: Api, tenant: Tenant) -> None:
    """When the stored file is gone, outcomes are still told; only the values are not."""
    job_id = await tenant.import_id(FILE)
    await apply_batch(api, job_id, OUTCOMES, faults=FAULTS)
    key = await api.database.fetchval("SELECT object_key FROM import_parts WHERE job_id = $1", job_id)
    await api.services.store.delete(key)

    row = (await tenant.get(f"{V1}/{job_id}/rows/2")).json["data"]
    assert (row["outcome"], row["values"], row["source_line"]) == ("invalid", None, None)
    assert (await tenant.get(f"{V1}/{job_id}/errors.csv")).status == 200


async def test_an_overwritten_source_is_not_mixed_in(api: Api, tenant: Tenant) -> None:
    """Values are read under the pinned version: another file's cells never show."""
    job_id = await tenant.import_id(FILE)
    await apply_batch(api, job_id, OUTCOMES, faults=FAULTS)
    key = await api.database.fetchval("SELECT object_key FROM import_parts WHERE job_id = $1", job_id)
    await api.services.store.put(key, FILE.replace(b"ann", b"eve"))

    row = (await tenant.get(f"{V1}/{job_id}/rows/1")).json["data"]
    assert (row["outcome"], row["values"]) == ("created", None)


async def test_imports_are_listed_newest_first(api: Api, tenant: Tenant) -> None:
    """Page by page, by state when asked, and nobody else's."""
    other = await api.tenant()
    await other.import_id(FILE)
    ids = [str(await tenant.import_id(FILE)) for _ in range(3)]
    await apply_batch(api, uuid.UUID(ids[0]), OUTCOMES)

    first = (await tenant.get(f"{V1}?limit=2")).json
    assert [job["id"] for job in first["data"]] == [ids[2], ids[1]]
    rest = (await tenant.get(f"{V1}?limit=2&cursor={first['pagination']['next_cursor']}")).json
    assert [job["id"] for job in rest["data"]] == [ids[0]]
    assert rest["pagination"]["next_cursor"] is None
    done = (await tenant.get(f"{V1}?state=completed")).json
    assert [job["id"] for job in done["data"]] == [ids[0]]
    for query in ("limit=0", "limit=x", "limit=101", "cursor=x", "state=nowhere"):
        wrong = await tenant.get(f"{V1}?{query}")
        assert (wrong.status, wrong.code) == (422, "VALIDATION_ERROR"), query


@pytest.mark.requirement("K-35")
async def test_another_organizations_import_does_not_exist(api: Api, tenant: Tenant) -> None:
    """404 on every path, and not a word more than for one that never was."""
    theirs = await (await api.tenant()).import_id(FILE)
    for method, path in (
        ("GET", ""),
        ("GET", "/rows"),
        ("GET", "/rows/1"),
        ("GET", "/errors.csv"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/rows"),
        ("POST", "/commit"),
    ):
        answer = await api.call(method, f"{V1}/{theirs}{path}", token=tenant.token)
        never = await api.call(method, f"{V1}/{uuid.uuid4()}{path}", token=tenant.token)
        assert (answer.status, answer.code) == (never.status, never.code) == (404, "NOT_FOUND"), path
        assert answer.message == never.message
    assert (await tenant.get(f"{V1}/nonsense")).status == 404


async def test_cancelling_asks_the_reader_and_can_be_repeated(api: Api, tenant: Tenant) -> None:
    """202 while it is about to end; an import that has completed cannot be cancelled."""
    job_id = await tenant.import_id(FILE)
    answer = await tenant.post(f"{V1}/{job_id}/cancel")
    assert (answer.status, answer.json["data"]["cancel_requested"]) == (202, True)
    asked = await api.database.fetchval("SELECT cancel_requested_at FROM import_jobs WHERE id = $1", job_id)
    assert (await tenant.post(f"{V1}/{job_id}/cancel")).status == 202
    again = await api.database.fetchval("SELECT cancel_requested_at FROM import_jobs WHERE id = $1", job_id)
    assert asked == again

    await api.database.execute("UPDATE import_jobs SET state = 'cancelled' WHERE id = $1", job_id)
    assert (await tenant.post(f"{V1}/{job_id}/cancel")).status == 200
    done = await tenant.import_id(FILE)
    await apply_batch(api, done, OUTCOMES)
    late = await tenant.post(f"{V1}/{done}/cancel")
    assert (late.status, late.code) == (409, "CONFLICT")


def processing(job_id: uuid.UUID, tenant: Tenant, batch_no: int, created: int) -> JobProgress:
    """What the pipeline tells of a job on its way."""
    return JobProgress(
        job_id=str(job_id),
        organization_id=str(tenant.account.organization_id),
        run=1,
        batch_no=batch_no,
        state="processing",
        reason="",
        counts={"created": created},
        processed_rows=created,
        bytes_read=80,
        rate_rows_per_second=10.0,
        updated_at=0,
    )


@pytest.mark.requirement("S4-090")
async def test_pausing_and_resuming_can_be_repeated_and_are_written_down(api: Api, tenant: Tenant) -> None:
    """A waiting import and one on its way are paused at once; an import that has ended is refused."""
    job_id = await tenant.import_id(FILE)
    path = f"{V1}/{job_id}"
    for act, state in (("pause", "paused"), ("pause", "paused"), ("resume", "processing")):
        answer = await tenant.post(f"{path}/{act}")
        assert (answer.status, answer.json["data"]["state"]) == (200, state)
    assert (await tenant.post(f"{path}/resume")).json["data"]["state"] == "processing"
    assert (await tenant.post(f"{path}/pause")).json["data"]["state"] == "paused"

    await api.services.audit.flush()
    written = await api.database.fetch(
        "SELECT action, user_id FROM audit_log WHERE resource_id = $1 ORDER BY created_at", str(job_id)
    )
    actions = [f"import_{what}" for what in ("started", "paused", "paused", "resumed", "resumed", "paused")]
    assert [row["action"] for row in written] == actions
    assert {row["user_id"] for row in written} == {tenant.account.user_id}

    await apply_batch(api, job_id, OUTCOMES, state="failed")
    for act, wanted in (("pause", "paused"), ("resume", "processing")):
        refused = await tenant.post(f"{path}/{act}")
        assert (refused.status, refused.code) == (409, "CONFLICT")
        assert refused.message == f"A job that is failed cannot become {wanted}."


async def test_a_paused_import_that_is_cancelled_goes_on_to_its_end(api: Api, tenant: Tenant) -> None:
    """A reader must take it once more to end it, so it cannot be halted on that way."""
    job_id = await tenant.import_id(FILE)
    path = f"{V1}/{job_id}"
    await tenant.post(f"{path}/pause")
    cancelled = await tenant.post(f"{path}/cancel")
    assert (cancelled.status, cancelled.json["data"]["state"]) == (202, "processing")
    refused = await tenant.post(f"{path}/pause")
    assert (refused.status, refused.message) == (409, "A job that is being cancelled cannot become paused.")


async def test_a_paused_import_is_not_shown_as_processing(api: Api, tenant: Tenant) -> None:
    """What comes in of it was on its way before; once it goes on, its progress is told from memory again."""
    job_id = await tenant.import_id(FILE)
    path = f"{V1}/{job_id}"
    await apply_batch(api, job_id, [CREATED], end_byte=60, state="processing")
    await tenant.get(path)
    await tenant.post(f"{path}/pause")
    api.services.progress.hear(processing(job_id, tenant, 3, 3))
    told = (await tenant.get(path)).json["data"]
    assert (told["state"], told["counts"]["created"]) == ("paused", 1)

    await tenant.post(f"{path}/resume")
    told = (await tenant.get(path)).json["data"]
    assert (told["state"], told["counts"]["created"]) == ("processing", 3)


async def test_a_processing_import_is_told_from_memory_and_never_goes_back(api: Api, tenant: Tenant) -> None:
    """A fresh record is shown; one behind what the database has shown is not; the end is the database's."""
    job_id = await tenant.import_id(FILE)
    await apply_batch(api, job_id, [CREATED], end_byte=60, state="processing")
    path = f"{V1}/{job_id}"
    assert (await tenant.get(path)).json["data"]["counts"]["created"] == 1

    def heard(batch_no: int, created: int) -> None:
        api.services.progress.hear(processing(job_id, tenant, batch_no, created))

    heard(3, 3)
    told = (await tenant.get(path)).json["data"]
    assert (told["counts"]["created"], told["rows_read"], told["rate_rows_per_second"]) == (3, 3, 10.0)
    assert 0 < told["progress"] < 100
    assert told["eta_seconds"] > 0
    stranger = await api.tenant()
    assert (await stranger.get(path)).status == 404
    heard(2, 2)
    assert (await tenant.get(path)).json["data"]["counts"]["created"] == 3

    await apply_batch(api, job_id, [INVALID, INVALID, INVALID], start=(60, 3))
    ended = (await tenant.get(f"{V1}?limit=1")).json["data"][0]
    assert (ended["state"], ended["progress"], ended["eta_seconds"]) == ("completed", 100.0, 0.0)


async def test_the_files_field_may_have_any_name(tenant: Tenant) -> None:
    """The one part with a file name is the file, whatever its field is called."""
    answer = await tenant.post(V1, data=form(("csv", FILE, "a.csv")))
    assert answer.status == 202, answer.text


async def _until_objects(api: Api, holds: Callable[[set[str]], bool]) -> None:
    while not holds(await api.objects()):  # noqa: ASYNC110 - a store sends no event
        await asyncio.sleep(0.05)


@pytest.mark.requirement("S0-018")
async def test_the_first_accent_far_behind_the_head_decides_the_encoding(api: Api, tenant: Tenant) -> None:
    """The head of a long list may be ASCII alone; the rest was looked at on its way in."""
    rows = "".join(f"person{number}@example.com,{'Ann' * 60}\n" for number in range(1_500))
    job_id = await tenant.import_id(
        f"email,name\n{rows}jose@example.com,José Müller\nc@example.com,Chloë Núñez\n".encode("cp1252")
    )

    found = await api.database.fetchval("SELECT format FROM import_parts WHERE job_id = $1", job_id)
    assert json.loads(found)["encoding"] == "cp1252"


async def test_a_file_of_blank_lines_is_refused(api: Api, tenant: Tenant) -> None:
    """They are no rows, but passing by them takes time that other customers need."""
    answer = await tenant.upload(b"email\n" + b"\n" * 20_001 + b"a@example.com\n")

    assert answer.status == 422, answer.text
    assert answer.json["error"]["code"] == "TOO_MANY_ROWS"
    assert await tenant.jobs() == 0
