"""One API for the tests of the doors, small limits and short patience."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.doors.api import Api, Tenant, running_api
from tests.integration.stack import Servers


@pytest.fixture(scope="session")
async def api(stack: Servers) -> AsyncIterator[Api]:
    """The API with a limit of 1 MiB and 2,000 rows, waiting half a second for an import."""
    async with running_api(
        stack,
        idle_seconds=0.4,
        MAX_FILE_SIZE_MB="1",
        MAX_ROWS_ALLOWED="2000",
        IMPORT_WAIT_SECONDS="0.5",
        RATE_LIMIT_MAX="100000",
    ) as running:
        yield running


@pytest.fixture
async def tenant(api: Api) -> Tenant:
    """An organization of its own for each test."""
    return await api.tenant()
