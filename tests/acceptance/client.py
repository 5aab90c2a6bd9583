"""What a customer's program does: get a token, upload, wait, read the account; and what the database says."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from sluice.outcome import BY_LETTER
from tests.acceptance.oracle import Job
from tests.integration.stack import LocalStack

ENDED = {"completed", "failed", "cancelled", "undone"}


@dataclass
class Tenant:
    """One organization with a token to act for it."""

    api: str
    token: str
    organization_id: str
    session: aiohttp.ClientSession = field(repr=False)

    async def upload(self, content: bytes, **options: Any) -> dict[str, Any]:
        """POST /v1/imports; the job."""
        form = aiohttp.FormData()
        for name, value in options.items():
            form.add_field(name, value if isinstance(value, str) else json.dumps(value))
        form.add_field("file", io.BytesIO(content), filename="contacts.csv", content_type="text/csv")
        async with self.session.post(f"{self.api}/v1/imports", data=form, headers=self.headers) as answer:
            body = await answer.json()
            assert answer.status in (200, 201, 202), body
            return dict(body["data"])

    async def get(self, path: str) -> dict[str, Any]:
        async with self.session.get(f"{self.api}{path}", headers=self.headers) as answer:
            body = await answer.json()
            assert answer.status == 200, (path, answer.status, body)
            return dict(body)

    async def wait(self, job_id: str, timeout_seconds: float = 120) -> dict[str, Any]:
        """The job when it has ended."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            job = (await self.get(f"/v1/imports/{job_id}"))["data"]
            if job["state"] in ENDED:
                return dict(job)
            assert time.monotonic() < deadline, f"job {job_id} hangs: {job}"
            await asyncio.sleep(0.05)

    async def undo(self, job_id: str, timeout_seconds: float = 120) -> dict[str, Any]:
        """Ask for the undo of a job that wrote something; the job when that has ended."""
        async with self.session.post(f"{self.api}/v1/imports/{job_id}/undo", headers=self.headers) as answer:
            assert answer.status == 202, await answer.text()
        return await self.wait(job_id, timeout_seconds)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def run_sluice(stack: LocalStack, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run the command line against a stack; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={"PATH": "/usr/bin:/bin", "SLUICE_HOME": str(stack.layout.home), **stack.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in codes, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout


def new_tenant(stack: LocalStack, session: aiohttp.ClientSession, name: str, role: str = "admin") -> Tenant:
    """A new organization and a token for it, as `sluice token` makes them. Blocks for half a second."""
    answer = json.loads(run_sluice(stack, "token", "--org", name, "--role", role, "--json"))
    return Tenant(stack.api, answer["token"], answer["organization_id"], session)


def form_options(job: Job) -> dict[str, Any]:
    """A generated job's options as POST /v1/imports takes them."""
    options = job.options
    return {
        "on_duplicate": options.on_duplicate,
        "match_on": options.match_on,
        "phone_check": options.phone_check,
        "dnc_policy": options.dnc_policy,
        "blanks": options.blanks,
        "exclude_rows": list(options.exclude_rows),
        "mode": options.mode,
        "dry_run": options.dry_run,
    }


async def applied_batches(
    database: asyncpg.Connection[asyncpg.Record], organization_id: str
) -> list[tuple[UUID, range, list[str]]]:
    """Every applied batch in the order of application: job, row numbers, outcomes.

    One organization's batches share a partition, and the sink applies a partition in order of offset.
    """
    rows = await database.fetch(
        "SELECT job_id, first_row_no, row_count, outcomes FROM import_batches "
        "WHERE organization_id = $1 ORDER BY topic_offset",
        UUID(organization_id),
    )
    return [
        (
            row["job_id"],
            range(row["first_row_no"], row["first_row_no"] + row["row_count"]),
            [BY_LETTER[letter].value for letter in row["outcomes"]],
        )
        for row in rows
    ]


STORED = (
    "first_name, last_name, email, phone, phone_formatted, company, title, city, zip, country, "
    "array_to_string(tags, ';') AS tags, notes, do_not_call, "
    "custom_fields ->> 'other_emails' AS other_emails, custom_fields ->> 'other_phones' AS other_phones"
)


async def stored_contacts(
    database: asyncpg.Connection[asyncpg.Record], organization_id: str
) -> list[dict[str, Any]]:
    """Every contact's content without its id; absent and empty are one."""
    rows = await database.fetch(
        f"SELECT {STORED} FROM contacts WHERE organization_id = $1", UUID(organization_id)
    )
    return [{name: value for name, value in row.items() if value} for row in rows]


def canonical(contacts: list[dict[str, Any]]) -> list[str]:
    """Contacts as sorted texts, so that two sets can be compared and a difference can be read."""
    return sorted(json.dumps(contact, sort_keys=True, ensure_ascii=False) for contact in contacts)
