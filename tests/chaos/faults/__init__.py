"""What is done to a running system while imports run. A fault is an async context manager around them.

It yields a counter of what it has done and what that must have led to: every name put into it must be above
zero at the end, or the fault did not bite and the round proves nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.world import World

Bites = Counter[str]
Strike = Callable[["World", Random], AbstractAsyncContextManager[Bites]]

ROLES = ("ingress", "reader", "streams", "sink", "tasks")


@dataclass(frozen=True)
class Fault:
    """One kind of fault: how often it is tried, on which roles, and what it does.

    `seconds` is how long the jobs of a round may take under it.
    """

    name: str
    rounds: int
    strike: Strike
    roles: tuple[str, ...] = ROLES
    environment: Mapping[str, str] | None = None
    seconds: float = 300


_FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    *,
    rounds: int,
    roles: tuple[str, ...] = ROLES,
    environment: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> Callable[[Strike], Strike]:
    """Register a fault under its name."""

    def register(strike: Strike) -> Strike:
        assert name not in _FAULTS, f"two faults are called {name}"
        _FAULTS[name] = Fault(name, rounds, strike, roles, environment, seconds)
        return strike

    return register


def faults() -> Mapping[str, Fault]:
    """All faults by name: every module of this package is one family."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return _FAULTS
