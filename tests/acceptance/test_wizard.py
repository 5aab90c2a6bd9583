"""The wizard as its document describes it, five steps over the whole system, for files of several kinds."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import Tenant
from tests.acceptance.conftest import Running
from tests.unit.ingress.formats.workbooks import make_workbook

HEADER = ("E-Mail", "First Name", "Last Name", "Mobile", "Remark")
PEOPLE: Sequence[Sequence[str]] = (
    ("ann@example.com", "Ann", "Ames", "212-555-0101", "first"),
    ("bob@example.com", "Bob", "Bay", "", ""),
    ("nobody", "Cy", "Cole", "", "no address"),
    ("dee@example.com", "", "Dow", "", "no first name"),
    ("ANN@example.com", "Ann", "Ames", "", "again"),
    ("eve@example.com", "Eve", "East", "555", "short number"),
    ("fay@example.com", "Fay", "Fox", "", "left out"),
)
MAPPING = {
    "E-Mail": "email",
    "First Name": "firstName",
    "Last Name": "lastName",
    "Mobile": "phone",
    "Remark": "notes",
}
CSV = "text/csv"
XLS = "application/vnd.ms-excel"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode()


class Wizard:
    """The five steps, each as a front end does it."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.file_id = ""

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        tenant = self._tenant
        async with tenant.session.post(f"{tenant.api}{path}", json=body, headers=tenant.headers) as answer:
            return answer.status, await answer.json()

    async def upload(self, content: bytes, name: str, content_type: str) -> dict[str, str]:
        """Step 1 and 2; what step 3 names."""
        body = {"filename": name, "fileType": content_type, "fileSize": len(content)}
        status, told = await self.post("/api/upload", body)
        assert status == 200, told
        headers = {"Content-Type": content_type}
        async with self._tenant.session.put(
            told["uploadUrl"], data=io.BytesIO(content), headers=headers
        ) as stored:
            assert stored.status == 200
        self.file_id = told["fileId"]
        return {"fileId": self.file_id, "s3Key": told["s3Key"]}

    async def analyze(self, named: dict[str, str], timeout_seconds: float = 60) -> dict[str, Any]:
        """Step 3: the status when it is complete, or an error."""
        assert await self.post("/api/analyze", named) == (200, {"status": "analyzing"})
        deadline = time.monotonic() + timeout_seconds
        while True:
            told = await self._tenant.get(f"/api/analyze/status/{self.file_id}")
            if told["status"] != "analyzing":
                return told
            assert told["progress"]["total"] is None
            assert time.monotonic() < deadline, told
            await asyncio.sleep(0.1)

    async def map_columns(self, mapping: dict[str, str]) -> None:
        """Step 4."""
        body = {"fileId": self.file_id, "mapping": mapping}
        assert await self.post("/api/map-columns", body) == (200, {"success": True})

    async def preview(self, page: int = 1) -> dict[str, Any]:
        return await self._tenant.get(f"/api/preview?fileId={self.file_id}&page={page}")

    async def run(self, *excluded: int) -> dict[str, Any]:
        """Step 5; where it takes longer than the door waits, what the job says in the end."""
        body = {"fileId": self.file_id, "excludedRows": list(excluded)}
        status, told = await self.post("/api/import", body)
        if status == 200:
            return told
        assert (status, told["fileId"]) == (202, self.file_id), told
        job = await self._tenant.wait(self.file_id, timeout_seconds=240)
        return {"imported": job["counts"]["created"], "skipped": job["total_rows"] - job["counts"]["created"]}


FILES = {
    "CSV": ("contacts.csv", CSV),
    "XLSX": ("contacts.xlsx", XLSX),
    "XLS": ("contacts.xls", XLS),
}


def file_of(kind: str, directory: Path) -> bytes:
    if kind == "CSV":
        return as_csv(PEOPLE)
    path = make_workbook(directory / FILES[kind][0], [HEADER, *PEOPLE])
    return path.read_bytes()


@pytest.mark.requirement("S1-002", "S1-006", "S1-040", "S1-042", "S1-048", "S1-074", "S1-075", "S1-076")
@pytest.mark.requirement("S1-077", "S1-078", "S1-090", "S1-102", "S1-103", "S1-105", "S1-106", "S1-117")
@pytest.mark.requirement("S1-131", "T-01", "T-02", "T-03", "T-05")
@pytest.mark.parametrize("kind", FILES)
async def test_the_five_steps(running: Running, tmp_path: Path, kind: str) -> None:
    """Uploaded by its URL, analyzed as what it is, mapped, previewed, imported; no row is lost."""
    tenant = await running.tenant(f"wizard {kind}")
    wizard = Wizard(tenant)
    name, content_type = FILES[kind]
    named = await wizard.upload(file_of(kind, tmp_path), name, content_type)

    analysis = await wizard.analyze(named)
    assert analysis["status"] == "complete", analysis
    summary = analysis["summary"]
    assert (summary["totalRows"], summary["columns"]) == (len(PEOPLE), list(HEADER))
    assert (summary["s3Key"], summary["fileId"]) == (named["s3Key"], named["fileId"])
    assert summary["validRows"] + summary["invalidRows"] == len(PEOPLE)
    assert summary["validRows"] == 4
    given = summary["columnSummary"]["First Name"]
    assert (given["filled"], given["empty"], given["unique"]) == (6, 1, 5)
    assert given["samples"] == ["Ann", "Bob", "Cy", "Eve", "Fay"]

    await wizard.map_columns({"First Name": "email"})
    assert not any(row["_isValid"] for row in (await wizard.preview())["rows"])
    await wizard.map_columns(MAPPING)
    preview = await wizard.preview()
    assert (preview["total"], preview["page"], preview["pageSize"]) == (len(PEOPLE), 1, 100)
    errors = {row["_rowIndex"]: row["_errors"] for row in preview["rows"] if not row["_isValid"]}
    assert errors == {
        3: ["Invalid email format"],
        4: ["First Name is required"],
        6: ["Invalid phone number format"],
    }

    result = await wizard.run(7)
    assert (result["success"], result["imported"], result["skipped"]) == (True, 2, 5)
    assert {(each["row"], each["message"]) for each in result["errors"]} == {
        (3, "Invalid email format"),
        (4, "First Name is required"),
        (6, "Invalid phone number format"),
    }
    status, gone = await wizard.post("/api/import", {"fileId": wizard.file_id})
    assert (status, gone["code"]) == (404, "NOT_FOUND")
    job = (await tenant.get(f"/v1/imports/{wizard.file_id}"))["data"]
    counts = {name: number for name, number in job["counts"].items() if number}
    assert counts == {"created": 2, "invalid": 3, "duplicate_in_file": 1, "excluded": 1}


@pytest.mark.requirement("S1-126")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Email,Name\n", "no rows below it"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        (b"PK\x03\x04" + bytes(200), ""),
    ],
)
async def test_a_file_that_is_no_list_is_an_error_of_its_analysis(
    running: Running, content: bytes, says: str
) -> None:
    """With a sentence; the job has ended."""
    tenant = await running.tenant("wizard, bad files")
    wizard = Wizard(tenant)
    told = await wizard.analyze(await wizard.upload(content, "contacts.csv", CSV))
    assert told["status"] == "error"
    assert says in told["message"]
    assert (await tenant.get(f"/v1/imports/{wizard.file_id}"))["data"]["state"] == "failed"


@pytest.mark.requirement("S1-126", "T-11", "S1-113")
async def test_a_single_row_with_special_characters(running: Running) -> None:
    """A byte order mark, a header twice, quotes and markup in it, names of every script: kept as they are."""
    tenant = await running.tenant("wizard, one row")
    wizard = Wizard(tenant)
    row = '\ufeff"<b>Email</b>",Name,Name\r\n"zoë@example.com","王秀英, ""Ānanda""",=1+1\r\n'
    analysis = await wizard.analyze(await wizard.upload(row.encode(), "one.csv", CSV))
    assert analysis["summary"]["columns"] == ["bEmail/b", "Name", "Name (2)"]
    await wizard.map_columns({"bEmail/b": "email", "Name": "firstName", "Name (2)": "notes"})
    assert (await wizard.preview())["rows"][0]["firstName"] == '王秀英, "Ānanda"'
    assert (await wizard.run())["imported"] == 1
    stored = await running.database.fetchrow(
        "SELECT first_name, notes FROM contacts WHERE organization_id = $1::uuid", tenant.organization_id
    )
    assert tuple(stored or ()) == ('王秀英, "Ānanda"', "=1+1")


@pytest.mark.requirement("S1-041", "S1-073", "S1-080", "S1-125", "S1-127")
async def test_a_file_of_sixty_megabytes(running: Running) -> None:
    """Proposals come long before the end, the processed rows rise, and all rows arrive."""
    rows = 100_000

    def pieces() -> Iterator[bytes]:
        yield ",".join(HEADER).encode() + b"\n"
        for number in range(rows):
            yield f"p{number}@example.com,Per,Son {number},,{'x' * 580}\n".encode()

    tenant = await running.tenant("wizard, large")
    wizard = Wizard(tenant)
    content = b"".join(pieces())
    assert len(content) > 60_000_000
    named = await wizard.upload(content, "large.csv", CSV)
    began = time.monotonic()
    assert (await wizard.post("/api/analyze", named))[0] == 200
    seen: list[int] = []
    while (told := await tenant.get(f"/api/analyze/status/{wizard.file_id}"))["status"] == "analyzing":
        progress = told["progress"]
        if progress.get("proposals") and not seen:
            assert time.monotonic() - began < 5
        seen.append(progress["processed"])
        assert time.monotonic() - began < 120, progress
        await asyncio.sleep(0.05)
    assert seen == sorted(seen)
    assert told["summary"]["totalRows"] == told["summary"]["validRows"] == rows
    assert told["summary"]["columnSummary"]["E-Mail"]["unique"] == rows
    await wizard.map_columns(MAPPING)
    assert (await wizard.preview(10))["total"] == 1000
    result = await wizard.run()
    assert (result["imported"], result["skipped"]) == (rows, 0)
