"""A few small rounds of the commonest faults; `make chaos` runs all of them, and large ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.chaos.faults import faults
from tests.chaos.rounds import run_round
from tests.chaos.world import World, open_world

pytestmark = pytest.mark.timeout(300)

ROWS = 3_000
"""Of each organization."""
SMALL_BATCHES = {"BATCH_ROWS": "100"}
"""So that a small file is many messages, and a fault finds one on its way."""

SELECTED = (("kills", 7), ("messages", 3), ("database-replies-lost", 2))


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with open_world(replace(faults()["none"], environment=SMALL_BATCHES)) as opened:
        yield opened


@pytest.mark.requirement("B-02", "B-03", "B-04", "B-07", "K-09")
@pytest.mark.parametrize(("name", "number"), SELECTED)
async def test_nothing_is_lost_or_doubled(world: World, name: str, number: int) -> None:
    """Processes killed, messages lost, answers lost: the oracle's rows, contacts and events."""
    fault = faults()[name]
    world.round_no = number
    await run_round(world, fault, f"selection-{name}-{number}", ROWS, every_bite=False)
