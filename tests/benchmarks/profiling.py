"""Which functions use a process's CPU: py-spy samples it while an import runs, when it is asked for.

py-spy is no part of the project; `uv pip install py-spy` (or pip) brings it beside the others. It reads the
process from outside, a hundred times a second, and counts the thread that holds the interpreter: whether one
that does not hold it runs or sleeps cannot be told apart reliably. Servers have no Python in them: of those,
and of native threads, the kernel's account by thread is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import MAIN, Usage
from tests.integration.stack import LocalStack

SAMPLES_A_SECOND = 100
ATTACH_SECONDS = 1.0
SHOWN = 40
OUTER_SHARE = 0.95

Stack = tuple[str, ...]
"""From the outermost function to the innermost, each as `function (file)`."""


class ProfilerMissing(Exception):
    """The profiler is not installed."""

    def __str__(self) -> str:
        return "py-spy is not installed, and --profile needs it: run `uv pip install py-spy`."


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be profiled: processes by name, and whether native code below Python is looked into."""

    processes: tuple[str, ...] = ()
    native: bool = False


@dataclass(slots=True)
class Samples:
    """By process how often each stack was seen; none for a process without Python."""

    stacks: dict[str, Counter[Stack]] = field(default_factory=dict)


def profiler() -> str:
    """The path of py-spy. Raises ProfilerMissing."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise ProfilerMissing
    return found


@asynccontextmanager
async def recorded(stack: LocalStack, asked: Asked) -> AsyncIterator[Samples]:
    """Sample the processes for as long as the block runs; what was found is there behind it."""
    samples = Samples()
    if not asked.processes:
        yield samples
        return
    with tempfile.TemporaryDirectory() as directory:
        recorders = {}
        for started in stack.state().processes:
            if started.name in asked.processes and started.kind == "role":
                output = Path(directory) / started.name
                recorders[started.name] = (await _record(started.pid, output, asked.native), output)
        await asyncio.sleep(ATTACH_SECONDS)
        try:
            yield samples
        finally:
            for recorder, _ in recorders.values():
                with contextlib.suppress(ProcessLookupError):
                    recorder.send_signal(signal.SIGINT)
            for name, (recorder, output) in recorders.items():
                await recorder.wait()
                samples.stacks[name] = _read(output)


async def _record(pid: int, output: Path, native: bool) -> asyncio.subprocess.Process:
    options = ["--gil", "--rate", str(SAMPLES_A_SECOND), "--format", "raw", "--output", str(output)]
    return await asyncio.create_subprocess_exec(
        profiler(), "record", "--pid", str(pid), *options, *(["--native"] if native else []),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


_LINE = re.compile(r":\d+\)$")


def _read(output: Path) -> Counter[Stack]:
    """A line is `outer (file:line);inner (file:line) count`."""
    stacks: Counter[Stack] = Counter()
    if output.exists():
        for line in output.read_text(encoding="utf-8").splitlines():
            path, _, count = line.rpartition(" ")
            stacks[tuple(_LINE.sub(")", frame) for frame in path.split(";"))] += int(count)
    return stacks


def report(process: str, usage: Usage, stacks: Mapping[Stack, int], rows: int) -> dict[str, Any]:
    """µs of CPU a row: by thread, and by function what it uses itself and with all that it calls."""
    threads = {
        part: seconds for (name, part), seconds in usage.by_part.items() if name == process and seconds > 0
    }
    facts: dict[str, Any] = {"by_thread": _largest(threads, rows)}
    seen = sum(stacks.values())
    if seen:
        # A sample may be of a thread that waits for a core, so the shares are of the CPU really used.
        used = sum(seconds for part, seconds in threads.items() if part.startswith((MAIN, "python")))
        alone: Counter[str] = Counter()
        together: Counter[str] = Counter()
        for stack, count in stacks.items():
            alone[stack[-1]] += count
            for frame in set(stack):
                together[frame] += count
        # What nearly every stack goes through says nothing.
        inner = Counter({frame: count for frame, count in together.items() if count < seen * OUTER_SHARE})
        facts["samples"] = seen
        facts["by_function_itself"] = _largest(_of(alone, used / seen), rows)
        facts["by_function_with_what_it_calls"] = _largest(_of(inner, used / seen), rows)
    return facts


def _of(counts: Mapping[str, int], seconds_each: float) -> dict[str, float]:
    return {name: count * seconds_each for name, count in counts.items()}


def _largest(seconds: Mapping[str, float], rows: int) -> dict[str, float]:
    ordered = sorted(seconds.items(), key=lambda each: -each[1])[:SHOWN]
    return {name: round(each / rows * 1e6, 2) for name, each in ordered if each / rows * 1e6 >= 0.01}


def merged(usages: Sequence[Usage], samples: Sequence[Samples], process: str) -> tuple[Usage, Counter[Stack]]:
    """Several legs as one."""
    parts: defaultdict[tuple[str, str], float] = defaultdict(float)
    stacks: Counter[Stack] = Counter()
    for usage in usages:
        for part, seconds in usage.by_part.items():
            parts[part] += seconds
    for each in samples:
        stacks.update(each.stacks.get(process, {}))
    return Usage({}, dict(parts), 0.0, 0.0), stacks
