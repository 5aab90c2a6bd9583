"""How the local stack runs each role."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from cli.local.layout import Layout
from cli.local.ports import HOST, Ports
from cli.local.probes import answers_http
from cli.local.unit import MARKER, Unit


def units(
    layout: Layout, ports: Ports, settings: Mapping[str, str], roles: Sequence[str]
) -> tuple[Unit, ...]:
    """Each role as a unit, with an instance number and a metrics port of its own.

    The second `streams` is called `streams-1`. The one `ingress` answers on the API's port.
    """
    seen: Counter[str] = Counter()
    made = []
    for index, role in enumerate(roles):
        instance = seen[role]
        seen[role] += 1
        made.append(_unit(layout, ports, settings, role, instance, ports.metrics + index))
    return tuple(made)


def _unit(
    layout: Layout, ports: Ports, settings: Mapping[str, str], role: str, instance: int, metrics_port: int
) -> Unit:
    api_port = ports.api if instance == 0 else metrics_port
    port = api_port if role == "ingress" else metrics_port
    environment = {
        **os.environ,
        **settings,
        "METRICS_PORT": str(metrics_port),
        "API_PORT": str(api_port),
        "INSTANCE": str(instance),
        "PYTHONUNBUFFERED": "1",
        MARKER: str(layout.home),
    }
    base = f"http://{HOST}:{port}"
    return Unit(
        name=role if instance == 0 else f"{role}-{instance}",
        kind="role",
        command=(sys.executable, "-m", "cli.main", "run", role),
        environment=environment,
        address=f"{HOST}:{port}",
        metrics=f"{base}/metrics",
        health=f"{base}/health",
        ready=lambda: answers_http(f"{base}/health"),
        grace_seconds=15,
        directory=layout.project,
    )
