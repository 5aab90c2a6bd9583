"""What faults have in common that patch roles or kill them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.local.processes import Started

if TYPE_CHECKING:
    from tests.chaos.world import World

READY_SECONDS = 90.0


async def restart(world: World, *roles: str, number: signal.Signals = signal.SIGKILL) -> None:
    """End every process of these roles, so that they start under the plan as it is now; wait for them."""
    ended = [each for each in _running(world) if each.name.split("-")[0] in roles]
    for each in ended:
        os.kill(each.pid, number)
    pids = {each.pid for each in ended}
    async with asyncio.timeout(READY_SECONDS):
        while True:
            await asyncio.sleep(0.05)
            if pids.isdisjoint(each.pid for each in _running(world)):
                break
    await world.ready(READY_SECONDS)


def kill(world: World, role: str) -> bool:
    """SIGKILL to the processes of a role that are up; False when there is none."""
    struck = False
    for each in _running(world):
        if each.name.split("-")[0] == role and each.ready:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
                struck = True
    return struck


def _running(world: World) -> list[Started]:
    return [each for each in world.stack.state().processes if each.kind == "role"]
