"""Who calls: bearer tokens, and for which organization they act (D10, K-05).

One verifier with a shared secret; S4's claims are canonical: `sub` (user), `org`, `role`, `permissions`,
`iat`, `exp`. The algorithm is ours to choose, never the token's. A token without `org` is resolved by
membership; a user who belongs nowhere gets a personal organization (K-03). `X-Organization-ID` has to agree.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

from ingress.database import Database, statements
from sluice.clock import Clock, SystemClock
from sluice.errors import (
    AuthenticationFailed,
    OrganizationMismatch,
    PermissionDenied,
    RequestInvalid,
    SettingsInvalid,
)
from sluice.settings import Settings

ALGORITHM = "HS256"

LEEWAY_SECONDS = 30
"""How far two machines' clocks may be apart."""

CACHE_SECONDS = 10.0
"""How long a membership and a tier are believed: as late may a change of them take effect."""

CACHED = 10_000

ROLES = ("admin", "manager", "agent")

PERMISSIONS: Mapping[str, Collection[str]] = {
    "contacts:read": ROLES,
    "contacts:write": ROLES,
    "contacts:delete": ("admin", "manager"),
    "lists:manage": ("admin", "manager"),
    "dnc:manage": ("admin", "manager"),
    "crm:manage": ("admin",),
    # Derived (K-06): S4's matrix has these rows but no such claims.
    "imports:run": ("admin", "manager"),
    "exports:run": ("admin", "manager"),
    "contacts:bulk": ("admin", "manager"),
}
"""Permission to the roles that have it: S4's matrix."""

DERIVED = frozenset({"imports:run", "exports:run", "contacts:bulk"})
"""Permissions that the role alone gives; a token cannot claim them."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ACCOUNTS = statements("accounts")

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says. `organization_id` and `role` are None where it says nothing."""

    user_id: uuid.UUID
    organization_id: uuid.UUID | None
    role: str | None
    permissions: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, for whom, with which permissions; `tier` is the organization's subscription."""

    user_id: uuid.UUID
    organization_id: uuid.UUID
    role: str
    permissions: frozenset[str]
    tier: str

    def require(self, permission: str) -> None:
        """Raise PermissionDenied unless this permission is held."""
        if permission not in self.permissions:
            raise PermissionDenied(permission=permission)


def permissions_of(role: str, claimed: frozenset[str] | None = None) -> frozenset[str]:
    """What a role may do; a token's own list narrows or widens S4's permissions, never the derived ones."""
    of_role = frozenset(name for name, roles in PERMISSIONS.items() if role in roles)
    if claimed is None:
        return of_role
    return (claimed - DERIVED) | (of_role & DERIVED)


class TokenVerifier:
    """Checks tokens against the secret and the clock."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._key = OctKey.import_key(secret)
        self._clock = clock

    def verify(self, token: str) -> Claims:
        """What the token says.

        Raises:
            AuthenticationFailed: it is malformed, not signed by us, signed in another way than ours, expired,
                not valid yet, or says something that cannot be.
        """
        try:
            claims = json.loads(signed_payload(token, self._key))
            if not isinstance(claims, dict):
                raise ValueError("no JSON object")
            self._registry().validate(claims)
        except ExpiredTokenError as error:
            raise AuthenticationFailed(problem="The token has expired.") from error
        # Beside its own errors the library lets out what json, base64 and text codecs raise on hostile input.
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise AuthenticationFailed(problem="The token is not valid.") from error
        return _read(claims)

    def _registry(self) -> Any:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=LEEWAY_SECONDS,
            sub={"essential": True},
            exp={"essential": True},
        )


def signed_payload(token: str, key: OctKey) -> bytes:
    """The payload of a compact JWS that this key signed by `ALGORITHM`; whatever the library raises if not.

    The library forgives padding; RFC 7515 has none, and no character beside the alphabet's.
    """
    if not _COMPACT.fullmatch(token):
        raise ValueError("no compact JWS")
    return bytes(jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload)


def bearer_token(header: str | None) -> str:
    """The token of an Authorization header. Raises AuthenticationFailed."""
    if not header:
        raise AuthenticationFailed(problem="The request carries no token.")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationFailed(problem="The Authorization header holds no bearer token.")
    return token.strip()


def _read(claims: Mapping[str, Any]) -> Claims:
    role = claims.get("role")
    if role is not None and role not in ROLES:
        raise AuthenticationFailed(problem=f"The token's role is none of {', '.join(ROLES)}.")
    permissions = claims.get("permissions")
    if permissions is not None and not (
        isinstance(permissions, list) and all(isinstance(each, str) for each in permissions)
    ):
        raise AuthenticationFailed(problem="The token's permissions are no list of names.")
    organization = claims.get("org")
    return Claims(
        user_id=_uuid(claims["sub"], "subject"),
        organization_id=None if organization is None else _uuid(organization, "organization"),
        role=role,
        permissions=None if permissions is None else frozenset(permissions),
    )


def _uuid(value: object, what: str) -> uuid.UUID:
    try:
        return uuid.UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise AuthenticationFailed(problem=f"The token's {what} is no UUID.") from None


class Directory:
    """From claims to a principal, asking the database for what the token does not say."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._tiers: _Recent[uuid.UUID, str | None] = _Recent(clock)
        self._memberships: _Recent[uuid.UUID, dict[uuid.UUID, str]] = _Recent(clock)

    async def resolve(self, claims: Claims, wanted: str | None) -> Principal:
        """Who acts for which organization; `wanted` is the X-Organization-ID header.

        Raises:
            AuthenticationFailed: the token names an organization that does not exist, or no role in it.
            OrganizationMismatch: the header names another organization than the token, or one that the user
                does not belong to.
            RequestInvalid: the user belongs to several organizations and names none.
            DatabaseUnavailable: the database does not answer.
        """
        named = _named(wanted)
        organization_id, role = claims.organization_id, claims.role
        if organization_id is None:
            organization_id, role = await self._by_membership(claims.user_id, named)
        elif named is not None and named != organization_id:
            raise OrganizationMismatch
        if role is None:
            role = (await self._memberships_of(claims.user_id)).get(organization_id)
            if role is None:
                raise AuthenticationFailed(problem="The token names no role, and you have none in it.")
        tier = await self._tier(organization_id, claims.user_id)
        if tier is None:
            raise AuthenticationFailed(problem="The token names an organization that does not exist.")
        permissions = permissions_of(role, claims.permissions)
        return Principal(claims.user_id, organization_id, role, permissions, tier)

    async def _by_membership(self, user_id: uuid.UUID, named: uuid.UUID | None) -> tuple[uuid.UUID, str]:
        memberships = await self._memberships_of(user_id) or await self._make_personal(user_id)
        if named is not None:
            if named not in memberships:
                raise OrganizationMismatch
            return named, memberships[named]
        if len(memberships) > 1:
            raise RequestInvalid(
                problem="You belong to several organizations. Name one of them in X-Organization-ID."
            )
        return next(iter(memberships.items()))

    async def _memberships_of(self, user_id: uuid.UUID) -> dict[uuid.UUID, str]:
        known = self._memberships.get(user_id)
        if known is None:
            async with self._database.acting_for(None, user_id) as connection:
                rows = await connection.fetch(_ACCOUNTS["memberships_of"], user_id)
            known = {row["organization_id"]: row["role"] for row in rows}
            if known:
                self._memberships.put(user_id, known)
        return known

    async def _make_personal(self, user_id: uuid.UUID) -> dict[uuid.UUID, str]:
        async with self._database.acting_for(None, user_id) as connection:
            for name in ("make_user", "make_personal_organization", "join_personal_organization"):
                await connection.execute(_ACCOUNTS[name], user_id)
        return await self._memberships_of(user_id)

    async def _tier(self, organization_id: uuid.UUID, user_id: uuid.UUID) -> str | None:
        tier = self._tiers.get(organization_id)
        if tier is None:
            async with self._database.acting_for(organization_id, user_id) as connection:
                tier = await connection.fetchval(_ACCOUNTS["organization_tier"], organization_id)
            if tier is not None:
                self._tiers.put(organization_id, tier)
        return tier


def _named(header: str | None) -> uuid.UUID | None:
    if not header or not header.strip():
        return None
    try:
        return uuid.UUID(header.strip())
    except ValueError:
        raise OrganizationMismatch from None


class _Recent(Generic[Key, Value]):
    """What was asked lately; the oldest goes when there is too much."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        held = self._held.get(key)
        if held is None or self._clock.monotonic() - held[0] > CACHE_SECONDS:
            return None
        return held[1]

    def put(self, key: Key, value: Value) -> None:
        self._held[key] = (self._clock.monotonic(), value)
        self._held.move_to_end(key)
        if len(self._held) > CACHED:
            self._held.popitem(last=False)


def issue_token(
    settings: Settings,
    *,
    user_id: uuid.UUID,
    organization_id: uuid.UUID | None,
    role: str | None = None,
    permissions: Collection[str] | None = None,
    clock: Clock | None = None,
    expires_in_seconds: int | None = None,
) -> str:
    """A bearer token with S4's claims, signed with JWT_SECRET, valid for JWT_EXPIRES_IN.

    `permissions` default to what S4 lists for the role. Raises SettingsInvalid for a JWT_EXPIRES_IN
    that is no duration.
    """
    now = int((clock or SystemClock()).now().timestamp())
    lives = expires_in_seconds if expires_in_seconds is not None else seconds_of(settings.jwt_expires_in)
    claims: dict[str, Any] = {"sub": str(user_id), "iat": now, "exp": now + lives}
    if organization_id is not None:
        claims["org"] = str(organization_id)
    if role is not None:
        claims["role"] = role
        held = permissions_of(role) - DERIVED if permissions is None else permissions
        claims["permissions"] = sorted(held)
    key = OctKey.import_key(settings.jwt_secret.get_secret_value())
    return str(jwt.encode({"alg": ALGORITHM}, claims, key))


def seconds_of(duration: str) -> int:
    """The seconds of a duration such as `24h`, `30m`, `7d` or `3600`. Raises SettingsInvalid."""
    found = re.fullmatch(r"(\d{1,9})\s*([smhd]?)", duration.strip())
    seconds = int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]] if found else 0
    if seconds < 1:
        raise SettingsInvalid(problem=f'JWT_EXPIRES_IN is "{duration}", which is no duration such as 24h.')
    return seconds
