"""What the processes of a stack use: CPU, and memory at its peak."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.integration.stack import LocalStack

OWN = "benchmark"
"""The benchmark's own process, which is the customer's program."""

MAIN = "main thread"

SAMPLES_A_SECOND = 5


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since their start: of every process, of each part of it, and of the whole machine."""

    by_process: dict[str, float]
    by_part: dict[tuple[str, str], float]
    machine: float
    at: float

    @classmethod
    def of(cls, stack: LocalStack) -> Usage:
        """User and system time of every process of the stack, children included, and of this one."""
        by_process = {each.name: _cpu(each.pid) for each in stack.state().processes}
        own = psutil.Process().cpu_times()
        by_process[OWN] = own.user + own.system
        parts = {
            (each.name, part): seconds
            for each in stack.state().processes
            for part, seconds in _parts(each.pid).items()
        }
        whole = psutil.cpu_times()
        machine = sum(whole) - whole.idle - getattr(whole, "iowait", 0.0)
        return cls(by_process, parts, machine, time.monotonic())

    def since(self, before: Usage) -> Usage:
        """What was used between two looks; a process that is new counts from its start."""
        return Usage(
            {name: used - before.by_process.get(name, 0.0) for name, used in self.by_process.items()},
            {part: used - before.by_part.get(part, 0.0) for part, used in self.by_part.items()},
            self.machine - before.machine,
            self.at - before.at,
        )

    @property
    def by_others(self) -> float:
        """The share of the machine's cores that programs not of this benchmark used, 0 to 1."""
        others = self.machine - sum(self.by_process.values())
        return max(0.0, others / (self.at * (psutil.cpu_count() or 1)))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu(pid: int) -> float:
    total = 0.0
    for each in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
            if each.pid == pid:
                # Of children that have ended, such as a database connection that was closed.
                total += times.children_user + times.children_system
    return total


_TICKS = 100
_VARYING = re.compile(r"[\d.:()\[\]]+")


def _parts(pid: int) -> dict[str, float]:
    """CPU seconds by thread, as the kernel names them; PostgreSQL's processes by their titles."""
    parts: defaultdict[str, float] = defaultdict(float)
    for each in _tree(pid):
        with contextlib.suppress(psutil.Error, OSError):
            title = "" if each.pid == pid else " ".join(each.cmdline())
            if title.startswith("postgres:"):
                # "postgres: sluice_sink sluice 127.0.0.1(1234) COPY": who, not from where or what just now.
                words = title.split()[1:3]
                parts[_VARYING.sub("", " ".join(words))] += _seconds(Path(f"/proc/{each.pid}/stat"))
                continue
            for task in Path(f"/proc/{each.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    name = _VARYING.sub("", (task / "comm").read_text().strip()).strip(" -#")
                    if task.name == str(pid):
                        name = MAIN
                    parts[name] += _seconds(task / "stat")
    return dict(parts)


def _seconds(stat: Path) -> float:
    # Fields 14 and 15 of proc(5); the name before them may hold spaces and ends with the last bracket.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(slots=True)
class Peaks:
    """Peak memory in bytes by process while it was watched."""

    resident: Counter[str] = field(default_factory=Counter)
    """The kernel's own high-water mark: exact, shared libraries counted in each process."""
    proportional: Counter[str] = field(default_factory=Counter)
    """Sampled; shared pages divided among those who share them."""


@asynccontextmanager
async def watched_memory(stack: LocalStack, kind: str = "role") -> AsyncIterator[Peaks]:
    """Peaks of the processes of a kind from here to the end of the block."""
    peaks = Peaks()
    watched = {each.name: each.pid for each in stack.state().processes if each.kind == kind}
    for pid in watched.values():
        # proc(5): writing 5 sets the high-water mark back to the present size.
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    sampling = asyncio.create_task(_sample(watched, peaks))
    try:
        yield peaks
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
        for name, pid in watched.items():
            mark = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            peaks.resident[name] = max(peaks.resident[name], int(mark[1]) * 1024 if mark else 0)


async def _sample(watched: dict[str, int], peaks: Peaks) -> None:
    while True:
        for name, pid in watched.items():
            total, resident = 0, 0
            for each in _tree(pid):
                with contextlib.suppress(psutil.Error):
                    memory = each.memory_full_info()
                    total += memory.pss
                    resident += memory.rss
            peaks.proportional[name] = max(peaks.proportional[name], total)
            # A role with a child is as large as both; the high-water mark knows one process alone.
            peaks.resident[name] = max(peaks.resident[name], resident)
        await asyncio.sleep(1 / SAMPLES_A_SECOND)


def megabytes(sizes: Counter[str]) -> dict[str, float]:
    """Bytes by name as megabytes of 1,000,000."""
    return {name: round(size / 1e6, 1) for name, size in sizes.items()}
