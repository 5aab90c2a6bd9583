"""`sluice bench`: one JSON object per benchmark on standard output; see docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.benchmarks import machine
from tests.benchmarks.footprint import FOOTPRINT, footprint
from tests.benchmarks.formats import ANALYSIS, FORMATS, analysis, formats
from tests.benchmarks.identities import COLD, START, cold, start
from tests.benchmarks.imports import CHANGED, FIRST, UNCHANGED, imports
from tests.benchmarks.latency import BEHIND, IDLE, latency
from tests.benchmarks.memory import memory
from tests.benchmarks.profiling import Asked, ProfilerMissing, profiler
from tests.benchmarks.running import Facts, Options, running, show
from tests.benchmarks.stages import by_itself
from tests.benchmarks.workers import ALL_ROLES, WORKERS, workers

QUICK = Options(rows=20_000, rounds=1)

IDENTITIES_A_ROW = 50
"""The table of the start benchmark holds ten million where an import has 200,000 rows."""

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


async def _memory(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    async with running(options) as stack:
        return {"memory": await memory(stack, min(1.0, options.rows / Options().rows))}


async def _cold(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    async with running(replace(options, rows=options.rows // 2)) as stack:
        return {COLD: await cold(stack)}


async def _start(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    async with running(options) as stack:
        return {START: await start(stack, IDENTITIES_A_ROW * options.rows)}


async def _workers(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    fewer = replace(options, rows=options.rows // 4, rounds=min(options.rounds, 3))
    async with running(fewer, ALL_ROLES) as stack:
        return {WORKERS: await workers(stack)}


async def _footprint(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    async with running(options) as stack:
        return {FOOTPRINT: await footprint(stack)}


async def _stages(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    return {"stages": by_itself()}


async def _formats(options: Options, wanted: set[str]) -> Mapping[str, Facts]:
    measures = {FORMATS: formats, ANALYSIS: analysis}
    size = options.rows // 2, options.rounds
    return {name: await asyncio.to_thread(measures[name], *size) for name in wanted}


FAMILIES = (
    Family(("stages",), _stages),
    Family((FORMATS, ANALYSIS), _formats),
    Family((FIRST, UNCHANGED, CHANGED), _imports),
    Family((IDLE, BEHIND), _latency),
    Family(("memory",), _memory),
    Family((COLD,), _cold),
    Family((WORKERS,), _workers),
    Family((START,), _start),
    Family((FOOTPRINT,), _footprint),
)
NAMES = tuple(name for family in FAMILIES for name in family.names)


async def main(options: Options, wanted: Sequence[str]) -> bool:
    """Measure, family by family, each on a stack of its own; whether all of them came to an end."""
    show("machine", **machine.facts())
    succeeded = True
    for family in FAMILIES:
        names = [name for name in family.names if name in wanted]
        if not names:
            continue
        began = time.monotonic()
        print(f"Measuring {', '.join(names)} ...", file=sys.stderr, flush=True)
        try:
            found = await family.measure(options, set(names))
        except Exception as error:
            # The others are worth having all the same.
            traceback.print_exc()
            found = {name: {"error": f"{type(error).__name__}: {error}"} for name in names}
            succeeded = False
        seconds = round(time.monotonic() - began)
        for name, facts in found.items():
            show(name, **facts, took_seconds=seconds)
    return succeeded


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
        sys.exit(not asyncio.run(main(*arguments(sys.argv[1:]))))
    except ProfilerMissing as missing:
        sys.exit(f"error: {missing}")
