"""Other people's files through the whole system: no crash, no hang, no unexplained row."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from sluice.outcome import REFUSED
from tests.acceptance.client import ENDED, Tenant
from tests.acceptance.conftest import Running

CORPORA = Path(os.environ.get("SLUICE_CORPORA", "corpora"))
FOLDERS = (
    "contacts-csv",
    "csv-spectrum",
    "json-test-suite",
    "ldif-spring-ldap",
    "naughty-strings",
    "poi-spreadsheets",
    "sheetjs-test-files",
    "univocity-parsers",
    "vcard-cardme",
    "vcard-ez-vcard",
)
AT_ONCE = 8
TENANTS = 4
NONE_OF_OURS = "corpora: SLUICE_CORPORA names no folder"

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason=NONE_OF_OURS)


async def import_file(tenant: Tenant, path: Path, **options: str) -> tuple[str, str]:
    """What became of one file (refused, failed, completed), and its job. Fails on anything odd."""
    asked = {"match_on": "either", "phone_check": "off", "on_duplicate": "overwrite", **options}
    form = aiohttp.FormData(asked)
    form.add_field("file", io.BytesIO(path.read_bytes()), filename=path.name)
    address = f"{tenant.api}/v1/imports"
    async with tenant.session.post(address, data=form, headers=tenant.headers) as answer:
        body = await answer.json()
    if answer.status != 202:
        assert 400 <= answer.status < 500, (path.name, answer.status, body)
        assert body["error"]["code"], (path.name, body)
        assert body["error"]["message"].endswith("."), (path.name, body)
        return "refused", ""
    job = await tenant.wait(body["data"]["id"], timeout_seconds=120)
    assert job["state"] in ENDED
    assert sum(job["counts"].values()) == job["rows_read"], (path.name, job)
    assert job["counts"]["failed"] == 0, (path.name, job)
    if job["state"] == "failed":
        assert job["reason"].endswith("."), (path.name, job)
        return "failed", job["id"]
    await check_rows(tenant, job, path.name)
    return "completed", job["id"]


async def check_rows(tenant: Tenant, job: dict[str, Any], name: str) -> None:
    """Every refused row says why, and has its line."""
    for outcome in REFUSED:
        if job["counts"][outcome.value]:
            page = await tenant.get(f"/v1/imports/{job['id']}/rows?outcome={outcome.value}&limit=100")
            for row in page["data"]:
                assert row["errors"], (name, row)
                assert row["source_line"] >= 1, (name, row)


async def test_every_file_of_the_corpora_ends_in_an_account_or_a_sentence(running: Running) -> None:
    """Files that broke other programs: each is refused, fails with a reason, or is accounted for.

    Of the two large folders every fourth: their files are all opened one by one in the tests of the formats.
    """
    many = [path for path in all_files() if path.is_relative_to(CORPORA / "json-test-suite")]
    many += [path for path in all_files() if path.is_relative_to(CORPORA / "univocity-parsers")]
    skipped = {path for number, path in enumerate(many) if number % 4}
    ends, _ = await import_all(running, "corpora", [path for path in all_files() if path not in skipped])
    assert ends["completed"] >= 20, ends


@pytest.mark.chaos
async def test_files_without_a_contact_column_are_accounted_for_under_a_mapping(running: Running) -> None:
    """Most of those files are no contact lists: with their first column mapped, every row has an outcome."""
    paths = all_files()
    _, jobs = await import_all(running, "corpora once", paths)
    mapped = {}
    for path, job_id in jobs.items():
        if job_id:
            form = await running.database.fetchval(
                "SELECT format FROM import_parts WHERE job_id = $1 AND part_no = 1", UUID(job_id)
            )
            if columns := json.loads(form).get("columns"):
                mapped[path] = json.dumps(
                    {columns[0]: "email", **({columns[1]: "notes"} if columns[1:] else {})}
                )
    assert len(mapped) > 60
    ends, _ = await import_all(running, "corpora mapped", list(mapped), mapped)
    assert ends["completed"] > 60, ends


def all_files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (CORPORA / folder).rglob("*") if path.is_file())


async def import_all(
    running: Running, name: str, paths: list[Path], mappings: dict[Path, str] | None = None
) -> tuple[Counter[str], dict[Path, str]]:
    """Import files, several at once: how many ended how, and their jobs; no role may die of one."""
    before = {each.name: each.pid for each in running.stack.state().processes if each.kind == "role"}
    tenants = [await running.tenant(f"{name} {number}") for number in range(TENANTS)]
    ends: Counter[str] = Counter()
    jobs: dict[Path, str] = {}
    free = asyncio.Semaphore(AT_ONCE)

    async def run(number: int, path: Path) -> None:
        async with free:
            options = {"mapping": mappings[path]} if mappings else {}
            end, jobs[path] = await import_file(tenants[number % TENANTS], path, **options)
            ends[end] += 1

    await asyncio.gather(*(run(number, path) for number, path in enumerate(paths)))
    assert sum(ends.values()) == len(paths)
    after = {each.name: each.pid for each in running.stack.state().processes if each.kind == "role"}
    assert after == before, "a role died of a file"
    return ends, jobs


@pytest.mark.parametrize("kind", ["csv", "json"])
async def test_naughty_strings_are_data(running: Running, kind: str) -> None:
    """515 strings that break software come out as they went in, and again as unchanged."""
    strings: list[str] = json.loads((CORPORA / "naughty-strings" / "blns.json").read_text())
    people = [
        {"email": f"p{number}@example.com", "notes": text, "custom": text}
        for number, text in enumerate(strings)
        if "\0" not in text
    ]
    content = json.dumps(people).encode() if kind == "json" else as_csv(people)
    tenant = await running.tenant(f"naughty {kind}")
    first = await tenant.wait((await tenant.upload(content, on_duplicate="overwrite"))["id"])
    assert first["counts"]["created"] == len(people), first
    rows = await running.database.fetch(
        "SELECT email, notes, custom_fields ->> 'custom' AS custom FROM contacts WHERE organization_id = $1",
        UUID(tenant.organization_id),
    )
    stored = {row["email"]: (row["notes"] or "", row["custom"] or "") for row in rows}
    wanted = {each["email"]: (each["notes"].strip(), each["custom"].strip()) for each in people}
    assert stored == wanted
    again = await tenant.wait((await tenant.upload(content, on_duplicate="overwrite"))["id"])
    assert again["counts"]["unchanged"] == len(people)


def as_csv(people: list[dict[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(people[0]))
    writer.writeheader()
    writer.writerows(people)
    return out.getvalue().encode()
