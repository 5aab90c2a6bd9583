"""The patches "forgetful" and "lists-away": what the agent looks up in is cold, or not there."""

from __future__ import annotations

import random
from typing import Any

from sluice.errors import DatabaseUnavailable
from tests.chaos.patches import Entry, patch, replace


@patch("forgetful")
def forgetful(entry: Entry) -> None:
    """`share` of the look-ups in the identities table find nothing (1): every such hint says `new`."""
    chance = random.Random(entry.options.get("seed", 0))
    share = entry.options.get("share", 1)

    def make(original: Any) -> Any:
        def get_many(self: Any, keys: list[bytes]) -> list[bytes | None]:
            found: list[bytes | None] = original(self, keys)
            if any(found) and chance.random() < share and entry.bite("identities forgotten"):
                return [None] * len(keys)
            return found

        return get_many

    replace("streams.identities:PartitionIdentities.get_many", make)


@patch("lists-away")
def lists_away(entry: Entry) -> None:
    """The Do-Not-Call lists cannot be read, for as long as this is in the plan."""

    def make(original: Any) -> Any:
        async def read(self: Any, known: Any) -> Any:
            if entry.bite("lists away"):
                raise DatabaseUnavailable
            return await original(self, known)

        return read

    replace("streams.postgres:DncReader.read", make)
