"""Steps 3 and 4: analyzed elsewhere, mapped, previewed."""

from __future__ import annotations

from typing import Any

import pytest

from ingress.commands.uploaded import Upload, Uploads
from ingress.state import mapping_key, progress_key
from ingress.store import Stored
from sluice.errors import SourceChanged
from tests.integration.doors.api import Api, Tenant
from tests.integration.doors.wizard import (
    COLUMNS,
    FILE,
    MAPPING,
    ROWS,
    Sent,
    analyzed,
    announce,
    as_a_reader,
    mapped,
    post,
    previewed,
    put,
    sent,
    state_of,
)


async def part_of(tenant: Tenant, file: Sent) -> Any:
    """The job's one part."""
    return await tenant.api.database.fetchrow("SELECT * FROM import_parts WHERE job_id = $1", file.job_id)


@pytest.mark.requirement("S1-067", "S1-068", "S1-072", "S1-079", "S1-080")
async def test_analysis_begins_at_once_and_elsewhere(tenant: Tenant) -> None:
    """The answer comes before the work: the file is pinned and waits for a reader."""
    file = await sent(tenant)
    answer = await post(tenant, "/api/analyze", file.named)
    assert (answer.status, answer.json) == (200, {"status": "analyzing"})
    status = await tenant.get(f"/api/analyze/status/{file.file_id}")
    assert status.status == 200
    assert status.json == {
        "status": "analyzing",
        "progress": {"processed": 0, "total": None, "status": "analyzing"},
    }
    assert await state_of(tenant, file) == "analyzing"
    part = await part_of(tenant, file)
    assert (part["object_key"], part["size_bytes"]) == (file.key, len(FILE))
    assert part["etag"] == (await tenant.api.services.store.head(file.key)).etag
    assert '"kind": "new"' in part["format"]
    again = await post(tenant, "/api/analyze", file.named)
    assert (again.status, again.json) == (200, {"status": "analyzing"})


@pytest.mark.requirement("S1-081", "S1-018", "S1-017")
async def test_a_finished_analysis_is_told_without_the_rows_as_they_came(tenant: Tenant) -> None:
    """The summary of the document and what was found beside it."""
    file = await analyzed(tenant)
    answer = await tenant.get(f"/api/analyze/status/{file.file_id}")
    assert answer.status == 200
    assert answer.json["status"] == "complete"
    summary = answer.json["summary"]
    assert {"totalRows", "validRows", "invalidRows", "columns", "columnSummary", "sampleRows"} <= set(summary)
    assert (summary["s3Key"], summary["fileId"]) == (file.key, file.file_id)
    assert not {"sourceRows", "rowLines"} & set(summary)
    assert list(summary["columnSummary"]) == COLUMNS


async def test_complete_means_that_it_can_be_mapped(tenant: Tenant) -> None:
    """Until the reader has let go of the job, its analysis is told as going on."""
    file = await analyzed(tenant)
    path, body = f"/api/analyze/status/{file.file_id}", {"fileId": file.file_id, "mapping": MAPPING}
    await tenant.api.database.execute("UPDATE import_jobs SET state = 'analyzing' WHERE id = $1", file.job_id)
    told = (await tenant.get(path)).json
    progress = {"processed": len(ROWS), "total": None, "status": "analyzing"}
    assert told == {"status": "analyzing", "progress": progress}
    assert (await post(tenant, "/api/map-columns", body)).status == 404
    await tenant.api.database.execute(
        "UPDATE import_jobs SET state = 'awaiting_mapping' WHERE id = $1", file.job_id
    )
    assert (await tenant.get(path)).json["status"] == "complete"
    assert (await post(tenant, "/api/map-columns", body)).status == 200


@pytest.mark.requirement("S1-071", "S1-082")
async def test_a_file_that_never_came_is_an_error_of_its_analysis(tenant: Tenant) -> None:
    """The answer is as ever; the status says what is wrong. Once the file is there it is analyzed."""
    file = await announce(tenant)
    answer = await post(tenant, "/api/analyze", file.named)
    assert (answer.status, answer.json) == (200, {"status": "analyzing"})
    status = await tenant.get(f"/api/analyze/status/{file.file_id}")
    assert status.status == 200
    assert status.json["status"] == "error"
    assert "has not arrived" in status.json["message"]
    assert await state_of(tenant, file) == "uploading"
    assert await put(tenant.api, file.url) == 200
    await post(tenant, "/api/analyze", file.named)
    assert (await tenant.get(f"/api/analyze/status/{file.file_id}")).json["status"] == "analyzing"
    assert await state_of(tenant, file) == "analyzing"


@pytest.mark.requirement("S1-112", "T-06", "K-21")
@pytest.mark.parametrize(
    ("announced", "content", "says"),
    [
        (10, FILE, f"has {len(FILE)} bytes, more than the 10"),
        (1024 * 1024, b"x" * (1024 * 1024 + 1), "larger than 1 MB"),
    ],
)
async def test_a_file_that_is_larger_than_it_may_be_is_refused(
    tenant: Tenant, announced: int, content: bytes, says: str
) -> None:
    """Its announced size is only a claim: the stored object is asked."""
    file = await announce(tenant, content[:announced])
    assert await put(tenant.api, file.url, content) == 200
    await post(tenant, "/api/analyze", file.named)
    status = (await tenant.get(f"/api/analyze/status/{file.file_id}")).json
    assert status["status"] == "error"
    assert says in status["message"]
    assert await part_of(tenant, file) is None
    again = await post(tenant, "/api/analyze", file.named)
    assert (again.status, again.json["code"]) == (409, "CONFLICT")


@pytest.mark.requirement("S1-082")
async def test_an_error_without_a_sentence_has_the_documents(tenant: Tenant) -> None:
    """And one of a job that ended while its progress was not written is told by the job."""
    state, organization_id = tenant.api.services.state, tenant.account.organization_id
    file = await sent(tenant)
    await post(tenant, "/api/analyze", file.named)
    reason = "The workbook has a password."
    await tenant.api.database.execute(
        "UPDATE import_jobs SET state = 'failed', reason = $2 WHERE id = $1", file.job_id, reason
    )
    path = f"/api/analyze/status/{file.file_id}"
    assert (await tenant.get(path)).json == {"status": "error", "message": reason}
    await state.set(organization_id, progress_key(file.job_id), {"status": "error"})
    assert (await tenant.get(path)).json == {"status": "error", "message": "Analysis failed"}


async def test_a_file_can_be_analyzed_again_as_another_sheet(tenant: Tenant) -> None:
    """What was found and mapped before is forgotten; the file is opened anew, as asked."""
    file = await mapped(tenant)
    answer = await post(
        tenant, "/api/analyze", {**file.named, "sheet": "People", "encoding": "cp1252", "delimiter": ";"}
    )
    assert answer.status == 200
    part = await part_of(tenant, file)
    for asked in (
        '"sheet": "People"',
        '"asked_encoding": "cp1252"',
        '"asked_delimiter": ";"',
        '"kind": "new"',
    ):
        assert asked in part["format"]
    assert await state_of(tenant, file) == "analyzing"
    answer = await post(tenant, "/api/import", {"fileId": file.file_id})
    assert answer.status == 404
    assert (await tenant.get(f"/api/preview?fileId={file.file_id}")).status == 404


async def test_an_analysis_that_opens_the_file_otherwise_is_not_dropped(tenant: Tenant) -> None:
    """While one runs, the same again is that one, also once the file is opened; another has to wait."""
    file = await sent(tenant)
    people = {**file.named, "sheet": "People", "delimiter": "semicolon"}
    assert (await post(tenant, "/api/analyze", people)).status == 200
    opened = 'UPDATE import_parts SET format = \'{"kind": "csv", "columns": []}\' WHERE job_id = $1'
    await tenant.api.database.execute(opened, file.job_id)
    assert (await post(tenant, "/api/analyze", people)).json == {"status": "analyzing"}
    for other in (file.named, {**people, "sheet": "Firms"}, {**people, "encoding": "cp1252"}):
        answer = await post(tenant, "/api/analyze", other)
        assert (answer.status, answer.json["code"]) == (409, "CONFLICT")
        assert "being analyzed already" in answer.json["error"]
    assert (await tenant.get(f"/api/analyze/status/{file.file_id}")).json["status"] == "analyzing"


@pytest.mark.parametrize("delimiter", ["ab", "a", '"', "\0", 7])
async def test_a_delimiter_that_cannot_be_is_refused_at_the_door(tenant: Tenant, delimiter: object) -> None:
    """Before anything is read: what the last analysis found stays."""
    file = await analyzed(tenant)
    answer = await post(tenant, "/api/analyze", {**file.named, "delimiter": delimiter})
    assert (answer.status, answer.json["code"]) == (400, "VALIDATION_ERROR")
    assert (await tenant.get(f"/api/analyze/status/{file.file_id}")).json["status"] == "complete"


async def test_an_import_that_begins_meanwhile_leaves_no_analysis_behind(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked for the analysis is told, and no progress of it is."""
    file = await mapped(tenant)
    arrived = Uploads.arrived

    async def slowly(uploads: Uploads, upload: Upload) -> Stored:
        imported = await tenant.post("/v1/imports", json={"fileId": file.file_id})
        assert imported.status == 202, imported.text
        return await arrived(uploads, upload)

    monkeypatch.setattr(Uploads, "arrived", slowly)
    answer = await post(tenant, "/api/analyze", file.named)
    assert (answer.status, answer.json["code"]) == (409, "CONFLICT")
    assert (await tenant.get(f"/api/analyze/status/{file.file_id}")).status == 404
    assert await state_of(tenant, file) == "pending"


async def test_the_job_decides_what_the_status_is(tenant: Tenant) -> None:
    """What was told of a job may be left over from a process that died, or told before its state is."""
    file = await analyzed(tenant)
    state, organization_id = tenant.api.services.state, tenant.account.organization_id
    path = f"/api/analyze/status/{file.file_id}"
    for told in ("analyzing", "complete", "error"):
        await state.set(organization_id, progress_key(file.job_id), {"status": told, "processed": 3})
        for job, expected in STATUSES:
            await set_state(tenant, file, job)
            answer = await tenant.get(path)
            wanted = "error" if told == "error" and job != "analyzing" else expected
            assert answer.json.get("status") == wanted, (told, job, answer.text)
        await set_state(tenant, file, "awaiting_mapping")


STATUSES = [
    ("analyzing", "analyzing"),
    ("awaiting_mapping", "complete"),
    ("uploading", None),
    ("failed", "error"),
]


async def set_state(tenant: Tenant, file: Sent, state: str) -> None:
    """Put the job there, whatever the table of transitions says."""
    async with tenant.api.database.transaction():
        await tenant.api.database.execute("SET LOCAL session_replication_role = replica")
        await tenant.api.database.execute(
            "UPDATE import_jobs SET state = $2 WHERE id = $1", file.job_id, state
        )


async def test_a_refusal_that_another_sheet_may_mend_can_be_mended(tenant: Tenant) -> None:
    """The reader leaves the job waiting, with the reason; it is analyzed otherwise, or imported so."""
    file = await sent(tenant)
    for path in ("/api/analyze", "/v1/imports"):
        await post(tenant, "/api/analyze", {**file.named, "sheet": "Nobody"})
        told = {"status": "error", "message": 'The workbook has no sheet of cells named "Nobody".'}
        await tenant.api.services.state.set(tenant.account.organization_id, progress_key(file.job_id), told)
        await tenant.api.database.execute(
            "UPDATE import_jobs SET state = 'awaiting_mapping' WHERE id = $1", file.job_id
        )
        assert (await tenant.get(f"/api/analyze/status/{file.file_id}")).json == told
        mapping = {"fileId": file.file_id, "mapping": MAPPING}
        assert (await post(tenant, "/api/map-columns", mapping)).status == 404
        again = await post(tenant, path, file.named if path == "/api/analyze" else {"fileId": file.file_id})
        assert again.status in (200, 202), again.text
        assert '"sheet": null' in (await part_of(tenant, file))["format"]
        if path == "/api/analyze":
            await tenant.api.database.execute(
                "UPDATE import_jobs SET state = 'awaiting_mapping' WHERE id = $1", file.job_id
            )
    assert await state_of(tenant, file) == "pending"


async def test_the_rows_of_an_earlier_analysis_are_removed(tenant: Tenant) -> None:
    """They were opened from the file, which stays; opening it anew makes others."""
    file = await analyzed(tenant)
    store, rows = tenant.api.services.store, f"{file.key}.1.rows"
    for path, body in (("/api/analyze", file.named), ("/v1/imports", {"fileId": file.file_id, "sheet": "B"})):
        await store.put(rows, b"[]")
        await tenant.api.database.execute(
            "UPDATE import_parts SET source_key = $2, object_key = $3 WHERE job_id = $1",
            *(file.job_id, file.key, rows),
        )
        assert (await post(tenant, path, body)).status in (200, 202)
        with pytest.raises(SourceChanged):
            await store.head(rows)
        assert (await store.head(file.key)).size_bytes == len(FILE)
        await tenant.api.database.execute(
            "UPDATE import_jobs SET state = 'awaiting_mapping' WHERE id = $1 AND state = 'analyzing'",
            file.job_id,
        )


async def test_the_free_tier_has_ten_analyses_an_hour(api: Api) -> None:
    """As many as uploads; the one too many leaves what the last one found."""
    tenant = await api.tenant(tier="free")
    file = await sent(tenant)
    for number in range(10):
        assert (await post(tenant, "/api/analyze", file.named)).status == 200, number
        await as_a_reader(tenant, file, COLUMNS, ROWS)
    assert (await post(tenant, "/api/analyze", file.named)).status == 429
    assert (await tenant.get(f"/api/analyze/status/{file.file_id}")).json["status"] == "complete"


@pytest.mark.requirement("S1-004", "S1-086", "S1-087", "S1-090", "S1-091", "S1-050", "S1-051", "S1-052")
@pytest.mark.requirement("S1-053", "S1-054", "S1-055", "S1-056", "S1-057", "S1-020", "S1-021")
async def test_a_mapping_is_applied_to_the_sample_and_judged(tenant: Tenant) -> None:
    """Rows keep their numbers, have the mapped fields alone, and tell faults in the document's words."""
    file = await mapped(tenant)
    rows = (await previewed(tenant, file)).json["rows"]
    assert rows == [
        {
            "_rowIndex": 1,
            "_isValid": True,
            "_errors": [],
            "email": "ann@example.com",
            "firstName": "Ann",
            "phone": "212-555-0101",
        },
        {
            "_rowIndex": 2,
            "_isValid": False,
            "_errors": ["Invalid email format"],
            "email": "nobody",
            "firstName": "Bob",
            "phone": "",
        },
        {
            "_rowIndex": 3,
            "_isValid": False,
            "_errors": ["Email is required", "Invalid phone number format"],
            "email": "",
            "firstName": "Cy",
            "phone": "555",
        },
    ]
    organization_id = tenant.account.organization_id
    kept = await tenant.api.services.state.get(organization_id, mapping_key(file.job_id))
    assert kept == {"mapping": MAPPING, "s3Key": file.key, "fileId": file.file_id}


@pytest.mark.requirement("T-04", "S1-053")
async def test_a_second_mapping_starts_from_the_original_columns(tenant: Tenant) -> None:
    """Another mapping after the first finds every column of the file again."""
    file = await mapped(tenant, {"Phone Number": "notes"})
    first = (await previewed(tenant, file)).json["rows"][0]
    assert first["notes"] == "212-555-0101"
    assert first["_errors"] == ["Email is required", "First Name is required"]
    for mapping in (MAPPING, {"First Name": "firstName", "Email Address": "email", "Phone Number": ""}):
        answer = await post(tenant, "/api/map-columns", {"fileId": file.file_id, "mapping": mapping})
        assert answer.json == {"success": True}
    first = (await previewed(tenant, file)).json["rows"][0]
    assert first == {
        "_rowIndex": 1,
        "_isValid": True,
        "_errors": [],
        "firstName": "Ann",
        "email": "ann@example.com",
    }


@pytest.mark.requirement("S1-005", "S1-029", "S1-093", "S1-094", "S1-030")
async def test_the_preview_has_pages_of_a_hundred(tenant: Tenant) -> None:
    """`total` counts the rows that were kept; a page behind the last is empty; the first is the default."""
    rows = [[f"p{number}@example.com", "P", ""] for number in range(1, 251)]
    file = await analyzed(tenant, rows=rows)
    pages = [(await previewed(tenant, file, page)).json for page in (1, 2, 3, 4)]
    assert [len(page["rows"]) for page in pages] == [100, 100, 50, 0]
    assert [row["_rowIndex"] for page in pages for row in page["rows"]] == list(range(1, 251))
    assert {(page["total"], page["pageSize"]) for page in pages} == {(250, 100)}
    assert [page["page"] for page in pages] == [1, 2, 3, 4]
    assert (await previewed(tenant, file)).json == pages[0]
