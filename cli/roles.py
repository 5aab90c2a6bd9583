"""The roles of the one image, and what `sluice run ROLE` runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from cli.local.failures import RoleMissing, RoleUnknown
from sluice.settings import Settings

MODULES: Mapping[str, str] = {
    "ingress": "ingress.app",
    "reader": "ingress.reader",
    "streams": "streams.app",
    "sink": "sinks.worker",
    "tasks": "tasks.worker",
}
ALL = tuple(MODULES)
NONE = "none"


class Role(Protocol):
    """A module that can be run as a role."""

    def run(self, settings: Settings) -> None:
        """Work until SIGTERM."""
        ...


def load(role: str) -> Role:
    """The module of a role, imported only now. Raises RoleUnknown and RoleMissing."""
    if role not in MODULES:
        raise RoleUnknown(role=role, roles=", ".join(ALL))
    try:
        module = importlib.import_module(MODULES[role])
    except ImportError as error:
        raise RoleMissing(role=role, reason=str(error)) from error
    return cast(Role, module)


def parse(text: str) -> tuple[str, ...]:
    """Roles of a list such as "ingress,streams,streams": one named twice runs twice. Raises RoleUnknown."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names == (NONE,):
        return ()
    for name in names:
        if name not in MODULES:
            raise RoleUnknown(role=name, roles=", ".join((*ALL, NONE)))
    return names
