"""One suite over both places of the wizard's state: PostgreSQL under row security, objects in the bucket."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ingress.database import Database
from ingress.state import (
    MAX_VALUE_BYTES,
    ObjectState,
    PostgresState,
    StateStore,
    StateTooLarge,
    acting_over,
    analysis_key,
    make_state,
    mapping_key,
    progress_key,
)
from ingress.store import open_store
from sluice.clock import FakeClock, SystemClock
from sluice.errors import Unavailable
from tests.integration.doors.api import Api
from tests.integration.stack import Servers

PLACES = ("postgres", "postgres, as the workers' role", "objects")


@pytest.fixture
def clock() -> FakeClock:
    """Time that moves when told to."""
    return FakeClock()


@pytest.fixture
async def organization(api: Api) -> uuid.UUID:
    """An organization of its own for each test."""
    return (await api.tenant()).account.organization_id


@pytest.fixture(params=PLACES)
async def state(
    request: pytest.FixtureRequest, api: Api, stack: Servers, clock: FakeClock
) -> AsyncIterator[StateStore]:
    """The state in one of its places."""
    if request.param == "objects":
        yield ObjectState(api.services.store, clock)
    elif request.param == "postgres":
        yield PostgresState(lambda each: api.services.database.acting_for(each, None), clock)
    else:
        dsn = stack.settings().sink_database_url.get_secret_value()
        async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool:
            yield PostgresState(acting_over(pool), clock)


VALUES: tuple[Any, ...] = (
    {"hello": "world"},
    {"zulu": 1, "alpha": [True, None, 0.5, ""], "deep": {"er": [[]]}},
    ["nul \0 in a cell", "emoji 🦊", "right-to-left \u202e", "line\nend", '"quotes"'],
    "text",
    0,
    False,
    [],
)


@pytest.mark.requirement("S1-038", "S1-039", "S1-003")
@pytest.mark.parametrize("value", VALUES)
async def test_what_was_set_is_what_one_gets(state: StateStore, organization: uuid.UUID, value: Any) -> None:
    """Every value that JSON can say, U+0000 in a cell included, and objects in their own order."""
    assert await state.get(organization, "mapping:1") is None
    await state.set(organization, "mapping:1", value)
    found = await state.get(organization, "mapping:1")
    assert (found, type(found)) == (value, type(value))
    if isinstance(value, dict) and isinstance(found, dict):
        assert list(found) == list(value)
    assert await state.exists(organization, "mapping:1")


@pytest.mark.requirement("S1-038", "S1-106")
async def test_a_value_is_replaced_and_deleted(state: StateStore, organization: uuid.UUID) -> None:
    """The newest value wins; what was deleted is gone, and deleting it again is no error."""
    await state.set(organization, "a:b", {"n": 1})
    await state.set(organization, "a:b", {"n": 2})
    await state.set(organization, "a:b:progress", {"n": 3})
    assert await state.get(organization, "a:b") == {"n": 2}
    await state.delete(organization, "a:b")
    await state.delete(organization, "a:b")
    assert await state.get(organization, "a:b") is None
    assert not await state.exists(organization, "a:b")
    assert await state.get(organization, "a:b:progress") == {"n": 3}


@pytest.mark.requirement("S1-031", "S1-038")
async def test_a_value_lives_for_its_time_and_no_longer(
    state: StateStore, organization: uuid.UUID, clock: FakeClock
) -> None:
    """An hour if nothing else is said; setting it again begins its time anew; a day is the most."""
    await state.set(organization, "hour", 1)
    await state.set(organization, "minute", 1, 60)
    await state.set(organization, "week", 1, 7 * 86_400)
    clock.advance(59)
    assert await state.exists(organization, "minute")
    clock.advance(1)
    assert await state.get(organization, "minute") is None
    assert not await state.exists(organization, "minute")
    clock.advance(3539)
    assert await state.get(organization, "hour") == 1
    await state.set(organization, "hour", 2)
    clock.advance(3599)
    assert await state.get(organization, "hour") == 2
    clock.advance(1)
    assert await state.get(organization, "hour") is None
    clock.advance(86_400)
    assert await state.get(organization, "week") is None


async def test_organizations_do_not_meet(state: StateStore, organization: uuid.UUID, api: Api) -> None:
    """The same key is another's value, and deleting it is nobody else's loss."""
    other = (await api.tenant()).account.organization_id
    await state.set(organization, "key", "mine")
    assert await state.get(other, "key") is None
    await state.set(other, "key", "theirs")
    await state.delete(other, "key")
    assert await state.get(organization, "key") == "mine"


async def test_a_value_has_its_limit(state: StateStore, organization: uuid.UUID) -> None:
    """8 MiB encoded; what is refused leaves the value that was there."""
    await state.set(organization, "key", "x" * (MAX_VALUE_BYTES - 2))
    with pytest.raises(StateTooLarge, match="is the most"):
        await state.set(organization, "key", "y" * (MAX_VALUE_BYTES - 1))
    assert str(await state.get(organization, "key"))[:3] == "xxx"


@pytest.mark.parametrize("backend", ["postgres", "objects"])
@pytest.mark.requirement("S1-124")
async def test_a_place_that_is_away_is_unavailable(stack: Servers, backend: str) -> None:
    """Every method says so; nothing is taken for absent."""
    settings = stack.settings(
        STATE_BACKEND=backend,
        DATABASE_URL="postgresql://sluice@127.0.0.1:1/sluice",
        S3_ENDPOINT_URL="http://127.0.0.1:1",
    )
    database = Database(settings.database_url.get_secret_value())
    await database.open()
    async with open_store(settings) as store:
        state = make_state(settings, lambda each: database.acting_for(each, None), store, SystemClock())
        organization = uuid.uuid4()
        for asked in (
            state.set(organization, "a", 1),
            state.get(organization, "a"),
            state.exists(organization, "a"),
            state.delete(organization, "a"),
        ):
            with pytest.raises(Unavailable):
                await asked
    await database.close()


@pytest.mark.requirement("S1-027")
def test_the_keys_are_those_of_the_document() -> None:
    """`analysis:{fileId}`, `analysis:{fileId}:progress`, `mapping:{fileId}`."""
    job = uuid.UUID(int=7)
    assert analysis_key(job) == f"analysis:file_{job}"
    assert progress_key(job) == f"analysis:file_{job}:progress"
    assert mapping_key(job) == f"mapping:file_{job}"
