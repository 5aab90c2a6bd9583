"""Who may come in, for whom, how often; and that every attempt is written down."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from ingress.authentication import issue_token
from sluice.clock import FakeClock
from tests.integration.doors.api import Api, Tenant, running_api
from tests.integration.stack import Servers

S0, V1 = "/api/contacts/import", "/v1/imports"
FILE = b"Email\nann@example.com\n"
GUARDED = [
    ("POST", S0),
    ("POST", V1),
    ("GET", V1),
    ("GET", f"{V1}/{uuid.UUID(int=1)}"),
    ("GET", f"{V1}/{uuid.UUID(int=1)}/rows"),
    ("GET", f"{V1}/{uuid.UUID(int=1)}/rows/1"),
    ("GET", f"{V1}/{uuid.UUID(int=1)}/errors.csv"),
    ("POST", f"{V1}/{uuid.UUID(int=1)}/cancel"),
    ("POST", f"{V1}/{uuid.UUID(int=1)}/pause"),
    ("POST", f"{V1}/{uuid.UUID(int=1)}/resume"),
    ("GET", "/v1/nowhere"),
]


def signed(
    api: Api, claims: Mapping[str, Any], *, secret: str | None = None, alg: str = "HS256", **more: Any
) -> str:
    """A token with these claims."""
    key = OctKey.import_key(secret or api.services.settings.jwt_secret.get_secret_value())
    return str(jwt.encode({"alg": alg}, {**claims, **more}, key, algorithms=[alg]))


@pytest.mark.requirement("S0-004", "S0-005", "S0-042")
@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_no_door_is_open_without_a_token(api: Api, method: str, path: str) -> None:
    """401 with the error object, before anything else is looked at."""
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "x"}):
        answer = await api.call(method, path, headers=headers)
        assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json["error"]["requestId"] == answer.headers["X-Request-ID"]


@pytest.mark.requirement("S0-004", "S0-005", "S0-042", "K-05")
async def test_tokens_that_are_not_ours_are_refused(api: Api, tenant: Tenant) -> None:
    """Another secret, another algorithm, none, expired, not yet valid, changed, or saying what cannot be."""
    now = int(api.services.clock.now().timestamp())
    good: dict[str, Any] = {
        "sub": str(tenant.account.user_id),
        "org": str(tenant.account.organization_id),
        "role": "admin",
    }
    times: dict[str, Any] = {"iat": now, "exp": now + 600}
    head, body, signature = tenant.token.split(".")
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."
    bad = [
        signed(api, good | times, secret="x" * 32),
        signed(api, good | times, alg="HS512"),
        unsigned,
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}AA",
        f"{head}.{body}",
        "a.b.c",
        "é.è.à",
        signed(api, good, iat=now - 7200, exp=now - 3600),
        signed(api, good),
        signed(api, good | times, nbf=now + 3600),
        signed(api, good, iat=now + 3600, exp=now + 7200),
        signed(api, good | times | {"sub": "tom"}),
        signed(api, good | times | {"org": "acme"}),
        signed(api, good | times | {"role": "owner"}),
        signed(api, good | times | {"permissions": "all"}),
        signed(api, good | times | {"org": str(uuid.uuid4())}),
        signed(api, times, org=good["org"], role="admin"),
        signed(api, good | {"exp": "tomorrow"}),
        signed(api, good | {"exp": True}),
    ]
    for token in bad:
        answer = await api.call("GET", V1, token=token)
        assert (answer.status, answer.code) == (401, "UNAUTHENTICATED"), token
        assert "Traceback" not in answer.text
    assert (await api.call("GET", V1, token=signed(api, good | times))).status == 200


@pytest.mark.requirement("K-05")
async def test_the_organization_header_must_agree_with_the_token(api: Api, tenant: Tenant) -> None:
    """Its own name is fine, another's or nonsense is 403."""
    own = {"X-Organization-ID": str(tenant.account.organization_id)}
    assert (await tenant.get(V1, headers=own)).status == 200
    other = await api.tenant()
    for named in (str(other.account.organization_id), str(uuid.uuid4()), "nonsense"):
        answer = await tenant.get(V1, headers={"X-Organization-ID": named})
        assert (answer.status, answer.code) == (403, "ORGANIZATION_MISMATCH")


@pytest.mark.requirement("S0-006", "K-06")
async def test_an_agent_cannot_import_into_an_organization(api: Api) -> None:
    """403 on both doors and on what ends or halts a job; a manager can; a permission cannot be claimed."""
    agent = await api.tenant(role="agent")
    acts = [f"{V1}/{uuid.uuid4()}/{act}" for act in ("cancel", "pause", "resume")]
    for path in (S0, V1, *acts):
        answer = await agent.upload(FILE, path)
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert (await agent.get(V1)).status == 200
    token = issue_token(
        api.services.settings,
        user_id=agent.account.user_id,
        organization_id=agent.account.organization_id,
        role="agent",
        permissions=["imports:run"],
    )
    claimed = await Tenant(api, agent.account, token).upload(FILE)
    assert claimed.status == 403
    manager = await api.tenant(role="manager")
    assert (await manager.upload(FILE)).status == 202
    assert await agent.jobs() == 0


@pytest.mark.requirement("S0-007")
async def test_a_list_of_another_organization_cannot_be_imported_into(api: Api, tenant: Tenant) -> None:
    """The permission is checked for what is imported into, not only for the door."""
    other = await api.tenant()
    theirs = await other.upload(FILE, list_name="Theirs")
    answer = await tenant.upload(FILE, list_id=theirs.json["data"]["list_id"])
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["field"] == "list_id"
    own = await other.upload(FILE, list_id=theirs.json["data"]["list_id"])
    assert own.json["data"]["list_id"] == theirs.json["data"]["list_id"]


@pytest.mark.requirement("K-03", "K-05", "K-06")
async def test_a_user_without_an_organization_gets_a_personal_one(api: Api) -> None:
    """Made once, even by two first calls at once; its only member is its admin and may import."""
    user = uuid.uuid4()
    token = issue_token(api.services.settings, user_id=user, organization_id=None)
    answers = await asyncio.gather(*(api.call("GET", V1, token=token) for _ in range(4)))
    assert {answer.status for answer in answers} == {200}
    rows = await api.database.fetch(
        "SELECT o.id, o.subscription_tier, m.role FROM organizations o JOIN memberships m"
        " ON m.organization_id = o.id WHERE o.personal_of = $1",
        user,
    )
    assert [(row["subscription_tier"], row["role"]) for row in rows] == [("free", "admin")]
    headers = {"X-Organization-ID": str(uuid.uuid4())}
    assert (await api.call("GET", V1, token=token, headers=headers)).status == 403


@pytest.mark.requirement("K-05")
async def test_a_token_without_organization_is_resolved_by_membership(api: Api) -> None:
    """One membership decides; of several the header names one; the role is the membership's."""
    first, second = await api.tenant(role="agent"), await api.tenant()
    user = first.account.user_id
    token = issue_token(api.services.settings, user_id=user, organization_id=None)
    assert (await Tenant(api, first.account, token).upload(FILE)).code == "FORBIDDEN"

    await api.database.execute(
        "INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $2, 'manager')",
        second.account.organization_id,
        user,
    )
    async with running_like(api) as fresh:
        several = await fresh.call("GET", V1, token=token)
        assert (several.status, several.code) == (400, "BAD_REQUEST")
        named = {"X-Organization-ID": str(second.account.organization_id)}
        assert (await fresh.call("GET", V1, token=token, headers=named)).status == 200


def running_like(api: Api) -> Any:
    """The same API without what it remembers."""

    class Same:
        env: dict[str, str] = {}

        def settings(self, **changes: str) -> Any:
            return api.services.settings

    return running_api(Same())


@pytest.mark.requirement("S0-008")
async def test_every_attempt_is_written_down(api: Api, tenant: Tenant) -> None:
    """Good and bad attempts are rows of the audit log, with address, agent and request id; imports too."""
    good, bad = f"good-{uuid.uuid4()}", f"bad-{uuid.uuid4()}"
    headers = {"User-Agent": "tests \u00e9"}
    await tenant.get(V1, headers=headers | {"X-Request-ID": good})
    await api.call("GET", V1, token="nonsense", headers=headers | {"X-Request-ID": bad})
    started = await tenant.upload(FILE)
    await api.services.audit.flush()

    entry = await api.database.fetchrow("SELECT * FROM audit_log WHERE request_id = $1", good)
    assert entry is not None
    assert entry["action"] == "authentication_succeeded"
    assert entry["organization_id"] == tenant.account.organization_id
    assert entry["user_id"] == tenant.account.user_id
    assert str(entry["ip_address"]) == "127.0.0.1"
    assert entry["user_agent"].startswith("tests")
    entry = await api.database.fetchrow("SELECT * FROM audit_log WHERE request_id = $1", bad)
    assert entry is not None
    assert entry["action"] == "authentication_failed"
    job_id = started.json["data"]["id"]
    action = await api.database.fetchval("SELECT action FROM audit_log WHERE resource_id = $1", job_id)
    assert action == "import_started"


async def test_a_request_id_is_kept_when_it_is_harmless(api: Api) -> None:
    """A sensible one comes back; anything else is replaced."""
    kept = await api.call("GET", "/health", headers={"X-Request-ID": "abc-123"})
    assert kept.headers["X-Request-ID"] == "abc-123"
    for odd in ("a b", "x" * 101, "<script>"):
        answer = await api.call("GET", "/health", headers={"X-Request-ID": odd})
        assert answer.headers["X-Request-ID"].startswith("req_")


@pytest.mark.requirement("S0-009", "K-16")
async def test_imports_a_day_are_limited_by_tier(api: Api) -> None:
    """The free tier's sixth import of a day is refused, before and after the upload, also by two at once."""
    tenant = await api.tenant(tier="free")
    for _ in range(4):
        assert (await tenant.upload(FILE)).status == 202
    answers = await asyncio.gather(*(tenant.upload(FILE) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [202, 429, 429]
    before = await api.objects()
    sixth = await tenant.upload(FILE, S0)
    assert (sixth.status, sixth.code) == (429, "RATE_LIMITED")
    assert sixth.message == "Rate limit exceeded. Please try again later."
    assert 0 < int(sixth.headers["Retry-After"]) <= 86_400
    assert await tenant.jobs() == 5
    assert await api.objects() == before


@pytest.mark.requirement("S0-009", "K-16")
async def test_calls_without_a_token_are_limited_by_address(stack: Servers) -> None:
    """Counted by the connection's address, whatever X-Forwarded-For says; a valid token still comes in."""
    async with running_api(stack, RATE_LIMIT_MAX="3") as api:
        tenant = await api.tenant()
        for n in range(3):
            headers = {"X-Forwarded-For": f"10.0.0.{n}"}
            assert (await api.call("GET", V1, headers=headers)).status == 401
        refused = await api.call("GET", V1, headers={"X-Forwarded-For": "10.9.9.9"})
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert (await tenant.get(V1)).status == 200
        assert (await api.call("GET", "/health")).status == 200


@pytest.mark.requirement("K-35")
async def test_row_security_holds_for_the_api_role(api: Api, tenant: Tenant) -> None:
    """Without saying for whom, the API's own role sees no job at all, and of two organizations only one's."""
    await tenant.upload(FILE)
    other = await api.tenant()
    await other.upload(FILE)
    async with api.services.database.acting_for(None, None) as connection:
        assert await connection.fetchval("SELECT count(*) FROM import_jobs") == 0
    async with api.services.database.acting_for(
        tenant.account.organization_id, tenant.account.user_id
    ) as connection:
        assert await connection.fetchval("SELECT count(*) FROM import_jobs") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO contact_lists (organization_id, name, created_by) VALUES ($1, 'x', $2)",
                other.account.organization_id,
                tenant.account.user_id,
            )


def test_a_token_lives_as_long_as_the_settings_say(stack: Servers) -> None:
    """JWT_EXPIRES_IN is in the token, counted from the clock that was handed in."""
    clock = FakeClock()
    token = issue_token(
        stack.settings(JWT_EXPIRES_IN="2h"), user_id=uuid.uuid4(), organization_id=None, clock=clock
    )
    key = OctKey.import_key(stack.settings().jwt_secret.get_secret_value())
    claims = jwt.decode(token, key).claims
    assert claims["exp"] - claims["iat"] == 7200
    assert claims["iat"] == int(clock.now().timestamp())
