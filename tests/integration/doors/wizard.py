"""A browser at the wizard's door, and what a reader writes while it analyzes."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingress.state import analysis_key, progress_key
from tests.integration.doors.api import Answer, Api, Tenant

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FILE = b"Email Address,First Name,Phone Number\nann@example.com,Ann,212-555-0101\nnobody,Bob,\n,Cy,555\n"
COLUMNS = ["Email Address", "First Name", "Phone Number"]
ROWS = [["ann@example.com", "Ann", "212-555-0101"], ["nobody", "Bob", ""], ["", "Cy", "555"]]
MAPPING = {"Email Address": "email", "First Name": "firstName", "Phone Number": "phone"}


@dataclass(frozen=True)
class Sent:
    """An announced file."""

    file_id: str
    key: str
    url: str
    form: dict[str, Any]

    @property
    def job_id(self) -> uuid.UUID:
        return uuid.UUID(self.file_id.removeprefix("file_"))

    @property
    def named(self) -> dict[str, str]:
        """The body of `POST /api/analyze`."""
        return {"fileId": self.file_id, "s3Key": self.key}


async def post(tenant: Tenant, path: str, body: Any) -> Answer:
    """POST JSON."""
    return await tenant.post(path, json=body)


async def announce(
    tenant: Tenant, content: bytes = FILE, *, name: str = "contacts.csv", content_type: str = CSV
) -> Sent:
    """`POST /api/upload`."""
    body = {"filename": name, "fileType": content_type, "fileSize": len(content)}
    answer = await post(tenant, "/api/upload", body)
    assert answer.status == 200, answer.text
    told = answer.json
    return Sent(told["fileId"], told["s3Key"], told["uploadUrl"], told["uploadPost"])


async def put(api: Api, url: str, content: bytes = FILE, content_type: str = CSV, **headers: str) -> int:
    """Send the file as a browser does; the store's status."""
    headers = {"Content-Type": content_type, **headers}
    async with api.session.put(url, data=io.BytesIO(content), headers=headers) as answer:
        return answer.status


async def sent(tenant: Tenant, content: bytes = FILE, *, name: str = "contacts.csv") -> Sent:
    """Steps 1 and 2: announced, and stored."""
    announced = await announce(tenant, content, name=name)
    assert await put(tenant.api, announced.url, content) == 200
    return announced


async def analyzed(
    tenant: Tenant,
    *,
    columns: Sequence[str] = COLUMNS,
    rows: Sequence[Sequence[str]] = ROWS,
    content: bytes = FILE,
) -> Sent:
    """Step 3 too: asked for, and done as a reader does it."""
    file = await sent(tenant, content)
    answer = await post(tenant, "/api/analyze", file.named)
    assert (answer.status, answer.json) == (200, {"status": "analyzing"})
    await as_a_reader(tenant, file, columns, rows)
    return file


async def as_a_reader(
    tenant: Tenant, file: Sent, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write what an analysis finds, and let the job wait for its mapping."""
    state, organization_id = tenant.api.services.state, tenant.account.organization_id
    summary = {
        "totalRows": len(rows),
        "validRows": 1,
        "invalidRows": len(rows) - 1,
        "columns": list(columns),
        "columnSummary": {name: {"filled": 1, "empty": 0, "unique": 1, "samples": []} for name in columns},
        "sampleRows": [
            {"_rowIndex": number, "_isValid": True, "_errors": [], **dict(zip(columns, row, strict=False))}
            for number, row in enumerate(rows, 1)
        ],
        "s3Key": file.key,
        "fileId": file.file_id,
        "proposals": [],
        "sourceRows": [list(row) for row in rows],
        "rowLines": [number + 1 for number in range(1, len(rows) + 1)],
        "rowFaults": {},
    }
    await state.set(organization_id, analysis_key(file.job_id), summary)
    progress = {"status": "complete", "processed": len(rows), "total": len(rows)}
    await state.set(organization_id, progress_key(file.job_id), progress)
    first = {"byte_offset": FILE.index(b"\n") + 1, "line": 2}
    opened = {"kind": "csv", "columns": list(columns), "encoding": "utf-8", "delimiter": ",", "first": first}
    database = tenant.api.database
    await database.execute(
        "UPDATE import_parts SET format = $2::text::jsonb WHERE job_id = $1", file.job_id, json.dumps(opened)
    )
    await database.execute("UPDATE import_jobs SET state = 'awaiting_mapping' WHERE id = $1", file.job_id)


async def mapped(tenant: Tenant, mapping: Any = MAPPING) -> Sent:
    """Step 4 too."""
    file = await analyzed(tenant)
    answer = await post(tenant, "/api/map-columns", {"fileId": file.file_id, "mapping": mapping})
    assert (answer.status, answer.json) == (200, {"success": True})
    return file


async def previewed(tenant: Tenant, file: Sent, page: int | None = None) -> Answer:
    """`GET /api/preview`."""
    return await tenant.get(f"/api/preview?fileId={file.file_id}" + (f"&page={page}" if page else ""))


async def state_of(tenant: Tenant, file: Sent) -> str:
    """The job's state in the database."""
    return str(await tenant.api.database.fetchval("SELECT state FROM import_jobs WHERE id = $1", file.job_id))
