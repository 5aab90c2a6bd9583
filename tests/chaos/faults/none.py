"""No fault at all: what the rounds show when nothing is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.faults import Bites, fault

if TYPE_CHECKING:
    from tests.chaos.world import World


@fault("none", rounds=2)
@asynccontextmanager
async def nothing(world: World, chance: Random) -> AsyncIterator[Bites]:
    """Everything runs."""
    yield Counter()
