"""Processes of the stack: started so that they cannot outlive it, and found again when they did.

A process is known by its number and the moment it was started, so that a number that the system has given
to somebody else since is never signalled.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cli.local.unit import MARKER, Unit

_PR_SET_PDEATHSIG = 1
# Linux gives the start in ticks of 10 ms; boot time arithmetic adds a little.
_SAME_START_SECONDS = 0.05


@dataclass(frozen=True)
class Started:
    """One process that was started: what it is, and how to recognise it."""

    name: str
    kind: str
    pid: int
    created: float
    metrics: str = ""
    health: str = ""
    address: str = ""
    restarts: int = 0
    ready: bool = False


@dataclass(frozen=True)
class StackState:
    """What the supervisor writes down of the running stack, for those who ask and those who clean up."""

    supervisor: Started
    phase: str
    problem: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    processes: tuple[Started, ...] = ()
    absent: tuple[Started, ...] = ()

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> StackState | None:
        """The last state written, or None when there is none that can be read."""
        try:
            raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return cls(
                supervisor=Started(**raw["supervisor"]),
                phase=raw["phase"],
                problem=raw["problem"],
                ports=raw["ports"],
                processes=tuple(Started(**each) for each in raw["processes"]),
                absent=tuple(Started(**each) for each in raw["absent"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def created(pid: int) -> float:
    """When the process was started, in seconds since the epoch; 0 when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def alive(started: Started) -> bool:
    """Whether this very process is still running. A zombie is not."""
    try:
        process = psutil.Process(started.pid)
        same = abs(process.create_time() - started.created) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def bound_to_parent(unit: Unit) -> Callable[[], None]:
    """What the child does before it becomes the unit: ask the kernel for its stop signal at our death.

    Servers are asked to stop, so that they come back quickly; roles lose nothing by dying at once.
    Elsewhere than on Linux the next `sluice up` or `down` stops what was left.
    """
    number = unit.stop_signal if unit.kind == "server" else signal.SIGKILL
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    parent = os.getpid()

    def in_child() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(number))
            if os.getppid() != parent:  # it died in between
                os.kill(os.getpid(), signal.SIGKILL)

    return in_child


def leftovers(state: StackState | None, home: Path) -> list[psutil.Process]:
    """Processes of a stack whose supervisor is gone: those written down, and those that carry its mark."""
    found: dict[int, psutil.Process] = {}
    for started in state.processes if state else ():
        if alive(started):
            process = psutil.Process(started.pid)
            found |= {each.pid: each for each in (process, *_children(process))}
    for process in psutil.process_iter():
        if process.pid != os.getpid() and _carries_mark(process, home):
            found[process.pid] = process
    return list(found.values())


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _carries_mark(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get(MARKER) == str(home)
    except (psutil.Error, OSError):
        return False


def stop(processes: Iterable[psutil.Process], grace_seconds: float) -> list[psutil.Process]:
    """Ask each to stop, kill those that have not after `grace_seconds`; returns those still there."""
    asked = list(processes)
    for process in asked:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(asked, timeout=grace_seconds)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    _, immortal = psutil.wait_procs(stubborn, timeout=5)
    return list(immortal)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # psutil compares the start time first
    except psutil.Error:
        return


def tail(path: Path, width: int = 300) -> str:
    """The last line of a log that says something."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:width] for line in reversed(lines) if line.strip()), "")


def timestamp() -> str:
    """The moment, for a line of the supervisor's log."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
