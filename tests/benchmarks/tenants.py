"""A new organization with a token, as `sluice token` makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import aiohttp

from tests.acceptance.client import Tenant
from tests.integration.stack import LocalStack


async def new_tenant(stack: LocalStack, session: aiohttp.ClientSession, name: str) -> Tenant:
    """Blocks for the half second that the command takes."""
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, "-m", "cli.main", "token", "--org", name, "--json"],
        env={**os.environ, **stack.env, "SLUICE_HOME": str(stack.layout.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    return Tenant(stack.api, answer["token"], answer["organization_id"], session)
