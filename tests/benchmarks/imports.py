"""A large import through the whole system: against the limit, and the same file again.

A round is, for one new tenant and on an empty table: the limit, the first import, the same file again, and
the file with 5 % of its rows changed. So what is compared ran side by side, and drift hits both.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tests.benchmarks.contacts import LISTED_EVERY, contacts_file
from tests.benchmarks.limit import limit_seconds
from tests.benchmarks.processes import Usage
from tests.benchmarks.profiling import Samples
from tests.benchmarks.running import LISTED, Facts, Leg, Running, cpu_facts, profile_facts

FIRST, UNCHANGED, CHANGED = "first-import", "unchanged", "changed"

CHANGED_EVERY = 20


@dataclass(slots=True)
class Rounds:
    """The legs of every round, in order."""

    limit: list[Leg] = field(default_factory=list)
    first: list[Leg] = field(default_factory=list)
    unchanged: list[Leg] = field(default_factory=list)
    changed: list[Leg] = field(default_factory=list)


async def imports(running: Running, wanted: set[str]) -> dict[str, Facts]:
    """What is wanted of first-import, unchanged and changed; every one needs the first import."""
    rows, options = running.options.rows, running.options
    content = contacts_file(rows)
    changed = contacts_file(rows, changed_every=CHANGED_EVERY)
    rounds = Rounds()
    await running.warm_up()
    for _ in range(options.rounds):
        await _round(running, rounds, wanted, content, changed)
    found: dict[str, Facts] = {}
    if FIRST in wanted:
        found[FIRST] = _against(rounds.limit, rounds.first, running) | {
            "what": "first import against the limit",
            "limit_cpu_us_per_row": cpu_facts(rounds.limit)["cpu_us_per_row"],
            "listed_numbers": LISTED,
        }
    if UNCHANGED in wanted:
        found[UNCHANGED] = _against(rounds.first, rounds.unchanged, running) | {
            "what": "the same file again, unchanged, against its first import",
        }
    if CHANGED in wanted:
        found[CHANGED] = _against(rounds.first, rounds.changed, running) | {
            "what": f"the same file, one row in {CHANGED_EVERY} changed, against its first import",
        }
    return found


async def _round(running: Running, rounds: Rounds, wanted: set[str], content: bytes, changed: bytes) -> None:
    rows = running.options.rows
    await running.empty_contacts()
    tenant = await running.tenant()
    company_list = await running.load_company_list(tenant, rows)
    await running.warm_up_tenant(tenant)
    if FIRST in wanted:
        rounds.limit.append(await _limit(running, content))
    rounds.first.append(await running.timed_import(tenant, content, {"created": rows}))
    marked = await running.database.fetchval(
        "SELECT count(*) FROM contacts WHERE organization_id = $1 AND do_not_call", tenant.organization_id
    )
    assert marked == len(range(0, rows, LISTED_EVERY)), f"{marked} contacts are marked"
    if UNCHANGED in wanted:
        rounds.unchanged.append(await running.timed_import(tenant, content, {"unchanged": rows}))
    if CHANGED in wanted:
        updated = len(range(0, rows, CHANGED_EVERY))
        expected = {"updated": updated, "unchanged": rows - updated}
        rounds.changed.append(await running.timed_import(tenant, changed, expected))
    await running.remove_list(company_list)


async def _limit(running: Running, content: bytes) -> Leg:
    await running.settle()
    before = Usage.of(running.stack)
    seconds = await limit_seconds(running.database, content)
    usage = Usage.of(running.stack).since(before)
    return Leg(running.options.rows, seconds, usage, Samples())


def _against(base: list[Leg], measured: list[Leg], running: Running) -> Facts:
    """Rows per second of `measured` over those of `base`, by round and in the median."""
    ratios = [b.seconds / m.seconds for b, m in zip(base, measured, strict=True)]
    return {
        "rows": running.options.rows,
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 3) for each in ratios],
        "rows_per_second": [round(leg.rows_per_second) for leg in measured],
        "base_rows_per_second": [round(leg.rows_per_second) for leg in base],
        **cpu_facts(measured),
        **profile_facts(measured, running.options.profile),
    }
