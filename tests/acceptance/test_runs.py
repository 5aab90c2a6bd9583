"""Further runs as a customer sees them: the errors file corrected and sent back, and a dry run committed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import aiohttp

from sluice.avro import load_codec
from sluice.events import ContactImported
from sluice.topic_reads import read_since
from sluice.topics import CONTACTS_IMPORTED
from tests.acceptance.client import Tenant
from tests.acceptance.conftest import Running
from tests.integration.stack import LocalStack


class HasStack(Protocol):
    """Whatever runs a stack."""

    @property
    def stack(self) -> LocalStack: ...


ENCODING = "cp1252"
HEADER = "E-Mail;Vorname;Telefon;Ort\r\n"


def good(n: int) -> str:
    return f"p{n}@example.com;Jörg {n};+1646555{n:04};Köln\r\n"


def broken(n: int) -> str:
    return f"p{n}.example.com;Jörg {n};+1646555{n:04};Köln\r\n"


def file_of(rows: int, every: int) -> bytes:
    """Rows of which every so-many-th has no valid address."""
    lines = [broken(n) if n % every == 0 else good(n) for n in range(1, rows + 1)]
    return (HEADER + "".join(lines)).encode(ENCODING)


async def errors_of(tenant: Tenant, job_id: str) -> list[list[str]]:
    """The errors file as a table."""
    address = f"{tenant.api}/v1/imports/{job_id}/errors.csv"
    async with tenant.session.get(address, headers=tenant.headers) as answer:
        assert answer.status == 200
        text = (await answer.read()).decode(answer.charset or "").removeprefix("\ufeff")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))


def written(table: list[list[str]], *, delimiter: str = ";", encoding: str = ENCODING) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(table)
    return out.getvalue().encode(encoding)


async def send(tenant: Tenant, job_id: str, content: bytes) -> tuple[int, dict[str, Any]]:
    """POST .../rows."""
    form = aiohttp.FormData()
    form.add_field("file", content, filename="errors.csv", content_type="text/csv")
    address = f"{tenant.api}/v1/imports/{job_id}/rows"
    async with tenant.session.post(address, data=form, headers=tenant.headers) as answer:
        return answer.status, await answer.json()


async def events_of(running: HasStack, job_id: str) -> Counter[str]:
    """How often each event of a job was published."""
    settings = running.stack.settings()
    codec = await load_codec(settings.schema_registry_url)
    ids = Counter[str]()
    for message in await read_since(settings, CONTACTS_IMPORTED.name, 0):
        event = codec.decode(CONTACTS_IMPORTED.name, ContactImported, message.value)
        if event.lineage.job_id == job_id:
            ids[event.event_id] += 1
    return ids


async def test_the_errors_file_heals_the_import(running: Running) -> None:
    """Corrected, sorted anew, in another encoding: its rows alone run again, under their numbers."""
    tenant = await running.tenant("healing")
    job = await tenant.wait((await tenant.upload(file_of(1200, 5)))["id"])
    assert (job["counts"]["created"], job["counts"]["invalid"]) == (960, 240)
    header, *rows = await errors_of(tenant, job["id"])
    assert header == ["E-Mail", "Vorname", "Telefon", "Ort", "_row", "_error", "_token"]
    assert [row[4] for row in rows] == [str(n) for n in range(5, 1201, 5)]
    assert rows[0][1:4] == ["Jörg 5", "'+16465550005", "Köln"]

    left = rows.pop(7)
    for row in rows:
        row[0] = row[0].replace(".", "@", 1)
    status, answer = await send(
        tenant, job["id"], written([header, *reversed(rows)], delimiter=",", encoding="utf-16")
    )
    assert status == 202, answer
    assert (answer["data"]["run"], answer["data"]["run_kind"]) == (2, "heal")
    healed = await tenant.wait(job["id"])

    assert (healed["state"], healed["run"], healed["rows_read"]) == ("completed", 2, 1200)
    assert (healed["counts"]["created"], healed["counts"]["invalid"]) == (1199, 1)
    found = (await tenant.get(f"/v1/imports/{job['id']}/rows?limit=500"))["data"]
    assert [row["row_no"] for row in found] == list(range(1, 501))
    assert found[4]["values"] == {
        "E-Mail": "p5@example.com",
        "Vorname": "Jörg 5",
        "Telefon": "+16465550005",
        "Ort": "Köln",
    }
    assert (found[4]["run"], found[4]["source_line"]) == (2, 240)
    assert (found[5]["run"], found[5]["source_line"]) == (1, 7)
    one = (await tenant.get(f"/v1/imports/{job['id']}/rows/1200"))["data"]
    assert (one["outcome"], one["values"]["Vorname"]) == ("created", "Jörg 1200")
    assert await errors_of(tenant, job["id"]) == [header, left]
    stored = await running.database.fetchval(
        "SELECT count(*) FROM contacts WHERE organization_id = $1", UUID(tenant.organization_id)
    )
    assert stored == 1199

    left[0] = "p40@example.com"
    assert (await send(tenant, job["id"], written([header, left])))[0] == 202
    healed = await tenant.wait(job["id"])
    assert (healed["run"], healed["counts"]["created"], healed["counts"]["invalid"]) == (3, 1200, 0)
    events = await events_of(running, job["id"])
    assert (len(events), set(events.values())) == (1200, {1})
    assert Counter(event.split("/")[1] for event in events) == {"1": 960, "2": 239, "3": 1}
    status, answer = await send(tenant, job["id"], written([header, left]))
    assert (status, answer["error"]["code"]) == (409, "ROW_NOT_REFUSED")


async def test_a_number_that_was_listed_since_the_dry_run_is_not_written(running: Running) -> None:
    """The commit asks the Do-Not-Call lists anew: what would now be suppressed stops it."""
    tenant = await running.tenant("listed since")
    content = (HEADER + good(1) + good(2)).encode(ENCODING)
    job = await tenant.wait((await tenant.upload(content, dry_run=True, dnc_policy="exclude"))["id"])
    assert job["counts"]["created"] == 2
    await asyncio.to_thread(running.list_numbers, "listed since", ["+16465550002"])
    running.sluice("commit", job["id"], "--org", "listed since", codes=(1,))
    after = (await tenant.get(f"/v1/imports/{job['id']}"))["data"]
    assert "foretold: 2." in after["reason"]
    assert after["counts"] == job["counts"]
    stored = await running.database.fetchval(
        "SELECT count(*) FROM contacts WHERE organization_id = $1", UUID(tenant.organization_id)
    )
    assert stored == 0


async def test_the_command_line_heals_and_commits(running: Running, tmp_path: Path) -> None:
    """`sluice commit` and `sluice heal` end with the account; 3 while rows are still refused."""
    tenant = await running.tenant("at the command line")
    content = (HEADER + good(1) + broken(2) + broken(3)).encode(ENCODING)
    job = await tenant.wait((await tenant.upload(content, dry_run=True))["id"])
    organization = ("--org", "at the command line", "--json")
    told = json.loads(running.sluice("commit", job["id"], *organization, codes=(3,)))
    assert (told["counts"]["created"], told["counts"]["invalid"]) == (1, 2)
    header, *rows = await errors_of(tenant, job["id"])
    for number, code in ((0, 3), (1, 0)):
        rows[number][0] = rows[number][0].replace(".", "@", 1)
        file = tmp_path / "errors.csv"
        file.write_bytes(written([header, rows[number]]))
        told = json.loads(running.sluice("heal", job["id"], str(file), *organization, codes=(code,)))
    assert (told["run"], told["counts"]["created"], told["counts"]["invalid"]) == (4, 3, 0)


async def test_a_dry_run_is_committed_or_tells_what_changed(running: Running) -> None:
    """What updates would change is shown; the commit writes just that, or nothing and says why."""
    tenant = await running.tenant("committing")
    await tenant.wait((await tenant.upload((HEADER + good(1) + good(2)).encode(ENCODING)))["id"])
    content = (HEADER + good(1).replace("Jörg", "Georg") + good(2) + good(3)).encode(ENCODING)
    job = await tenant.wait((await tenant.upload(content, dry_run=True, on_duplicate="overwrite"))["id"])
    assert (job["counts"]["updated"], job["counts"]["unchanged"], job["counts"]["created"]) == (1, 1, 1)
    rows = (await tenant.get(f"/v1/imports/{job['id']}/rows?outcome=updated"))["data"]
    assert [row["changes"] for row in rows] == [{"first_name": {"from": "Jörg 1", "to": "Georg 1"}}]

    await running.database.execute(
        "UPDATE contacts SET first_name = 'Jürgen' WHERE organization_id = $1 AND email = 'p1@example.com'",
        UUID(tenant.organization_id),
    )
    address = f"{tenant.api}/v1/imports/{job['id']}/commit"
    async with tenant.session.post(address, headers=tenant.headers) as answer:
        body = await answer.json()
    assert (answer.status, body["error"]["code"]) == (409, "CONFLICT")
    assert "foretold: 1." in body["error"]["message"]

    await running.database.execute(
        "UPDATE contacts SET first_name = 'Jörg 1' WHERE organization_id = $1 AND email = 'p1@example.com'",
        UUID(tenant.organization_id),
    )
    for _ in range(2):
        async with tenant.session.post(address, headers=tenant.headers) as answer:
            body = await answer.json()
        assert (answer.status, body["data"]["state"], body["data"]["options"]["dry_run"]) == (
            200,
            "completed",
            False,
        )
    assert body["data"]["counts"] == job["counts"]
    names = await running.database.fetch(
        "SELECT first_name FROM contacts WHERE organization_id = $1 ORDER BY email",
        UUID(tenant.organization_id),
    )
    assert [row["first_name"] for row in names] == ["Georg 1", "Jörg 2", "Jörg 3"]
    events = await events_of(running, job["id"])
    assert events == {f"{job['id']}/3/1": 1, f"{job['id']}/3/3": 1}
    rows = (await tenant.get(f"/v1/imports/{job['id']}/rows"))["data"]
    assert [(row["row_no"], row["outcome"], row["run"]) for row in rows] == [
        (1, "updated", 3),
        (2, "unchanged", 3),
        (3, "created", 3),
    ]
