"""Stopping, continuing and killing the processes of a stack, and what its units log meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from cli.local.processes import Started

if TYPE_CHECKING:
    from tests.chaos.world import World


RESTART_SECONDS = 240.0


def family(pid: int) -> list[int]:
    """A process and all that it started: a database is many."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    return []


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """To each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """These processes stand still, with all that they started."""
    everyone = [each for pid in pids for each in family(pid)]
    signal_all(everyone, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(everyone, signal.SIGCONT)


@contextmanager
def unattended(world: World) -> Iterator[None]:
    """The supervisor stands still: whatever dies stays dead until the end."""
    supervisor = world.stack.state().supervisor.pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def running(world: World, role: str) -> list[Started]:
    """The processes of a role."""
    processes = world.stack.state().processes
    return [each for each in processes if each.kind == "role" and each.name.split("-")[0] == role]


async def restarted(world: World, before: Started) -> Started:
    """The process that came in the place of this one, once it answers."""
    return await asyncio.to_thread(world.stack.wait_restarted, before, RESTART_SECONDS)


class Logs:
    """What units have logged since this was made."""

    def __init__(self, world: World) -> None:
        self._directory = world.stack.layout.logs
        self._begin = {path: path.stat().st_size for path in self._directory.glob("*.log")}

    def count(self, unit: str, *words: str) -> int:
        """Lines with one of these words; of every instance, where a role is named."""
        return sum(any(word in line for word in words) for line in self._lines(unit))

    def _lines(self, unit: str) -> Iterator[str]:
        for path in (self._directory / f"{unit}.log", *self._directory.glob(f"{unit}-*.log")):
            if path.exists():
                with path.open(errors="replace") as file:
                    file.seek(self._begin.get(path, 0))
                    yield from file
