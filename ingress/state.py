"""What lives for an hour: a file's analysis, its progress and its mapping, by key (S1-038, S1-039).

One interface, two places behind it, chosen by STATE_BACKEND (K-41): PostgreSQL, or JSON objects in the
bucket. Both give back exactly what was set, keep an organization's keys to itself, and answer None for what
has expired. The sweeper of the tasks role removes what nobody asked for any more.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

import asyncpg
import msgspec

from ingress.database import statements, unavailable
from ingress.store import Store
from sluice.clock import Clock
from sluice.errors import SluiceError, SourceChanged
from sluice.settings import Settings

TTL_SECONDS = 3600
"""S1-031."""

MAX_TTL_SECONDS = 86_400
"""The sweeper takes an object older than this for expired without reading it."""

MAX_VALUE_BYTES = 8 * 1024 * 1024

OBJECT_PREFIX = "state/"

_SQL = statements("state")

Acting = Callable[[uuid.UUID], AbstractAsyncContextManager[Any]]
"""An organization to a connection, or a transaction, that may see its rows."""


class StateTooLarge(SluiceError):
    """What is known of the file takes {size} bytes, and {limit} is the most. Leave out columns that are not
    needed."""

    code = "STATE_TOO_LARGE"


class StateStore(Protocol):
    """Values (what JSON can say) by organization and key.

    Every method raises Unavailable (database or store) when it cannot be known; the keys are ours.
    """

    async def set(
        self, organization_id: uuid.UUID, key: str, value: Any, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        """Keep a value for so long, at most a day, in the place of an earlier one. Raises StateTooLarge."""
        ...

    async def get(self, organization_id: uuid.UUID, key: str) -> Any | None:
        """The value, None when there is none or it has expired."""
        ...

    async def delete(self, organization_id: uuid.UUID, key: str) -> None:
        """Forget a value; one that is not there is no error."""
        ...

    async def exists(self, organization_id: uuid.UUID, key: str) -> bool:
        """Whether `get` would answer a value."""
        ...


class PostgresState:
    """State in the table `temporary_state`."""

    def __init__(self, acting: Acting, clock: Clock) -> None:
        self._acting = acting
        self._clock = clock

    async def set(
        self, organization_id: uuid.UUID, key: str, value: Any, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        """As StateStore."""
        text = _encoded(value).decode()
        expires_at = self._clock.now() + _lifetime(ttl_seconds)
        async with self._acting(organization_id) as connection:
            await connection.execute(_SQL["set_state"], organization_id, key, text, expires_at)

    async def get(self, organization_id: uuid.UUID, key: str) -> Any | None:
        """As StateStore."""
        async with self._acting(organization_id) as connection:
            text = await connection.fetchval(_SQL["get_state"], organization_id, key, self._clock.now())
        return None if text is None else msgspec.json.decode(text)

    async def delete(self, organization_id: uuid.UUID, key: str) -> None:
        """As StateStore."""
        async with self._acting(organization_id) as connection:
            await connection.execute(_SQL["delete_state"], organization_id, key)

    async def exists(self, organization_id: uuid.UUID, key: str) -> bool:
        """As StateStore."""
        async with self._acting(organization_id) as connection:
            found = await connection.fetchval(_SQL["state_exists"], organization_id, key, self._clock.now())
        return bool(found)


class _Envelope(msgspec.Struct, frozen=True):
    """An object of the state: the value, still encoded, and the second (since 1970) in which it expires."""

    expires_at: float
    value: msgspec.Raw


class ObjectState:
    """State as objects `state/{organization}/{key}.json` of the bucket."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._decode = msgspec.json.Decoder(_Envelope).decode

    async def set(
        self, organization_id: uuid.UUID, key: str, value: Any, ttl_seconds: int = TTL_SECONDS
    ) -> None:
        """As StateStore."""
        expires_at = (self._clock.now() + _lifetime(ttl_seconds)).timestamp()
        envelope = _Envelope(expires_at, msgspec.Raw(_encoded(value)))
        await self._store.put(_object_key(organization_id, key), msgspec.json.encode(envelope))

    async def get(self, organization_id: uuid.UUID, key: str) -> Any | None:
        """As StateStore."""
        raw = await self._get(organization_id, key)
        return None if raw is None else msgspec.json.decode(raw)

    async def delete(self, organization_id: uuid.UUID, key: str) -> None:
        """As StateStore."""
        await self._store.delete(_object_key(organization_id, key))

    async def exists(self, organization_id: uuid.UUID, key: str) -> bool:
        """As StateStore."""
        return await self._get(organization_id, key) is not None

    async def _get(self, organization_id: uuid.UUID, key: str) -> msgspec.Raw | None:
        try:
            data = await self._store.get(_object_key(organization_id, key))
        except SourceChanged:
            return None
        envelope = self._decode(data)
        return envelope.value if envelope.expires_at > self._clock.now().timestamp() else None


def make_state(settings: Settings, acting: Acting, store: Store, clock: Clock) -> StateStore:
    """The state store that STATE_BACKEND names."""
    if settings.state_backend == "objects":
        return ObjectState(store, clock)
    return PostgresState(acting, clock)


def acting_over(pool: asyncpg.Pool[asyncpg.Record]) -> Acting:
    """Connections for PostgresState from a pool of the workers' role, which is above row security."""

    @asynccontextmanager
    async def acting(organization_id: uuid.UUID) -> AsyncIterator[Any]:
        with unavailable():
            async with pool.acquire() as connection:
                yield connection

    return acting


def analysis_key(job_id: uuid.UUID) -> str:
    """Where a file's AnalysisSummary is (S1-027)."""
    return f"analysis:file_{job_id}"


def progress_key(job_id: uuid.UUID) -> str:
    """Where the progress of its analysis is (S1-027)."""
    return f"analysis:file_{job_id}:progress"


def mapping_key(job_id: uuid.UUID) -> str:
    """Where the mapping that was chosen for it is (S1-027)."""
    return f"mapping:file_{job_id}"


def _encoded(value: Any) -> bytes:
    data = msgspec.json.encode(value)
    if len(data) > MAX_VALUE_BYTES:
        raise StateTooLarge(size=len(data), limit=MAX_VALUE_BYTES)
    return data


def _lifetime(ttl_seconds: int) -> timedelta:
    return timedelta(seconds=min(ttl_seconds, MAX_TTL_SECONDS))


def _object_key(organization_id: uuid.UUID, key: str) -> str:
    return f"{OBJECT_PREFIX}{organization_id}/{key}.json"
