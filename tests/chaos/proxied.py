"""Roles behind proxies: put in place once for a world, by the plan, and there until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from tests.chaos.plan import merged
from tests.chaos.proxy import HttpProxy, LoopThread, PostgresProxy
from tests.chaos.striking import restart

if TYPE_CHECKING:
    from tests.chaos.world import World

DATABASES = ("DATABASE_URL", "SINK_DATABASE_URL")
EVERYBODY = ("ingress", "reader", "streams", "sink", "tasks")


def moved(address: str, port: int) -> str:
    """An address with another port of the loopback; user, password and path stay."""
    parts = urlsplit(address)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))


async def database_proxy(world: World) -> PostgresProxy:
    """What stands between every role and PostgreSQL."""
    if "database proxy" not in world.kept:
        server = urlsplit(world.stack.env["DATABASE_URL"])
        assert server.hostname
        assert server.port
        proxy = PostgresProxy(_thread(world), server.hostname, server.port)
        port = proxy.start()
        world.exits.callback(proxy.stop)
        await _place(world, {name: moved(world.stack.env[name], port) for name in DATABASES}, EVERYBODY)
        world.kept["database proxy"] = proxy
    found: PostgresProxy = world.kept["database proxy"]
    return found


async def http_proxy(world: World, variable: str, *roles: str) -> HttpProxy:
    """What stands between these roles and the server whose address this variable of theirs holds."""
    name = " ".join((variable, *roles))
    if name not in world.kept:
        address = world.stack.env[variable]
        server = urlsplit(address)
        proxy = HttpProxy(_thread(world), f"{server.scheme}://{server.netloc}")
        port = proxy.start()
        world.exits.callback(proxy.stop)
        await _place(world, {variable: moved(address, port)}, roles)
        world.kept[name] = proxy
    found: HttpProxy = world.kept[name]
    return found


def _thread(world: World) -> LoopThread:
    if "proxies" not in world.kept:
        world.kept["proxies"] = world.exits.enter_context(LoopThread())
    found: LoopThread = world.kept["proxies"]
    return found


async def _place(world: World, variables: dict[str, str], roles: tuple[str, ...]) -> None:
    entry = {"patch": "environment", "set": variables}
    world.plan.always = merged(world.plan.always, {role: [entry] for role in roles})
    world.plan.clear()
    await restart(world, *roles)
