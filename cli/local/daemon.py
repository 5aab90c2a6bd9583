"""The supervisor as a process of its own: behind `sluice up --detach`, and tethered to a test."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from cli import roles as role_names
from cli.local.failures import LocalStackFailed, NotReadyInTime, SupervisorDied
from cli.local.layout import Layout
from cli.local.processes import StackState, alive, tail
from cli.local.stack import FAILED, READY, Stack, clean_up_leftovers, running
from cli.local.supervisor import Say

POLL_SECONDS = 0.1
STOP_SECONDS = 60.0


def spawn(
    layout: Layout,
    environment: Mapping[str, str],
    roles: Sequence[str],
    *options: str,
    tethered: bool = False,
) -> subprocess.Popen[str]:
    """Start a supervisor in a session of its own; it writes to supervisor.log.

    A tethered one lives no longer than the pipe to its standard input, which also takes commands.
    """
    command = [sys.executable, "-m", "cli.main", "supervise", "--roles", ",".join(roles) or role_names.NONE]
    layout.state_file.unlink(missing_ok=True)
    with layout.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            [*command, *options],
            env={**environment, "SLUICE_HOME": str(layout.home), "SLUICE_SERVERS_DIR": str(layout.servers)},
            cwd=layout.project,
            stdin=subprocess.PIPE if tethered else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )


def wait_until_ready(
    layout: Layout,
    process: subprocess.Popen[str],
    timeout_seconds: float,
    progress: Callable[[StackState], None] = lambda _state: None,
) -> StackState:
    """Return when everything answers. Raises LocalStackFailed."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        ended = process.poll() is not None
        state = StackState.read(layout.state_file)
        if state is not None and state.supervisor.pid == process.pid:
            progress(state)
            if state.phase == READY:
                return state
            if state.phase == FAILED:
                raise LocalStackFailed(problem=state.problem)
        if ended:
            raise SupervisorDied(reason=tail(layout.log("supervisor")), log=layout.log("supervisor"))
        if time.monotonic() > deadline:
            raise NotReadyInTime(
                seconds=f"{timeout_seconds:g}", waiting=describe_waiting(layout, state), logs=layout.logs
            )
        time.sleep(POLL_SECONDS)


def describe_waiting(layout: Layout, state: StackState | None) -> str:
    """Who does not answer yet, with the last line of its log."""
    if state is None or not state.processes:
        return "the supervisor has not started anything yet"
    waiting = [each.name for each in (*state.processes, *state.absent) if not each.ready]
    if not waiting:
        return "the servers answer, but what is made in them is not done"
    return ", ".join(f'{name} does not answer ("{tail(layout.log(name), 120)}")' for name in waiting)


def wait_until_gone(state: StackState, timeout_seconds: float = STOP_SECONDS) -> bool:
    """Whether the supervisor ended in time."""
    deadline = time.monotonic() + timeout_seconds
    while alive(state.supervisor):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def shut_down(layout: Layout, say: Say) -> bool:
    """Stop the supervisor and everything under it; returns whether there was anything.

    A supervisor that does not end in time is killed, and what it leaves with it.
    """
    state, pid = StackState.read(layout.state_file), running(layout)
    if pid and state is not None:
        say(f"Stopping the stack (process {pid}) ...")
        signalled = psutil.Process(pid)
        signalled.send_signal(signal.SIGTERM)
        if not wait_until_gone(state):
            signalled.kill()
    left = clean_up_leftovers(layout, say)
    layout.state_file.unlink(missing_ok=True)
    return pid is not None or left > 0


def tether(stack: Stack, asked: asyncio.Event) -> list[asyncio.Task[None]]:
    """Obey the commands on standard input, and leave when it closes: `stop NAME`, `start NAME`."""
    return [asyncio.create_task(_obey(stack, asked), name="tether")]


async def _obey(stack: Stack, asked: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.decode().split():
            case ["stop", name] if name in stack.roles:
                await stack.stop_role(name)
            case ["start", name] if name in stack.roles:
                stack.start_role(name)
            case words:
                print(f"unknown command: {' '.join(words)}", flush=True)
    asked.set()


def remove_home(layout: Layout) -> None:
    """Remove everything that the stack kept, but not the fetched servers."""
    from cli.local.postgres import shared_place

    shutil.rmtree(shared_place(layout), ignore_errors=True)
    for path in layout.home.iterdir() if layout.home.exists() else ():
        if path == layout.servers or path.name in ("servers", "tools"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if layout.home.exists() and not any(layout.home.iterdir()):
        layout.home.rmdir()
