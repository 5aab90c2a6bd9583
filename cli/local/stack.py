"""The whole stack under one supervisor, from taking the lock to the last process gone.

1. Take the lock of the directory: one supervisor per stack.
2. Stop what an earlier supervisor left behind, then see that every port is free.
3. Write `.sluice/env`.
4. Start PostgreSQL, Kafka and S3 side by side; the registry as soon as its database is there.
5. As soon as each answers: migrate, make topics, bucket and schemas.
6. Start the roles, side by side, and keep everything running until told to stop.
7. Stop the roles, then the registry, Kafka and S3, and PostgreSQL last.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace

from cli.local import roles as role_units
from cli.local.credentials import Credentials, settings, write_settings
from cli.local.failures import AlreadyRunning, disk_errors
from cli.local.fetch import Servers
from cli.local.kafka import kafka
from cli.local.layout import Layout
from cli.local.objectstore import objectstore
from cli.local.ports import Ports, require_free, variable
from cli.local.postgres import create_roles_and_databases, postgres
from cli.local.processes import StackState, Started, created, leftovers, stop
from cli.local.registry import registry
from cli.local.supervisor import Say, Supervisor
from cli.local.world import make_world, settings_of

STARTING, READY, STOPPING, FAILED = "starting", "ready", "stopping", "failed"
LEFTOVER_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """What is to be brought up."""

    layout: Layout
    ports: Ports
    servers: Servers
    roles: tuple[str, ...]


class Stack:
    """One running stack: the supervisor, its units, and the state that others read."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._say = say
        self.credentials = Credentials.of(plan.layout)
        self.settings = settings(plan.layout, plan.ports, self.credentials)
        self.roles = {
            unit.name: unit for unit in role_units.units(plan.layout, plan.ports, self.settings, plan.roles)
        }
        self._supervisor = Supervisor(plan.layout.logs, say, self._write_state)
        me = os.getpid()
        self._state = StackState(
            supervisor=Started("supervisor", "supervisor", me, created(me)),
            phase=STARTING,
            ports=asdict(plan.ports),
        )

    @property
    def phase(self) -> str:
        """starting, ready, stopping or failed."""
        return self._state.phase

    def _write_state(self) -> None:
        self._state = replace(self._state, processes=self._supervisor.started, absent=self._supervisor.absent)
        try:
            self._state.write(self._plan.layout.state_file)
        except OSError as error:
            # The processes carry a mark as well, so they are found without it.
            self._say(f"cannot write {self._plan.layout.state_file} ({error.strerror})")

    def enter(self, phase: str, problem: str = "") -> None:
        """Let those who watch know how far it is."""
        self._state = replace(self._state, phase=phase, problem=problem)
        self._write_state()

    async def bring_up(self) -> None:
        """Steps 2 to 6, until every role answers. Raises LocalStackFailed."""
        plan = self._plan
        self.enter(STARTING)
        plan.layout.clear_temporary()
        self._check_ports()
        with disk_errors(plan.layout.home, "SLUICE_HOME"):
            write_settings(plan.layout.env_file, self.settings)
        await self._start_servers()
        await make_world(settings_of(self.settings), self._supervisor.wait_ready)
        self._say("Tables, topics, bucket and schemas are there; starting the roles ...")
        self._supervisor.start(*self.roles.values())
        await self._supervisor.wait_ready(*self.roles)
        self.enter(READY)

    def _check_ports(self) -> None:
        ports = self._plan.ports
        for name in ("api", "postgres", "kafka", "registry", "s3"):
            if name != "api" or self.roles:
                require_free(getattr(ports, name), name, variable(name))
        for index, role in enumerate(self.roles):
            require_free(ports.metrics + index, f"metrics of {role}", variable("metrics"))

    async def _start_servers(self) -> None:
        layout, ports, servers = self._plan.layout, self._plan.ports, self._plan.servers
        first = (
            postgres(layout, ports, servers, self.credentials),
            kafka(layout, ports, servers),
            objectstore(layout, ports, servers, self.credentials, self.settings["BROWSER_ORIGINS"].split()),
        )
        self._supervisor.start(*first)
        await self._supervisor.wait_ready("postgres")
        await create_roles_and_databases(ports, self.credentials)
        self._supervisor.start(registry(layout, ports, servers, self.credentials))

    def start_role(self, name: str) -> None:
        """Start a role of the plan that was stopped."""
        self._supervisor.start(self.roles[name])

    async def stop_role(self, name: str) -> None:
        """Stop a role until it is started again."""
        await self._supervisor.stop(name)

    async def take_down(self) -> None:
        """Step 7. Cancelled, it kills what is left."""
        self.enter(STOPPING)
        try:
            await self._supervisor.stop(*self.roles)
            await self._supervisor.stop("registry", "kafka", "s3")
            await self._supervisor.stop("postgres")
        finally:
            self._supervisor.kill()


def clean_up_leftovers(layout: Layout, say: Say) -> int:
    """Stop what a killed supervisor left behind; returns how many processes that were."""
    left = leftovers(StackState.read(layout.state_file), layout.home)
    if left:
        say(f"Stopping {len(left)} processes that an earlier stack left behind ...")
        stop(left, LEFTOVER_GRACE_SECONDS)
    return len(left)


@contextmanager
def sole_supervisor(layout: Layout) -> Iterator[None]:
    """Step 1: hold the lock, which the system lets go when this process dies. Raises AlreadyRunning."""
    with layout.lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(pid=running(layout) or "of unknown number") from None
        yield


def running(layout: Layout) -> int | None:
    """The process number of the supervisor of this stack, while it lives."""
    if not _is_locked(layout):
        return None
    state = StackState.read(layout.state_file)
    return state.supervisor.pid if state else 0


def _is_locked(layout: Layout) -> bool:
    try:
        with layout.lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set; a second signal cancels the task."""
    asked = asyncio.Event()
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if asked.is_set() and task is not None:
            task.cancel()
        asked.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield asked
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def supervise(
    plan: Plan,
    say: Say,
    on_ready: Callable[[Stack], None],
    control: Callable[[Stack, asyncio.Event], Sequence[asyncio.Task[None]]] | None = None,
) -> None:
    """Steps 2 to 7. Returns when it was told to stop; raises LocalStackFailed when it cannot start."""
    clean_up_leftovers(plan.layout, say)
    stack = Stack(plan, say)
    async with stop_signals() as asked:
        alongside = control(stack, asked) if control is not None else ()
        up = asyncio.create_task(stack.bring_up(), name="bring up")
        leaving = asyncio.create_task(asked.wait(), name="leave")
        failure: BaseException | None = None
        try:
            await asyncio.wait({up, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if up.done() and up.exception() is None:
                on_ready(stack)
                await leaving
            failure = up.exception() if up.done() else None
        finally:
            for task in (up, leaving, *alongside):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stack.take_down()
            if failure is not None:
                stack.enter(FAILED, str(failure))
            else:
                plan.layout.state_file.unlink(missing_ok=True)
    if failure is not None:
        raise failure
