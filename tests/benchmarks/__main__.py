"""`sluice bench`: one JSON object per benchmark on standard output; see docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.benchmarks import machine
from tests.benchmarks.imports import CHANGED, FIRST, UNCHANGED, imports
from tests.benchmarks.latency import BEHIND, IDLE, latency
from tests.benchmarks.profiling import Asked, ProfilerMissing, profiler
from tests.benchmarks.running import Facts, Options, running, show
from tests.benchmarks.stages import by_itself

QUICK = Options(rows=20_000, rounds=1)

Measure = Callable[[Options, set[str]], Awaitable[Mapping[str, Facts]]]


@dataclass(frozen=True, slots=True)
class Family:
    """Benchmarks that share a stack, and how to measure those that are wanted of them."""

    names: tuple[str, ...]
    measure: Measure


async def _imports(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    async with running(options) as stack:
        return await imports(stack, wanted)


async def _latency(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    async with running(options) as stack:
        return await latency(stack, wanted, options.rows * 5 // 2)


async def _stages(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    return {"stages": by_itself()}


FAMILIES = (
    Family(("stages",), _stages),
    Family((FIRST, UNCHANGED, CHANGED), _imports),
    Family((IDLE, BEHIND), _latency),
)
NAMES = tuple(name for family in FAMILIES for name in family.names)


async def main(options: Options, wanted: Sequence[str]) -> None:
    """Measure, family by family, each on a stack of its own."""
    show("machine", **machine.facts())
    for family in FAMILIES:
        names = {name for name in family.names if name in wanted}
        if names:
            for name, facts in (await family.measure(options, names)).items():
                show(name, **facts)


def arguments(words: Sequence[str]) -> tuple[Options, list[str]]:
    """The command line; see `sluice bench --help`. Raises ProfilerMissing."""
    parser = argparse.ArgumentParser(prog="sluice bench")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=NAMES, default=[])
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--native", action="store_true")
    given = parser.parse_args(words)
    options = QUICK if given.quick else Options()
    options = replace(
        options,
        rows=given.rows or options.rows,
        rounds=given.rounds or options.rounds,
        profile=Asked(tuple(given.profile), given.native),
    )
    if given.profile:
        profiler()
    return options, given.only or list(NAMES)


if __name__ == "__main__":
    try:
        asyncio.run(main(*arguments(sys.argv[1:])))
    except ProfilerMissing as missing:
        sys.exit(f"error: {missing}")
