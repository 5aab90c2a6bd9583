"""The ports of the local stack: on the loopback only, each settable, each checked before anything starts."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import psutil

from cli.local.failures import PortInvalid, PortsCollide, PortTaken

HOST = "127.0.0.1"
# Below the ports that systems give to outgoing connections (Linux from 32768, others from 49152): a server
# that is started again must find its port as it left it.
_FREE_RANGE = range(20_000, 32_000)
_DICE = random.SystemRandom()


@dataclass(frozen=True)
class Ports:
    """The ports of one stack. `metrics` is the first of one per role."""

    api: int = 8000
    postgres: int = 15432
    kafka: int = 19092
    registry: int = 18081
    s3: int = 19000
    metrics: int = 18100

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Ports:
        """The defaults, each replaced by its variable. Raises PortInvalid and PortsCollide."""
        chosen = {
            field.name: _port(variable(field.name), environment[variable(field.name)])
            for field in fields(cls)
            if environment.get(variable(field.name))
        }
        ports = cls(**chosen)
        ports._refuse_collisions()
        return ports

    def _refuse_collisions(self) -> None:
        seen: dict[int, str] = {}
        for field in fields(self):
            port = getattr(self, field.name)
            if port in seen:
                raise PortsCollide(first=variable(seen[port]), second=variable(field.name), port=port)
            seen[port] = field.name

    @classmethod
    def free(cls, roles: int) -> Ports:
        """Ports that nobody uses at this moment, with room for the metrics of `roles` roles."""
        metrics = _free_run(max(roles, 1))
        api, postgres, kafka, registry, s3 = free_ports(5, avoid=range(metrics, metrics + max(roles, 1)))
        return cls(api, postgres, kafka, registry, s3, metrics)

    def environment(self) -> dict[str, str]:
        """The variables that lead `of` back to these ports."""
        return {variable(field.name): str(getattr(self, field.name)) for field in fields(self)}


def variable(name: str) -> str:
    """The environment variable that sets the port called `name`."""
    return f"SLUICE_{name.upper()}_PORT"


def _port(name: str, value: str) -> int:
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
        return int(value)
    raise PortInvalid(variable=name, value=value)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A port in TIME_WAIT can be had, one that is listened on cannot.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def require_free(port: int, purpose: str, name: str) -> None:
    """Raise PortTaken, naming the owner where it can be seen, when `port` cannot be had."""
    if not is_free(port):
        raise PortTaken(port=port, purpose=purpose, owner=owner(port), variable=name)


def owner(port: int) -> str:
    """Who listens on `port`, as words."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return "another program"
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            return _process(connection.pid)
    return "another program"


def _process(pid: int | None) -> str:
    if pid is None:
        return "another user's program"
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"


def free_ports(count: int, avoid: Iterable[int] = ()) -> list[int]:
    """`count` different free ports."""
    avoided = set(avoid)
    shuffled = _DICE.sample(_FREE_RANGE, len(_FREE_RANGE))
    chosen = (port for port in shuffled if port not in avoided and is_free(port))
    return list(itertools.islice(chosen, count))


def _free_run(length: int) -> int:
    """The first of `length` free ports in a row."""
    while True:
        first = _DICE.choice(_FREE_RANGE[:-length])
        if all(is_free(first + index) for index in range(length)):
            return first
