"""Organizations and users made from the command line, for `sluice token`."""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass

from ingress.database import connected, statements
from sluice.settings import Settings

_SQL = statements("accounts")

NEW_TIER = "enterprise"


@dataclass(frozen=True, slots=True)
class Account:
    """A user's place in an organization."""

    organization_id: uuid.UUID
    user_id: uuid.UUID
    role: str


async def ensure_account(
    settings: Settings, *, organization: str, user: str, role: str, tier: str | None = None
) -> Account:
    """The organization and the user of these names, made when they are new, with this role and tier.

    Without a tier an organization keeps its own, and a new one gets the highest.
    It works as the workers' role, because nobody is there yet for whom row security could let it through.
    Raises DatabaseUnavailable.
    """
    async with connected(settings.sink_database_url.get_secret_value()) as connection:
        await connection.execute(_SQL["one_account_at_a_time"])
        organization_id = await connection.fetchval(_SQL["organization_named"], organization)
        if organization_id is None:
            organization_id = await connection.fetchval(
                _SQL["make_organization"], organization, _slug(organization), tier or NEW_TIER
            )
        elif tier is not None:
            await connection.execute(_SQL["set_tier"], organization_id, tier)
        user_id = await connection.fetchval(_SQL["user_named"], organization_id, user)
        if user_id is None:
            user_id = await connection.fetchval(_SQL["make_named_user"], user)
        await connection.execute(_SQL["join_organization"], organization_id, user_id, role)
    return Account(organization_id, user_id, role)


def _slug(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "organization"
    return f"{plain}-{secrets.token_hex(4)}"
