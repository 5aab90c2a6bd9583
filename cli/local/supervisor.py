"""Keep units running: start them, watch them, start again what died, stop them all.

Written for one event loop in one thread. Whoever drives it calls `start` for the units that should run,
`wait_ready` to be told when they answer, and `stop` in the end; every change is told to `changed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.local.backoff import Backoff
from cli.local.failures import LocalStackFailed, ServerFailed
from cli.local.processes import Started, bound_to_parent, created, tail
from cli.local.unit import Unit
from sluice.clock import Clock, SystemClock

ASK_EVERY_SECONDS = 0.1
LOG_BYTES = 20_000_000
# A server that dies this often before it ever answered will not do better the next time.
HOPELESS_AFTER = 3

Say = Callable[[str], None]


def _silently() -> None:
    return None


@dataclass
class Keeper:
    """One unit and its present process."""

    unit: Unit
    log: Path
    say: Say
    changed: Callable[[], None]
    clock: Clock
    backoff: Backoff = field(default_factory=Backoff)
    process: Process | None = None
    created: float = 0.0
    restarts: int = 0
    ready: bool = False
    failure: ServerFailed | None = None
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    @property
    def started(self) -> Started:
        """How to recognise the process; its number is 0 while there is none."""
        return Started(
            name=self.unit.name,
            kind=self.unit.kind,
            pid=self.process.pid if self.process is not None else 0,
            created=self.created,
            address=self.unit.address,
            metrics=self.unit.metrics,
            health=self.unit.health,
            restarts=self.restarts,
            ready=self.ready,
        )

    def start(self) -> None:
        """Begin to keep the unit running."""
        self._leaving.clear()
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.unit.name}")

    async def _keep(self) -> None:
        while not self._leaving.is_set():
            began = self.clock.monotonic()
            problem = await self._live()
            if self._leaving.is_set():
                return
            if not self.ready and self.restarts + 1 >= HOPELESS_AFTER:
                reason = tail(self.log) or problem
                self.failure = ServerFailed(name=self.unit.name, reason=reason, log=self.log)
            delay = self.backoff.after(self.clock.monotonic() - began)
            self.ready = False
            self.restarts += 1
            self.say(f"{self.unit.name} {problem}; starting it again in {delay:g} s (see {self.log})")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), delay)

    async def _live(self) -> str:
        """One life of the unit, from its preparation to its death; returns what ended it."""
        try:
            await asyncio.to_thread(self.unit.prepare)
            if self._leaving.is_set():
                return "was not started"
            process = await self._spawn()
        except (OSError, LocalStackFailed) as error:
            return f"cannot be started ({error})"
        self.process, self.created = process, created(process.pid)
        self.changed()
        if self._leaving.is_set():
            # Whoever said so did it while the process was being started, and could not end it.
            await self._end(process)
        if self.restarts:
            self.say(f"{self.unit.name} is started again as process {process.pid}")
        asking = asyncio.create_task(self._ask(), name=f"ask {self.unit.name}")
        code = await process.wait()
        asking.cancel()
        self._sweep(process.pid)
        self.process = None
        self.changed()
        return _ending(code)

    async def _ask(self) -> None:
        """Ask the unit until it answers."""
        while True:
            if await self.unit.ready():
                self.ready = True
                self.say(f"{self.unit.name} answers at {self.unit.address}")
                self.changed()
                return
            await asyncio.sleep(ASK_EVERY_SECONDS)

    async def _spawn(self) -> Process:
        _rotate(self.log)
        unit = self.unit
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *unit.command,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                env=dict(unit.environment),
                cwd=unit.directory,
                user=unit.user,
                group=unit.user,
                extra_groups=None if unit.user is None else [],
                start_new_session=True,
                preexec_fn=bound_to_parent(unit),
            )

    @staticmethod
    def _sweep(group: int) -> None:
        """Kill what the dead process left in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the unit to end, kill it after its grace, and keep it no longer."""
        self._leaving.set()
        process = self.process
        if process is not None and process.returncode is None:
            await self._end(process)
        if self._task is not None:
            await self._task
        self.ready = False
        self.changed()

    async def _end(self, process: Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.unit.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.unit.grace_seconds)
        except TimeoutError:
            self.say(f"{self.unit.name} has not stopped after {self.unit.grace_seconds:g} s; killing it")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def kill(self) -> None:
        """End the unit without asking."""
        self._leaving.set()
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class Supervisor:
    """All units of one stack."""

    def __init__(
        self,
        logs: Path,
        say: Say,
        changed: Callable[[], None] = _silently,
        clock: Clock | None = None,
    ) -> None:
        self._logs = logs
        self._say = say
        self.changed = changed
        self._clock = clock or SystemClock()
        self._keepers: dict[str, Keeper] = {}

    @property
    def started(self) -> tuple[Started, ...]:
        """The processes that run now."""
        return tuple(each.started for each in self._keepers.values() if each.process is not None)

    @property
    def absent(self) -> tuple[Started, ...]:
        """Units without a process: not started yet, or waiting to be started again."""
        return tuple(each.started for each in self._keepers.values() if each.process is None)

    def start(self, *units: Unit) -> None:
        """Start units, all at once, and keep them running. One that is kept already is left alone."""
        for unit in units:
            keeper = self._keepers.get(unit.name)
            if keeper is None:
                log = self._logs / f"{unit.name}.log"
                keeper = Keeper(unit, log, self._say, lambda: self.changed(), self._clock)
                self._keepers[unit.name] = keeper
                keeper.start()

    def waiting(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that do not answer yet."""
        return [name for name in names if not self._keepers[name].ready]

    async def wait_ready(self, *names: str) -> None:
        """Return when all of `names` answer. Raises ServerFailed when a server among them never will."""
        while self.waiting(names):
            for name in names:
                keeper = self._keepers[name]
                if keeper.failure is not None and keeper.unit.kind == "server":
                    raise keeper.failure
            await asyncio.sleep(ASK_EVERY_SECONDS / 2)

    async def stop(self, *names: str) -> None:
        """Stop units side by side and forget them."""
        keepers = [self._keepers.pop(name) for name in names if name in self._keepers]
        stopping = asyncio.gather(*(keeper.stop() for keeper in keepers))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            for keeper in keepers:
                keeper.kill()
            await stopping
            raise

    def kill(self) -> None:
        """End all units without asking."""
        for keeper in self._keepers.values():
            keeper.kill()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _rotate(log: Path) -> None:
    """Keep one older log beside a large one."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
