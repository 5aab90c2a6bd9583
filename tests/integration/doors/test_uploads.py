"""S4's uploads, files of every kind at the multipart doors, and uploaded files at the canonical one."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from ingress.templates import XLSX_TYPE, xlsx_template
from sluice.mapping.proposals import header_set_key
from sluice.outcome import Outcome
from tests.integration.doors.api import Api, Tenant, apply_batch
from tests.integration.doors.wizard import (
    COLUMNS,
    MAPPING,
    Sent,
    analyzed,
    announce,
    mapped,
    post,
    previewed,
    sent,
    state_of,
)

S4, V1 = "/v1/uploads/contacts", "/v1/imports"
PHONES = b"first_name,phone\nAnn,+12125550101\nBob,+12125550102\n"


async def stored_job(tenant: Tenant, job_id: uuid.UUID) -> Mapping[str, Any]:
    """A job with its part and its options, as the database has them."""
    row = await tenant.api.database.fetchrow(
        "SELECT j.*, p.object_key, p.format FROM import_jobs j JOIN import_parts p ON p.job_id = j.id"
        " WHERE j.id = $1",
        job_id,
    )
    assert row is not None
    return {**row, "options": json.loads(row["options"]), "format": json.loads(row["format"])}


# S4: upload and status


@pytest.mark.requirement("S4-042", "S4-043", "S4-082", "K-21", "K-26")
async def test_an_upload_is_a_job_with_the_forms_options(tenant: Tenant) -> None:
    """The answer has the document's five names; the job has everything that the document's message has."""
    answer = await tenant.upload(
        PHONES, S4, name="people.csv", skipDuplicates="false", validatePhones="true", listName="New list"
    )
    assert answer.status == 202
    data = answer.json["data"]
    assert data == {
        "jobId": data["jobId"],
        "filename": "people.csv",
        "fileSize": len(PHONES),
        "status": "pending",
        "estimatedProcessingTime": "less than 1 minute",
    }
    job = await stored_job(tenant, uuid.UUID(data["jobId"]))
    assert job["object_key"].startswith("uploads/")
    assert job["organization_id"] == tenant.account.organization_id
    options = job["options"]
    assert (options["on_duplicate"], options["phone_check"]) == ("overwrite", "strict")
    assert (options["match_on"], options["required"]) == ("phone", ["phone"])
    name = await tenant.api.database.fetchval(
        "SELECT name FROM contact_lists WHERE id = $1", job["target_list_id"]
    )
    assert name == "New list"
    again = await tenant.upload(PHONES, S4, listId=str(job["target_list_id"]))
    assert again.status == 202
    options = (await stored_job(tenant, uuid.UUID(again.json["data"]["jobId"])))["options"]
    assert (options["on_duplicate"], options["phone_check"]) == ("skip", "strict")
    off = await tenant.upload(PHONES, S4, validatePhones="false")
    options = (await stored_job(tenant, uuid.UUID(off.json["data"]["jobId"])))["options"]
    assert options["phone_check"] == "off"


@pytest.mark.requirement("S4-044", "S4-045", "S4-046")
async def test_the_status_of_an_upload(tenant: Tenant, api: Api) -> None:
    """Pending, then completed with results, faults and times; nobody else's organization sees it."""
    job_id = uuid.UUID((await tenant.upload(PHONES, S4)).json["data"]["jobId"])
    path = f"{S4}/{job_id}"
    waiting = (await tenant.get(path)).json["data"]
    assert (waiting["status"], waiting["progress"], waiting["results"]["totalRows"]) == ("pending", 0, 0)
    fault = {"field": "phone", "code": "p", "message": "Invalid phone number format", "value": "555-CALL"}
    await apply_batch(api, job_id, [Outcome.CREATED, Outcome.INVALID], faults={1: [fault]})
    done = (await tenant.get(path)).json["data"]
    assert (done["id"], done["status"], done["progress"]) == (str(job_id), "completed", 100)
    assert done["results"] == {
        "totalRows": 2,
        "validContacts": 1,
        "invalidContacts": 1,
        "duplicates": 0,
        "imported": 1,
        "skipped": 1,
    }
    assert done["validationErrors"] == [
        {"row": 2, "error": "Invalid phone number format", "data": {"phone": "555-CALL"}}
    ]
    assert done["createdAt"] <= done["completedAt"]
    for another in (path.replace(str(job_id), str(uuid.uuid4())), f"{S4}/nonsense"):
        assert (await tenant.get(another)).status == 404
    assert (await (await api.tenant()).get(path)).status == 404


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"skipDuplicates": "perhaps"}, 'skipDuplicates cannot be "perhaps"; use true or false.'),
        ({"validatePhones": "1"}, 'validatePhones cannot be "1"'),
        ({"listId": str(uuid.UUID(int=1))}, "listId cannot be"),
        ({"listId": "x"}, 'listId cannot be "x"; use a UUID.'),
        ({"listName": "A", "listId": str(uuid.UUID(int=1))}, "not by both"),
        ({"on_duplicate": "skip"}, 'no option "on_duplicate"'),
    ],
)
async def test_an_option_that_cannot_be_is_refused_in_the_doors_names(
    tenant: Tenant, fields: dict[str, str], says: str
) -> None:
    """And nothing is left."""
    answer = await tenant.upload(PHONES, S4, **fields)
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")
    assert says in answer.message
    assert await tenant.jobs() == 0


async def test_a_file_without_a_phone_is_refused(tenant: Tenant) -> None:
    """This door requires one."""
    answer = await tenant.upload(b"Email\nann@example.com\n", S4)
    assert (answer.status, answer.code) == (422, "MISSING_COLUMN")


@pytest.mark.requirement("S4-047")
async def test_the_template_can_be_downloaded(tenant: Tenant) -> None:
    """As CSV unless a workbook is asked for; as a file, never shown by a browser."""
    answer = await tenant.get("/v1/uploads/template?format=csv")
    assert answer.text == "first_name,last_name,phone,email,company,title,address,city,state,zip\n"
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="contacts-template.csv"'
    assert (await tenant.get("/v1/uploads/template")).text == answer.text
    headers = {"Authorization": f"Bearer {tenant.token}"}
    url = f"{tenant.api.base}/v1/uploads/template?format=xlsx"
    async with tenant.api.session.get(url, headers=headers) as workbook:
        assert workbook.headers["Content-Type"] == XLSX_TYPE
        assert await workbook.read() == xlsx_template()
    refused = await tenant.get("/v1/uploads/template?format=pdf")
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR")


# Files of every kind


OTHERS = {
    "workbook": (xlsx_template(), "a.xlsx"),
    "JSON": (b'[{"email": "ann@example.com"}]', "a.json"),
    "card": (b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann\r\nEND:VCARD\r\n", "a.vcf"),
    "LDIF": (b"dn: cn=Ann\nmail: ann@example.com\n", "a.ldif"),
    "gzip": (gzip.compress(b"email\nann@example.com\n"), "a.csv.gz"),
}


@pytest.mark.requirement("K-21")
@pytest.mark.parametrize("path", [V1, S4])
@pytest.mark.parametrize(("content", "name"), OTHERS.values(), ids=OTHERS.keys())
async def test_a_file_that_has_to_be_opened_is_taken_in_for_a_reader(
    tenant: Tenant, path: str, content: bytes, name: str
) -> None:
    """Known by its content; what the door needs of its columns goes along."""
    answer = await tenant.upload(content, path, name=name)
    assert answer.status == 202, answer.text
    data = answer.json["data"]
    job = await stored_job(tenant, uuid.UUID(data.get("id") or data["jobId"]))
    assert job["format"]["kind"] == "new"
    assert job["format"]["needs"] == (["phone"] if path == S4 else ["email", "phone"])
    assert job["state"] == "pending"


async def test_how_a_file_is_opened_may_be_asked_for(tenant: Tenant) -> None:
    """Its sheet, its encoding, its delimiter, whatever it turns out to be."""
    job_id = await tenant.import_id(OTHERS["workbook"][0], sheet="People", encoding="cp1252", delimiter=";")
    form = (await stored_job(tenant, job_id))["format"]
    assert (form["sheet"], form["asked_encoding"], form["asked_delimiter"]) == ("People", "cp1252", ";")


async def test_the_first_door_stays_with_csv(tenant: Tenant) -> None:
    """`/api/contacts/import` refuses a workbook by its content."""
    answer = await tenant.upload(OTHERS["workbook"][0], "/api/contacts/import", name="contacts.csv")
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_FILE_TYPE")


@pytest.mark.parametrize("path", [V1, S4])
async def test_what_no_door_can_open_is_refused(tenant: Tenant, path: str) -> None:
    """With what it is."""
    answer = await tenant.upload(b"%PDF-1.7\n%\xe2\xe3", path)
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_FILE_TYPE")
    assert "PDF" in answer.message


# Uploaded files at the canonical door


async def run(tenant: Tenant, file: Sent, /, **options: Any) -> Any:
    """`POST /v1/imports` naming an uploaded file."""
    return await post(tenant, V1, {"fileId": file.file_id, **options})


@pytest.mark.requirement("K-21", "K-36")
async def test_an_uploaded_file_is_imported_with_the_canonical_options(tenant: Tenant) -> None:
    """Straight from its upload, opened by a reader as asked; values of JSON are taken as they are."""
    file = await sent(tenant)
    answer = await run(
        tenant,
        file,
        on_duplicate="overwrite",
        exclude_rows=[2],
        dry_run=True,
        delimiter="tab",
        mapping=MAPPING,
    )
    assert answer.status == 202, answer.text
    data = answer.json["data"]
    assert (data["id"], data["state"]) == (str(file.job_id), "pending")
    assert (data["options"]["on_duplicate"], data["options"]["dry_run"]) == ("overwrite", True)
    assert (data["options"]["exclude_rows"], data["options"]["mapping"]) == ([2], MAPPING)
    job = await stored_job(tenant, file.job_id)
    assert (job["format"]["kind"], job["format"]["asked_delimiter"]) == ("new", "\t")
    again = await run(tenant, file)
    assert (again.status, again.code) == (409, "CONFLICT")


async def test_an_analyzed_file_is_imported_as_it_was_mapped(tenant: Tenant) -> None:
    """It is not opened again; a mapping of the request wins over the wizard's."""
    file = await mapped(tenant)
    assert (await run(tenant, file)).json["data"]["options"]["mapping"] == MAPPING
    assert (await stored_job(tenant, file.job_id))["format"]["kind"] == "csv"
    other = await mapped(tenant)
    own = {"Email Address": "email"}
    assert (await run(tenant, other, mapping=own)).json["data"]["options"]["mapping"] == own
    anew = await analyzed(tenant)
    assert (await run(tenant, anew, encoding="utf-16")).status == 202
    assert (await stored_job(tenant, anew.job_id))["format"]["kind"] == "new"


async def test_a_file_that_has_not_come_can_come_later(tenant: Tenant) -> None:
    """It is refused, and the job waits on."""
    file = await announce(tenant)
    answer = await run(tenant, file)
    assert (answer.status, answer.code) == (422, "UPLOAD_MISSING")
    assert await state_of(tenant, file) == "uploading"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"dry_run": "perhaps"}, "VALIDATION_ERROR"),
        ({"region": 5}, "VALIDATION_ERROR"),
        ({"delimiter": ["x"]}, "VALIDATION_ERROR"),
        ({"list_name": {}}, "VALIDATION_ERROR"),
        ({"sheet": "x" * 300}, "VALIDATION_ERROR"),
        ({"mapping": {"No such column": "email"}}, "VALIDATION_ERROR"),
        ({"mapping": {"Phone Number": "notes", "Email Address": ""}}, "MISSING_COLUMN"),
        ({"rules": [{"column": "No such column", "required": True}]}, "VALIDATION_ERROR"),
        ({"rules": 5}, "VALIDATION_ERROR"),
        ({"files": "x"}, "VALIDATION_ERROR"),
    ],
)
async def test_an_option_of_json_that_cannot_be_is_refused(
    tenant: Tenant, options: dict[str, Any], code: str
) -> None:
    """By a sentence, never by a failure of ours; the file waits on."""
    file = await analyzed(tenant)
    answer = await run(tenant, file, **options)
    assert (answer.status, answer.code) == (422, code), answer.text
    assert await state_of(tenant, file) == "awaiting_mapping"


async def test_a_colleague_may_import_an_uploaded_file_but_no_other_organization(tenant: Tenant) -> None:
    """`/v1` shows the organization's."""
    file = await sent(tenant)
    stranger = await tenant.api.tenant()
    assert (await run(stranger, file)).status == 404
    await tenant.api.database.execute("INSERT INTO users (id) VALUES ($1)", (colleague := uuid.uuid4()))
    await tenant.api.database.execute(
        "UPDATE import_jobs SET created_by = $2 WHERE id = $1", file.job_id, colleague
    )
    assert (await run(tenant, file)).status == 202


# Mappings that were chosen before


async def remembered(tenant: Tenant, columns: list[str]) -> Any:
    """What the organization chose last for these columns."""
    found = await tenant.api.database.fetchval(
        "SELECT mapping FROM remembered_mappings WHERE organization_id = $1 AND header_set = $2",
        tenant.account.organization_id,
        header_set_key(columns),
    )
    return None if found is None else json.loads(found)


async def test_the_mapping_of_an_import_is_remembered_for_its_columns(tenant: Tenant) -> None:
    """From every door, in whatever order the columns stand; the last choice wins, none is no choice."""
    file = await mapped(tenant)
    assert await remembered(tenant, COLUMNS) is None
    await post(tenant, "/api/import", {"fileId": file.file_id})
    assert await remembered(tenant, COLUMNS[::-1]) == MAPPING
    rich = {"fields": {"email": "Email Address"}, "unmapped": "drop"}
    content = ",".join(COLUMNS).encode() + b"\nann@example.com,Ann,\n"
    await tenant.import_id(content)
    assert await remembered(tenant, COLUMNS) == MAPPING
    await tenant.import_id(content, mapping=json.dumps(rich))
    assert await remembered(tenant, COLUMNS) == rich
    assert await remembered(await tenant.api.tenant(), COLUMNS) is None


async def test_a_mapping_with_sources_is_previewed_as_what_it_makes(tenant: Tenant) -> None:
    """Joined, fixed and split values are shown, and judged by the caller's own rules."""
    file = await analyzed(tenant)
    mapping = {
        "fields": {
            "email": {"column": "Email Address"},
            "full_name": {"join": ["First Name", "Phone Number"], "separator": " "},
            "source": {"value": "fair"},
        },
        "unmapped": "drop",
    }
    rules = [{"field": "email", "pattern": ".*@example[.]com"}]
    answer = await post(
        tenant, "/api/map-columns", {"fileId": file.file_id, "mapping": mapping, "rules": rules}
    )
    assert answer.json == {"success": True}
    first = (await previewed(tenant, file)).json["rows"][0]
    assert (first["email"], first["firstName"], first["source"]) == ("ann@example.com", "Ann", "fair")
    assert first["lastName"] == "212-555-0101"
    await post(tenant, "/api/import", {"fileId": file.file_id})
    options = (await stored_job(tenant, file.job_id))["options"]
    assert options["rules"][0]["pattern"] == ".*@example[.]com"
    assert {source["field"] for source in options["sources"]} == {"email", "full_name", "source"}


async def test_mappings_are_saved_under_names(tenant: Tenant) -> None:
    """Saved, listed by name, replaced under the same name, deleted; nobody else's organization sees them."""
    path = "/v1/mapping-templates"
    made = await post(tenant, path, {"name": " Fair ", "mapping": MAPPING})
    assert made.status == 201
    first = made.json["data"]
    assert (first["name"], first["mapping"]) == ("Fair", MAPPING)
    assert (await post(tenant, path, {"name": "a list", "mapping": {"Mail": "email"}})).status == 201
    again = await post(tenant, path, {"name": "Fair", "mapping": {"Mail": "email"}})
    assert (again.status, again.json["data"]["id"]) == (200, first["id"])
    listed = (await tenant.get(path)).json["data"]
    assert [(each["name"], each["mapping"]) for each in listed] == [
        ("a list", {"Mail": "email"}),
        ("Fair", {"Mail": "email"}),
    ]
    stranger = await tenant.api.tenant()
    assert (await stranger.get(path)).json["data"] == []
    own = f"{path}/{first['id']}"
    assert (await tenant.api.call("DELETE", own, token=stranger.token)).status == 404
    assert (await tenant.api.call("DELETE", own, token=tenant.token)).status == 204
    assert (await tenant.api.call("DELETE", own, token=tenant.token)).status == 404
    assert (await tenant.api.call("DELETE", f"{path}/x", token=tenant.token)).status == 404
    assert len((await tenant.get(path)).json["data"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "mapping": {}},
        {"name": 5, "mapping": {}},
        {"name": "a\0b", "mapping": {}},
        {"name": "x" * 256, "mapping": {}},
        {"name": "a"},
        {"name": "a", "mapping": []},
        {"name": "a", "mapping": {"A\0": "email"}},
        {"name": "a", "mapping": {"A": "shoe size"}},
        {"name": "a", "mapping": {"A": "email " * 20_000}},
    ],
)
async def test_a_template_that_cannot_be_is_refused(tenant: Tenant, body: dict[str, Any]) -> None:
    """By a sentence."""
    answer = await post(tenant, "/v1/mapping-templates", body)
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR"), answer.text


async def test_an_organization_has_a_hundred_templates_at_most(tenant: Tenant) -> None:
    """One more is refused; one of them can be replaced."""
    path, body = "/v1/mapping-templates", {"mapping": {"Mail": "email"}}
    await tenant.api.database.execute(
        "INSERT INTO mapping_templates (organization_id, name, mapping, created_by)"
        " SELECT $1, 'n' || n, '{}', $2 FROM generate_series(1, 100) AS n",
        tenant.account.organization_id,
        tenant.account.user_id,
    )
    answer = await post(tenant, path, {"name": "one more", **body})
    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert (await post(tenant, path, {"name": "n7", **body})).status == 200


async def test_an_agent_saves_no_template(api: Api) -> None:
    """Whoever may not import may not choose how others do."""
    agent = await api.tenant(role="agent")
    body = {"name": "a", "mapping": {"Mail": "email"}}
    assert (await post(agent, "/v1/mapping-templates", body)).status == 403
    path = f"/v1/mapping-templates/{uuid.uuid4()}"
    assert (await api.call("DELETE", path, token=agent.token)).status == 403
