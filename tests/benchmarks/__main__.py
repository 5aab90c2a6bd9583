"""`make bench`: one JSON object per benchmark on standard output; docs/performance.md tells how to read them.

Speeds are ratios within one run: the same rows, the same table with the same indexes, the same server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import Any

from tests.acceptance.conftest import ROLES
from tests.benchmarks import reader_stage, stages
from tests.benchmarks.end_to_end import import_against_limit
from tests.benchmarks.latency import small_import
from tests.integration.stack import LocalStack

ROWS = 200_000


def show(name: str, **facts: Any) -> None:
    print(json.dumps({"benchmark": name, **facts}), flush=True)


def show_stages() -> None:
    """What each stage costs a row by itself: CPU, one process, no server."""
    reader = dataclasses.asdict(reader_stage.measure())
    show("reader by itself, microseconds a row", **{name: round(each, 2) for name, each in reader.items()})
    show("streams by stage, microseconds a row", **stages.measure())


async def main(rows: int) -> None:
    """Bring up a stack of our own, measure, take it down."""
    with LocalStack.start(roles=ROLES, environment={"ENABLE_RATE_LIMITING": "false"}) as stack:
        for name, facts in await import_against_limit(stack, rows):
            show(name, **facts)
        show("ten rows, idle", **await small_import(stack))


if __name__ == "__main__":
    show_stages()
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
