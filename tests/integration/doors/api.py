"""The API in this process, over real servers, and what it leaves in them."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg

from ingress.app import serving
from ingress.authentication import issue_token
from ingress.commands.accounts import Account, ensure_account
from ingress.services import Services, open_services
from sluice.outcome import Outcome, encode_outcomes
from tests.integration.stack import Servers


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.text))

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json["error"]["code"])

    @property
    def message(self) -> str:
        """The error's sentence."""
        return str(self.json["error"]["message"])


@dataclass
class Api:
    """One running API; `tenant` makes callers."""

    port: int
    services: Services
    session: aiohttp.ClientSession
    database: asyncpg.Connection[asyncpg.Record]
    organizations: list[uuid.UUID] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def tenant(self, *, role: str = "admin", tier: str = "enterprise", name: str = "") -> Tenant:
        """A new organization, and a user with this role in it."""
        account = await ensure_account(
            self.services.settings,
            organization=name or f"org {uuid.uuid4()}",
            user="someone",
            role=role,
            tier=tier,
        )
        self.organizations.append(account.organization_id)
        token = issue_token(
            self.services.settings,
            user_id=account.user_id,
            organization_id=account.organization_id,
            role=role,
        )
        return Tenant(self, account, token)

    async def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Answer:
        """Any request."""
        headers = {**options.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, f"{self.base}{path}", headers=headers, **options) as answer:
            return Answer(answer.status, answer.headers, (await answer.read()).decode("utf-8-sig"))

    async def objects(self) -> set[str]:
        """Every object of the bucket, and every upload in parts that is not complete."""
        client, bucket = self.services.store._client, self.services.store._bucket
        listed = await client.list_objects_v2(Bucket=bucket)
        begun = await client.list_multipart_uploads(Bucket=bucket)
        return {each["Key"] for each in listed.get("Contents", ())} | {
            each["UploadId"] for each in begun.get("Uploads", ())
        }


@dataclass
class Tenant:
    """A caller with a token."""

    api: Api
    account: Account
    token: str = field(repr=False)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.api.call("GET", path, token=self.token, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.api.call("POST", path, token=self.token, **options)

    async def upload(
        self, content: bytes, path: str = "/v1/imports", *, name: str = "contacts.csv", **fields: str
    ) -> Answer:
        """Send one file with these form fields."""
        return await self.post(path, data=form(("file", content, name), **fields))

    async def import_id(self, content: bytes, **fields: str) -> uuid.UUID:
        """Send one file; the job's id."""
        answer = await self.upload(content, **fields)
        assert answer.status == 202, answer.text
        return uuid.UUID(answer.json["data"]["id"])

    async def jobs(self) -> int:
        """How many jobs the organization has."""
        return int(
            await self.api.database.fetchval(
                "SELECT count(*) FROM import_jobs WHERE organization_id = $1", self.account.organization_id
            )
        )


def form(*files: tuple[str, bytes, str], **fields: str) -> aiohttp.FormData:
    """A multipart form: fields first, then files."""
    data = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in fields.items():
        data.add_field(name, value)
    for name, content, filename in files:
        data.add_field(name, io.BytesIO(content), filename=filename, content_type="text/csv")
    return data


@asynccontextmanager
async def running_api(
    stack: Servers, *, idle_seconds: float = 30.0, body_seconds: float = 3600.0, **changes: str
) -> AsyncIterator[Api]:
    """The API on a free port with these settings changed, by environment name."""
    settings = stack.settings(**changes)
    database = await asyncpg.connect(settings.sink_database_url.get_secret_value())
    try:
        async with (
            open_services(settings, idle_seconds=idle_seconds, body_seconds=body_seconds) as services,
            serving(services, "127.0.0.1", 0) as port,
            aiohttp.ClientSession() as session,
        ):
            while not services.bell.tried:  # noqa: ASYNC110 - the first attempt sends no event
                await asyncio.sleep(0.02)
            api = Api(port, services, session, database)
            try:
                yield api
            finally:
                await leave_no_work(api)
    finally:
        await database.close()


async def leave_no_work(api: Api) -> None:
    """End every job of this API's tenants: another test's reader would take it for its own."""
    await api.database.execute(
        "UPDATE import_jobs SET state = 'cancelled', completed_at = now()"
        " WHERE organization_id = ANY ($1) AND state IN ('pending', 'processing', 'analyzing')",
        api.organizations,
    )


async def apply_batch(
    api: Api,
    job_id: uuid.UUID,
    outcomes: Sequence[Outcome],
    *,
    faults: dict[int, list[dict[str, str]]] | None = None,
    contact_ids: Sequence[uuid.UUID | None] = (),
    start: tuple[int, int] | None = None,
    end_byte: int | None = None,
    state: str = "completed",
) -> None:
    """Write down one applied batch behind the rows that the job has so far, as the sink does."""
    part = await api.database.fetchrow("SELECT * FROM import_parts WHERE job_id = $1", job_id)
    job = await api.database.fetchrow("SELECT * FROM import_jobs WHERE id = $1", job_id)
    assert part is not None
    assert job is not None
    first = json.loads(part["format"])["first"]
    start_byte, start_line = start or (first["byte_offset"], first["line"])
    end = part["size_bytes"] if end_byte is None else end_byte
    ids = b"".join(each.bytes if each else bytes(16) for each in contact_ids) or bytes(16 * len(outcomes))
    counts = {outcome.value: sum(each is outcome for each in outcomes) for outcome in Outcome}
    batch_no = job["applied_batch"] + 1
    await api.database.execute(
        """
        INSERT INTO import_batches (organization_id, job_id, batch_no, run, lease_epoch, first_row_no,
            row_count, outcomes, contact_ids, faults, is_last, counts, state, start_part, start_byte,
            start_line, end_part, end_byte, end_line, end_row, topic_partition, topic_offset, applied_at)
        VALUES ($1, $2, $3, 1, 1, $4, $5, $6, $7, $8, $9, '{}', $10, 1, $11, $12, 1, $13, 0, 0, 0, 0, now())
        """,
        job["organization_id"],
        job_id,
        batch_no,
        job["rows_read"] + 1,
        len(outcomes),
        encode_outcomes(outcomes),
        ids,
        json.dumps({str(index): each for index, each in (faults or {}).items()}),
        state == "completed",
        state,
        start_byte,
        start_line,
        end,
    )
    sums = ", ".join(f"{name} = {name} + {number}" for name, number in counts.items() if number)
    if job["state"] == "pending":
        await api.database.execute(
            "UPDATE import_jobs SET state = 'processing', started_at = now() WHERE id = $1", job_id
        )
    await api.database.execute(
        "UPDATE import_jobs SET state = $2::text, applied_batch = $3, position_byte = $4,"
        " completed_at = CASE WHEN $2::text = 'completed' THEN now() END,"
        f" rows_read = rows_read + $5, {sums} WHERE id = $1",
        job_id,
        state,
        batch_no,
        end,
        len(outcomes),
    )
