"""Every fault in its rounds. `make chaos SEED=7 FAULT=kills ROUND=12 ROWS=100000` repeats one.

Each round prints its seed and what it showed as one JSON object.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.chaos.faults import Fault, faults
from tests.chaos.rounds import ROWS, run_round
from tests.chaos.world import World, open_world

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_200)]

SEED = os.environ.get("SEED") or "1"


def _chosen() -> list[Any]:
    """(fault, round) as asked for by the environment, all of them otherwise; one stack for each fault."""
    wanted, only = os.environ.get("FAULT"), os.environ.get("ROUND")
    known = faults()
    if wanted and wanted not in known:
        raise ValueError(f"FAULT={wanted} is none of {', '.join(sorted(known))}.")
    limit = int(os.environ.get("ROUNDS") or 1_000)
    return [
        pytest.param(fault, number, id=f"{name}-{number}")
        for name, fault in sorted(known.items())
        if wanted in (None, "", name)
        for number in range(1, fault.rounds + 1)
        if (not only or int(only) == number) and number <= limit
    ]


@pytest.fixture(scope="module")
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with open_world(request.param) as opened:
        yield opened


@pytest.mark.parametrize(("world", "number"), _chosen(), indirect=["world"], scope="module")
async def test_round(world: World, number: int, request: pytest.FixtureRequest) -> None:
    """Whatever is done to it, every row is accounted for and every event is seen once."""
    fault: Fault = request.node.callspec.params["world"]
    seed = f"{SEED}-{fault.name}-{number}"
    world.round_no = number
    print(f"seed {seed}: repeat it with `make chaos SEED={SEED} FAULT={fault.name} ROUND={number}`")
    report = await run_round(world, fault, seed, int(os.environ.get("ROWS") or ROWS))
    print(json.dumps(vars(report)))
