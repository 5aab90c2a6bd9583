"""Questions to a server that is starting; asked ten times a second, so the dear ones come last."""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL


async def listens(host: str, port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def answers_http(url: str, timeout_seconds: float = 2.0) -> bool:
    """Whether a GET of `url` is answered with 200."""
    address = URL(url)
    if not await listens(address.host or "", address.port or 80):
        return False
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        # An HTTP proxy in the environment has no business on the loopback.
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(address) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
