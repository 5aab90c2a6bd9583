"""A small import on an idle system: request to answer."""

from __future__ import annotations

import statistics
import time
from typing import Any

import aiohttp

from tests.acceptance.client import new_tenant
from tests.benchmarks.end_to_end import contacts_file
from tests.integration.stack import LocalStack

ROUNDS = 20


async def small_import(stack: LocalStack) -> dict[str, Any]:
    """Median seconds of `POST /api/contacts/import` with ten rows, which answers when they are readable."""
    async with aiohttp.ClientSession() as session:
        tenant = new_tenant(stack, session, "small")
        seconds = []
        for number in range(ROUNDS + 3):
            form = aiohttp.FormData()
            form.add_field(
                "file", contacts_file(10, seed=number), filename="ten.csv", content_type="text/csv"
            )
            form.add_field("duplicate_handling", "overwrite")
            started = time.perf_counter()
            address = f"{tenant.api}/api/contacts/import"
            async with session.post(address, data=form, headers=tenant.headers) as answer:
                body = await answer.json()
                assert answer.status == 200, body
            seconds.append(time.perf_counter() - started)
    # The first ones wake the connections up.
    return {
        "median_seconds": round(statistics.median(seconds[3:]), 4),
        "max_seconds": round(max(seconds[3:]), 4),
    }
