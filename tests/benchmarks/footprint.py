"""What one imported row takes: in each topic, in each table, in the object store and on the worker's disk."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from tests.benchmarks.contacts import contacts_file
from tests.benchmarks.running import Facts, Running

FOOTPRINT = "footprint"

FLUSHED_SECONDS = 2.0


async def footprint(running: Running) -> Facts:
    """Bytes a row of a first import, by where they are."""
    rows = running.options.rows
    await running.warm_up()
    tenant = await running.tenant()
    await running.settle()
    topics, tables, log = _topics(running), await _tables(running), await _log_bytes(running)
    content = contacts_file(rows)
    assert (await running.import_file(tenant, content))["created"] == rows
    await asyncio.sleep(FLUSHED_SECONDS)
    return {
        "what": "bytes a row after a first import",
        "rows": rows,
        "file": round(len(content) / rows, 1),
        "topics": _grown(topics, _topics(running), rows),
        "database_log": round((await _log_bytes(running) - log) / rows, 1),
        "tables_with_their_indexes": _grown(tables, await _tables(running), rows),
    }


def _grown(before: Counter[str], after: Counter[str], rows: int) -> dict[str, float]:
    grown = {name: round((size - before[name]) / rows, 1) for name, size in after.items()}
    return {name: each for name, each in sorted(grown.items(), key=lambda each: -each[1]) if each >= 0.1}


def _topics(running: Running) -> Counter[str]:
    """Bytes of the broker's log segments by topic; indexes are made large ahead of their use."""
    sizes: Counter[str] = Counter()
    for segment in Path(running.stack.layout.data / "kafka").rglob("*.log"):
        sizes[segment.parent.name.rpartition("-")[0]] += segment.stat().st_size
    return sizes


async def _log_bytes(running: Running) -> int:
    return int(await running.database.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


async def _tables(running: Running) -> Counter[str]:
    rows = await running.database.fetch(
        "SELECT relname, pg_total_relation_size(oid) AS size FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return Counter({row["relname"]: row["size"] for row in rows})
