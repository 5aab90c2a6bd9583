"""Peak memory of every role while it imports a file, and one five times as large."""

from __future__ import annotations

import asyncio

from tests.acceptance.conftest import ROLES
from tests.benchmarks.contacts import noted_file
from tests.benchmarks.processes import Peaks, megabytes, watched_memory
from tests.benchmarks.running import Facts, Running

SMALL_BYTES, LARGE_BYTES = 20_000_000, 100_000_000


async def memory(running: Running, share: float) -> Facts:
    """Both files, scaled by `share`, each by roles that were just started."""
    small, large = round(SMALL_BYTES * share), round(LARGE_BYTES * share)
    of_small = await _peaks(running, small)
    of_large = await _peaks(running, large)
    ratios = {name: round(of_large.resident[name] / of_small.resident[name], 2) for name in of_small.resident}
    return {
        "what": f"peak memory of each role importing {large / 1e6:g} MB, against {small / 1e6:g} MB",
        "ratio": max(ratios.values()),
        "ratios": ratios,
        "largest_megabytes": max(megabytes(of_large.resident).values()),
        "megabytes_small": megabytes(of_small.resident),
        "megabytes_large": megabytes(of_large.resident),
        "proportional_megabytes_small": megabytes(of_small.proportional),
        "proportional_megabytes_large": megabytes(of_large.proportional),
    }


async def _peaks(running: Running, size_bytes: int) -> Peaks:
    await running.empty_contacts()
    content, rows = noted_file(size_bytes)
    tenant = await running.tenant()
    company_list = await running.load_company_list(tenant, rows)
    for role in ROLES:
        await asyncio.to_thread(running.stack.restart_role, role)
    async with watched_memory(running.stack) as peaks:
        answer = await running.import_file(tenant, content)
    assert answer["created"] == rows, answer
    await running.remove_list(company_list)
    return peaks
