"""PostgreSQL from embedded binaries, as a direct child and never as root.

Root becomes another user in a user namespace of its own, in which PostgreSQL sees itself as user 1000;
where the machine does not allow that, it runs as `nobody`, in a directory that `nobody` can reach.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg

from cli.local.credentials import (
    API_ROLE,
    DATABASE,
    OWNER,
    REGISTRY_DATABASE,
    REGISTRY_ROLE,
    SINK_ROLE,
    Credentials,
    database_url,
)
from cli.local.failures import ServerFailed
from cli.local.fetch import Servers
from cli.local.layout import Layout
from cli.local.ports import HOST, Ports
from cli.local.unit import Unit, server_environment

NAME = "postgres"
NOBODY = 65534
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


@dataclass(frozen=True)
class Place:
    """Where PostgreSQL lives and as whom: `wrap` goes before its command, `user` is whom to become."""

    binaries: Path
    cluster: Path
    wrap: tuple[str, ...] = ()
    user: int | None = None


def postgres(layout: Layout, ports: Ports, servers: Servers, credentials: Credentials) -> Unit:
    """The database as a unit. Creates its cluster before the first start."""
    place = place_for(layout, servers, root=os.geteuid() == 0)
    url = database_url(OWNER, credentials["POSTGRES_PASSWORD"], ports.postgres, "postgres")
    options = {
        "listen_addresses": HOST,
        "port": str(ports.postgres),
        "unix_socket_directories": "",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return Unit(
        name=NAME,
        kind="server",
        command=(*place.wrap, str(place.binaries / "bin" / "postgres"), "-D", str(place.cluster), *settings),
        environment=server_environment(layout.home),
        address=f"{HOST}:{ports.postgres}",
        ready=lambda: answers(url),
        prepare=lambda: _create_cluster(layout, place, credentials),
        # A fast shutdown: open transactions are rolled back, nothing committed is lost.
        stop_signal=signal.SIGINT,
        user=place.user,
    )


def place_for(layout: Layout, servers: Servers, *, root: bool) -> Place:
    """An ordinary user runs it as it is; root needs one of the two ways out.

    A cluster that is there already keeps the owner that it has.
    """
    cluster = layout.data / "postgres"
    if not root:
        return Place(servers.postgres, cluster)
    owner = cluster.stat().st_uid if cluster.exists() else 0
    shared = shared_place(layout)
    if owner == 0 and not shared.exists() and _namespaces_work():
        return Place(servers.postgres, cluster, wrap=_NAMESPACE)
    reachable = _others_can_reach(layout.data) and _others_can_reach(servers.postgres)
    if reachable and not shared.exists():
        return Place(servers.postgres, cluster, user=owner or NOBODY)
    return Place(shared / "binaries", shared / "postgres", user=NOBODY)


def shared_place(layout: Layout) -> Path:
    """For `nobody`: a directory of this stack where everybody may look and nothing is lost by a reboot."""
    lasting = Path("/var/tmp")  # noqa: S108 - the directory made in it is checked to be ours
    name = hashlib.sha256(str(layout.home).encode()).hexdigest()[:12]
    return (lasting if lasting.is_dir() else Path(tempfile.gettempdir())) / f"sluice-nobody-{name}"


@cache
def _namespaces_work() -> bool:
    try:
        return subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _others_can_reach(path: Path) -> bool:
    """Whether a user who is neither owner nor in the group may walk down to `path`."""
    existing = (each for each in (path, *path.parents) if each.exists())
    return all(each.stat().st_mode & 0o001 for each in existing)


def _create_cluster(layout: Layout, place: Place, credentials: Credentials) -> None:
    """initdb into a draft, then rename: a cluster that is there is whole."""
    _bring_binaries(layout, place)
    if (place.cluster / "PG_VERSION").exists():
        return
    draft = place.cluster.with_name("postgres.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password = place.cluster.with_name("password")
    password.touch(mode=0o600)
    password.write_text(credentials["POSTGRES_PASSWORD"], encoding="ascii")
    if place.user is not None:
        for path in (draft, password):
            os.chown(path, place.user, place.user)
    try:
        _initdb(layout, place, draft, password)
        draft.rename(place.cluster)
    finally:
        password.unlink()
        shutil.rmtree(draft, ignore_errors=True)


def _bring_binaries(layout: Layout, place: Place) -> None:
    """For `nobody`: copy the binaries to where it can read them."""
    if place.user is None or (place.binaries / "bin" / "postgres").exists():
        return
    place.binaries.parent.mkdir(mode=0o711, exist_ok=True)
    owner = place.binaries.parent.stat()
    if owner.st_uid != os.geteuid():
        raise ServerFailed(
            name=NAME, reason=f"{place.binaries.parent} belongs to another user", log=layout.log(NAME)
        )
    source = _fetched_binaries(layout)
    draft = place.binaries.with_name("binaries.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft, symlinks=True)
    draft.rename(place.binaries)


def _fetched_binaries(layout: Layout) -> Path:
    from cli.local.fetch import fetched

    servers = fetched(layout)
    if servers is None:
        raise ServerFailed(name=NAME, reason="its binaries are gone", log=layout.log(NAME))
    return servers.postgres


def _initdb(layout: Layout, place: Place, cluster: Path, password: Path) -> None:
    command = [*place.wrap, str(place.binaries / "bin" / "initdb"), "-D", str(cluster), "-U", OWNER]
    command += ["-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--auth=scram-sha-256"]
    command += [f"--pwfile={password}"]
    done = subprocess.run(
        command,
        cwd="/",
        env=server_environment(layout.home),
        user=place.user,
        group=place.user,
        extra_groups=None if place.user is None else [],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with layout.log(NAME).open("a", encoding="utf-8") as log:
        log.write(done.stdout)
    if done.returncode != 0:
        reason = (done.stdout.strip().splitlines() or ["initdb failed"])[-1]
        raise ServerFailed(name=NAME, reason=reason, log=layout.log(NAME))


async def answers(url: str) -> bool:
    """Whether PostgreSQL answers a query."""
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    try:
        return bool(await connection.fetchval(_queries()["answers"]) == 1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    finally:
        connection.terminate()


async def create_roles_and_databases(ports: Ports, credentials: Credentials) -> None:
    """The roles that the migrations grant to, our database and the registry's. Safe to repeat."""
    url = database_url(OWNER, credentials["POSTGRES_PASSWORD"], ports.postgres, "postgres")
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await _create_role(connection, API_ROLE, credentials["API_DATABASE_PASSWORD"], bypass=False)
        await _create_role(connection, SINK_ROLE, credentials["SINK_DATABASE_PASSWORD"], bypass=True)
        await _create_role(connection, REGISTRY_ROLE, credentials["REGISTRY_DATABASE_PASSWORD"], bypass=False)
        await _create_database(connection, DATABASE, OWNER)
        await _create_database(connection, REGISTRY_DATABASE, REGISTRY_ROLE)
    finally:
        await connection.close()


async def _create_role(connection: Any, name: str, password: str, *, bypass: bool) -> None:
    await connection.execute(await connection.fetchval(_queries()["role_statement"], name, password, bypass))


async def _create_database(connection: Any, name: str, owner: str) -> None:
    statement = await connection.fetchval(_queries()["database_statement"], name, owner)
    if statement is not None:
        await connection.execute(statement)


@cache
def _queries() -> dict[str, str]:
    """The statements of stack.sql by name."""
    queries: dict[str, list[str]] = {}
    name = ""
    text = resources.files("cli.local").joinpath("sql/stack.sql").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("-- ") and line.endswith(" --"):
            name = line.strip("- ")
            queries[name] = []
        elif name and not line.startswith("--"):
            queries[name].append(line)
    return {name: "\n".join(lines).strip() for name, lines in queries.items()}
