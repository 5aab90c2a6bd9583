"""Named patches, installed into the roles when they start; the product knows nothing of them.

A patch is a function of its entry that replaces something of the product or of a library in this process.
It must raise where what it replaces is no longer there: a patch that is not installed is a test that cannot
fail.
"""

from __future__ import annotations

import fcntl
import functools
import importlib
import inspect
import json
import os
import pkgutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.plan import beside

Install = Callable[["Entry"], None]
PATCHES: dict[str, Install] = {}

ONCE = frozenset({"kill", "pause"})
"""Patches whose entries bite once where they do not say how often."""


class TargetMissing(Exception):
    """What a patch replaces is not there: the product has changed, and the patch must follow it."""


class PatchUnknown(Exception):
    """No patch has this name, or it does not belong to this role."""


@dataclass(frozen=True)
class Process:
    """The process that is patched: its role, its name (`sink-1`), and its plan."""

    role: str
    name: str
    plan: Path


@dataclass
class Entry:
    """One entry of the plan in this process: its options, and its leave to bite."""

    process: Process
    options: Mapping[str, Any]
    _read_at: int = 0
    _active: bool = field(default=True)

    def bite(self, what: str) -> bool:
        """Whether to do it now: the entry is in the plan, and `times` (over all processes) is not reached.

        The line that tells of it is on disk when this returns, whatever becomes of the process.
        """
        if not self._in_force():
            return False
        line = {
            "id": self.options["id"],
            "patch": self.options["patch"],
            "what": what,
            "role": self.process.name,
            "pid": os.getpid(),
            "at": round(time.time(), 3),
        }
        with beside(self.process.plan, ".bites").open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            times = self.options.get("times", 1 if self.options["patch"] in ONCE else None)
            if times is not None and self.bitten() >= times:
                return False
            os.write(file.fileno(), json.dumps(line).encode() + b"\n")
        return True

    def bitten(self) -> int:
        """How often this entry has bitten in all processes."""
        needle = json.dumps({"id": self.options["id"]})[1:-1]
        told = beside(self.process.plan, ".bites")
        return sum(needle in line for line in told.read_text().splitlines()) if told.exists() else 0

    def _in_force(self) -> bool:
        written_at = self.process.plan.stat().st_mtime_ns
        if self._active and written_at != self._read_at:
            self._read_at = written_at
            entries = json.loads(self.process.plan.read_text())["entries"]
            self._active = any(self.options["id"] == each["id"] for held in entries.values() for each in held)
        return self._active


def patch(name: str) -> Callable[[Install], Install]:
    """Register a patch under its name in plans."""

    def register(install: Install) -> Install:
        assert name not in PATCHES, f"two patches are called {name}"
        PATCHES[name] = install
        return install

    return register


def install(entry: Entry) -> None:
    """Install one entry's patch. Raises PatchUnknown, TargetMissing."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    name = entry.options["patch"]
    if name not in PATCHES:
        raise PatchUnknown(f"{name}: there are {', '.join(sorted(PATCHES))}")
    PATCHES[name](entry)


# Replacing ------------------------------------------------------------------------------------------------


def find(target: str) -> tuple[Any, str]:
    """The owner and the name of `module:name` or `module:Class.name`. Raises TargetMissing."""
    module, _, path = target.partition(":")
    *classes, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for each in classes:
            owner = vars(owner)[each]
        if name not in vars(owner):
            raise KeyError(name)
    except (ImportError, KeyError) as error:
        raise TargetMissing(f"{target} ({error!r})") from error
    return owner, name


def replace(target: str, make: Callable[[Any], Any]) -> None:
    """Put `make(original)` in the place of the target.

    Raises TargetMissing, also where the target is awaited and what replaces it is not, or the other way, or
    where the one takes more than the other.
    """
    owner, name = find(target)
    original = vars(owner)[name]
    replacement = make(original)
    if inspect.iscoroutinefunction(original) != inspect.iscoroutinefunction(replacement):
        raise TargetMissing(f"{target} is awaited by now, or no longer")
    if not isinstance(original, type):
        _check_parameters(target, original, replacement)
    setattr(owner, name, replacement)


def _check_parameters(target: str, original: Any, replacement: Any) -> None:
    taken = inspect.signature(replacement).parameters.values()
    if any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in taken):
        return
    expect(target, len(taken))


def expect(target: str, count: int) -> None:
    """Raises TargetMissing where the function takes another number of arguments, `self` included."""
    owner, name = find(target)
    if len(inspect.signature(vars(owner)[name]).parameters) != count:
        raise TargetMissing(f"{target} no longer takes {count} arguments")


@dataclass(frozen=True)
class Call:
    """One call of a replaced function: its arguments by name, and its result once it has one."""

    arguments: Mapping[str, Any]
    result: Any = None


Hook = Callable[[Call], None]


def around(
    target: str, *, before: Hook | None = None, after: Hook | None = None, needs: tuple[str, ...] = ()
) -> None:
    """Call hooks before and after each call of a function or coroutine function that succeeds.

    Raises TargetMissing, also where the function has no parameter of a name that the hooks need.
    """

    def make(original: Any) -> Any:
        signature = inspect.signature(original)
        missing = [name for name in needs if name not in signature.parameters]
        if missing:
            raise TargetMissing(f"{target} has no parameter {', '.join(missing)}")

        def begin(args: Any, kwargs: Any) -> dict[str, Any]:
            arguments = signature.bind(*args, **kwargs).arguments
            if before is not None:
                before(Call(arguments))
            return arguments

        def end(arguments: Mapping[str, Any], result: Any) -> Any:
            if after is not None:
                after(Call(arguments, result))
            return result

        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                arguments = begin(args, kwargs)
                return end(arguments, await original(*args, **kwargs))

            return awaited

        @functools.wraps(original)
        def called(*args: Any, **kwargs: Any) -> Any:
            arguments = begin(args, kwargs)
            return end(arguments, original(*args, **kwargs))

        return called

    replace(target, make)
