"""Real servers and roles for tests, on free ports, in a directory of their own, gone when the test is.

The supervisor is the product's own, tethered to this process by a pipe: when pytest ends, in whatever way,
the pipe closes, the supervisor stops everything and removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from cli.local import daemon, status
from cli.local.credentials import read_settings
from cli.local.failures import LocalStackFailed
from cli.local.fetch import fetch
from cli.local.layout import Layout
from cli.local.ports import Ports
from cli.local.processes import StackState, Started, alive, leftovers, stop
from cli.local.world import settings_of
from sluice.settings import Settings

START_ATTEMPTS = 3


class Servers(Protocol):
    """What the `stack` fixture yields, whatever the servers run in."""

    @property
    def env(self) -> dict[str, str]:
        """The settings by name, as in `.sluice/env`."""
        ...

    def settings(self, **changes: str) -> Settings:
        """The settings as the roles read them; `changes` are by environment name."""
        ...


def ready_servers() -> Path:
    """The shared directory of the server binaries, fetched now if they are missing."""
    layout = Layout.of(os.environ)
    fetch(layout, print)
    return layout.servers


@dataclass
class LocalStack:
    """A running stack. `env` is what its roles got."""

    layout: Layout
    ports: Ports
    roles: tuple[str, ...]
    process: subprocess.Popen[str]
    environment: Mapping[str, str]

    @classmethod
    def start(
        cls,
        directory: Path | None = None,
        *,
        roles: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        keep: bool = False,
        timeout_seconds: float = 120,
    ) -> LocalStack:
        """Bring up the servers, and `roles` in them; a role named twice runs twice (`streams`, `streams-1`).

        `environment` is added to what the roles get. With `keep`, stopping leaves the directory as it is.
        Raises LocalStackFailed.
        """
        home = directory or Path(tempfile.mkdtemp(prefix="sluice-test-"))
        project = Layout.of(os.environ).project
        layout = Layout(project=project, home=home, servers=ready_servers())
        layout.make()
        for attempt in range(1, START_ATTEMPTS + 1):
            stack = cls._spawn(layout, tuple(roles), environment or {}, keep)
            try:
                daemon.wait_until_ready(layout, stack.process, timeout_seconds)
            except LocalStackFailed as failure:
                stack.stop()
                # Between choosing a free port and using it, another program may have taken it.
                if "is taken by" not in str(failure) or attempt == START_ATTEMPTS:
                    raise
            except BaseException:
                stack.stop()
                raise
            else:
                return stack
        raise AssertionError("not reached")

    @classmethod
    def _spawn(
        cls, layout: Layout, roles: tuple[str, ...], environment: Mapping[str, str], keep: bool
    ) -> LocalStack:
        layout.make()
        ports = Ports.free(len(roles))
        everything = {**os.environ, **environment, **ports.environment()}
        options = ("--tethered",) if keep else ("--tethered", "--ephemeral")
        process = daemon.spawn(layout, everything, roles, *options, tethered=True)
        return cls(layout, ports, roles, process, environment)

    @property
    def env(self) -> dict[str, str]:
        """The settings by name, as in `.sluice/env`, with what the test added."""
        return {**read_settings(self.layout.env_file), **self.environment}

    def settings(self, **changes: str) -> Settings:
        """The settings as the roles read them; `changes` are by environment name."""
        return settings_of({**self.env, **changes})

    @property
    def api(self) -> str:
        """The base address of the API."""
        return f"http://127.0.0.1:{self.ports.api}"

    def status(self) -> status.Status:
        """What `sluice status --json` answers. Not from within an event loop."""
        return status.status(self.layout)

    def state(self) -> StackState:
        """What the supervisor last wrote down."""
        state = StackState.read(self.layout.state_file)
        assert state is not None, "the stack is not running"
        return state

    def started(self, name: str) -> Started | None:
        """The present process of a role or server."""
        return next((each for each in self.state().processes if each.name == name), None)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> Started:
        """Signal the present process of a role or server; returns which one that was."""
        started = self.started(name)
        assert started is not None, f"{name} is not running"
        os.kill(started.pid, number)
        return started

    kill_role = kill

    def wait_restarted(self, before: Started, timeout_seconds: float = 60) -> Started:
        """The process that the supervisor started in the place of `before`, once it answers."""

        def restarted() -> bool:
            now = self.started(before.name)
            return now is not None and now.pid != before.pid and now.ready

        wait_until(restarted, timeout_seconds, f"{before.name} is started again")
        now = self.started(before.name)
        assert now is not None
        return now

    def stop_role(self, name: str, timeout_seconds: float = 30) -> None:
        """Stop a role by SIGTERM; it stays stopped until `start_role`."""
        self.tell(f"stop {name}")
        wait_until(lambda: self.started(name) is None, timeout_seconds, f"{name} stops")

    def start_role(self, name: str, timeout_seconds: float = 60) -> None:
        """Start a role that was stopped, and wait until it answers."""
        self.tell(f"start {name}")
        wait_until(lambda: (now := self.started(name)) is not None and now.ready, timeout_seconds, name)

    def restart_role(self, name: str) -> None:
        """Stop a role by SIGTERM and start it again."""
        self.stop_role(name)
        self.start_role(name)

    def tell(self, command: str) -> None:
        """Tell the supervisor `stop NAME` or `start NAME`, and wait for nothing."""
        self._pipe.write(f"{command}\n")
        self._pipe.flush()

    @property
    def _pipe(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def stop(self) -> None:
        """Stop everything; the directory goes too unless it was to be kept. Safe to repeat."""
        state = StackState.read(self.layout.state_file)
        if not self._pipe.closed:
            # A supervisor that is gone already cannot be told.
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
        try:
            self.process.wait(timeout=daemon.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        stop(leftovers(state, self.layout.home), grace_seconds=5)

    def kill_everything(self) -> StackState:
        """kill -9 of the supervisor and all its processes at once; returns what there was."""
        state = self.state()
        for each in (state.supervisor, *state.processes):
            os.kill(each.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(alive(each) for each in state.processes), 10, "all processes are gone")
        self._pipe.close()
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def wait_until(holds: Callable[[], bool], timeout_seconds: float, what: str) -> None:
    """Return when `holds` does. Raises TimeoutError, which says `what` did not come about."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_seconds:g} s: {what}")
        time.sleep(0.05)
